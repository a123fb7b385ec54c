"""Entities: by hand, with every way in which a model may write tags that no rule book allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm import metrics
from my_llm.errors import DataError

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O", {("PER", 0, 2)}),
        ("B-PER B-PER", {("PER", 0, 1), ("PER", 1, 2)}),  # two neighbours, not one
        ("O I-PER I-PER", {("PER", 1, 3)}),  # nobody opened it: conlleval does
        ("B-PER I-LOC I-LOC", {("PER", 0, 1), ("LOC", 1, 3)}),  # another kind opens another entity
        ("I-LOC B-LOC I-LOC", {("LOC", 0, 1), ("LOC", 1, 3)}),
        ("B-PER O I-PER", {("PER", 0, 1), ("PER", 2, 3)}),
        ("O O", set()),
        ("", set()),
    ],
)
def test_entities_are_read_as_conlleval_reads_them(tags, expected):
    assert metrics.entities(tags.split()) == expected


def test_scores_by_hand():
    truth = ["B-PER I-PER O B-LOC", "O B-LOC I-LOC", "B-PER O"]  # 2 PER, 2 LOC
    predicted = ["B-PER I-PER O B-LOC", "O B-LOC O", "I-LOC B-PER"]  # right, right; too short; wrong kind, invented
    scores = metrics.entity_scores([tags.split() for tags in predicted], [tags.split() for tags in truth])
    # 5 predicted (2 PER, 3 LOC), 4 true, 2 right: precision 2/5, recall 2/4, F1 = 2·2 / (5 + 4)
    assert scores["all"] == pytest.approx((2 / 5, 2 / 4, 4 / 9, 4))
    assert scores["PER"] == pytest.approx((1 / 2, 1 / 2, 1 / 2, 2))
    assert scores["LOC"] == pytest.approx((1 / 3, 1 / 2, 2 / 5, 2))


def test_a_sentence_ends_every_entity():
    assert metrics.entity_scores([["B-PER"], ["I-PER"]], [["B-PER"], ["B-PER"]])["all"].f1 == 1


@given(st.lists(st.lists(st.sampled_from(LABELS), max_size=8), min_size=1, max_size=5))
def test_the_truth_scores_1_and_nothing_scores_0(sentences):
    entities = sum(len(metrics.entities(tags)) for tags in sentences)
    perfect, nothing = metrics.entity_scores(sentences, sentences), [["O"] * len(tags) for tags in sentences]
    assert perfect["all"] == ((1, 1, 1, entities) if entities else (0, 0, 0, 0))
    assert metrics.entity_scores(nothing, sentences)["all"] == (0, 0, 0, entities)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: metrics.entity_scores([], []),
        lambda: metrics.entity_scores([["O"]], [["O", "O"]]),
        lambda: metrics.entities(["X-PER"]),
        lambda: metrics.entities(["B-"]),
        lambda: metrics.entities(["PER"]),
    ],
)
def test_what_cannot_be_scored_is_one_clear_line(wrong):
    with pytest.raises(DataError) as error:
        wrong()
    assert "\n" not in str(error.value)

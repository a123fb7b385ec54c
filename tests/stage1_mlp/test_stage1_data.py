import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from my_llm import checkpoint
from my_llm.errors import CheckpointError, DataError
from stage1_mlp.data import NgramFeatures, TextBatches, log_count_ratio, select, split_words

TEXTS = ["Good film, good GOOD fun!", "a good film", "bad film", "a bad, bad plot", "good plot"]
LABELS = [1, 1, 0, 0, 1]


@pytest.fixture(scope="module")
def features() -> NgramFeatures:
    return NgramFeatures.fit(TEXTS, LABELS)


def bag(features: NgramFeatures, text: str) -> dict[str, float]:
    names, bags = features.names(), features.encode([text])
    return {names[i]: w for i, w in zip(bags.ids.tolist(), bags.weights.tolist(), strict=True)}


def test_words_are_lower_case_runs_of_letters_and_digits():
    assert split_words("Don't STOP: 3.5 Ärzte\n") == ["don", "t", "stop", "3", "5", "ärzte"]


def test_log_count_ratio_is_the_formula_of_the_paper():
    # Class 0: p = 1 + (3, 0) = (4, 1), q = 1 + (1, 2) = (2, 3); r = log((4/5) / (2/5)), log((1/5) / (3/5)).
    ratio = log_count_ratio(np.array([[3, 1], [0, 2]]))
    assert ratio[:, 0] == pytest.approx([math.log(2), math.log(1 / 3)])
    assert ratio[:, 1] == pytest.approx(-ratio[:, 0])  # two classes: what speaks for one speaks against the other


def test_fit_keeps_what_stands_in_two_texts_the_most_frequent_word_first(features):
    # Texts that hold it: film 3, good 3 (not 5: once a text), then a, bad, plot with 2; "good film" stands in 2.
    assert features.names() == ["film", "good", "a", "bad", "plot", "good film"]


def test_importance_is_the_largest_ratio_of_a_feature(features):
    counts = np.array([[1, 2], [0, 3], [1, 1], [2, 0], [1, 1], [0, 2]])
    assert features.importance == pytest.approx(np.abs(log_count_ratio(counts)).max(axis=1))


def test_max_features_keeps_the_most_frequent_and_no_pair_without_its_words():
    assert NgramFeatures.fit(TEXTS, LABELS, max_features=2).names() == ["film", "good"]
    texts = ["new york is new", "new york", "new york", "is"]
    assert NgramFeatures.fit(texts, [0, 1, 0, 1], max_features=3).names() == ["new", "york", "new york"]


def test_a_bag_holds_log_count_times_importance_at_length_one(features):
    weights = dict(zip(features.names(), features.importance.tolist(), strict=True))
    weights["good"] *= 1 + math.log(2)
    length = math.hypot(weights["good"], weights["film"], weights["good film"])
    expected = {name: weights[name] / length for name in ("good", "film", "good film")}
    assert bag(features, "Good film. Unknown! Good.") == pytest.approx(expected, rel=1e-6)


def test_pairs_do_not_cross_texts_nor_unknown_words(features):
    assert "good film" not in bag(features, "good unknown film")
    odd = NgramFeatures(["x", "y"], np.array([(1 << 32) - 1]), np.ones(3, dtype=np.float32))  # y · 2³² - 1
    assert odd.encode(["y unknown"]).ids.tolist() == [1]  # "unknown" is -1 and must make no key
    assert set(bag(features, "film bad")) == {"film", "bad"}  # "film bad" is no feature, and must not turn into one
    bags = features.encode(["good", "film"])
    assert bags.ids.tolist() == [1, 0] and bags.offsets.tolist() == [0, 1]


def test_the_order_is_gone_except_inside_a_pair():
    features = NgramFeatures.fit(["now rain now sun now", "now sun now rain now", "rain"], [0, 1, 0])
    assert bag(features, "Now rain, now sun, now.") == bag(features, "Now sun, now rain, now.")
    assert bag(features, "rain now") != bag(features, "now rain")


def test_a_batch_is_its_texts_one_by_one(features):
    texts = [*TEXTS, "", "bad film a bad", "xyzzy"]
    batch = features.encode(texts)
    alone = [features.encode([text]) for text in texts]
    assert batch.ids.tolist() == [i for one in alone for i in one.ids.tolist()]
    assert torch.equal(batch.weights, torch.cat([one.weights for one in alone]))
    picked = select(batch, torch.tensor([6, 5, 0, 7]))
    again = features.encode([texts[i] for i in (6, 5, 0, 7)])
    assert all(torch.equal(a, b) for a, b in zip(picked, again, strict=True))


def test_empty_texts_unknown_words_and_a_megabyte(features):
    bags = features.encode(["", "zzz qqq", "!!!", "good film " * 100_000, "\x00"])
    assert bags.offsets.tolist() == [0, 0, 0, 0, 3]
    assert torch.linalg.vector_norm(bags.weights).item() == pytest.approx(1)
    assert features.encode([]).offsets.tolist() == []


@given(st.lists(st.text()))
@settings(max_examples=50, deadline=None)
def test_any_text_gives_distinct_known_features_of_length_one(texts):
    features = NgramFeatures.fit(TEXTS, LABELS)
    bags = features.encode([*texts, "good"])
    ends = [*bags.offsets[1:].tolist(), len(bags.ids)]
    for start, end in zip(bags.offsets.tolist(), ends, strict=True):
        ids = bags.ids[start:end].tolist()
        assert ids == sorted(set(ids)) and all(0 <= i < len(features) for i in ids)
        assert not ids or torch.linalg.vector_norm(bags.weights[start:end]).item() == pytest.approx(1, abs=1e-6)


def test_state_survives_a_checkpoint(features, tmp_path):
    checkpoint.save(tmp_path / "features.pt", {"kind": "test", "features": features.to_state()})
    again = NgramFeatures.from_state(checkpoint.load(tmp_path / "features.pt")["features"])
    assert again.names() == features.names()
    assert all(torch.equal(a, b) for a, b in zip(again.encode(TEXTS), features.encode(TEXTS), strict=True))


def test_a_state_whose_parts_do_not_fit_is_refused(features):
    with pytest.raises(CheckpointError, match="5 words, 0 pairs, 6 weights"):
        NgramFeatures.from_state({**features.to_state(), "pairs": torch.zeros(0, dtype=torch.int64)})


def test_nothing_to_learn_from_is_a_data_error():
    with pytest.raises(DataError, match="no word"):
        NgramFeatures.fit(["one", "two"], [0, 1])


def test_ties_are_broken_by_the_alphabet_so_that_every_process_numbers_alike():
    # The hash seed of Python differs from one test run to the next; an order that came from a set would show here.
    features = NgramFeatures.fit(["h g f e d c b a", "d c b a h g f e"], [0, 1])
    assert features.words == ["a", "b", "c", "d", "e", "f", "g", "h"]
    assert features.names()[8:] == ["b a", "c b", "d c", "f e", "g f", "h g"]


def test_batches_hold_an_epoch_once_with_the_right_labels(features):
    batches = TextBatches(features.encode(TEXTS), torch.tensor(LABELS), batch_size=2, seed=3)
    seen = [batches(index) for index in range(3)]
    assert [len(batch.labels) for batch in seen] == [2, 2, 1]
    rows = [
        (label, *select(batch.bags, torch.tensor([i])).ids.tolist())
        for batch in seen
        for i, label in enumerate(batch.labels.tolist())
    ]
    expected = [(label, *features.encode([text]).ids.tolist()) for text, label in zip(TEXTS, LABELS, strict=True)]
    assert sorted(rows) == sorted(expected)


def test_two_ranks_share_a_batch_and_one_may_get_nothing(features):
    parts = [
        TextBatches(features.encode(TEXTS), torch.tensor(LABELS), batch_size=4, seed=0, rank=rank, world=2)
        for rank in (0, 1)
    ]
    assert [len(part(0).labels) for part in parts] == [2, 2]
    assert [len(part(1).labels) for part in parts] == [1, 0]
    assert parts[1](1).bags.ids.tolist() == []

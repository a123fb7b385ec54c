"""The study of features: its recipe is that of data.py, each variant is its formula, the chance is computed right."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from my_llm import ledger
from my_llm.data.catalog import Example
from my_llm.studies import study_of
from stage1_mlp import experiments
from stage1_mlp.classify import fit_features
from stage1_mlp.data import NgramBags
from stage1_mlp.studies import StudyConfig, features
from stage1_mlp.studies.features import CASES, Choices, Right

# "a": both texts of class 0 and one of class 1; "b": the two texts of class 1; pair "a a" and "b b" stand once each.
TRAIN = [Example("a a", 0), Example("a", 0), Example("a b b", 1), Example("b", 1)]


def bags_of(choices: Choices, train: list[Example], texts: list[Example]) -> NgramBags:
    """The bags of `texts` under these choices, learnt from `train`."""
    known = features.known_features(train, choices)
    labels = [example.label for example in train]
    encode = features.encoder(choices, features.counted(known, train), labels, len(known))
    return encode(features.counted(known, texts))


def test_the_recipe_is_the_recipe_of_the_stage():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefgh"), size=rng.integers(0, 9))) for _ in range(60)]
    train = [Example(text, i % 3) for i, text in enumerate(texts)]
    unseen = [Example("a b x c a b", 0), Example("", 1), Example("x y", 2), Example("h g", 0)]
    ours, theirs = bags_of(CASES["recipe"], train, unseen), fit_features(train, 30_000).encode([e.text for e in unseen])
    assert torch.equal(ours.ids, theirs.ids) and torch.equal(ours.offsets, theirs.offsets)
    torch.testing.assert_close(ours.weights, theirs.weights)
    assert len(ours.ids) > 6  # words and pairs


def test_each_case_but_the_recipe_and_the_plain_one_changes_one_choice():
    recipe = vars(CASES["recipe"])
    changed = {case: sum(vars(choices)[key] != recipe[key] for key in recipe) for case, choices in CASES.items()}
    assert changed.pop("recipe") == 0 and changed.pop("all_plain") == 4
    assert set(changed.values()) == {1} and len(changed) == 7


@pytest.mark.parametrize(
    ("damping", "values"), [(features.log_count, 1 + math.log(2)), (features.plain_count, 2), (features.presence, 1)]
)
def test_a_feature_that_comes_twice(damping, values: float):
    bag = bags_of(Choices(times=damping, weight=features.no_weight, pairs=False), TRAIN, [Example("a b a", 0)])
    norm = math.hypot(values, 1)
    assert bag.weights.tolist() == pytest.approx([values / norm, 1 / norm])


def test_the_weights_are_their_formulas():
    by_class = np.array([[2, 1], [0, 2]])
    # p = 1 + counts: class 0 (3, 1), class 1 (2, 3); log((3/4) / (2/5)), log((1/4) / (3/5))
    assert features.naive_bayes(by_class, 4).tolist() == pytest.approx([math.log(15 / 8), math.log(12 / 5)])
    assert features.idf(by_class, 4).tolist() == pytest.approx([math.log(5 / 4) + 1, math.log(5 / 3) + 1])
    assert features.no_weight(by_class, 4).tolist() == [1, 1]


def test_one_scale_divides_every_bag_by_the_mean_length_of_the_training_bags():
    choices = Choices(times=features.plain_count, weight=features.no_weight, own_length=False, pairs=False)
    mean = (2 + 1 + math.sqrt(1 + 4) + 1) / 4
    bags = bags_of(choices, TRAIN, [Example("a", 0), Example("b b b", 1)])
    assert bags.weights.tolist() == pytest.approx([1 / mean, 3 / mean])


def test_words_alone_knows_no_pair_and_the_most_frequent_words():
    train = [Example("a b", 0), Example("a b", 0), Example("a c c", 1), Example("a c", 1), Example("b a", 1)]
    assert features.known_features(train, Choices()).names()[3:] == ["a b", "a c"]
    assert features.known_features(train, Choices(pairs=False, features=2)).names() == ["a", "b"]


def test_change_and_chance():
    recipe = Right(9, np.ones((2, 4), bool), np.array([[1, 1, 0, 0], [1, 1, 0, 1]], bool))  # 50 %, 75 %
    other = Right(5, np.ones((2, 4), bool), np.array([[0, 1, 0, 0], [0, 1, 0, 1]], bool))  # 25 %, 50 %
    row = features.row_of("other", other, recipe)
    assert (row["test_accuracy"], row["change"], row["change_sd"], row["validation_accuracy"]) == (37.5, -25, 0, 100)
    assert row["test_accuracy_sd"] == pytest.approx(25 / math.sqrt(2), abs=0.01)
    # per text: -1, 0, 0, 0; deviation √(1/4 - 1/16) = √3 / 4; chance 100 · √3 / 4 / √4 = 21.65
    assert row["chance"] == pytest.approx(21.65, abs=0.01)


def test_the_study_writes_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    few = {"recipe": CASES["recipe"], "all_plain": CASES["all_plain"]}
    monkeypatch.setattr(features, "CASES", few)
    study_of("stage1_mlp", "features", experiments.STUDIES)(StudyConfig(dataset="python_docs", max_steps=2, seeds=2))
    table = ledger.read(tmp_path / "results" / "stage1_mlp" / "features.json")
    assert [row["case"] for row in table["rows"]] == list(few) and table["seed"] == [0, 1]
    assert table["rows"][0]["change"] == table["rows"][0]["chance"] == 0
    figure = tmp_path / "docs" / "figures" / "stage1_features.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    assert "seen    points of test accuracy" in capsys.readouterr().out

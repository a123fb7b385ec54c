"""compare.py: the table says that the three agree, fits into 80 columns, and would notice if they did not."""

import numpy as np
import pytest

from my_llm.errors import ConfigError
from stage1_mlp import compare
from stage1_mlp.models.losses import cross_entropy


def test_prints_agreement_within_80_columns(capsys, monkeypatch):
    monkeypatch.setattr(compare, "CASES", {name: compare.CASES[name] for name in ("gelu", "tanh, both")})
    assert compare.run(compare.CompareConfig(max_steps=5)) == 0
    printed = capsys.readouterr().out
    assert "by hand = from scratch = official" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())


def test_200_steps_stay_within_1e_9():
    result = compare.compare(compare.CASES["tanh, both"], seed=1, steps=200)
    assert all(number < 1e-9 for numbers in result.differences.values() for number in numbers)


def test_notices_a_wrong_loss(capsys, monkeypatch):
    monkeypatch.setattr("stage1_mlp.models.cross_entropy", lambda x, y: cross_entropy(x, y, label_smoothing=1e-6))
    monkeypatch.setattr(compare, "CASES", {"relu": compare.CASES["relu"]})
    assert compare.run(compare.CompareConfig(max_steps=2)) == 1
    assert "DISAGREE" in capsys.readouterr().out


def test_differences_are_the_largest_of_each_kind():
    ours = [
        compare.Outcome(np.array([[1.0, 2.0]]), 0.5, {"w": np.array([3.0]), "b": np.array([1.0])}),
        compare.Outcome(np.zeros((1, 2)), 0.4, {}),
    ]
    theirs = [
        compare.Outcome(np.array([[1.0, 2.5]]), 0.5, {"w": np.array([3.0]), "b": np.array([3.0])}),
        compare.Outcome(np.zeros((1, 2)), 0.1, {}),
    ]
    assert compare.differences(ours, theirs) == (0.5, 2.0, pytest.approx(0.3))


def test_no_steps_is_a_users_mistake():
    with pytest.raises(ConfigError, match="max_steps"):
        compare.run(compare.CompareConfig(max_steps=0))

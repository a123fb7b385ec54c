"""The recall task: one right answer, at the distance that is said, and a pure function of the batch's number."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import ConfigError
from stage4_transformer.data import FIRST, RecallTask


@given(st.integers(1, 9), st.integers(0, 20), st.integers(9, 16), st.integers(0, 3))
def test_the_answer_is_the_value_of_the_key_and_stands_where_it_is_said(pairs: int, gap: int, symbols: int, seed: int):
    task = RecallTask(pairs, gap, symbols=symbols, batch_size=7, seed=seed)
    tokens, answers, distances = task(seed)
    assert tokens.shape == (7, task.length) == (7, 2 * pairs + gap + 1)
    for row, answer, distance in zip(tokens.tolist(), answers.tolist(), distances.tolist(), strict=True):
        told = dict(zip(row[: 2 * pairs : 2], row[1 : 2 * pairs : 2], strict=True))
        assert len(told) == pairs and told[row[-1]] == answer == row[-1 - distance]
        kinds = [(token - FIRST) // symbols for token in row]
        assert kinds == [0, 1] * pairs + [2] * gap + [0]
        assert all(FIRST <= token < task.vocab_size for token in row)


def test_a_batch_is_a_pure_function_of_its_number():
    one, other, seeded = RecallTask(3, 2), RecallTask(3, 2), RecallTask(3, 2, seed=1)
    for number in (5, 0, 5):
        assert all(torch.equal(a, b) for a, b in zip(one(number), other(number), strict=True))
    assert not torch.equal(one(0).tokens, one(1).tokens) and not torch.equal(one(0).tokens, seeded(0).tokens)


def test_every_pair_is_asked_and_every_answer_given():
    _, answers, distances = RecallTask(4, 10, symbols=5, batch_size=2000)(0)
    assert distances.unique().tolist() == [11, 13, 15, 17] and len(answers.unique()) == 5
    assert (distances[:, None] == distances.unique()).sum(0).min() > 400  # about 500 each


@pytest.mark.parametrize(("pairs", "gap", "options"), [(0, 0, {}), (17, 0, {}), (2, -1, {}), (2, 0, {"batch_size": 0})])
def test_what_cannot_be_is_one_line(pairs: int, gap: int, options: dict):
    with pytest.raises(ConfigError, match="no such recall task"):
        RecallTask(pairs, gap, **options)

"""Embeddings of runs: equal runs, equal rows; the sum by hand; where a text begins; nothing at the start."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stage5_gpt.models.ngrams import NgramEmbedding, hashed

D, ROWS = 5, 31


def test_equal_runs_get_equal_rows_and_different_ones_mostly_different_rows():
    tokens = torch.tensor([[4, 7, 9, 4, 7, 9, 7, 4]])
    rows = hashed(tokens, 3, 10_000)[0].tolist()
    assert len(rows) == 6 and rows[0] == rows[3] and len(set(rows)) == 5  # 4 7 9 twice
    pairs = torch.cartesian_prod(torch.arange(69), torch.arange(69))
    assert len(set(hashed(pairs, 2, 2**20)[:, 0].tolist())) > 0.98 * 69**2


@given(st.integers(2, 8), st.integers(1, 2**24), st.integers(0, 2**20))
def test_every_row_is_in_the_table(length: int, rows: int, token: int):
    found = hashed(torch.full((1, 9), token), length, rows)
    assert found.shape == (1, 10 - length) and found.min() >= 0 and found.max() < rows


@pytest.mark.parametrize("longest", [1, 2, 3, 4])
def test_the_sum_by_hand(longest: int):
    torch.manual_seed(0)
    part = NgramEmbedding(D, longest, ROWS)
    assert part.memory == longest - 1
    for table in part.tables:
        nn.init.normal_(table.weight)
    tokens, before = torch.randint(0, 9, (2, 6)), torch.randint(0, 9, (2, longest - 1))
    said, read = part(tokens, before), torch.cat([before, tokens], dim=1)
    for row in range(2):
        for place in range(6):
            end, expected = longest - 1 + place + 1, torch.zeros(D)
            for length in range(2, longest + 1):
                run = read[row : row + 1, end - length : end]
                expected += part.tables[length - 2].weight[hashed(run, length, ROWS)[0, 0]]
            torch.testing.assert_close(said[row, place] if longest > 1 else torch.zeros(D), expected)


def test_in_the_beginning_they_say_nothing():
    part = NgramEmbedding(D, 3, ROWS)
    assert not part(torch.randint(0, 9, (2, 6)), torch.zeros(2, 2, dtype=torch.long)).any()

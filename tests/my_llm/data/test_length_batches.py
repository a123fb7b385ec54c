from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.data.batches import LengthBatches, by_length, chunks_by_length, equal_tokens, pad
from my_llm.errors import ConfigError
from my_llm.text import PAD

ORDER = {"batch_size": 8, "seed": 0}


def test_an_epoch_holds_every_sequence_once_and_batches_have_similar_lengths():
    lengths = np.random.default_rng(1).integers(1, 60, size=103)
    batches = by_length(lengths, 13, seed=0, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(103))
    assert {len(batch) for batch in batches} == {7, 8}
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.35 * lengths.sum()  # in random order it is about 1.9
    ends = [lengths[batch].max() for batch in batches]
    assert ends != sorted(ends)  # short ones do not come first


def test_a_batch_is_a_function_of_its_number():
    lengths = list(range(1, 42))
    batches = LengthBatches(lengths, **ORDER)
    drawn = [batches(i) for i in range(18)]
    fresh = LengthBatches(lengths, **ORDER)
    assert [fresh(i) for i in (13, 2, 17)] == [drawn[13], drawn[2], drawn[17]]
    assert drawn[: batches.per_epoch] != drawn[batches.per_epoch : 2 * batches.per_epoch]
    assert drawn != [LengthBatches(lengths, batch_size=8, seed=1)(i) for i in range(18)]


def test_ranks_share_a_batch():
    whole = LengthBatches(range(1, 42), **ORDER)
    parts = [LengthBatches(range(1, 42), **ORDER, rank=rank, world=3) for rank in range(3)]
    for index in range(12):
        shares = [part(index) for part in parts]
        assert sorted(chain.from_iterable(shares)) == sorted(whole(index))
        assert min(map(len, shares)) > 0


def test_more_processes_than_sequences_in_a_batch_is_one_clear_line():
    with pytest.raises(ConfigError, match="too many processes"):
        LengthBatches([1] * 10, batch_size=4, seed=0, rank=0, world=4)  # batches of 4, 3, 3


# --- batches of tokens ------------------------------------------------------------------------------------------------


def test_tokens_are_shared_out_by_hand():
    """12 tokens in 3 parts: a new one begins with the first sequence that has 4 (or 8) tokens before it."""
    lengths = np.array([1, 1, 2, 2, 3, 3])
    parts = equal_tokens(np.arange(6), lengths, 3)
    assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4], [5]]  # tokens before: 0 1 2 | 4 6 | 9
    parts = equal_tokens(np.array([5, 4, 3, 2, 1, 0]), lengths, 3)
    assert [part.tolist() for part in parts] == [[5, 4], [3], [2, 1, 0]]  # tokens before: 0 3 | 6 | 8 10 11


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 4), st.integers(0, 2**40), st.data())
def test_batches_of_tokens_hold_every_sequence_once_and_about_as_many_tokens(
    lengths: list[int], world: int, seed: int, data: st.DataObject
):
    world = min(world, len(lengths))
    most = data.draw(st.integers(2 * world * max(lengths), 20 * world * max(lengths)))
    order = {"batch_size": 1, "max_tokens": most, "seed": seed, "world": world}
    parts = [LengthBatches(lengths, **order, rank=rank) for rank in range(world)]
    per_epoch = parts[0].per_epoch
    mean = sum(lengths) / per_epoch
    assert per_epoch == -(-sum(lengths) // most) and mean <= most
    for epoch in range(2):
        seen = []
        for number in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            shares = [part(number) for part in parts]
            assert min(map(len, shares)) > 0
            batch = list(chain.from_iterable(shares))
            assert abs(sum(lengths[row] for row in batch) - mean) < max(lengths)
            seen += batch
        assert sorted(seen) == list(range(len(lengths)))


def test_a_batch_of_tokens_is_a_function_of_its_number():
    lengths = np.random.default_rng(1).integers(1, 60, size=300).tolist()
    one, other = (LengthBatches(lengths, batch_size=1, max_tokens=500, seed=3) for _ in range(2))
    drawn = [one(i) for i in range(2 * one.per_epoch)]
    assert [other(i) for i in (30, 2, 17)] == [drawn[i] for i in (30, 2, 17)]
    assert {len(batch) for batch in drawn} & set(range(9)) and max(map(len, drawn)) > 30  # few long, many short ones
    assert drawn[: one.per_epoch] != drawn[one.per_epoch :]
    assert drawn[0] != LengthBatches(lengths, batch_size=1, max_tokens=500, seed=4)(0)


def test_a_batch_that_has_no_room_for_a_sequence_is_one_clear_line():
    usual = {"batch_size": 1, "seed": 0}
    with pytest.raises(ConfigError, match="longest sequence has more tokens than a batch; got '39'; valid: 80 or more"):
        LengthBatches([40, 5, 40], max_tokens=39, **usual)
    assert LengthBatches([40, 5, 40], max_tokens=80, **usual).per_epoch == 2
    with pytest.raises(ConfigError, match="valid: 160 or more"):
        LengthBatches([40] * 9, max_tokens=39, world=2, **usual)
    with pytest.raises(ConfigError, match="too many processes .* at most 2 processes"):
        LengthBatches([40] * 9, max_tokens=90, world=3, **usual)  # 4 batches of 90 on average


def test_pad_and_chunks():
    padded, lengths = pad([torch.tensor([5, 6]), torch.tensor([7])])
    assert padded.tolist() == [[5, 6], [7, PAD]] and lengths.tolist() == [2, 1]
    chunks = chunks_by_length([3, 1, 2] * 200)
    assert sorted(chain.from_iterable(chunks)) == list(range(600)) and len(chunks) == 3


# --- encoding --------------------------------------------------------------------------------------------------------

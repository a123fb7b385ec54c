from itertools import chain

import numpy as np
import pytest
import torch

from my_llm.data.batches import LengthBatches, by_length, chunks_by_length, pad
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


def test_pad_and_chunks():
    padded, lengths = pad([torch.tensor([5, 6]), torch.tensor([7])])
    assert padded.tolist() == [[5, 6], [7, PAD]] and lengths.tolist() == [2, 1]
    chunks = chunks_by_length([3, 1, 2] * 50)
    assert sorted(chain.from_iterable(chunks)) == list(range(150)) and len(chunks) == 3


# --- encoding --------------------------------------------------------------------------------------------------------

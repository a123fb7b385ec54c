"""Batches by random access: every epoch is a permutation, the ranks partition it, nothing depends on history."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.data.batches import batch_indices, batches_per_epoch, permutation
from my_llm.errors import ConfigError

SIZES = {"size": st.integers(1, 60), "batch_size": st.integers(1, 20), "seed": st.integers(0, 2**40)}


@given(epoch=st.integers(0, 5), **SIZES)
def test_every_epoch_holds_every_example_once(epoch: int, size: int, batch_size: int, seed: int) -> None:
    count = batches_per_epoch(size, batch_size)
    numbers = range(epoch * count, (epoch + 1) * count)
    batches = [batch_indices(number, size=size, batch_size=batch_size, seed=seed) for number in numbers]
    assert sorted(np.concatenate(batches)) == list(range(size))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(index=st.integers(0, 200), data=st.data(), **SIZES)
def test_the_ranks_partition_the_batch(index: int, data: st.DataObject, size: int, batch_size: int, seed: int) -> None:
    world = data.draw(st.integers(1, batch_size))
    whole = batch_indices(index, size=size, batch_size=batch_size, seed=seed)
    parts = [
        batch_indices(index, size=size, batch_size=batch_size, seed=seed, rank=rank, world=world)
        for rank in range(world)
    ]
    together = np.empty_like(whole)
    for rank, part in enumerate(parts):
        together[rank::world] = part
    assert np.array_equal(together, whole)


@given(index=st.integers(0, 200), **SIZES)
def test_a_batch_is_a_pure_function_of_its_number(index: int, size: int, batch_size: int, seed: int) -> None:
    before = batch_indices(index, size=size, batch_size=batch_size, seed=seed)
    permutation.cache_clear()
    batch_indices(index + 7, size=size, batch_size=batch_size, seed=seed + 1)
    assert np.array_equal(before, batch_indices(index, size=size, batch_size=batch_size, seed=seed))


def test_epochs_and_seeds_differ() -> None:
    first, second, other = (
        batch_indices(index, size=100, batch_size=100, seed=seed) for index, seed in ((0, 0), (1, 0), (0, 1))
    )
    assert not np.array_equal(first, second) and not np.array_equal(first, other)


def test_the_shared_permutation_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        batch_indices(0, size=10, batch_size=5, seed=0)[0] = 3


def test_batches_per_epoch_rounds_up() -> None:
    assert [batches_per_epoch(size, 4) for size in (1, 4, 5, 8)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    "change",
    [{"size": 0}, {"batch_size": 0}, {"index": -1}, {"seed": -1}, {"rank": 2}, {"rank": -1}, {"world": 9}],
    ids=str,
)
def test_numbers_out_of_range_are_user_errors(change: dict[str, int]) -> None:
    arguments = {"index": 0, "size": 10, "batch_size": 4, "seed": 0, "rank": 0, "world": 2} | change
    with pytest.raises(ConfigError):
        batch_indices(arguments.pop("index"), **arguments)

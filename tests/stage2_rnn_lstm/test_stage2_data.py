"""Streams and windows: every token once, without a break, the same for the same number."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import DataError
from stage2_rnn_lstm.data import Streams

# Tokens that are their own positions: what a window holds is then what it covers.
lengths = st.integers(1, 11)
batches = st.integers(1, 7)
spares = st.integers(0, 60)


def streams_of(batch: int, length: int, spare: int = 0, **options: int) -> Streams:
    """Over the shortest text that is enough for one window per epoch, and `spare` more tokens."""
    return Streams(torch.arange((batch + 1) * length + spare), batch, length, **options)


@given(batches, lengths, spares, st.integers(0, 2**40))
def test_every_window_of_three_epochs(batch: int, length: int, spare: int, seed: int):
    streams = streams_of(batch, length, spare, seed=seed)
    for epoch in range(3):
        windows = [streams(epoch * streams.per_epoch + number) for number in range(streams.per_epoch)]
        assert [window.fresh for window in windows] == [True] + [False] * (streams.per_epoch - 1)
        assert all(window.inputs.shape == window.targets.shape == (batch, length) for window in windows)
        inputs = torch.cat([window.inputs for window in windows], dim=1)  # (B, tokens of a stream)
        first = int(inputs[0, 0])
        assert (first == 0) if epoch == 0 else (0 <= first < length)
        assert torch.equal(inputs.flatten(), first + torch.arange(inputs.numel()))  # contiguous, each token once
        assert torch.equal(torch.cat([window.targets for window in windows], dim=1), inputs + 1)
        assert len(streams.tokens) - inputs.numel() < length * (batch + 1)  # what an epoch leaves out


def test_windows_by_arithmetic():
    """12 + 3 tokens, 2 streams, windows of 3: the picture in the module's docstring."""
    streams = Streams(torch.arange(15), 2, 3)
    assert streams.per_epoch == 2
    assert streams(0).inputs.tolist() == [[0, 1, 2], [6, 7, 8]]
    assert streams(1).inputs.tolist() == [[3, 4, 5], [9, 10, 11]]
    assert streams(1).targets.tolist() == [[4, 5, 6], [10, 11, 12]]


def test_a_number_gives_the_same_window_whatever_was_asked_before():
    one, other = streams_of(3, 7, 50, seed=5), streams_of(3, 7, 50, seed=5)
    order = [9, 2, 2, 17, 0, 9]
    asked = [one(index) for index in order]
    for index, window in sorted(zip(order, asked, strict=True), key=lambda pair: pair[0]):
        again = other(index)
        assert torch.equal(window.inputs, again.inputs) and window.fresh == again.fresh


def test_epochs_begin_at_different_places_that_the_seed_chooses():
    starts = []
    for seed in (0, 1):
        streams = streams_of(2, 50, seed=seed)
        starts.append([int(streams(epoch * streams.per_epoch).inputs[0, 0]) for epoch in range(6)])
    assert starts[0][0] == starts[1][0] == 0 and starts[0] != starts[1]
    assert all(len(set(row)) > 3 for row in starts)


@given(st.integers(1, 4), batches, lengths, spares)
def test_processes_share_the_streams_of_one(world: int, batch: int, length: int, spare: int):
    batch *= world
    whole = streams_of(batch, length, spare)
    parts = [streams_of(batch, length, spare, rank=rank, world=world) for rank in range(world)]
    for index in (0, whole.per_epoch - 1, whole.per_epoch, 2 * whole.per_epoch):
        windows = [part(index) for part in parts]
        assert {window.fresh for window in windows} == {whole(index).fresh}
        rows = torch.cat([window.inputs for window in windows])
        assert torch.equal(rows[rows[:, 0].argsort()], whole(index).inputs)
        assert [len(window.inputs) for window in windows] == [batch // world] * world


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 7), (64, 128)])
def test_a_text_that_is_too_short_is_one_line(batch: int, length: int):
    needed = (batch + 1) * length
    assert Streams(torch.arange(needed), batch, length).per_epoch == 1
    with pytest.raises(DataError, match=rf"{needed - 1:,} tokens.*at least .* = {needed:,}.*--batch_size"):
        Streams(torch.arange(needed - 1), batch, length)

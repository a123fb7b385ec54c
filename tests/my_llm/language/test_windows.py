"""Windows: every token of the text about once an epoch, in an order that only seed and epoch decide."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.data.catalog import LanguageText
from my_llm.errors import ConfigError, DataError
from my_llm.language.batches import Windows, tokenizer_for, tokens_of

# Tokens that are their own positions: what a window holds is then what it covers.
lengths = st.integers(1, 11)
batches = st.integers(1, 7)
spares = st.integers(0, 60)


def windows_of(batch: int, length: int, spare: int = 0, **options: int) -> Windows:
    """Over the shortest text that is enough for one batch per epoch, and `spare` more tokens."""
    return Windows(torch.arange((batch + 1) * length + spare), batch, length, **options)


def epoch_of(windows: Windows, epoch: int) -> list[list[int]]:
    """All windows of an epoch."""
    numbers = range(epoch * windows.per_epoch, (epoch + 1) * windows.per_epoch)
    return [row for number in numbers for row in windows(number).inputs.tolist()]


@given(batches, lengths, spares, st.integers(0, 2**40))
def test_an_epoch_holds_every_window_once(batch: int, length: int, spare: int, seed: int):
    windows = windows_of(batch, length, spare, seed=seed)
    for epoch in range(3):
        rows = epoch_of(windows, epoch)
        assert len(rows) == windows.per_epoch * batch > windows.windows - batch  # all that fill a batch
        assert all(row == list(range(row[0], row[0] + length)) for row in rows)  # consecutive tokens
        firsts = sorted(row[0] for row in rows)
        offsets = {first % length for first in firsts}
        assert len(set(firsts)) == len(firsts) and len(offsets) == 1  # so no two windows overlap
        assert epoch or offsets == {0}


@given(batches, lengths, spares)
def test_the_targets_are_the_tokens_that_follow(batch: int, length: int, spare: int):
    windows = windows_of(batch, length, spare)
    for number in range(3 * windows.per_epoch):
        inputs, targets = windows(number)
        assert inputs.shape == targets.shape == (batch, length) and torch.equal(targets, inputs + 1)


def test_windows_by_arithmetic():
    """12 + 3 tokens in windows of 3: four, and three tokens to shift by. Two batches of two, or one of three."""
    windows = Windows(torch.arange(15), 2, 3)
    assert (windows.windows, windows.per_epoch) == (4, 2)
    assert sorted(row[0] for row in epoch_of(windows, 0)) == [0, 3, 6, 9]
    assert Windows(torch.arange(15), 3, 3).per_epoch == 1
    assert Windows(torch.arange(14), 2, 3).windows == 3


def test_order_and_offset_change_with_the_epoch_and_the_seed():
    first, second = (windows_of(5, 11, 600, seed=seed) for seed in (0, 1))
    assert epoch_of(first, 0) != sorted(epoch_of(first, 0))  # not in the order of the text
    orders = [[row[0] // 11 for row in epoch_of(windows, epoch)] for windows in (first, second) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 6
    offsets = [[epoch_of(windows, epoch)[0][0] % 11 for epoch in range(9)] for windows in (first, second)]
    assert offsets[0] != offsets[1] and all(len(set(row)) > 3 for row in offsets)


def test_a_number_gives_the_same_batch_whatever_was_asked_before():
    one, other = windows_of(3, 7, 50, seed=5), windows_of(3, 7, 50, seed=5)
    asked = {number: one(number) for number in (9, 2, 17, 0)}
    assert all(torch.equal(asked[number].inputs, other(number).inputs) for number in sorted(asked))


@given(st.integers(1, 4), batches, lengths, spares)
def test_processes_share_the_batch_of_one(world: int, batch: int, length: int, spare: int):
    whole = windows_of(world * batch, length, spare)
    parts = [windows_of(world * batch, length, spare, rank=rank, world=world) for rank in range(world)]
    for number in range(2 * whole.per_epoch):
        shares = [part(number).inputs for part in parts]
        assert [len(share) for share in shares] == [batch] * world
        assert sorted(torch.cat(shares).tolist()) == sorted(whole(number).inputs.tolist())


def test_a_narrow_integer_type_saves_memory_and_changes_nothing():
    tokens = torch.randint(0, 99, (500,))
    narrow, wide = Windows(tokens.to(torch.int16), 3, 7)(4), Windows(tokens, 3, 7)(4)
    assert narrow.inputs.dtype == torch.long and torch.equal(narrow.inputs, wide.inputs)


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 7), (64, 128)])
def test_a_text_that_is_too_short_is_one_line(batch: int, length: int):
    needed = (batch + 1) * length
    assert windows_of(batch, length).per_epoch == 1
    with pytest.raises(DataError, match=rf"{needed - 1:,} tokens.*at least .* = {needed:,}.*--batch_size"):
        windows_of(batch, length, -1)
    with pytest.raises(DataError, match="0 tokens"):
        Windows(torch.arange(0), batch, length)


@pytest.mark.parametrize(("rank", "world"), [(0, 3), (2, 2), (-1, 1)])
def test_more_processes_than_windows_in_a_batch_are_refused(rank: int, world: int):
    with pytest.raises(ConfigError, match="too many processes"):
        windows_of(2, 3, rank=rank, world=world)


@pytest.mark.parametrize(("kind", "size"), [("char", 0), ("word", 7), ("bpe", 280)])
def test_the_tokenizer_is_that_of_the_training_part(kind: str, size: int):
    corpus = LanguageText("t", "en", "one two three, one two. " * 9, "seven", "", "", "")
    tokenizer = tokenizer_for(corpus, kind, size)
    assert tokenizer.to_state()["kind"] == kind and "v" not in tokenizer.to_state()["symbols"][:4]
    assert tokenizer.decode(tokenizer.encode("one two")) == "one two"
    assert kind == "char" or tokenizer.vocab_size <= size
    assert tokens_of(tokenizer, "one two", "test").dtype == torch.long


def test_a_part_of_one_token_has_nothing_to_predict():
    tokenizer = tokenizer_for(LanguageText("t", "en", "ab", "", "", "", ""), "char", 0)
    with pytest.raises(DataError, match="the test part is too short; got '1 tokens'"):
        tokens_of(tokenizer, "a", "test")

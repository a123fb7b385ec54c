"""Batches of pairs: nothing lost, nothing shifted wrongly, the same for the same number; too long ones are left out."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.data.catalog import Pair
from my_llm.errors import ConfigError, DataError
from my_llm.text import BOS, EOS, PAD, BPETokenizer
from my_llm.text.bpe import BYTE_IDS
from my_llm.translation.batches import PairBatches, encode_sources, train_tokenizer

BYTES = BPETokenizer([])  # no merges: a token is a byte
A, B, C = (BYTE_IDS[byte] for byte in b"abc")

texts = st.text("abc", max_size=12)
corpora = st.lists(st.builds(Pair, texts, texts, st.just(())), min_size=1, max_size=20)


def tokens_of(row: torch.Tensor) -> list[int]:
    return [token for token in row.tolist() if token != PAD]


# --- sources ----------------------------------------------------------------------------------------------------------


def test_a_source_ends_with_eos():
    assert encode_sources(BYTES, ["abc", ""]) == [[A, B, C, EOS], [EOS]]


def test_one_vocabulary_serves_both_languages_and_a_sentence_counts_once():
    """abab once and cc in ten pairs: (a, b) occurs twice, (c, c) once, because its sentence is counted once."""
    pairs = [Pair("abab", "cc"), *[Pair("", "cc")] * 10]
    assert train_tokenizer(pairs, 300).merges == [("a", "b")]
    both = train_tokenizer([Pair("ab", "cb"), Pair("ab ", "cb ")], 300)
    assert set(both.merges) >= {("a", "b"), ("c", "b")}


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_by_hand():
    """Two pairs; the shorter ones are padded, the target is read with <bos> and asked for with <eos>."""
    batch = PairBatches(BYTES, [Pair("ab", "c"), Pair("c", "ab")], max_length=9, batch_size=2, seed=0)(0)
    first, second = (0, 1) if batch.source[0, 0] == A else (1, 0)
    rows = [first, second]
    assert batch.source[rows].tolist() == [[A, B, EOS], [C, EOS, PAD]] and batch.lengths[rows].tolist() == [3, 2]
    assert batch.target_in[rows].tolist() == [[BOS, C, PAD], [BOS, A, B]]
    assert batch.target_out[rows].tolist() == [[C, EOS, PAD], [A, B, EOS]]


@given(corpora, st.integers(1, 7), st.integers(0, 2**40))
def test_every_epoch_holds_every_pair_once(pairs: list[Pair], batch_size: int, seed: int):
    batches = PairBatches(BYTES, pairs, max_length=99, batch_size=batch_size, seed=seed)
    assert batches.left_out == 0
    for epoch in range(2):
        seen = []
        for number in range(batches.per_epoch):
            batch = batches(epoch * batches.per_epoch + number)
            assert 1 <= len(batch.source) <= batch_size
            assert torch.equal(batch.lengths, (batch.source != PAD).sum(dim=1))
            assert batch.source.shape[1] == batch.lengths.max()  # no column of padding alone
            assert batch.target_in.shape == batch.target_out.shape
            for source, read, asked in zip(batch.source, batch.target_in, batch.target_out, strict=True):
                *source_ids, end = tokens_of(source)
                begin, *read_ids = tokens_of(read)
                *asked_ids, end_too = tokens_of(asked)
                assert (end, begin, end_too) == (EOS, BOS, EOS) and read_ids == asked_ids
                seen.append(Pair(BYTES.decode(source_ids), BYTES.decode(asked_ids)))
        assert sorted(seen) == sorted(pairs)


def test_pairs_that_are_too_long_are_left_out_and_counted():
    """Of 3 letters and <eos> there are 4 tokens; <bos> is no token to learn."""
    pairs = [Pair("abc", "a"), Pair("a", "abc"), Pair("abcc", "a"), Pair("a", "abcc"), Pair("a", "a")]
    batches = PairBatches(BYTES, pairs, max_length=4, batch_size=9, seed=0)
    assert batches.left_out == 2 and len(batches.pairs) == 3
    assert batches(0).source.shape[1] == batches(0).target_out.shape[1] == 4
    with pytest.raises(DataError, match=r"every pair is longer than --max_length; got '1'"):
        PairBatches(BYTES, pairs, max_length=1, batch_size=9, seed=0)


def test_a_number_gives_the_same_batch_whatever_was_asked_before():
    pairs = [Pair("a" * n, "b" * (n % 5)) for n in range(1, 40)]
    one, other = (PairBatches(BYTES, pairs, max_length=99, batch_size=4, seed=5) for _ in range(2))
    for number in (27, 3, 3, 11, 0, 27):
        assert all(torch.equal(x, y) for x, y in zip(one(number), other(number), strict=True))
    changed = PairBatches(BYTES, pairs, max_length=99, batch_size=4, seed=6)
    assert any(not torch.equal(one(number).lengths, changed(number).lengths) for number in range(10))


@given(st.integers(1, 4), st.integers(1, 3))
def test_processes_share_a_batch(world: int, share: int):
    pairs = [Pair("a" * n, "b" * n) for n in range(1, 25)]
    order: dict[str, Any] = {"batch_size": world * share, "seed": 3}
    whole = PairBatches(BYTES, pairs, max_length=99, **order)
    parts = [PairBatches(BYTES, pairs, max_length=99, **order, rank=rank, world=world) for rank in range(world)]
    for number in range(whole.per_epoch):
        batches = [part(number) for part in parts]
        lengths = torch.cat([batch.lengths for batch in batches])
        assert all(len(batch.lengths) for batch in batches)
        assert torch.equal(lengths.sort().values, whole(number).lengths.sort().values)


def test_more_processes_than_sentences_in_a_batch_are_refused():
    with pytest.raises(ConfigError, match="too many processes for the batch"):
        PairBatches(BYTES, [Pair("a", "b")] * 8, max_length=9, batch_size=2, seed=0, rank=1, world=3)


def test_the_encoder_may_read_something_else():
    """The tokens of the source are what `encode` says, in its order, and they count for --max_length."""

    def doubled(tokenizer: BPETokenizer, texts: Sequence[str]) -> list[list[int]]:
        return [[*ids, *ids, EOS] for ids in tokenizer.encode_many(texts)]

    batches = PairBatches(
        BYTES, [Pair("ab", "c"), Pair("abc", "c")], max_length=5, batch_size=2, seed=0, encode=doubled
    )
    assert batches.left_out == 1 and batches(0).source.tolist() == [[A, B, A, B, EOS]]


# --- batches of tokens ------------------------------------------------------------------------------------------------


def test_a_batch_of_tokens_holds_tokens_of_both_sides():
    """A pair of n and n letters is n + 1 and n + 2 tokens: 40 pairs of n = 1 … 40 are 1,760, and 5 batches of 352."""
    pairs = [Pair("a" * n, "b" * n) for n in range(1, 41)]
    batches = PairBatches(BYTES, pairs, max_length=99, batch_size=1, max_tokens=400, seed=0)
    assert batches.per_epoch == 5
    drawn = [batches(number) for number in range(5)]
    sizes = [int(batch.lengths.sum()) + int((batch.target_in != PAD).sum()) + len(batch.lengths) for batch in drawn]
    assert sum(sizes) == 1760 and all(abs(size - 352) <= 83 for size in sizes)
    counts = [len(batch.lengths) for batch in drawn]
    assert max(counts) > 3 * min(counts)  # many short ones, or a few long ones
    assert sorted(torch.cat([batch.lengths for batch in drawn]).tolist()) == list(range(2, 42))

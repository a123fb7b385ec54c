"""From pairs of sentences to what a training step reads: subwords, lengths, and a target shifted by one.

One vocabulary of byte pairs serves both languages: names and numbers look the same in both, and no word is unknown.
The source ends with <eos>, so that even an empty sentence has something to look at. The decoder reads <bos> y1 … yT and
is asked for y1 … yT <eos> (teacher forcing: it reads the right words, not its own).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from my_llm.data.batches import LengthBatches, pad
from my_llm.data.catalog import Pair
from my_llm.errors import DataError
from my_llm.text import BOS, EOS, BPETokenizer

Encode = Callable[[BPETokenizer, Sequence[str]], list[list[int]]]  # sentences → what the encoder reads


class Batch(NamedTuple):
    """B pairs of similar length; padding is <pad>."""

    source: Int[Tensor, "B S"]
    lengths: Int[Tensor, "B"]  # of the sources, <eos> included
    target_in: Int[Tensor, "B T"]
    target_out: Int[Tensor, "B T"]


def train_tokenizer(pairs: Sequence[Pair], vocab_size: int) -> BPETokenizer:
    """Byte pairs of both languages, each distinct sentence counted once."""
    return BPETokenizer.train(dict.fromkeys(text for pair in pairs for text in pair[:2]), vocab_size)


def encode_sources(tokenizer: BPETokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Subwords and <eos>."""
    return [[*ids, EOS] for ids in tokenizer.encode_many(texts)]


class PairBatches:
    """Batch number → Batch, a pure function of the number: see my_llm/data/batches.py.

    Args:
        tokenizer: Of both languages.
        pairs: What to learn from.
        max_length: Pairs with more tokens on one side are left out.
        encode: What the encoder reads.
        order: batch_size, max_tokens, seed, rank, world, as LengthBatches takes them; tokens are those of both sides,
            <bos> and <eos> included.

    Raises:
        DataError: nothing is left.
        ConfigError: too many processes, or too few tokens in a batch.
    """

    def __init__(
        self,
        tokenizer: BPETokenizer,
        pairs: Sequence[Pair],
        *,
        max_length: int,
        encode: Encode = encode_sources,
        **order: int,
    ):
        sources = encode(tokenizer, [pair.source for pair in pairs])
        targets = [[BOS, *ids, EOS] for ids in tokenizer.encode_many([pair.target for pair in pairs])]
        both = zip(sources, targets, strict=True)
        kept = [(torch.tensor(s), torch.tensor(t)) for s, t in both if max(len(s), len(t) - 1) <= max_length]
        if not kept:
            raise DataError("every pair is longer than --max_length", got=max_length, next_step="raise --max_length")
        self.pairs, self.left_out = kept, len(pairs) - len(kept)
        self.rows_of = LengthBatches([len(s) + len(t) for s, t in kept], **order)
        self.per_epoch = self.rows_of.per_epoch

    def __call__(self, index: int) -> Batch:
        rows = [self.pairs[row] for row in self.rows_of(index)]
        source, lengths = pad([source for source, _ in rows])
        return Batch(source, lengths, pad([target[:-1] for _, target in rows])[0], pad([t[1:] for _, t in rows])[0])

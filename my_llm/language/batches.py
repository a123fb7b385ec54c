"""A long text as numbers, and as batches for a model that carries nothing from one to the next.

The text is cut into windows of T tokens; every epoch takes all of them once, in a new order, and begins a few tokens
further on, so that the edges fall elsewhere:

    the text      a b c d e f g h i j k l …
    windows       a b c│d e f│g h i│j k l│…       a batch of two: g h i → h i j
                                                                  a b c → b c d

A recurrent network that carries its state needs windows that follow each other instead: stage2_rnn_lstm/data.py.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from my_llm.data.batches import permutation
from my_llm.data.catalog import LanguageText
from my_llm.errors import ConfigError, DataError
from my_llm.text import BPETokenizer, CharTokenizer, GPT2Tokenizer, Tokenizer, WordPieceTokenizer, WordTokenizer

OF_SIZE = {"bpe": BPETokenizer, "gpt2": GPT2Tokenizer, "wordpiece": WordPieceTokenizer}


def tokenizer_for(corpus: LanguageText, vocab_type: str, size: int) -> Tokenizer:
    """All characters of the training part, or its most frequent words, or byte pairs, or word pieces.

    `size` is no matter to the first.

    Raises:
        ConfigError: a size that is too small.
    """
    if vocab_type in OF_SIZE:
        return OF_SIZE[vocab_type].train([corpus.train], size)
    if vocab_type == "word":
        return WordTokenizer.train([corpus.train], max_size=size)
    return CharTokenizer.train([corpus.train])


def tokens_of(tokenizer: Tokenizer, text: str, part: str) -> Int[Tensor, "N"]:
    """A part of a corpus as numbers.

    Raises:
        DataError: it has fewer than two tokens, so there is nothing to predict.
    """
    tokens = torch.tensor(tokenizer.encode(text), dtype=torch.long)
    if len(tokens) < 2:
        raise DataError(f"the {part} part is too short", got=f"{len(tokens)} tokens", valid="at least 2 tokens")
    return tokens


class Batch(NamedTuple):
    """Inputs and the tokens that follow each of them."""

    inputs: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]


class Windows:
    """Random access to batches: number i is a pure function of (i, seed, rank), see my_llm/data/batches.py.

    An epoch holds every window once, but for the few that do not fill a batch; all batches have the same shape.

    Args:
        tokens: The whole training text; int16 takes a quarter of the memory, my_llm/data/token_file.py almost none.
        batch_size: Windows in a batch, over all processes.
        length: Tokens T of a window.
        seed: Chooses the order, and where each epoch begins.
        rank: This process; it takes every world-th window of a batch.
        world: Number of processes.

    Raises:
        DataError: the text is shorter than one batch.
        ConfigError: too few windows in a batch to give every process one.
    """

    def __init__(
        self,
        tokens: Integer[Tensor, "N"],
        batch_size: int,
        length: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        self.tokens, self.batch_size, self.length, self.seed = tokens, batch_size, length, seed
        self.rank, self.world = rank, world
        if not 0 <= rank < world <= batch_size:
            raise ConfigError(
                "too many processes for the batch",
                got=f"rank {rank}, world {world}",
                valid=f"at most {batch_size} processes",
            )
        self.windows = max(len(tokens) - length, 0) // length  # leaves `length` tokens to shift by
        self.per_epoch = self.windows // batch_size
        if self.per_epoch < 1:
            raise DataError(
                "the text is too short for one batch",
                got=f"{len(tokens):,} tokens",
                valid=f"at least (batch_size + 1) x length = {(batch_size + 1) * length:,}",
                next_step="lower --batch_size or --length (stage 5: --context), or take a longer text",
            )

    def __call__(self, index: int) -> Batch:
        """Batch number `index` since the start of training."""
        epoch, position = divmod(index, self.per_epoch)
        offset = int(np.random.default_rng((self.seed, epoch, 1)).integers(self.length)) if epoch else 0
        order = permutation(self.windows, self.seed, epoch)
        chosen = order[position * self.batch_size : (position + 1) * self.batch_size][self.rank :: self.world]
        firsts = torch.from_numpy(offset + self.length * chosen)  # (B,)
        rows = firsts[:, None] + torch.arange(self.length + 1)  # (B, T + 1); fits, as offset ≤ length - 1
        window = self.tokens[rows].long()
        return Batch(window[:, :-1], window[:, 1:])

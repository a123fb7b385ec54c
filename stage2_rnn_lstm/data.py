"""A long text as batches for truncated back-propagation through time.

The text is cut into B streams that lie side by side; window w holds the tokens w·T … w·T + T - 1 of every stream:

    the text      a b c d e f g h i j k l …
    2 streams     a b c │ d e f │ …         window 0: a b c    window 1: d e f
                  g h i │ j k l │ …                   g h i              j k l

The state that the model has after one window is where the next begins, so it reads each stream without a break; only
the gradient stops at the window's edge (Williams & Peng 1990). Every epoch begins a few tokens further on, so that the
edges fall elsewhere.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from my_llm.errors import ConfigError, DataError


class Window(NamedTuple):
    """Inputs and the tokens that follow each of them; `fresh` if the streams begin here and the state must be zeros."""

    inputs: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    fresh: bool


class Streams:
    """Random access to windows: number i is a pure function of (i, seed, rank), see my_llm/data/batches.py.

    Args:
        tokens: The whole training text.
        batch_size: Streams, over all processes.
        length: Steps T of a window.
        seed: Chooses where each epoch begins.
        rank: This process; it reads every world-th stream.
        world: Number of processes.

    Raises:
        DataError: the text is shorter than one batch.
        ConfigError: too few streams to give every process one.
    """

    def __init__(
        self, tokens: Int[Tensor, "N"], batch_size: int, length: int, *, seed: int = 0, rank: int = 0, world: int = 1
    ):
        self.tokens, self.batch_size, self.length, self.seed = tokens, batch_size, length, seed
        self.rank, self.world = rank, world
        if not 0 <= rank < world <= batch_size:
            raise ConfigError(
                "too many processes for the batch",
                got=f"rank {rank}, world {world}",
                valid=f"at most {batch_size} processes",
            )
        self.per_epoch = (len(tokens) - length) // (batch_size * length)  # leaves `length` tokens to shift by
        if self.per_epoch < 1:
            raise DataError(
                "the text is too short for one batch",
                got=f"{len(tokens):,} tokens",
                valid=f"at least (batch_size + 1) x length = {(batch_size + 1) * length:,}",
                next_step="lower --batch_size or --length, or take a longer text",
            )

    def __call__(self, index: int) -> Window:
        """Window number `index` since the start of training."""
        epoch, position = divmod(index, self.per_epoch)
        offset = int(np.random.default_rng((self.seed, epoch)).integers(self.length)) if epoch else 0
        span = self.per_epoch * self.length  # tokens of one stream
        firsts = offset + position * self.length + torch.arange(self.rank, self.batch_size, self.world) * span
        rows = firsts[:, None] + torch.arange(self.length + 1)  # (B, T + 1); fits, as offset ≤ length - 1
        window = self.tokens[rows]
        return Window(window[:, :-1], window[:, 1:], fresh=position == 0)

"""From rules to tensors: what only this stage does, a task that asks how far a model can look back.

Translation, news and running text come as everywhere from my_llm/translation/, my_llm/classification.py and
my_llm/language/. Here a sequence tells pairs of a key and a value, goes on with tokens that mean nothing, and ends with
one of the keys; what was its value? (Arora et al. 2023, "Zoology", call it associative recall.)

    c 3   a 7   b 3   · · · · · ·   a   →   7        the answer stands 9 tokens back
    keys and values   the gap      query

The answer depends on one token at a distance that is known, and on nothing between.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from my_llm.errors import ConfigError
from my_llm.text import SPECIALS

FIRST = len(SPECIALS)  # of the keys; the values come next, then the tokens of the gap


class RecallBatch(NamedTuple):
    """B sequences; each ends with its query."""

    tokens: Int[Tensor, "B T"]
    answers: Int[Tensor, "B"]
    distances: Int[Tensor, "B"]  # from the query back to the token that is the answer


class RecallTask:
    """Random access to batches: number i is a pure function of (i, seed), and no batch is like another.

    Args:
        pairs: How many pairs are told; no key comes twice.
        gap: Tokens between the last pair and the query.
        symbols: Different keys, different values, and different tokens of the gap.
        batch_size: Sequences B.
        seed: Another seed, other sequences.

    Raises:
        ConfigError: fewer keys than pairs, or a number that is not positive.
    """

    def __init__(self, pairs: int, gap: int, *, symbols: int = 16, batch_size: int = 64, seed: int = 0):
        if not (1 <= pairs <= symbols and gap >= 0 and batch_size >= 1):
            got = f"{pairs} pairs, {symbols} symbols, gap {gap}, batch size {batch_size}"
            raise ConfigError("no such recall task", got=got, valid="1 <= pairs <= symbols, gap >= 0, batch size >= 1")
        self.pairs, self.gap, self.symbols, self.batch_size, self.seed = pairs, gap, symbols, batch_size, seed
        self.vocab_size, self.length = FIRST + 3 * symbols, 2 * pairs + gap + 1

    def __call__(self, index: int) -> RecallBatch:
        """Batch number `index`."""
        random = torch.Generator().manual_seed(int(np.random.default_rng((self.seed, index)).integers(2**63)))
        shape = self.batch_size, self.symbols
        keys = FIRST + torch.rand(shape, generator=random).argsort(dim=1)[:, : self.pairs]  # (B, P), all different
        values = FIRST + self.symbols + torch.randint(self.symbols, keys.shape, generator=random)  # (B, P)
        gap = FIRST + 2 * self.symbols + torch.randint(self.symbols, (self.batch_size, self.gap), generator=random)
        asked = torch.randint(self.pairs, (self.batch_size, 1), generator=random)  # (B, 1)
        told = torch.stack([keys, values], dim=2).flatten(1)  # (B, 2P)
        tokens = torch.cat([told, gap, keys.gather(1, asked)], dim=1)  # (B, T)
        return RecallBatch(tokens, values.gather(1, asked)[:, 0], self.length - 2 - 2 * asked[:, 0])

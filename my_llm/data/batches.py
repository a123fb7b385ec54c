"""Batches by random access: batch number i is a pure function of (i, size, seed, rank), never the state of an iterator.

That is what makes an exact resume a number instead of a replay: a run that was killed after step 1,234 asks for batch
1,234, and no example is lost or seen twice. The same function splits a batch over the ranks of a distributed run.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from my_llm.errors import ConfigError
from my_llm.text import PAD

if TYPE_CHECKING:
    from torch import Tensor

BLUR = 0.25  # a sequence may count as up to so much longer than it is
CHUNK = 256  # sequences at a time where nothing is learnt


def batches_per_epoch(size: int, batch_size: int) -> int:
    """How many batches hold `size` examples once; the last one may be smaller.

    Raises:
        ConfigError: A number is not positive.
    """
    if size < 1:
        raise ConfigError("there are no examples to make batches of", got=size, valid="1 or more")
    if batch_size < 1:
        raise ConfigError("batch size out of range", got=batch_size, valid="1 or more")
    return -(-size // batch_size)  # division rounded up


@lru_cache(maxsize=2)
def permutation(size: int, seed: int, epoch: int) -> Int[np.ndarray, "N"]:
    """The order of the examples in one epoch; read-only, because every batch of the epoch shares it."""
    order = np.random.default_rng((seed, epoch)).permutation(size)
    order.flags.writeable = False
    return order


def batch_indices(
    index: int, *, size: int, batch_size: int, seed: int, rank: int = 0, world: int = 1
) -> Int[np.ndarray, "B"]:
    """The examples of batch number `index`.

    Every epoch is a new permutation of all examples, cut into batches of `batch_size`; of each batch, rank r takes the
    items r, r + world, r + 2·world, … Together the ranks hold the batch once. The last batch of an epoch may be so
    small that a rank gets nothing.

    Args:
        index: Number of the batch since the start of training, 0 or more.
        size: Number of examples.
        batch_size: Examples in a batch, over all ranks.
        seed: Another seed is another order.
        rank: This process, 0 to world - 1.
        world: Number of processes.

    Raises:
        ConfigError: A number is out of range.
    """
    per_epoch = batches_per_epoch(size, batch_size)
    if index < 0 or seed < 0:
        raise ConfigError("batch number and seed cannot be negative", got=f"index {index}, seed {seed}")
    if not 0 <= rank < world <= batch_size:
        raise ConfigError(
            "rank and world do not fit the batch",
            got=f"rank {rank}, world {world}, batch_size {batch_size}",
            valid="0 <= rank < world <= batch_size",
        )
    epoch, position = divmod(index, per_epoch)
    batch = permutation(size, seed, epoch)[position * batch_size : (position + 1) * batch_size]
    return batch[rank::world]


# --- sequences of unequal length --------------------------------------------------------------------------------------
#
# A batch is as long as its longest sequence, and what stands beside the shorter ones is padding, computed for nothing.
# So sequences of similar length go together. Which ones is drawn anew for every epoch, and the batches come in random
# order: the lengths are blurred before sorting, so that the neighbours differ each time.


Cut = Callable[[np.ndarray, np.ndarray, int], list[np.ndarray]]  # (order, lengths, batches) → the order in parts


def equal_counts(order: Int[np.ndarray, "N"], lengths: Int[np.ndarray, "N"], batches: int) -> list[np.ndarray]:
    """As many sequences in every part, give or take one."""
    return np.array_split(order, batches)


def equal_tokens(order: Int[np.ndarray, "N"], lengths: Int[np.ndarray, "N"], batches: int) -> list[np.ndarray]:
    """As many tokens in every part, give or take a sequence: the long ones are fewer (Vaswani et al. 2017, §5.1).

    A sequence belongs to part k if the tokens before it are at least k and less than k + 1 shares of all.
    """
    ends = lengths[order].cumsum()
    number = (ends - lengths[order]) * batches // ends[-1]  # of the part, for each sequence; never falls
    return np.split(order, np.searchsorted(number, range(1, batches)))


def by_length(
    lengths: Int[np.ndarray, "N"], batches: int, seed: int, epoch: int, cut: Cut = equal_counts
) -> list[Int[np.ndarray, "B"]]:
    """All sequences, in `batches` batches of similar length, in random order; `cut` says what makes them equal."""
    random = np.random.default_rng((seed, epoch))
    blurred = (lengths + 2) * random.uniform(1, 1 + BLUR, size=len(lengths))
    together = cut(np.argsort(blurred, kind="stable"), lengths, batches)
    return [together[number] for number in random.permutation(batches)]


class LengthBatches:
    """Batch number i as the numbers of its sequences: a pure function of i and what is given here.

    Every epoch holds every sequence once. Of a batch, rank r takes the items r, r + world, …

    Args:
        lengths: The length of each sequence.
        batch_size: Most sequences in a batch, over all ranks.
        max_tokens: If positive, this many tokens make a batch, and not a number of sequences: on average at most so
            many, and in no batch more than a sequence beyond the average. Padding is not counted.
        seed: Another seed is another order.
        rank: This process, 0 to world - 1.
        world: Number of processes.

    Raises:
        ConfigError: no sequence, or too few to give every process a part of every batch.
    """

    def __init__(
        self, lengths: Sequence[int], *, batch_size: int, max_tokens: int = 0, seed: int, rank: int = 0, world: int = 1
    ):
        self.lengths, self.seed, self.rank, self.world = np.asarray(lengths), seed, rank, world
        self.per_epoch = batches_per_epoch(len(lengths), batch_size)
        smallest, self.cut = len(lengths) // self.per_epoch, equal_counts
        if max_tokens > 0:
            total, longest = int(self.lengths.sum()), int(self.lengths.max())
            self.per_epoch, self.cut = batches_per_epoch(total, max_tokens), equal_tokens
            smallest = len(lengths) if self.per_epoch == 1 else total // (self.per_epoch * longest)
            if smallest < 1:
                valid = f"{2 * longest * world} or more"
                raise ConfigError("the longest sequence has more tokens than a batch", got=max_tokens, valid=valid)
        if not 0 <= rank < world <= smallest:
            raise ConfigError(
                "too many processes for the batch",
                got=f"rank {rank}, world {world}",
                valid=f"at most {smallest} processes",
            )
        self.drawn = -1, []  # the newest epoch and its batches

    def __call__(self, index: int) -> list[int]:
        epoch, position = divmod(index, self.per_epoch)
        if self.drawn[0] != epoch:
            self.drawn = epoch, by_length(self.lengths, self.per_epoch, self.seed, epoch, self.cut)
        return self.drawn[1][position][self.rank :: self.world].tolist()


def chunks_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """The numbers of all sequences, those of similar length together, in parts that fit any memory."""
    order = np.argsort(np.asarray(lengths), kind="stable").tolist()
    return [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]


def pad(sequences: "Sequence[Tensor]") -> "tuple[Tensor, Tensor]":
    """Sequences (T_b, …) one upon the other, (B, T, …), with <pad> (0) after the shorter ones; and their lengths."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return pad_sequence(list(sequences), batch_first=True, padding_value=PAD), lengths

"""What sorting texts (classifying.py) and tagging words (tagging.py) share: batches of sequences of unequal length.

A batch is as long as its longest sequence, and what stands beside the shorter ones is padding, computed for nothing.
So sequences of similar length go together. Which ones is drawn anew for every epoch, and the batches come in random
order: the lengths are blurred before sorting, so that the neighbours differ each time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from my_llm.data.batches import batches_per_epoch
from my_llm.errors import ConfigError
from my_llm.text import PAD
from my_llm.training import Loss

BLUR = 0.25  # a sequence may count as up to so much longer than it is
CHUNK = 64  # sequences at a time where nothing is learnt


class Prepared(NamedTuple):
    """A task as train.py needs it."""

    model: nn.Module
    batches: Callable[[int], Any]  # batch number → batch, for train_steps
    per_epoch: int
    loss_fn: Callable[[nn.Module, Any], Loss]
    validate: Callable[[], dict[str, float]]  # scores of the model as it is now, on the validation part
    parts: Mapping[str, Any]  # what the checkpoint needs besides the weights
    size: str  # of what there is to learn from, in words
    carried: Any = None  # what a step leaves to the next one, see my_llm/run.py
    sample: Callable[[], str] | None = None  # a text that the model writes as it is now


def by_length(lengths: Int[np.ndarray, "N"], batches: int, seed: int, epoch: int) -> list[Int[np.ndarray, "B"]]:
    """All sequences, in `batches` batches of similar length and nearly equal size, in random order."""
    random = np.random.default_rng((seed, epoch))
    blurred = (lengths + 2) * random.uniform(1, 1 + BLUR, size=len(lengths))
    together = np.array_split(np.argsort(blurred, kind="stable"), batches)
    return [together[number] for number in random.permutation(batches)]


class LengthBatches:
    """Batch number i as the numbers of its sequences: a pure function of (i, lengths, batch_size, seed, rank, world).

    Every epoch holds every sequence once. Of a batch, rank r takes the items r, r + world, …

    Args:
        lengths: The length of each sequence.
        batch_size: Most sequences in a batch, over all ranks.
        seed: Another seed is another order.
        rank: This process, 0 to world - 1.
        world: Number of processes.

    Raises:
        ConfigError: no sequence, or too few to give every process a part of every batch.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        self.lengths, self.seed, self.rank, self.world = np.asarray(lengths), seed, rank, world
        self.per_epoch = batches_per_epoch(len(lengths), batch_size)
        smallest = len(lengths) // self.per_epoch
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
            self.drawn = epoch, by_length(self.lengths, self.per_epoch, self.seed, epoch)
        return self.drawn[1][position][self.rank :: self.world].tolist()


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Int[Tensor, "B"]]:
    """Sequences (T_b, …) one upon the other, (B, T, …), with <pad> (0) after the shorter ones; and their lengths."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return pad_sequence(list(sequences), batch_first=True, padding_value=PAD), lengths


def chunks_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """The numbers of all sequences, those of similar length together, in parts that fit any memory."""
    order = np.argsort(np.asarray(lengths), kind="stable").tolist()
    return [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]

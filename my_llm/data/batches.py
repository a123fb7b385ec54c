"""Batches by random access: batch number i is a pure function of (i, size, seed, rank), never the state of an iterator.

That is what makes an exact resume a number instead of a replay: a run that was killed after step 1,234 asks for batch
1,234, and no example is lost or seen twice. The same function splits a batch over the ranks of a distributed run.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Int

from my_llm.errors import ConfigError


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

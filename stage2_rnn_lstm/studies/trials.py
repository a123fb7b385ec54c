"""Trials: what a fair comparison needs, the same number of parameters and for each case the learning rate it likes.

To compare all cases at one rate would compare how well that rate happens to suit them.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from stage2_rnn_lstm.studies.common import StudyConfig, seeds_of

WIDEST = 512


class Outcome(NamedTuple):
    """What a training came to: loss on the whole validation text, in nats per character, and its processor time."""

    nats: float
    seconds: float


def warm_up() -> None:
    """A step of Adam before the clock starts: the first one loads more of torch, for about a second."""
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.Adam([weight]).step()


def width_for(parameters: int, count: Callable[[int], int]) -> int:
    """The widest network, up to WIDEST, with at most so many parameters; `count` maps a width to its parameters."""
    return max(1, bisect_right(range(1, WIDEST + 1), parameters, key=count))


def at_best_rate(
    config: StudyConfig, train: Callable[[float, int], Outcome], rates: Sequence[float]
) -> tuple[float, list[Outcome]]:
    """The first seed tries every learning rate, the other seeds take the best one.

    Args:
        train: (learning rate, seed) → what came of it.

    Returns:
        The rate with the lowest validation loss, and its outcome for each seed.
    """
    first, *others = seeds_of(config)
    tried = {rate: train(rate, first) for rate in rates}
    best = min(tried, key=lambda rate: tried[rate].nats)
    return best, [tried[best], *(train(best, seed) for seed in others)]

"""The learning rate over time: a schedule maps a step to the multiplier of the learning rate, a pure function.

Step 0 is the first update; the peak is 1. Every schedule climbs for `warmup_steps` steps in a straight line, because
the first gradients of a fresh network are large and Adam's averages are still young, and then goes its own way:

    constant        1                               nothing to decide; the last steps stay noisy
    cosine          (1 + cos πx) / 2                long near the peak, soft landing (Loshchilov and Hutter 2017)
    linear          1 - x                           as good in practice, easier to reason about
    step            1, 1/2, 1/4, 1/8                halved after each quarter, the classic of image networks
    inverse_sqrt    √(warmup / (step + 1))          needs no end; "Attention is all you need" §5.3

where x runs from 0 at the end of the warm-up to 1 at `max_steps`. x = 1 is never used: the last step is max_steps - 1.

Explained in docs/en/stage1_mlp.md.
"""

import math
from collections.abc import Callable

from my_llm.errors import ConfigError

Schedule = Callable[[int], float]
HALVINGS = 4


def constant(max_steps: int, warmup_steps: int) -> Schedule:
    """Stay at the peak."""
    return _after_warmup(lambda x: 1.0, max_steps, warmup_steps)


def cosine(max_steps: int, warmup_steps: int) -> Schedule:
    """Half a wave of the cosine, from 1 down to 0."""
    return _after_warmup(lambda x: (1 + math.cos(math.pi * x)) / 2, max_steps, warmup_steps)


def linear(max_steps: int, warmup_steps: int) -> Schedule:
    """A straight line from 1 down to 0."""
    return _after_warmup(lambda x: 1 - x, max_steps, warmup_steps)


def step(max_steps: int, warmup_steps: int) -> Schedule:
    """Four equal stairs, each half as high as the one before."""
    return _after_warmup(lambda x: 0.5 ** min(int(HALVINGS * x), HALVINGS - 1), max_steps, warmup_steps)


def inverse_sqrt(max_steps: int, warmup_steps: int) -> Schedule:
    """The Transformer's schedule, s^-½ after the warm-up, divided by its peak w^-½ (Vaswani et al. 2017, equation 3).

    The paper multiplies by D^-½ as well; here that belongs to the learning rate. No warm-up counts as one step.
    """
    _check(max_steps, warmup_steps)
    peak = max(1, warmup_steps)
    return lambda index: min((index + 1) / peak, math.sqrt(peak / (index + 1)))


SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "step": step,
    "inverse_sqrt": inverse_sqrt,
}


def not_below(schedule: Schedule, floor: float, warmup_steps: int) -> Schedule:
    """The same course, but after the warm-up from 1 down to `floor` in place of 0."""
    return lambda index: schedule(index) if index < warmup_steps else floor + (1 - floor) * schedule(index)


def _after_warmup(shape: Callable[[float], float], max_steps: int, warmup_steps: int) -> Schedule:
    """Climb (1/w, 2/w, …, 1), then follow `shape` over x in [0, 1]; past the end it keeps its last value."""
    _check(max_steps, warmup_steps)

    def schedule(index: int) -> float:
        if index < warmup_steps:
            return (index + 1) / warmup_steps  # not index / w: the first update would be lost
        return shape(min(1.0, (index - warmup_steps) / max(1, max_steps - warmup_steps)))

    return schedule


def _check(max_steps: int, warmup_steps: int) -> None:
    if not 0 <= warmup_steps <= max_steps:
        raise ConfigError(
            "warm-up must fit into the run",
            got=warmup_steps,
            valid=f"0 … {max_steps} (max_steps)",
            next_step="shorten it",
        )

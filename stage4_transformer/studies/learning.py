"""How the studies train, whatever the model: Adam, a rate that climbs and then falls, and a clock that sees only that.

    learnt = learn(model, batches, loss_fn, Recipe(steps=600, seed=0))
    print(learnt.loss, learnt.seconds)

Scores on the way, and whatever else happens between two steps, cost no time. Everything is computed on one thread, and
what counts is the processor's time: what else the machine does meanwhile is not in it.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn

from my_llm.schedules import cosine
from my_llm.training import Loss, train_steps

RATE, WARM_UP = 0.002, 0.1  # Adam's, and the share of the steps in which it climbs


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch takes one thread, whatever `--threads` says: several would wait for each other, and count as much.

    Afterwards it has as many as before.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def warm_up() -> None:
    """A step of Adam before the clock starts: the first one loads more of torch, for about a second."""
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.Adam([weight], fused=True).step()


class Recipe(NamedTuple):
    """How a model of any kind learns: Adam, a climb, a cosine."""

    steps: int
    seed: int  # of the order of what it reads
    rate: float = RATE
    warmup: float = WARM_UP  # share of the steps in which the rate climbs


class Learnt(NamedTuple):
    """What a training came to."""

    seconds: float  # of processor time
    loss: float  # per token, mean of the last tenth of the steps


@one_thread()
def learn(
    model: nn.Module,
    batches: Callable[[int], Any],
    loss_fn: Callable[[nn.Module, Any], Loss],
    recipe: Recipe,
    watch: Callable[[int, float], None] = lambda step, seconds: None,
) -> Learnt:
    """Train a new model; afterwards nothing is dropped out any more.

    Args:
        watch: Called after each step with its number, from 1, and the seconds so far; its own time does not count.

    Raises:
        NotFiniteError: the training diverged.
    """
    warm_up()
    optimizer = torch.optim.Adam(model.parameters(), recipe.rate, betas=(0.9, 0.98), fused=True)
    schedule = cosine(recipe.steps, round(recipe.warmup * recipe.steps))
    losses, seconds, since = [], 0.0, time.process_time()
    for step in train_steps(model, batches, loss_fn, optimizer, max_steps=recipe.steps, schedule=schedule, clip=1.0):
        seconds += time.process_time() - since
        losses.append(step.loss)
        watch(step.index + 1, seconds)
        since = time.process_time()
    model.eval()
    return Learnt(seconds, statistics.fmean(losses[-max(len(losses) // 10, 1) :]))

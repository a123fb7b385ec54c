"""The training loop, once for every model: accumulate, normalise, clip, schedule, step. No policy: when to evaluate,
save or stop is the caller's business, in full view in each train.py.

    for step in train_steps(model, batches, loss_fn, optimizer, schedule=schedule, max_steps=1000):
        run.log(step)

A loss is a sum and a number of targets. The gradients of the sums are added up over micro-batches and processes and
divided once by the number of targets of all of them: right under padding, accumulation and data parallelism alike,
where a mean of means would weigh a short micro-batch as much as a long one.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from my_llm.device import autocast, world
from my_llm.errors import NotFiniteError
from my_llm.schedules import Schedule


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss summed over the targets of a batch, in nats, and how many targets there were."""

    total: Tensor
    count: int


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimiser step did: loss is the mean per target over all micro-batches and processes."""

    index: int
    loss: float
    lr: float
    grad_norm: float
    tokens_per_second: float


def train_steps(
    model: nn.Module,
    batches: Callable[[int], Any],
    loss_fn: Callable[[nn.Module, Any], Loss],
    optimizer: torch.optim.Optimizer,
    *,
    max_steps: int,
    start: int = 0,
    schedule: Schedule = lambda step: 1.0,
    accumulate: int = 1,
    clip: float | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Iterator[Step]:
    """Take optimiser steps `start` … `max_steps` - 1, yielding after each one.

    Args:
        batches: Batch number → batch, a pure function; step i uses numbers i·accumulate … (i+1)·accumulate - 1.
        loss_fn: (model, batch) → Loss. Under torchrun it receives the replica that averages gradients.
        schedule: Step → multiplier of each group's learning rate.
        accumulate: Micro-batches per step.
        clip: Largest Euclidean norm of the whole gradient; a longer one is scaled down to it.

    Raises:
        NotFiniteError: loss or gradient is NaN or infinite. The update has not been made.

    Explained in docs/en/stage1_mlp.md.
    """
    assert accumulate > 0 and 0 <= start <= max_steps, "train_steps: accumulate ≥ 1 and 0 ≤ start ≤ max_steps"
    device = next(model.parameters()).device
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])  # kept in the optimiser's state: a resumed run must not scale twice
    replica = DistributedDataParallel(model) if world() > 1 else model
    model.train()
    for index in range(start, max_steps):
        started = time.perf_counter()
        multiplier = schedule(index)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
        optimizer.zero_grad(set_to_none=True)
        total, count = torch.zeros((), dtype=torch.float64), 0
        for micro in range(accumulate):
            batch = batches(index * accumulate + micro)
            with _talk_only_at_the_end(replica, last=micro == accumulate - 1), autocast(precision, device):
                loss = loss_fn(replica, batch)
                loss.total.backward()
            total += loss.total.detach().cpu().double()
            count += loss.count
        total, count = _sum_over_ranks(float(total), count)
        norm = _normalise_and_clip(model, count, clip)
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise NotFiniteError(_diagnosis(model, index, accumulate, total / count, norm))
        optimizer.step()
        seconds = time.perf_counter() - started
        yield Step(index, total / count, optimizer.param_groups[0]["lr"], norm, count / seconds)


def _talk_only_at_the_end(replica: nn.Module, last: bool):
    """Processes exchange gradients once per step, in the last micro-batch."""
    return replica.no_sync() if isinstance(replica, DistributedDataParallel) and not last else nullcontext()


def _sum_over_ranks(total: float, count: int) -> tuple[float, int]:
    if world() > 1:
        sums = torch.tensor([total, count], dtype=torch.float64)
        torch.distributed.all_reduce(sums)
        total, count = sums[0].item(), int(sums[1].item())
    assert count > 0, "a step without a single target"
    return total, count


def _normalise_and_clip(model: nn.Module, count: int, clip: float | None) -> float:
    """Divide the summed gradients by the number of targets, in place; returns the norm before clipping."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    scale = world() / count  # DistributedDataParallel has divided by the number of processes
    for gradient in gradients:
        gradient.mul_(scale)
    norm = float(get_total_norm(gradients))
    if clip is not None and norm > clip:
        for gradient in gradients:
            gradient.mul_(clip / norm)
    return norm


def _diagnosis(model: nn.Module, index: int, accumulate: int, loss: float, norm: float) -> str:
    """One line for the user: where it happened and which parameters' gradients are bad."""
    named = [(name, parameter.grad) for name, parameter in model.named_parameters() if parameter.grad is not None]
    bad = [name for name, gradient in named if not torch.isfinite(gradient).all()]
    weights = math.sqrt(
        sum(float(parameter.detach().cpu().double().square().sum()) for parameter in model.parameters())
    )
    last = (index + 1) * accumulate - 1
    return (
        f"loss or gradient is not finite at step {index + 1}, batches {index * accumulate} to {last}: loss {loss}, "
        f"gradient norm {norm}, weight norm {weights:.3g}, not finite: {', '.join(bad[:4]) or 'the loss only'}; "
        "the update was not made; next: lower --lr, or set --clip 1"
    )

"""What forward and backward of the three tellings cost: seconds and memory, side by side; for compare.py and lab/."""

import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from stage2_rnn_lstm.models import NUMPY_CELLS, Recurrent, official, stack, stack_backward, to_levels

TELLINGS = ("by hand", "from scratch", "official")


class Cost(NamedTuple):
    """Forward and backward: seconds, speed relative to torch.nn in the same turns, most memory in MiB if known."""

    seconds: float
    speed: float
    mebibytes: float | None


def race(cell: str, *, batch_size: int, length: int, hidden: int, repeats: int, seed: int) -> dict[str, Cost]:
    """Two layers, told three times; two take turns, so that whatever else the machine does slows both of them.

    By hand comes last: NumPy's large arrays leave the allocator with pages in hand that nobody else would have.
    """
    torch.manual_seed(seed)
    scratch = Recurrent(hidden, hidden, cell=cell, layers=2)
    theirs, levels = official(scratch), to_levels(scratch)
    x = torch.randn(length, batch_size, hidden)
    grad = torch.randn_like(x)

    def by_hand() -> None:
        _, _, tapes = stack(NUMPY_CELLS[cell], levels, x.numpy())
        stack_backward(NUMPY_CELLS[cell], levels, tapes, grad.numpy())

    def with_torch(model: torch.nn.Module) -> None:
        model.zero_grad()
        model(x.clone().requires_grad_())[0].backward(grad)

    told = (by_hand, lambda: with_torch(scratch), lambda: with_torch(theirs))
    calls: dict[str, Callable[[], None]] = dict(zip(TELLINGS, told, strict=True))
    costs: dict[str, Cost] = {}
    for name in reversed(TELLINGS):
        memory = peak_memory(calls[name])  # and a first turn that does not count
        seconds = {turn: [] for turn in (name, "official")}
        for _ in range(repeats):
            for turn, taken in seconds.items():
                started = time.perf_counter()
                calls[turn]()
                taken.append(time.perf_counter() - started)
        ratios = (theirs / own for own, theirs in zip(seconds[name], seconds["official"], strict=True))
        costs[name] = Cost(statistics.median(seconds[name]), statistics.median(ratios), memory)
    return {name: costs[name] for name in TELLINGS}


def peak_memory(call: Callable[[], None]) -> float | None:
    """By how many MiB this process grew at most during the second of two calls; Linux tells, others do not."""
    call()  # what is loaded and prepared once does not count
    try:
        ctypes.CDLL(None).malloc_trim(0)  # hands back what earlier calls left, so that using it again counts
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    except (OSError, AttributeError, TypeError):
        return None
    call()
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """VmRSS, the memory of this process now, or VmHWM, its high-water mark, in MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024

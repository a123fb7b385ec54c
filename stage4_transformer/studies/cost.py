"""What does it cost to look at everything? Seconds and memory of attention, from 128 to 8,192 tokens.

T tokens have T² scores. The plain formula writes all of them down, and keeps the weights for the way back; torch's
fused kernel and our blockwise attention have only some of them at a time. The multiplications are the same.

Every measurement runs in a process of its own, since a process keeps memory that it has once had.
"""

import ctypes
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from my_llm.errors import UserError
from stage4_transformer.models import attention, fused_attention
from stage4_transformer.models.blockwise import blockwise_attention
from stage4_transformer.studies.common import COLORS, Row, StudyConfig, check, finish, save, sheet
from stage4_transformer.studies.learning import one_thread

KINDS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "plain": lambda query, key, value: attention(query, key, value)[0],
    "fused": fused_attention,
    "blockwise": blockwise_attention,
}
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
HEADS, WIDTH = 8, 64
WARM_UP = 64  # tokens of a first turn
LONG = 1024  # slopes are those from here on: below it, what does not grow with the length is in the way
MOST = 6 * 1024  # MiB; what would need as much for its scores alone is left out
MATRICES = {"forward": 2, "step": 3}  # of T × T numbers a head that the plain formula holds at once
ENOUGH, REPEATS = 1.0, 20  # seconds after which no further turn begins, and the most turns
COLUMNS = {"forward": "ms", "step": "ms", "forward_memory": "MiB", "step_memory": "MiB"}
CHILD = """
import sys
from my_llm.device import prepare_matrix_path, set_up
prepare_matrix_path()
set_up("cpu", 1, 0)
from stage4_transformer.studies import cost
cost.tell(sys.argv[1], int(sys.argv[2]))
"""

# --- in the child process ---------------------------------------------------------------------------------------------


def tell(kind: str, length: int) -> None:
    """Measure and print, for the process that has started this one."""
    print(json.dumps(measure(kind, length)))


def calls(kind: str, length: int) -> dict[str, Callable[[], object]]:
    """What is measured: one attention of a batch of one, forward alone, and forward and backward (a step)."""
    query, key, value, grad = torch.randn(4, 1, HEADS, length, WIDTH).unbind()
    inputs = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    return {
        "forward": lambda: KINDS[kind](query, key, value),
        "step": lambda: torch.autograd.grad(KINDS[kind](*inputs), inputs, grad),
    }


def measure(kind: str, length: int) -> dict[str, float]:
    """Milliseconds and MiB of both calls, for a key of KINDS and T tokens.

    What would take too much memory is left out, and memory where the system does not tell it.
    """
    for call in calls(kind, WARM_UP).values():
        call()  # what is loaded and prepared once does not count
    found = {}
    for name, call in calls(kind, length).items():
        if kind != "plain" or mebibytes(length, MATRICES[name]) < MOST:
            memory = peak_memory(call)
            found |= {name: milliseconds_of(call)} | ({} if memory is None else {f"{name}_memory": memory})
    return {name: round(value, 3) for name, value in found.items()}


def mebibytes(length: int, matrices: int) -> float:
    """What so many matrices of T × T numbers take, of all heads."""
    return matrices * HEADS * length**2 * 4 / 2**20


@one_thread()
def milliseconds_of(call: Callable[[], object]) -> float:
    """Of processor time on one thread, the median of several turns; a call that takes long has one."""
    taken = []
    while len(taken) < REPEATS and sum(taken) < ENOUGH:
        since = time.process_time()
        call()
        taken.append(time.process_time() - since)
    return 1000 * statistics.median(taken)


def peak_memory(call: Callable[[], object]) -> float | None:
    """By how many MiB this process grows at most during a call; Linux tells, others do not."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # hands back what was used before, so that using it again counts
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    except (OSError, AttributeError, TypeError):
        call()
        return None
    call()
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """VmRSS, the memory of this process now, or VmHWM, its high-water mark, in MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


# --- the study --------------------------------------------------------------------------------------------------------


def measured(kind: str, length: int) -> dict[str, float]:
    """`measure`, in a process of its own.

    Raises:
        UserError: it failed.
    """
    command = [sys.executable, "-c", CHILD, kind, str(length)]
    child = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    if child.returncode:
        last = (child.stderr.strip() or f"exit code {child.returncode}").splitlines()[-1]
        raise UserError("a measurement failed", got=f"{kind} attention of {length:,} tokens: {last}")
    return json.loads(child.stdout)


def slope(lengths: Sequence[int], values: Sequence[float]) -> float:
    """a in value ≈ c · Tᵃ, by least squares of the logarithms: 1 is linear, 2 quadratic."""
    x, y = [math.log(length) for length in lengths], [math.log(max(value, 1e-9)) for value in values]
    return statistics.linear_regression(x, y).slope


def slopes(kind: str, rows: Sequence[Row]) -> Row:
    """Of each column, from LONG on, where there are at least two numbers."""
    found: Row = {"case": f"{kind}, slope"}
    for name in COLUMNS:
        known = [(row["tokens"], row[name]) for row in rows if name in row and row["tokens"] >= LONG]
        if len(known) > 1:
            found[f"{name}_slope"] = round(slope(*zip(*known, strict=True)), 2)
    return found


def cost(config: StudyConfig) -> None:
    """How do seconds and memory of attention grow with the length?"""
    started = time.perf_counter()
    check(config)
    rows = {
        kind: [{"case": f"{kind}, {length:,}", "tokens": length, **measured(kind, length)} for length in LENGTHS]
        for kind in KINDS
    }
    steep = {kind: slopes(kind, found) for kind, found in rows.items()}
    _draw_cost(rows)
    left_out = [row["case"] for found in rows.values() for row in found if "step" not in row]
    finish(
        config,
        "cost",
        title=f"One attention over T tokens, {HEADS} heads of {WIDTH}, batch 1, fp32, one thread: processor time "
        f"forward, and forward and backward (step); what memory grew by at most; slopes from {LONG:,} tokens on (1 "
        f"linear, 2 quadratic); a step whose scores alone would need {MOST // 1024} GiB is left out",
        columns={"tokens": "", **COLUMNS, **{f"{name}_slope": "" for name in COLUMNS}},
        rows=[row for kind, found in rows.items() for row in (*found, steep[kind])],
        seen="; ".join(_told(kind, rows[kind][-1], steep[kind]) for kind in KINDS)
        + (f"; left out: a step of {', '.join(left_out)} tokens" if left_out else ""),
        started=started,
    )


def _told(kind: str, longest: Row, steep: Row) -> str:
    """What grows how, in words, where it could be measured."""
    shown = {"forward": "ms forward", "step": "ms with backward", "forward_memory": "MiB", "step_memory": "MiB"}
    sizes = [f"{longest[name]:,.0f} {unit}" for name, unit in shown.items() if name in longest]
    powers = [f"{name.replace('_', ' ')} {steep[f'{name}_slope']:.1f}" for name in COLUMNS if f"{name}_slope" in steep]
    return f"{kind}: at {longest['tokens']:,} tokens {', '.join(sizes)}" + (
        f" (slopes: {', '.join(powers)})" if powers else ""
    )


def _draw_cost(rows: Mapping[str, Sequence[Row]]) -> None:
    figure, charts = sheet(3, width=3.7, title="What it costs to look at everything")
    titles = {"forward": "forward (ms)", "step": "with backward (ms)", "step_memory": "memory of a step (MiB)"}
    for chart, (name, title) in zip(charts, titles.items(), strict=True):
        for color, style, (kind, found) in zip(COLORS, ("-", "-", "--"), rows.items()):
            known = [(row["tokens"], row[name]) for row in found if row.get(name, 0) > 0]
            if known:
                chart.plot(*zip(*known, strict=True), style, marker="o", markersize=4, color=color, label=kind)
        chart.set_title(title, fontsize=10, loc="left")
        chart.set_xscale("log", base=2)
        chart.set(yscale="log", xlabel="tokens")
        chart.set_xticks(LENGTHS, [f"{length:,}" for length in LENGTHS], rotation=45)
    handles, labels = charts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save(figure, "cost")

"""Studies of long memory, on two tasks that need nothing else: recall symbols, add two numbers.

Both are from Hochreiter and Schmidhuber 1997 (§5). What has to be kept arrives early, the question comes late, and all
between is noise; the distance is the only difficulty, and it can be chosen. The networks have equally many parameters.

The plain RNN comes twice: with the orthogonal first weights of `models/cells.py`, which turn the state but do not
shorten it (Le et al. 2015 and Arjovsky et al. 2016 found such starts to matter), and with small random ones, as
torch's nn.RNN begins.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from my_llm.training import Loss, train_steps
from stage2_rnn_lstm.models import CELLS, Recurrent, RNNLayer
from stage2_rnn_lstm.studies.common import (
    CELL_COLORS,
    COLORS,
    StudyConfig,
    check,
    finish,
    mean_and_spread,
    save,
    seeds_of,
    sheet,
    steps_of,
)

Row = dict[str, Any]
PARAMETERS = 10_000
CASES = {"rnn": "rnn", "rnn, random start": "rnn", "lstm": "lstm", "gru": "gru"}  # case → cell
CASE_COLORS = {**CELL_COLORS, "rnn, random start": COLORS[3]}
RATES = {"rnn": 0.001, "lstm": 0.01, "gru": 0.01}
BATCH, SCORED, EVERY = 32, 512, 50  # sequences of a step and of a score; steps between scores

# --- the tasks --------------------------------------------------------------------------------------------------------

SYMBOLS, RECALLED = 8, 2


class Batch(NamedTuple):
    """Sequences, and what should be said about them at the end: (B, K) classes or (B, 1) numbers."""

    x: Float[Tensor, "T B D"]
    y: Tensor


def copy_batch(distance: int, size: int, generator: torch.Generator) -> Batch:
    """RECALLED symbols, then `distance` symbols of another kind that mean nothing, then as many blanks to answer in."""
    sent = torch.randint(SYMBOLS, (RECALLED, size), generator=generator)
    noise = torch.randint(SYMBOLS, (distance, size), generator=generator)
    blanks = torch.full((RECALLED, size), 2 * SYMBOLS)
    x = one_hot(torch.cat([sent, SYMBOLS + noise, blanks]), 2 * SYMBOLS + 1).float()
    return Batch(x, sent.t())


def adding_batch(length: int, size: int, generator: torch.Generator) -> Batch:
    """Numbers in [0, 1), one marked in each half; the answer is the sum of the two marked ones."""
    numbers = torch.rand(length, size, generator=generator)
    half = length // 2
    first = torch.randint(half, (size,), generator=generator)
    second = torch.randint(half, length, (size,), generator=generator)
    marks = (one_hot(first, length) + one_hot(second, length)).t().float()  # (T, B)
    return Batch(torch.stack([numbers, marks], dim=2), (numbers * marks).sum(0)[:, None])


class Task(NamedTuple):
    """How to draw a batch, the loss of the answers, their score, and whether a score is as good as perfect."""

    draw: Callable[[int, torch.Generator], Batch]
    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], Tensor]
    solved: Callable[[float], bool]


def copying(distance: int) -> Task:
    """Score: percent of symbols that are right."""

    def loss(answers: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(answers[:, -RECALLED:].flatten(0, 1), y.flatten(), reduction="sum")

    def score(answers: Tensor, y: Tensor) -> Tensor:
        return 100 * (answers[:, -RECALLED:].argmax(dim=2) == y).float().mean()

    return Task(partial(copy_batch, distance), SYMBOLS, loss, score, lambda percent: percent >= 99)


def adding(length: int) -> Task:
    """Score: mean squared error. Saying 1 always, the mean of the sums, gives 1/6, their variance."""

    def loss(answers: Tensor, y: Tensor) -> Tensor:
        return mse_loss(answers[:, -1], y, reduction="sum")

    return Task(partial(adding_batch, length), 1, loss, lambda a, y: mse_loss(a[:, -1], y), lambda mse: mse <= 0.002)


# --- learning ---------------------------------------------------------------------------------------------------------


class Reader(nn.Module):
    """One recurrent layer and, at every step, an answer."""

    def __init__(self, case: str, inputs: int, outputs: int):
        super().__init__()
        hidden = hidden_for(CASES[case], inputs, PARAMETERS)
        self.recurrent = Recurrent(inputs, hidden, cell=CASES[case])
        self.head = nn.Linear(hidden, outputs)
        if "random" in case:
            bound = hidden**-0.5
            nn.init.uniform_(cast(RNNLayer, self.recurrent.layers[0]).weight_hh, -bound, bound)

    def forward(self, x: Float[Tensor, "T B D"]) -> Float[Tensor, "B T O"]:
        return self.head(self.recurrent(x)[0]).transpose(0, 1)


def hidden_for(cell: str, inputs: int, parameters: int) -> int:
    """The width at which a layer of this cell has about so many parameters."""

    def count(hidden: int) -> int:
        return CELLS[cell].gates * hidden * (inputs + hidden + 1)

    return min(range(2, 400), key=lambda hidden: abs(count(hidden) - parameters))


class Attempt(NamedTuple):
    """The last score, and the step at which the task was solved; None: not within the budget."""

    score: float
    step: int | None


def attempt(task: Task, case: str, *, max_steps: int, seed: int) -> Attempt:
    """Train one network until it solves the task or the steps are used up."""
    torch.manual_seed(seed)
    probe = task.draw(SCORED, torch.Generator().manual_seed(10**6 + seed))
    model = Reader(case, probe.x.shape[2], task.outputs)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATES[CASES[case]])

    def batches(index: int) -> Batch:
        return task.draw(BATCH, torch.Generator().manual_seed(10**7 * (1 + seed) + index))

    def loss_fn(model: nn.Module, batch: Batch) -> Loss:
        return Loss(task.loss(model(batch.x), batch.y), batch.y.numel())

    def score() -> float:
        with torch.no_grad():
            return float(task.score(model(probe.x), probe.y))

    for step in train_steps(model, batches, loss_fn, optimizer, max_steps=max_steps, clip=1.0):
        if (step.index + 1) % EVERY == 0 and task.solved(value := score()):
            return Attempt(value, step.index + 1)
    return Attempt(score(), None)


Attempts = dict[str, dict[int, list[Attempt]]]  # case → distance → one for each seed


def attempts(
    config: StudyConfig,
    make: Callable[[int], Task],
    distances: Sequence[int],
    steps: int,
    hopeless: Callable[[float], bool],
) -> Attempts:
    """Every case at every distance; a case that was hopeless with all seeds is not sent further away."""
    found: Attempts = {case: {} for case in CASES}
    for case, mine in found.items():
        for distance in distances:
            mine[distance] = [attempt(make(distance), case, max_steps=steps, seed=seed) for seed in seeds_of(config)]
            if all(hopeless(one.score) for one in mine[distance]):
                break
    return found


def rows_of(found: Attempts, key: str, digits: int) -> list[Row]:
    """One row for each case and distance: the score, how many seeds solved it and after how many steps on average."""
    rows: list[Row] = []
    for case, mine in found.items():
        for distance, same in mine.items():
            row: Row = {"case": f"{case}: {distance}", "distance": distance}
            row |= mean_and_spread(key, [one.score for one in same], digits)
            solved = [one.step for one in same if one.step is not None]
            row["solved"] = f"{len(solved)} of {len(same)}"
            rows.append(row | ({"steps": round(sum(solved) / len(solved))} if solved else {}))
    return rows


def farthest(found: Attempts) -> str:
    """For each case, in words: the distance up to which every seed solved the task."""
    parts = []
    for case, mine in found.items():
        reached = 0
        for distance, same in mine.items():
            if not all(one.step for one in same):
                break
            reached = distance
        parts.append(f"{case} {f'up to {reached}' if reached else 'at none of them'}")
    return "; ".join(parts)


# --- the studies ------------------------------------------------------------------------------------------------------

DISTANCES, LENGTHS = (5, 20, 50, 100, 200), (10, 30, 60, 120)


def copy_task(config: StudyConfig) -> None:
    """Over what distance can each cell learn to recall symbols?"""
    started = time.perf_counter()
    check(config)
    steps, chance = steps_of(config, 600), 100 / SYMBOLS
    found = attempts(config, copying, DISTANCES, steps, lambda percent: percent < chance + 10)
    rows = rows_of(found, "accuracy", 1)
    title = "Recalling symbols after a distance (× = given up)"
    save(_draw(rows, "accuracy", title, "right answers (%)", bound=("chance", chance), top=100.0), "copy_task")
    finish(
        config,
        "copy_task",
        title=f"Recall of {RECALLED} symbols of {SYMBOLS} after so many meaningless ones; about {PARAMETERS:,} "
        f"parameters, at most {steps} steps; no further once all runs stay at chance ({chance:g} %)",
        columns={"distance": "steps", "accuracy": "%", "accuracy_sd": "%", "solved": "", "steps": ""},
        rows=rows,
        seen=f"within {steps} steps all runs recall 99 % of the symbols over these distances of "
        f"{', '.join(map(str, DISTANCES))}: {farthest(found)}",
        started=started,
    )


def adding_task(config: StudyConfig) -> None:
    """In how long a sequence can each cell learn to add the two numbers that are marked?"""
    started = time.perf_counter()
    check(config)
    steps, guess = steps_of(config, 800), 1 / 6
    found = attempts(config, adding, LENGTHS, steps, lambda mse: mse > 0.9 * guess)
    rows = rows_of(found, "error", 4)
    title = "Adding two marked numbers of a sequence (× = given up)"
    save(_draw(rows, "error", title, "mean squared error", bound=("always saying 1", guess), top=0.2), "adding_task")
    finish(
        config,
        "adding_task",
        title=f"Sum of two marked numbers of a sequence; about {PARAMETERS:,} parameters, at most {steps} steps; no "
        f"further once all runs are no better than always saying 1 ({guess:.3f})",
        columns={"distance": "steps", "error": "", "error_sd": "", "solved": "", "steps": ""},
        rows=rows,
        seen=f"within {steps} steps all runs come below an error of 0.002 in these lengths of "
        f"{', '.join(map(str, LENGTHS))}: {farthest(found)}",
        started=started,
    )


def _draw(rows: Sequence[Row], key: str, title: str, ylabel: str, *, bound: tuple[str, float], top: float) -> Figure:
    """Means and spreads against the distance; a cross where a case was given up. Spreads end at 0 and at `top`."""
    figure, (chart,) = sheet(1, width=6.6, height=3.8, title=title)
    distances = sorted({row["distance"] for row in rows})
    for number, case in enumerate(CASES):
        mine = [row for row in rows if row["case"].split(":")[0] == case]
        x = [row["distance"] * 1.025 ** (number - 1.5) for row in mine]  # beside each other
        y, spread = np.array([row[key] for row in mine]), np.array([row[f"{key}_sd"] for row in mine])
        whiskers = [np.minimum(spread, y), np.minimum(spread, top - y).clip(0)]
        style: dict[str, Any] = {"color": CASE_COLORS[case], "linestyle": "--" if "," in case else "-"}
        chart.errorbar(x, y, whiskers, marker="o", markersize=5, capsize=3, label=case, **style)
        if mine[-1]["distance"] < distances[-1]:
            chart.plot(x[-1], y[-1], "x", color=CASE_COLORS[case], markersize=11, markeredgewidth=2)
    chart.axhline(bound[1], color="#888888", linewidth=0.9, linestyle=":", label=bound[0])
    chart.set(xlabel="steps", ylabel=ylabel, xscale="log", ylim=(0, 1.05 * top))
    chart.set_xticks(distances, [str(distance) for distance in distances])
    chart.minorticks_off()
    chart.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure

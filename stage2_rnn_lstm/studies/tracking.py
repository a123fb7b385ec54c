"""Cells of a character LSTM that track something: quotes, brackets, the position in the line.

Cells that count or remember one thing were found by eye (Karpathy et al. 2015). Here every cell is compared with a
signal computed from the text, on a part that did not choose the cell, beside what an untrained network reaches, and
what chance does: the same cells against the signal of another excerpt.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import matplotlib
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from my_llm.plots import LOOK
from stage2_rnn_lstm.studies.common import (
    COLORS,
    Characters,
    StudyConfig,
    finish,
    load_characters,
    mean_and_spread,
    nats_per_character,
    new_language_model,
    save,
    seeds_of,
    sheet,
    steps_of,
    train_on_text,
)
from stage2_rnn_lstm.studies.gates import HIDDEN, RATE, SPAN, Reading, read
from stage2_rnn_lstm.studies.signals import draw_strip, signals_of

Row = dict[str, Any]
LINES, WIDTH = 3, 84  # of a strip of text
RIDGE = 0.05  # of the probe: what each cell's variance of 1 is enlarged by, so that no weight becomes large
CHOOSING, HELD_OUT = slice(0, None, 2), slice(1, None, 2)  # excerpts; their pages alternate


class Match(NamedTuple):
    """How well cells follow a signal: the best one's number, and |correlation| on text that did not choose it."""

    cell: int
    best: float
    probe: float


def follow(cells: Float[Tensor, "T B H"], signal: Float[Tensor, "T B"]) -> Match:
    """Choose the best cell and fit a linear probe on all cells, on half of the excerpts; score both on the others."""
    x, held_x = (cells[:, part].flatten(0, 1) for part in (CHOOSING, HELD_OUT))
    y, held_y = (signal[:, part].flatten() for part in (CHOOSING, HELD_OUT))
    cell = int(correlations(x, y).abs().argmax())
    centre, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    x, held = (x - centre) / scale, (held_x - centre) / scale
    weights = torch.linalg.solve(x.t() @ x + RIDGE * len(x) * torch.eye(x.shape[1]), x.t() @ (y - y.mean()))
    probe = correlations((held @ weights)[:, None], held_y)[0]
    return Match(cell, float(correlations(held_x, held_y)[cell].abs()), float(probe.abs()))


def correlations(x: Float[Tensor, "N H"], y: Float[Tensor, "N"]) -> Float[Tensor, "H"]:
    """Pearson's correlation of every column with y; 0 where one of them does not change."""
    x, y = x - x.mean(0), y - y.mean()
    return (x * y[:, None]).sum(0) / (x.norm(dim=0) * y.norm()).clamp(min=1e-12)


def tracking_cells(config: StudyConfig) -> None:
    """Are there single cells that follow quotes, brackets or the position in the line?"""
    started = time.perf_counter()
    if config.dataset == "auto":
        config = replace(config, dataset="python_library")  # has quotes and brackets, and is on every machine
    text, steps = load_characters(config), steps_of(config, 1200)
    signals = signals_of(text.corpus.validation, text.corpus.language)
    found: dict[str, dict[str, list[Match]]] = {name: {"trained": [], "new": [], "shuffled": []} for name in signals}
    losses, readings = [], []
    for seed in seeds_of(config):
        model = new_language_model(text, seed, hidden=HIDDEN)
        new = read(model, text.validation)
        for _ in train_on_text(model, text, max_steps=steps, seed=seed, rate=RATE, length=100):
            pass
        losses.append(nats_per_character(model, text.validation[: 50 * SPAN]))
        trained = read(model, text.validation)
        readings.append(trained)
        for name, values in signals.items():
            signal = torch.from_numpy(values).float()[trained.rows]
            found[name]["trained"].append(follow(trained.cells, signal))
            found[name]["new"].append(follow(new.cells, signal))
            found[name]["shuffled"].append(follow(trained.cells, signal.roll(1, dims=1)))  # of another excerpt
    rows = [_tracking_row(name, matches) for name, matches in found.items()]
    pictures = {  # from the network, of all seeds, whose cell follows best
        name: max(zip(matches["trained"], readings, strict=True), key=lambda pair: pair[0].best)
        for name, matches in found.items()
    }
    _draw_tracking(rows, pictures, text, signals)
    kinds = ("cell", "cell_new", "cell_chance", "probe", "probe_new")
    finish(
        config,
        "tracking_cells",
        title=f"|Correlation| with a signal of the best of {HIDDEN} cells and of a linear probe, on held-out text; "
        f"the network reaches {statistics.fmean(losses):.2f} nats per character",
        columns={key: "" for kind in kinds for key in (kind, f"{kind}_sd")},
        rows=rows,
        seen=_seen_tracking(rows),
        started=started,
        corpus=text.corpus,
    )


def _tracking_row(name: str, matches: Mapping[str, Sequence[Match]]) -> Row:
    row: Row = {"case": name}
    for key, kind in (("cell", "trained"), ("cell_new", "new"), ("cell_chance", "shuffled")):
        row |= mean_and_spread(key, [match.best for match in matches[kind]])
    for key, kind in (("probe", "trained"), ("probe_new", "new")):
        row |= mean_and_spread(key, [match.probe for match in matches[kind]])
    return row


def _seen_tracking(rows: Sequence[Row]) -> str:
    parts = [f"{row['case']} {row['cell']:.2f} ({row['cell_new']:.2f}, {row['cell_chance']:.2f})" for row in rows]
    probes = [f"{row['case']} {row['probe']:.2f} ({row['probe_new']:.2f})" for row in rows]
    return (
        f"held-out correlation of the best single cell (in an untrained network, with a wrong signal): "
        f"{', '.join(parts)}; all cells together, linearly (untrained): {', '.join(probes)}"
    )


def _draw_tracking(
    rows: Sequence[Row], pictures: Mapping[str, tuple[Match, Reading]], text: Characters, signals: Mapping[str, ndarray]
) -> None:
    """Left: the correlations. Right: for each signal a held-out piece of text in the colours of its best cell."""
    figure, (whole,) = sheet(1, width=11.0, height=0.6 + 0.95 * len(rows), title="Single cells that follow something")
    whole.remove()
    with matplotlib.rc_context(LOOK):
        charts = figure.subplot_mosaic([["scores", row["case"]] for row in rows], width_ratios=[1, 2.4])
    scores = charts["scores"]
    for key, label, color, sign in (
        ("probe", "all cells, linearly", COLORS[2], "s"),
        ("cell", "best cell", COLORS[0], "o"),
        ("cell_new", "best cell, untrained", COLORS[1], "o"),
        ("cell_chance", "best cell, wrong signal", "#999999", "o"),
    ):
        x, spread = [row[key] for row in rows], [row[f"{key}_sd"] for row in rows]
        places = [row["case"] for row in rows]
        scores.errorbar(x, places, xerr=spread, fmt=sign, color=color, label=label, markersize=5, capsize=2)
    scores.invert_yaxis()
    scores.set(xlim=(0, 1), xlabel="|correlation| on held-out text")
    scores.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=8)
    for name, (match, reading) in pictures.items():
        rows_held = reading.rows[:, HELD_OUT]  # (T, B / 2)
        signal = torch.from_numpy(signals[name]).float()[rows_held]
        values = reading.cells[:, HELD_OUT, match.cell]
        low, high = values.quantile(0.05), values.quantile(0.95)
        values = (2 * (values - low) / (high - low).clamp(min=1e-6) - 1).clamp(-1, 1)
        values = values * correlations(values.reshape(-1, 1), signal.flatten()).sign()  # red: the signal is high
        first, excerpt = liveliest(signal, LINES * WIDTH)
        at = int(rows_held[first, excerpt])
        piece = text.corpus.validation[at : at + min(LINES * WIDTH, len(signal))]
        title = f"cell {match.cell}: {name}"
        draw_strip(charts[name], piece, values[first : first + len(piece), excerpt].tolist(), width=WIDTH, title=title)
    save(figure, "tracking_cells")


def liveliest(signal: Float[Tensor, "T B"], length: int) -> tuple[int, int]:
    """Where, in which column, the signal spreads and changes most over `length` steps: (first step, column)."""
    windows = signal.unfold(0, min(length, len(signal)), 1)  # (T', B, length)
    changes = windows.diff(dim=2).ne(0).float().mean(dim=2)
    best = int((windows.std(dim=2) * changes).argmax())
    return divmod(best, signal.shape[1])

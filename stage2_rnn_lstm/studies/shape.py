"""Studies of a language model's shape: how wide, how deep, how much dropout.

Every optimiser step reads the same number of characters, so that equal steps are equal text, and every shape takes the
learning rate that it likes best.
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from stage2_rnn_lstm.studies.common import (
    COLORS,
    Characters,
    StudyConfig,
    finish,
    lines,
    load_characters,
    mean_and_spread,
    nats_per_character,
    new_language_model,
    parameters_of,
    save,
    seeds_of,
    sheet,
    steps_of,
    train_on_text,
)
from stage2_rnn_lstm.studies.trials import Outcome, at_best_rate, warm_up, width_for

Row = dict[str, Any]
STEP = 2048  # characters that an optimiser step reads
WIDTHS = (32, 64, 128, 256, 512)
WIDE = 192  # one layer of so many units is the budget that several layers share
RATES = (0.005, 0.015, 0.04)
FEW, HIDDEN = 30_000, 128  # so few characters that so many units can learn them by heart
COLUMNS = {"rate": "", "nats": "nats", "nats_sd": "nats", "cpu_seconds": "s", "parameters": ""}


def row_of(config: StudyConfig, text: Characters, steps: int, case: str, shape: Mapping[str, Any]) -> Row:
    """Train a language model of this shape for every seed; its scores over the seeds."""

    def train(rate: float, seed: int) -> Outcome:
        model, before = new_language_model(text, seed, **shape), time.process_time()
        for _ in train_on_text(model, text, max_steps=steps, seed=seed, rate=rate):
            pass
        seconds = time.process_time() - before
        return Outcome(nats_per_character(model, text.validation), seconds)

    warm_up()
    rate, found = at_best_rate(config, train, RATES)
    return {
        "case": case,
        "rate": rate,
        **mean_and_spread("nats", [outcome.nats for outcome in found], 4),
        "cpu_seconds": round(statistics.fmean(outcome.seconds for outcome in found), 2),
        "parameters": parameters_of(new_language_model(text, 0, **shape)),
    }


# --- how wide ---------------------------------------------------------------------------------------------------------


def hidden_size(config: StudyConfig) -> None:
    """What does a wider state bring, and what does it cost?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 300)
    rows = [row_of(config, text, steps, f"{width} units", {"hidden": width}) for width in WIDTHS]
    _draw_hidden_size(rows)
    first, *_, before, last = rows
    finish(
        config,
        "hidden_size",
        title=f"LSTM of one layer, {steps} steps of {STEP:,} characters: nats per character of validation text",
        columns=COLUMNS,
        rows=rows,
        seen=f"from {WIDTHS[0]} to {WIDTHS[-1]} units the loss goes from {first['nats']:.3f} to {last['nats']:.3f} "
        f"nats; the last doubling changes it by {last['nats'] - before['nats']:+.3f} for "
        f"{last['cpu_seconds'] / before['cpu_seconds']:.1f} times the processor time",
        started=started,
        corpus=text.corpus,
    )


def _draw_hidden_size(rows: Sequence[Row]) -> None:
    figure, charts = sheet(2, width=4.0, title="A wider state says more and costs more")
    nats, spread = [row["nats"] for row in rows], [row["nats_sd"] for row in rows]
    costs = [row["cpu_seconds"] for row in rows]
    for chart, x, xlabel in zip(charts, (WIDTHS, costs), ("units", "processor time of the training (s)")):
        chart.errorbar(x, nats, spread, marker="o", markersize=4, capsize=3)
        for at, height, width in zip(x, nats, WIDTHS):
            chart.annotate(str(width), (at, height), (4, 5), textcoords="offset points", fontsize=8)
        chart.set(xscale="log", xlabel=xlabel)
        chart.set_xticks(x, [f"{at:.3g}" for at in x])
        chart.minorticks_off()
    charts[0].set_ylabel("validation loss (nats per character)")
    save(figure, "hidden_size")


# --- how deep ---------------------------------------------------------------------------------------------------------


def layers(config: StudyConfig) -> None:
    """With so many parameters: one wide layer, or several narrow ones?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 800)
    budget = parameters_of(new_language_model(text, 0, hidden=WIDE))
    rows: list[Row] = []
    for depth in (1, 2, 3):

        def count(width: int, depth: int = depth) -> int:
            return parameters_of(new_language_model(text, 0, hidden=width, layers=depth))

        width = width_for(budget, count)
        rows.append(row_of(config, text, steps, f"{depth} x {width}", {"layers": depth, "hidden": width}))
    _draw_layers(rows, budget)
    one, *deeper = rows
    best = min(deeper, key=lambda row: row["nats"])
    finish(
        config,
        "layers",
        title=f"At most {budget:,} parameters, {steps} steps of {STEP:,} characters: nats per character",
        columns=COLUMNS,
        rows=rows,
        seen=f"one layer reaches {one['nats']:.3f} nats (± {one['nats_sd']:.3f} by chance), the best of the deeper "
        f"ones, {best['case']}, {best['nats'] - one['nats']:+.3f} for "
        f"{best['cpu_seconds'] / one['cpu_seconds']:.1f} times the processor time",
        started=started,
        corpus=text.corpus,
    )


def _draw_layers(rows: Sequence[Row], budget: int) -> None:
    figure, charts = sheet(2, width=3.6, height=3.0, title=f"{budget:,} parameters in one layer or in several")
    titles = {"nats": "validation loss (nats per character)", "cpu_seconds": "processor time of the training (s)"}
    for chart, (key, title) in zip(charts, titles.items(), strict=True):
        for place, row in enumerate(rows):
            spread = row.get(f"{key}_sd", 0.0)
            chart.errorbar(place, row[key], spread, fmt="o", markersize=8, capsize=3, color=COLORS[0])
            chart.annotate(f"{row[key]:.4g}", (place, row[key]), (8, 4), textcoords="offset points")
        chart.set_xticks(range(len(rows)), [row["case"].replace("x", "×") for row in rows])
        chart.set_title(title, fontsize=10, loc="left")
        chart.set(xlabel="layers × units", xlim=(-0.5, len(rows) - 0.3))
        chart.margins(y=0.25)
    save(figure, "layers")


# --- how much dropout -------------------------------------------------------------------------------------------------


def learn_by_heart(
    text: Characters, steps: int, rate: float, seed: int
) -> tuple[list[tuple[float, float]], list[float]]:
    """Points (step, loss on a part of the validation text) of a training, and the final losses on both texts."""
    model, every = new_language_model(text, seed, hidden=HIDDEN, dropout=rate), max(1, steps // 10)
    points = [(0.0, math.log(text.tokenizer.vocab_size))]  # the first guess: all characters alike
    points += (
        (step.index + 1.0, nats_per_character(model, text.validation[:20_000]))
        for step in train_on_text(model, text, max_steps=steps, seed=seed, rate=0.015)
        if (step.index + 1) % every == 0
    )
    return points, [nats_per_character(model, part) for part in (text.train, text.validation)]


def dropout(config: StudyConfig) -> None:
    """Does dropout keep a network from learning a short text by heart?"""
    started = time.perf_counter()
    whole, steps = load_characters(config), steps_of(config, 800)
    text = replace(whole, train=whole.train[:FEW])
    rows: list[Row] = []
    curves = {}
    for rate in (0.0, 0.1, 0.3, 0.5):
        histories, ends = zip(*(learn_by_heart(text, steps, rate, seed) for seed in seeds_of(config)), strict=True)
        learnt, held_out = zip(*ends, strict=True)
        case = f"dropout {rate:g}"
        rows.append({"case": case, **mean_and_spread("train", learnt, 4), **mean_and_spread("nats", held_out, 4)})
        x, y = torch.tensor(histories).mean(dim=0).t().tolist()
        curves[case] = (x[1:], y[1:])
    _draw_dropout(rows, curves, len(text.train))
    none, best = rows[0], min(rows, key=lambda row: row["nats"])
    finish(
        config,
        "dropout",
        title=f"{HIDDEN} units, {steps} steps on the first {len(text.train):,} characters: nats per character",
        columns=dict.fromkeys(["train", "train_sd", "nats", "nats_sd"], "nats"),
        rows=rows,
        seen=f"without dropout the loss is {none['train']:.2f} nats on the text it learned from and {none['nats']:.2f} "
        f"on the validation text; {best['case']} is best there: {best['train']:.2f} and {best['nats']:.2f}",
        started=started,
        corpus=text.corpus,
    )


def _draw_dropout(rows: Sequence[Row], curves: Mapping[str, Any], characters: int) -> None:
    figure, (along, end) = sheet(2, width=4.2, title=f"{characters:,} characters, read again and again")
    lines(along, curves, title="during training", xlabel="step", ylabel="validation loss (nats per character)")
    along.legend(fontsize=8, frameon=False)
    cases = [row["case"].removeprefix("dropout ") for row in rows]
    for key, color, label in (("train", COLORS[0], "the text it learned from"), ("nats", COLORS[1], "validation text")):
        spread = [row[f"{key}_sd"] for row in rows]
        end.errorbar(cases, [row[key] for row in rows], spread, color=color, marker="o", capsize=3, label=label)
    end.set(xlabel="dropout", ylabel="loss (nats per character)")
    end.set_title("in the end", fontsize=10, loc="left")
    end.legend(fontsize=8, frameon=False)
    save(figure, "dropout")

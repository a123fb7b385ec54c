"""Studies of what keeps a network in bounds: batch normalisation, dropout, and the remedies against over-fitting."""

import statistics
import time
from dataclasses import replace
from functools import partial
from typing import Any

from stage1_mlp.models.mlp import MLP
from stage1_mlp.models.optimizers import Adam, AdamW, Momentum
from stage1_mlp.studies.common import (
    Dense,
    StudyConfig,
    evaluate,
    finish,
    lines,
    load_dense,
    mean_and_spread,
    seeds_of,
    steps_of,
    with_unit_variance,
)
from stage1_mlp.studies.drawing import save, sheet
from stage1_mlp.studies.trials import Runs, Train, fair_runs, trainer

FEW = 1000  # training examples of the studies of over-fitting
Row = dict[str, Any]


def batch_norm(config: StudyConfig) -> None:
    """Does batch normalisation allow higher learning rates and deeper networks, or would scaled inputs do the same?"""
    started = time.perf_counter()
    raw, steps = load_dense(config), steps_of(config, 200)
    cases = {"without": (raw, "none"), "scaled": (with_unit_variance(raw), "none"), "with": (raw, "batch")}
    names = {"without": "neither", "scaled": "inputs scaled", "with": "batch normalisation"}
    rates = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    rows: list[Row] = []
    figure, charts = sheet(2)
    for chart, depth in zip(charts, (1, 8), strict=True):
        curves = {}
        for case, (data, normalization) in cases.items():
            shape = {"hidden": (64,) * depth, "normalization": normalization}
            runs = fair_runs(config, trainer(data, steps, shape, optimizer=Momentum), rates)
            curves[names[case]] = (list(runs.tried), list(runs.tried.values()))
            good = [rate for rate, score in runs.tried.items() if score >= max(runs.tried.values()) - 2]
            scores = mean_and_spread("accuracy", runs.accuracies(data.test))
            row = {"case": f"{case}_{depth}", "hidden_layers": depth, **scores, "learning_rate": runs.rate}
            rows.append({**row, "good_from": min(good), "good_to": max(good)})
        title = "one hidden layer" if depth == 1 else f"{depth} hidden layers"
        lines(chart, curves, title=title, xlabel="learning rate", ylabel="validation accuracy (%)", mark="o")
        chart.set(xscale="log", ylim=(-3, 100))  # 0: the training diverged
    charts[0].legend(fontsize=8, frameon=False, loc="lower left")
    save(figure, "batch_norm")
    units = {"hidden_layers": "", "accuracy": "%", "accuracy_sd": "%"}
    finish(
        config,
        "batch_norm",
        title=f"Batch normalisation, SGD with momentum, {steps} steps",
        columns={**units, "learning_rate": "", "good_from": "", "good_to": ""},
        rows=rows,
        seen=_seen_batch_norm({row["case"]: row for row in rows}),
        started=started,
        corpus=raw.corpus,
    )


def _seen_batch_norm(found: dict[str, Row]) -> str:
    def gain(case: str, depth: int) -> float:
        return found[f"{case}_{depth}"]["accuracy"] - found[f"without_{depth}"]["accuracy"]

    on = found["with_8"]
    return (
        f"batch normalisation changes the best score by {gain('with', 1):+.1f} points in one hidden layer and by "
        f"{gain('with', 8):+.1f} in eight, where learning rates from {on['good_from']:g} to {on['good_to']:g} are "
        f"good; inputs scaled to mean square 1, without any normalisation, change it by "
        f"{gain('scaled', 1):+.1f} and {gain('scaled', 8):+.1f}"
    )


def few_examples(data: Dense) -> Dense:
    """The same corpus with the first thousand training examples only, so that a network can learn them by heart."""
    return replace(data, train=data.train.first(FEW))


def row_of(case: str, models: list[MLP], data: Dense) -> Row:
    """Scores on test, and how much better the training split looks."""
    train = statistics.fmean(evaluate(model, data.train).accuracy for model in models)
    test = [evaluate(model, data.test) for model in models]
    row = {"case": case, **mean_and_spread("accuracy", [scores.accuracy for scores in test])}
    row |= {"train_accuracy": round(train, 2), "gap": round(train - row["accuracy"], 2)}
    return {**row, "test_loss": round(statistics.fmean(scores.loss for scores in test), 3)}


GAP_UNITS = {"accuracy": "%", "accuracy_sd": "%", "train_accuracy": "%", "gap": "%", "test_loss": "nats"}


def dropout(config: StudyConfig) -> None:
    """How much dropout closes the gap between training and test, and at what price?"""
    started = time.perf_counter()
    data, steps = few_examples(load_dense(config)), steps_of(config, 400)
    rows: list[Row] = []
    curves = {}
    rates = (0.0, 0.2, 0.5, 0.8, 0.9)
    for rate in rates:
        runs = fair_runs(config, trainer(data, steps, {"hidden": (128,), "dropout": rate}), (0.001, 0.003))
        rows.append({**row_of(f"{rate:g}", runs.models, data), "learning_rate": runs.rate})
        curves[f"dropout {rate:g}"] = runs.curve(lambda point: point.scores.loss)
    figure, (left, right) = sheet(2)
    scores = {name: [row[key] for row in rows] for name, key in (("training", "train_accuracy"), ("test", "accuracy"))}
    both = {name: (rates, values) for name, values in scores.items()}
    lines(left, both, title="the gap", xlabel="dropout rate", ylabel="accuracy (%)", mark="o")
    left.fill_between(rates, scores["test"], scores["training"], color="#9aa5b1", alpha=0.2)
    lines(right, curves, title="on unseen texts", xlabel="step", ylabel="validation loss (nats)")
    for chart in (left, right):
        chart.legend(fontsize=8, frameon=False)
    save(figure, "dropout")
    off, best = rows[0], max(rows, key=lambda row: row["accuracy"])
    finish(
        config,
        "dropout",
        title=f"Dropout in one hidden layer of 128, {len(data.train.y):,} training texts",
        columns={**GAP_UNITS, "learning_rate": ""},
        rows=rows,
        seen=f"the gap between training and test is {off['gap']:.1f} points without dropout and {rows[-1]['gap']:.1f} "
        f"at {rows[-1]['case']}; the best test accuracy, at {best['case']}, is "
        f"{best['accuracy'] - off['accuracy']:+.1f} points from none, within "
        f"± {max(off['accuracy_sd'], best['accuracy_sd']):.1f} by chance",
        started=started,
        corpus=data.corpus,
    )


def overfitting(config: StudyConfig) -> None:
    """A network learns a thousand texts by heart: what helps, and how much?"""
    started = time.perf_counter()
    full, steps, rate = load_dense(config), steps_of(config, 400), 0.003
    few, shape = few_examples(full), {"hidden": (128,)}

    def decayed(optimizer: type[Adam]) -> Train:
        """What is tried is the strength λ; the learning rate stays."""
        return lambda strength, seed: trainer(few, steps, shape, optimizer=partial(optimizer, weight_decay=strength))(
            rate, seed
        )

    runs = {
        "nothing": fair_runs(config, trainer(few, steps, shape), [rate]),
        "l2": fair_runs(config, decayed(Adam), (0.0003, 0.001, 0.003, 0.01)),
        "weight_decay": fair_runs(config, decayed(AdamW), (0.3, 1.0, 3.0, 10.0)),
        "dropout": fair_runs(config, trainer(few, steps, {**shape, "dropout": 0.8}), [rate]),
        "all_data": fair_runs(config, trainer(full, steps, shape), [rate]),
    }
    best_steps = [min(history, key=lambda point: point.scores.loss).step for history in runs["nothing"].histories]
    # Batch i is a function of (seed, i) alone: training again for fewer steps gives the network of that moment.
    stopped = [trainer(few, stop, shape)(rate, seed)[0] for stop, seed in zip(best_steps, seeds_of(config))]
    rows = [row_of(case, trials.models, full if case == "all_data" else few) for case, trials in runs.items()]
    rows.insert(1, row_of("early_stopping", stopped, few))
    _draw_overfitting(runs, statistics.fmean(best_steps), len(few.train.y), len(full.train.y))
    gains = [f"{row['case']} {row['accuracy'] - rows[0]['accuracy']:+.1f}" for row in rows[1:]]
    calm = min(rows[1:-1], key=lambda row: row["test_loss"])
    finish(
        config,
        "overfitting",
        title=f"Over-fitting {len(few.train.y):,} training texts, and what helps",
        columns=GAP_UNITS,
        rows=rows,
        seen=f"points of test accuracy against no remedy: {', '.join(gains)}; the test loss falls most with "
        f"{calm['case']}, from {rows[0]['test_loss']:.2f} to {calm['test_loss']:.2f} nats, and with "
        f"{len(full.train.y) / len(few.train.y):.0f} times the data to {rows[-1]['test_loss']:.2f}",
        started=started,
        corpus=full.corpus,
    )


def _draw_overfitting(runs: dict[str, Runs], stop: float, few: int, full: int) -> None:
    """Training against validation loss, one chart for each case, all with the same axes."""
    titles = {
        "nothing": f"{few:,} texts, no remedy",
        "l2": f"L2 in the loss, λ = {runs['l2'].rate:g}",
        "weight_decay": f"AdamW, λ = {runs['weight_decay'].rate:g}",
        "dropout": "dropout 0.8",
        "all_data": f"{full:,} texts, no remedy",
    }
    figure, charts = sheet(len(runs), width=2.6)
    for chart, (case, trials) in zip(charts, runs.items(), strict=True):
        curves = {
            "training": trials.curve(lambda point: point.train_loss),
            "validation": trials.curve(lambda point: point.scores.loss),
        }
        lines(chart, curves, title=titles[case], xlabel="step", ylabel="" if chart is not charts[0] else "loss (nats)")
        chart.sharey(charts[0])
    charts[0].axvline(stop, color="#009E73", linewidth=1)
    words = {"color": "#009E73", "fontsize": 8, "transform": charts[0].get_xaxis_transform()}  # y: share of the height
    charts[0].text(stop, 0.95, " early stopping", **words)
    charts[1].legend(fontsize=8, frameon=False)
    save(figure, "overfitting")

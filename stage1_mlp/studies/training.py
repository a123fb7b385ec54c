"""Studies of what happens in training: activations, losses, optimisers, schedules.

Each study gives all its cases the same data, steps and seeds, and each case its own best learning rate, chosen on the
validation split (`fair_runs`). The test split is read once, at the end.
"""

import statistics
import time
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from my_llm.schedules import SCHEDULES
from stage1_mlp.models.activations import ACTIVATIONS
from stage1_mlp.models.losses import LOSSES, ClassLoss, cross_entropy, one_vs_rest
from stage1_mlp.models.mlp import MLP
from stage1_mlp.models.optimizers import OPTIMIZERS
from stage1_mlp.studies.common import (
    Split,
    StudyConfig,
    finish,
    lines,
    load_dense,
    mean_and_spread,
    steps_of,
)
from stage1_mlp.studies.drawing import COLORS, save, sheet
from stage1_mlp.studies.trials import fair_runs, trainer

ADAM_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
Row = dict[str, Any]


def activations(config: StudyConfig) -> None:
    """Which activation learns best, in one hidden layer and in eight?"""
    started = time.perf_counter()
    data, steps = load_dense(config), steps_of(config, 300)
    figure, charts = sheet(2)
    rows: list[Row] = []
    for chart, depth in zip(charts, (1, 8), strict=True):
        curves = {}
        for name in ACTIVATIONS:
            first_weights = "xavier" if name in ("sigmoid", "tanh") else "he"  # each has the one made for it
            shape = {"hidden": (64,) * depth, "activation": name, "initialization": first_weights}
            runs = fair_runs(config, trainer(data, steps, shape), ADAM_RATES)
            scores = mean_and_spread("accuracy", runs.accuracies(data.test))
            rows.append({"case": f"{name}_{depth}", "hidden_layers": depth, **scores, "learning_rate": runs.rate})
            curves[name] = runs.curve(lambda point: point.scores.accuracy)
        title = "one hidden layer" if depth == 1 else f"{depth} hidden layers"
        lines(chart, curves, title=title, xlabel="step", ylabel="validation accuracy (%)")
    charts[0].sharey(charts[1])
    charts[0].legend(fontsize=8, frameon=False)
    save(figure, "activations")
    finish(
        config,
        "activations",
        title="Activations in a network of one and of eight hidden layers",
        columns={"hidden_layers": "", "accuracy": "%", "accuracy_sd": "%", "learning_rate": ""},
        rows=rows,
        seen=_seen_activations(rows),
        started=started,
        corpus=data.corpus,
    )


def _seen_activations(rows: list[Row]) -> str:
    shallow = [row["accuracy"] for row in rows if row["hidden_layers"] == 1]
    deep = sorted((row["accuracy"], row["case"].split("_")[0]) for row in rows if row["hidden_layers"] > 1)
    return (
        f"in one hidden layer the choice hardly matters: all five lie within {max(shallow) - min(shallow):.1f} points; "
        f"in eight layers {deep[-1][1]} reaches {deep[-1][0]:.1f} %, {deep[1][1]} {deep[1][0]:.1f} %, and "
        f"{deep[0][1]} stays at {deep[0][0]:.1f} %"
    )


def losses(config: StudyConfig) -> None:
    """Which loss gives the best accuracy, and which one knows how sure it may be?"""
    started = time.perf_counter()
    data, steps = load_dense(config), steps_of(config, 500)
    cases: dict[str, ClassLoss] = {**LOSSES, "label_smoothing": lambda x, t: cross_entropy(x, t, label_smoothing=0.1)}
    rows: list[Row] = []
    reliability = {}
    for name, loss in cases.items():
        runs = fair_runs(config, trainer(data, steps, {"hidden": (64,)}, loss=loss), ADAM_RATES)
        answers = [confidence_and_truth(model, data.test, loss) for model in runs.models]
        sure, right = (torch.cat(parts) for parts in zip(*answers))
        reliability[name] = reliability_curve(sure, right)
        row = {"case": name, **mean_and_spread("accuracy", runs.accuracies(data.test))}
        row["mean_confidence"] = round(100 * float(sure.mean()), 2)
        row |= mean_and_spread("calibration_error", [calibration_error(*answer) for answer in answers])
        rows.append({**row, "learning_rate": runs.rate})
    _draw_losses(rows, reliability)
    spread = max(row["accuracy"] for row in rows) - min(row["accuracy"] for row in rows)
    ranked = sorted((row["calibration_error"], row["case"].replace("_", " ")) for row in rows)
    percents = ("accuracy", "accuracy_sd", "mean_confidence", "calibration_error", "calibration_error_sd")
    finish(
        config,
        "losses",
        title="Losses: how often right, and how far confidence and accuracy are apart",
        columns={**dict.fromkeys(percents, "%"), "learning_rate": ""},
        rows=rows,
        seen=f"the accuracies lie within {spread:.1f} points of each other, but the confidence is off by "
        f"{ranked[0][0]:.1f} points with {ranked[0][1]} and by {ranked[-1][0]:.1f} with {ranked[-1][1]}",
        started=started,
        corpus=data.corpus,
    )


@torch.no_grad()
def confidence_and_truth(model: MLP, split: Split, loss: ClassLoss) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """The probability that each answer claims, and whether it is right (1) or not (0).

    One-vs-rest answers C yes-or-no questions with sigmoids; to all others softmax is applied, though only the
    cross-entropy promises that its result means something.
    """
    logits = model.eval()(split.x)
    confidence, answer = (logits.sigmoid() if loss is one_vs_rest else logits.softmax(dim=1)).max(dim=1)
    return confidence.cpu(), (answer == split.y).float().cpu()


def calibration_error(confidence: Float[Tensor, "N"], right: Float[Tensor, "N"], bins: int = 10) -> float:
    """Mean |confidence - accuracy| over bins of equal width, weighted by their size, in percent.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    number = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins).index_add(0, number, confidence - right)
    return 100 * float(gap.abs().sum()) / len(confidence)


def reliability_curve(
    confidence: Float[Tensor, "N"], right: Float[Tensor, "N"], groups: int = 10
) -> tuple[list[float], list[float]]:
    """(mean confidence, accuracy) in percent of equally large groups, from the least to the most confident."""
    parts = confidence.argsort().chunk(groups)
    return [100 * float(confidence[part].mean()) for part in parts], [100 * float(right[part].mean()) for part in parts]


def _draw_losses(rows: list[Row], reliability: dict[str, tuple[list[float], list[float]]]) -> None:
    figure, (scores, curves) = sheet(2)
    for row, color in zip(rows, COLORS, strict=False):
        name, error = row["case"].replace("_", " "), row["accuracy_sd"]
        scores.errorbar(row["accuracy"], name, xerr=error, fmt="o", capsize=3, color=color)
    scores.invert_yaxis()
    middle = statistics.fmean(row["accuracy"] for row in rows)
    scores.set_title("how often right", fontsize=10, loc="left")
    scores.set(xlabel="test accuracy (%), ± over seeds", xlim=(middle - 3, middle + 3))
    title = "how sure, and how often right then"
    lines(curves, reliability, title=title, xlabel="confidence (%)", ylabel="right (%)", mark="o")
    curves.plot([25, 100], [25, 100], color="black", linewidth=1, linestyle=":", label="as sure as right")
    curves.legend(fontsize=8, frameon=False)
    save(figure, "losses")


def optimizers(config: StudyConfig) -> None:
    """Which optimiser is fastest at its best learning rate, and which one forgives a bad one?"""
    started = time.perf_counter()
    data, steps = load_dense(config), steps_of(config, 200)
    rates = tuple(float(f"{10 ** (k / 2):.1g}") for k in range(-7, 3))  # 0.0003, 0.001, … 10
    rows: list[Row] = []
    falling, forgiving = {}, {}
    for name, optimizer in OPTIMIZERS.items():
        runs = fair_runs(config, trainer(data, steps, {"hidden": (64,)}, optimizer=optimizer), rates)
        falling[name] = runs.curve(lambda point: point.train_loss)
        forgiving[name] = (list(runs.tried), list(runs.tried.values()))
        good = [rate for rate, score in runs.tried.items() if score >= max(runs.tried.values()) - 2]
        row = {"case": name, **mean_and_spread("accuracy", runs.accuracies(data.test))}
        row |= {"train_loss": round(falling[name][1][-1], 3), "learning_rate": runs.rate}
        rows.append({**row, "good_from": min(good), "good_to": max(good)})
    figure, charts = sheet(2)
    lines(charts[0], falling, title="at its best learning rate", xlabel="step", ylabel="training loss (nats)")
    charts[0].legend(fontsize=8, frameon=False)
    title = f"after {steps} steps, at every learning rate"
    lines(charts[1], forgiving, title=title, xlabel="learning rate", ylabel="validation accuracy (%)", mark="o")
    charts[1].set_xscale("log")
    save(figure, "optimizers")
    units = {"accuracy": "%", "accuracy_sd": "%", "train_loss": "nats"}
    finish(
        config,
        "optimizers",
        title=f"Optimisers, {steps} steps; good: at most 2 points below the best rate",
        columns={**units, "learning_rate": "", "good_from": "", "good_to": ""},
        rows=rows,
        seen=_seen_optimizers(rows),
        started=started,
        corpus=data.corpus,
    )


def _seen_optimizers(rows: list[Row]) -> str:
    ranked = sorted((row["accuracy"], row["case"]) for row in rows)
    rates = [row["learning_rate"] for row in rows]
    widths = {row["case"]: round(row["good_to"] / row["good_from"]) for row in rows}
    patient = [name for name, width in widths.items() if width == max(widths.values())]
    return (
        f"once each has its own learning rate, between {min(rates):g} and {max(rates):g}, {ranked[-1][1]} is best with "
        f"{ranked[-1][0]:.1f} % and {ranked[0][1]} last with {ranked[0][0]:.1f} %; the rate may be wrong by a factor "
        f"of {max(widths.values())} with {', '.join(patient)}, of {widths['sgd']} with sgd, and cost at most 2 points"
    )


def schedules(config: StudyConfig) -> None:
    """What does a schedule bring over a constant learning rate?"""
    started = time.perf_counter()
    data, steps = load_dense(config), steps_of(config, 400)
    cases = {"no_warmup": SCHEDULES["constant"](steps, 0)}
    cases |= {name: make(steps, steps // 10) for name, make in SCHEDULES.items()}
    rates = (*ADAM_RATES, 0.1)
    rows: list[Row] = []
    falling, tried = {}, {}
    for name, schedule in cases.items():
        runs = fair_runs(config, trainer(data, steps, {"hidden": (64,) * 3}, schedule=schedule), rates)
        falling[name] = runs.curve(lambda point: point.scores.loss)
        tried[name] = (list(runs.tried), list(runs.tried.values()))
        row = {"case": name, **mean_and_spread("accuracy", runs.accuracies(data.test)), "learning_rate": runs.rate}
        rows.append({**row, "at_0.03": round(runs.tried[0.03], 2), "at_0.1": round(runs.tried[0.1], 2)})
    figure, charts = sheet(3, width=3.6)
    shapes = {name: (list(range(steps)), [shape(i) for i in range(steps)]) for name, shape in cases.items()}
    lines(charts[0], shapes, title="the schedules", xlabel="step", ylabel="share of the learning rate")
    title = "at its best learning rate"
    lines(charts[1], falling, title=title, xlabel="step", ylabel="validation loss (nats)")
    lowest = min(min(losses) for _, losses in falling.values())
    charts[1].set_ylim(lowest - 0.02, lowest + 0.3)
    title = f"after {steps} steps, at every learning rate"
    lines(charts[2], tried, title=title, xlabel="learning rate", ylabel="validation accuracy (%)", mark="o")
    charts[2].set_xscale("log")
    charts[2].legend(fontsize=8, frameon=False)
    save(figure, "schedules")
    best, rough = max(rows, key=lambda row: row["accuracy"]), max(rows, key=lambda row: row["at_0.03"])
    finish(
        config,
        "schedules",
        title=f"Schedules for Adam, {steps} steps, {steps // 10} of them warm-up",
        columns={"accuracy": "%", "accuracy_sd": "%", "learning_rate": "", "at_0.03": "%", "at_0.1": "%"},
        rows=rows,
        seen=f"each at its best learning rate, {best['case']} is {best['accuracy'] - rows[0]['accuracy']:+.1f} points "
        f"from no schedule at all; at 0.03, too high, {rough['case']} is {rough['at_0.03'] - rows[0]['at_0.03']:+.1f}",
        started=started,
        corpus=data.corpus,
    )

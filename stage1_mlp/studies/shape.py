"""Studies of the network itself: how deep and wide it is, and which weights it starts from."""

import contextlib
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from my_llm.errors import NotFiniteError
from my_llm.studies import Curve
from stage1_mlp.models.layers import INITIALIZERS
from stage1_mlp.models.losses import cross_entropy
from stage1_mlp.models.mlp import MLP
from stage1_mlp.models.optimizers import Momentum
from stage1_mlp.studies.common import (
    Dense,
    Split,
    StudyConfig,
    finish,
    lines,
    load_dense,
    mean_and_spread,
    new_mlp,
    seeds_of,
    steps_of,
    train_dense,
    with_unit_variance,
)
from stage1_mlp.studies.drawing import COLORS, save, sheet
from stage1_mlp.studies.trials import fair_runs, trainer

DEPTH = 8  # hidden layers of the network whose first weights are compared
Row = dict[str, Any]


def depth_width(config: StudyConfig) -> None:
    """Is a deeper or a wider network worth its parameters and its seconds?"""
    started = time.perf_counter()
    data, steps = load_dense(config), steps_of(config, 200)
    rows: list[Row] = []
    for depth in (0, 1, 2, 4, 8):
        for width in (16, 64, 256) if depth else (0,):
            before = time.process_time()
            runs = fair_runs(config, trainer(data, steps, {"hidden": (width,) * depth}), (0.001, 0.003, 0.01))
            seconds = (time.process_time() - before) / (len(runs.tried) + len(runs.models) - 1)
            row = {"case": f"{depth}x{width}" if depth else "linear", "hidden_layers": depth, "width": width}
            row |= mean_and_spread("accuracy", runs.accuracies(data.test))
            row["parameters"] = sum(parameter.numel() for parameter in runs.models[0].parameters())
            rows.append({**row, "cpu_seconds": round(seconds, 2)})
    _draw_depth_width(rows)
    best, linear = max(rows, key=lambda row: row["accuracy"]), rows[0]
    deep = max((row for row in rows if row["hidden_layers"] == 8), key=lambda row: row["accuracy"])
    units = {"accuracy": "%", "accuracy_sd": "%", "parameters": "", "cpu_seconds": "s"}
    finish(
        config,
        "depth_width",
        title=f"Depth and width, {steps} steps of Adam",
        columns={"hidden_layers": "", "width": "", **units},
        rows=rows,
        seen=f"the best network, {best['case']}, is {best['accuracy'] - linear['accuracy']:+.1f} points from the "
        f"linear classifier (± {best['accuracy_sd']:.1f} by chance); eight hidden layers reach at best "
        f"{deep['accuracy']:.1f} %, {deep['accuracy'] - linear['accuracy']:+.1f} points, for "
        f"{deep['cpu_seconds']:.1f} s in place of {linear['cpu_seconds']:.1f}",
        started=started,
        corpus=data.corpus,
    )


def _draw_depth_width(rows: list[Row]) -> None:
    figure, charts = sheet(2)
    for chart, key, ylabel in zip(charts, ("accuracy", "cpu_seconds"), ("test accuracy (%)", "CPU seconds")):
        for depth in (1, 2, 4, 8):
            line = [row for row in rows if row["hidden_layers"] == depth]
            error = [row["accuracy_sd"] for row in line] if key == "accuracy" else None
            x, y = [row["parameters"] for row in line], [row[key] for row in line]
            chart.errorbar(x, y, error, marker="o", markersize=4, capsize=3, label=f"{depth} × 16, 64, 256")
        chart.plot(rows[0]["parameters"], rows[0][key], "k*", markersize=9, label="linear, no hidden layer")
        chart.set(xscale="log", xlabel="parameters", ylabel=ylabel)
        chart.grid(alpha=0.25)
    charts[0].legend(fontsize=8, frameon=False)
    save(figure, "depth_width")


# --- initialisation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Health:
    """What flows through a network before it has learned anything, layer by layer."""

    activations: list[Float[Tensor, "N _"]]
    gradients: list[Float[Tensor, "N _"]]
    """∂L/∂activation, for the loss summed over the examples"""


def examine(model: MLP, split: Split) -> Health:
    """One forward and one backward pass with an ear at every hidden layer."""
    outputs: list[Tensor] = []

    def listen(block: torch.nn.Module, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    hooks = [block.register_forward_hook(listen) for block in model.hidden]
    cross_entropy(model(split.x), split.y).sum().backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    gradients = [output.grad for output in outputs if output.grad is not None]
    return Health([output.detach() for output in outputs], gradients)


def dead_units(activations: list[Float[Tensor, "N _"]]) -> float:
    """Share of hidden units, in percent, that are 0 for every example; a ReLU unit of that kind has no gradient."""
    return 100 * statistics.fmean(float((layer == 0).all(dim=0).float().mean()) for layer in activations)


def update_ratios(model: MLP, data: Dense, rate: float, seed: int, steps: int = 10) -> list[float]:
    """‖change of the weights‖ / ‖weights‖ of every hidden layer in one step, mean over the first steps.

    A training that diverges earlier is measured as long as it lasts.
    """
    ratios = []
    weights = [parameter.detach() for name, parameter in model.hidden.named_parameters() if name.endswith("weight")]
    old = [weight.clone() for weight in weights]
    with contextlib.suppress(NotFiniteError):
        for _ in train_dense(model, data.train, Momentum(model.parameters(), rate), max_steps=steps, seed=seed):
            ratios.append(
                [float((new - last).norm() / last.norm().clamp(min=1e-30)) for new, last in zip(weights, old)]
            )
            old = [weight.clone() for weight in weights]
    return [statistics.fmean(layer) for layer in zip(*ratios)]


def initialization(config: StudyConfig) -> None:
    """How do the first weights decide whether a deep network learns at all?"""
    started = time.perf_counter()
    data, steps, rate = with_unit_variance(load_dense(config)), steps_of(config, 200), 0.01
    shapes = {name: {"hidden": (64,) * DEPTH, "initialization": name} for name in INITIALIZERS}
    seed, sample = seeds_of(config)[0], data.validation.first(500)
    health = {name: examine(new_mlp(data, seed, **shape), sample) for name, shape in shapes.items()}
    ratios = {name: update_ratios(new_mlp(data, seed, **shape), data, rate, seed) for name, shape in shapes.items()}
    rows: list[Row] = []
    curves = {}
    for name, shape in shapes.items():
        row = {"case": name, **_first_and_last(health[name], ratios[name])}
        row["dead_before"] = round(dead_units(health[name].activations), 1)
        curves[name] = ([], [])  # keeps its colour
        with contextlib.suppress(NotFiniteError):  # a case without scores is one that diverged at every rate
            runs = fair_runs(config, trainer(data, steps, shape, optimizer=Momentum), (rate, 3 * rate, 10 * rate))
            dead = [dead_units(examine(model, sample).activations) for model in runs.models]
            row |= {"dead_after": round(statistics.fmean(dead), 1)}
            row |= mean_and_spread("accuracy", runs.accuracies(data.test))
            curves[name] = runs.curve(lambda point: point.scores.accuracy)
        rows.append(row)
    _draw_health(health, ratios, curves)
    _draw_histograms(health)
    units = {"dead_before": "%", "dead_after": "%", "accuracy": "%", "accuracy_sd": "%"}
    finish(
        config,
        "initialization",
        title=f"First weights of {DEPTH} hidden ReLU layers; no accuracy: diverged at every rate",
        columns={"signal": "×", "gradient": "×", "update_ratio": "", **units},
        rows=rows,
        seen=_seen_initialization(rows),
        started=started,
        corpus=data.corpus,
    )


def _first_and_last(health: Health, ratios: list[float]) -> Row:
    """How the spread changes from the first hidden layer to the last (signal) and on the way back (gradient)."""
    signal = [float(layer.std()) for layer in health.activations]
    gradient = [float(layer.std()) for layer in health.gradients]
    if not signal[0]:
        return {"update_ratio": ratios[0]}
    facts = {"signal": signal[-1] / signal[0], "gradient": gradient[0] / gradient[-1], "update_ratio": ratios[0]}
    return {name: float(f"{value:.2g}") for name, value in facts.items()}


def _seen_initialization(rows: list[Row]) -> str:
    found = {row["case"]: row for row in rows}
    fates = [
        f"{row['case']} {row['accuracy']:.1f} %" if "accuracy" in row else f"{row['case']} diverges" for row in rows
    ]
    return (
        f"through {DEPTH} layers the signal changes by a factor of {found['small']['signal']:.0e} from small weights, "
        f"{found['he']['signal']:g} from He's and {found['large']['signal']:.0e} from large ones; "
        f"accuracy: {', '.join(fates)}"
    )


def _draw_health(health: dict[str, Health], ratios: dict[str, list[float]], curves: dict[str, Curve]) -> None:
    """Signal, gradient and update ratio by layer (missing: an update of exactly 0), and what becomes of it."""
    figure, charts = sheet(4, width=3.1)
    layers = list(range(1, DEPTH + 1))
    kept = [name for name in health if name != "zeros"]  # nothing flows there, and 0 has no place on a log scale
    spreads = [
        {name: (layers, [float(layer.std()) for layer in health[name].activations]) for name in kept},
        {name: (layers, [float(layer.std()) for layer in health[name].gradients]) for name in kept},
        {name: (layers, ratios[name]) for name in kept},
    ]
    titles = ("activations before training", "gradients before training", "‖Δw‖ / ‖w‖ in the first steps")
    for chart, series, title in zip(charts, spreads, titles):
        lines(chart, series, title=title, xlabel="hidden layer", ylabel="", mark="o")
        chart.set_yscale("log", nonpositive="mask")
    charts[0].set_ylabel("standard deviation")
    charts[2].axhline(1e-3, color="black", linewidth=0.8, linestyle=":")
    lines(charts[3], curves, title="what becomes of it", xlabel="step", ylabel="validation accuracy (%)")
    for chart in (charts[0], charts[3]):
        chart.legend(fontsize=8, frameon=False)
    save(figure, "initialization")


def _draw_histograms(health: dict[str, Health]) -> None:
    """How large single activations and gradients are: one chart for each kind of weights, one row for each layer."""
    kept = {name: values for name, values in health.items() if name != "zeros"}
    figure, charts = sheet(len(kept), width=3.0, height=4.2)
    for chart, (name, values) in zip(charts, kept.items(), strict=True):
        for kind, layers, color in (("activations", values.activations, 0), ("gradients", values.gradients, 1)):
            for number, layer in enumerate(layers, 1):
                sizes = layer[layer != 0].abs().log10().cpu()
                count, edges = torch.histogram(sizes, bins=40)
                height = number + 0.85 * count / count.max()
                label = kind if number == 1 else None
                chart.fill_between(edges[1:], number, height, step="pre", color=COLORS[color], alpha=0.6, label=label)
        chart.set_title(name, fontsize=10, loc="left")
        chart.set(xlabel="log₁₀ of the size", xlim=(-13, 9), yticks=range(1, DEPTH + 1))
    charts[0].set_ylabel("hidden layer")
    charts[0].legend(fontsize=8, frameon=False, loc="upper left")
    save(figure, "initialization_histograms")

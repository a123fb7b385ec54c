"""What one neuron cannot do: XOR, the smallest task that no straight line solves."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray

from stage1_mlp.models.losses import binary_cross_entropy_with_logits
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.optimizers import Adam
from stage1_mlp.models.perceptron import Perceptron
from stage1_mlp.studies.common import StudyConfig, finish, mean_and_spread, seeds_of, steps_of
from stage1_mlp.studies.drawing import COLORS, save, sheet

INPUTS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
TABLES = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}
STARTS = 10  # random starts for each seed: whether a start succeeds is a yes or no, so three would say little


class Run(NamedTuple):
    """How many of the four are wrong before every pass over them, and the function learned in the end."""

    mistakes: list[int]
    predict: Callable[[ndarray], ndarray]


def run_perceptron(table: list[int], passes: int, seed: int) -> Run:
    """Rosenblatt's rule, the four examples in a new order in each pass."""
    rng, target = np.random.default_rng(seed), np.array(table)
    neuron, mistakes = Perceptron(inputs=2), []
    for _ in range(passes):
        mistakes.append(int((neuron.predict(INPUTS) != target).sum()))
        order = rng.permutation(4)
        neuron.fit(INPUTS[order], target[order], epochs=1)
    return Run(mistakes, neuron.predict)


def run_mlp(table: list[int], passes: int, seed: int, hidden: int) -> Run:
    """Two inputs, `hidden` units, one output; gradient descent on all four examples at once."""
    torch.manual_seed(seed)
    x, y = torch.tensor(INPUTS).float(), torch.tensor(table)[:, None].float()
    model = MLP(MLPConfig(2, (hidden,), 1, activation="tanh", initialization="xavier"))
    optimizer = Adam(model.parameters(), 0.05)
    mistakes = []
    for _ in range(passes):
        logits = model(x)
        mistakes.append(int(((logits > 0) != y.bool()).sum()))
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(logits, y).mean().backward()
        optimizer.step()
    return Run(mistakes, lambda points: (model(torch.tensor(points).float())[:, 0] > 0).int().numpy())


def xor(config: StudyConfig) -> None:
    """How many mistakes are left after 300 passes, and how many starts end without one?"""
    started = time.perf_counter()
    passes = steps_of(config, 300)
    cases = {f"perceptron {name}": (run_perceptron, table) for name, table in TABLES.items()}
    cases |= {f"MLP 2-{h}-1 XOR": (partial(run_mlp, hidden=h), TABLES["XOR"]) for h in (2, 8)}
    rows, runs = [], {}
    for case, (train, table) in cases.items():
        runs[case] = [
            [train(table, passes, seed * STARTS + start) for start in range(STARTS)] for seed in seeds_of(config)
        ]
        left = [[run.mistakes[-1] for run in group] for group in runs[case]]
        solved = [100 * float(np.mean([mistakes == 0 for mistakes in group])) for group in left]
        mistakes = mean_and_spread("mistakes", [float(np.mean(group)) for group in left])
        rows.append({"case": case, **mistakes, **mean_and_spread("solved", solved)})
    draw_xor({case: [run for group in groups for run in group] for case, groups in runs.items()})
    one, two, eight = rows[2:]
    finish(
        config,
        "xor",
        title=f"One neuron and an MLP on truth tables: mistakes of 4 after {passes} passes, starts without one",
        columns={"mistakes": "", "mistakes_sd": ""} | dict.fromkeys(["solved", "solved_sd"], "%"),
        rows=rows,
        seen=f"on XOR the perceptron never has all four right ({one['mistakes']:.1f} wrong after {passes} passes); "
        f"an MLP with two hidden units has in {two['solved']:.0f} % of the starts, with eight in "
        f"{eight['solved']:.0f} %",
        started=started,
    )


def draw_xor(runs: dict[str, list[Run]]) -> None:
    """Left: mistakes over the passes, mean over the starts. Then what each has learned, drawn over the plane."""
    figure, (curves, *planes) = sheet(
        3, width=3.5, height=3.5, title="One straight line cannot solve XOR, two bent ones can"
    )
    for color, (case, group) in zip(COLORS, runs.items()):
        curves.plot(np.mean([run.mistakes for run in group], axis=0), color=color, label=case)
    curves.set(xlabel="passes over the four examples", ylabel="mistakes, mean over the starts")
    curves.set(ylim=(-0.1, 4.1))
    curves.legend(frameon=False, fontsize=9, loc="upper right")
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 1.5, 200), np.linspace(-0.5, 1.5, 200)), axis=-1)
    for plane, case in zip(planes, ("perceptron XOR", "MLP 2-2-1 XOR"), strict=True):
        best = min(runs[case], key=lambda run: run.mistakes[-1])
        answer = best.predict(grid.reshape(-1, 2)).reshape(200, 200)
        plane.contourf(grid[..., 0], grid[..., 1], answer, levels=[-0.5, 0.5, 1.5], colors=["#dce8f5", "#fbe3d3"])
        for point, label in zip(INPUTS, TABLES["XOR"], strict=True):
            plane.plot(*point, "os"[label], color=COLORS[label], markersize=13, markeredgecolor="black")
        plane.set(title=f"{case}: {best.mistakes[-1]} wrong", xlabel="first input", ylabel="second input", aspect=1)
        plane.set(xticks=[0, 1], yticks=[0, 1])
    save(figure, "xor")

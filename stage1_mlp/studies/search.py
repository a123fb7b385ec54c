"""Gradient descent or evolution? Both look for the same weights from the same start, and pay for every evaluation."""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy import ndarray
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from my_llm import plots
from stage1_mlp.models.genetic import evolve
from stage1_mlp.models.losses import cross_entropy
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.optimizers import SGD
from stage1_mlp.studies.common import (
    Dense,
    Split,
    StudyConfig,
    figure_path,
    finish,
    load_dense,
    mean_and_spread,
    seeds_of,
    steps_of,
)

TEXTS = 500
WORDS = (2, 20, 200, 2000)  # inputs; each multiplies the number of weights by about ten
GRADIENT_COST = 3  # evaluations: one pass forward, and a backward pass that does about twice its work
POPULATION = 40
Trace = tuple[list[float], list[float]]  # evaluations, best loss so far


def telling_words(data: Dense, size: int) -> Split:
    """The first texts of the training split, reduced to the words whose use differs most between the classes."""
    by_class = torch.stack([data.train.x[data.train.y == label].mean(dim=0) for label in data.train.y.unique()])
    columns = by_class.var(dim=0).topk(min(size, len(data.words))).indices
    x, y = data.train.first(TEXTS)
    return Split(x[:, columns], y)


def loss_of_vector(model: MLP, task: Split) -> Callable[[ndarray], float]:
    """The loss as a function of all weights in one vector, which is how evolution sees it."""

    @torch.no_grad()
    def loss(vector: ndarray) -> float:
        vector_to_parameters(torch.from_numpy(vector).float().to(task.x.device), model.parameters())
        return float(cross_entropy(model(task.x), task.y).mean())

    return loss


def by_evolution(model: MLP, task: Split, evaluations: int, seed: int) -> Trace:
    """The genetic algorithm of models/genetic.py, its first population scattered around the model's weights."""
    start = parameters_to_vector(model.parameters()).detach().cpu().double().numpy()
    generations = 1 + max(0, evaluations - POPULATION) // (POPULATION - 2)
    history = list(
        evolve(loss_of_vector(model, task), start, generations=generations, population=POPULATION, seed=seed)
    )
    return [float(generation.evaluations) for generation in history], [generation.loss for generation in history]


def by_gradient(model: MLP, task: Split, evaluations: int, rate: float = 1.0) -> Trace:
    """Plain gradient descent on all texts at once, from the model's weights."""
    optimizer = SGD(model.parameters(), rate)
    losses: list[float] = []
    for _ in range(max(1, evaluations // GRADIENT_COST)):
        loss = cross_entropy(model(task.x), task.y).mean()
        losses.append(min(float(loss.detach()), *losses[-1:], float("inf")))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [float(GRADIENT_COST * (step + 1)) for step in range(len(losses))], losses


def new_model(task: Split, seed: int) -> MLP:
    """Words → 8 hidden units → classes."""
    torch.manual_seed(seed)
    shape = MLPConfig(task.x.shape[1], (8,), int(task.y.max()) + 1, activation="tanh", initialization="xavier")
    return MLP(shape).to(task.x.device)


def genetic(config: StudyConfig) -> None:
    """How low does each bring the same loss with the same number of evaluations, as the number of weights grows?"""
    started = time.perf_counter()
    data, evaluations = load_dense(config), steps_of(config, 6000)
    charts: dict[str, dict[str, Trace]] = {}
    rows = []
    for words in WORDS:
        task = telling_words(data, words)
        evolved = [by_evolution(new_model(task, seed), task, evaluations, seed) for seed in seeds_of(config)]
        descended = [by_gradient(new_model(task, seed), task, evaluations) for seed in seeds_of(config)]
        weights = sum(weight.numel() for weight in new_model(task, 0).parameters())
        charts[f"{weights:,} weights"] = {"genetic algorithm": mean(evolved), "gradient descent": mean(descended)}
        overtaken = [overtakes(down, end=up[1][-1]) for up, down in zip(evolved, descended, strict=True)]
        rows.append(
            {"case": f"{words} words", "weights": weights}
            | mean_and_spread("genetic", [trace[1][-1] for trace in evolved], 3)
            | mean_and_spread("gradient", [trace[1][-1] for trace in descended], 3)
            | {"overtaken_after": round(float(np.mean(overtaken)))}
        )
    few, many = rows[0], rows[-1]
    plots.panels(
        charts,
        figure_path("genetic"),
        xlabel="evaluations of the loss",
        ylabel="best training loss so far (nats)",
        title="The more weights, the more a gradient is worth",
    )
    finish(
        config,
        "genetic",
        title=f"Training loss after {evaluations:,} evaluations on {TEXTS} texts; when the gradient overtakes",
        columns={"weights": "", **{key: "nats" for key in few if key.startswith("g")}, "overtaken_after": ""},
        rows=rows,
        seen=f"with {few['weights']:,} weights the genetic algorithm ends at {few['genetic']:.2f} nats and gradient "
        f"descent at {few['gradient']:.2f}; with {many['weights']:,} at {many['genetic']:.2f} and "
        f"{many['gradient']:.2f}, where {many['overtaken_after']:,} evaluations were "
        "enough to overtake",
        started=started,
        corpus=data.corpus,
    )


def overtakes(trace: Trace, end: float) -> float:
    """After how many evaluations a search is at most at the loss `end`; the last one if it never is."""
    return next((evaluations for evaluations, loss in zip(*trace, strict=True) if loss <= end), trace[0][-1])


def mean(traces: list[Trace]) -> Trace:
    """The mean loss of several searches that were asked after the same numbers of evaluations."""
    return traces[0][0], np.mean([losses for _, losses in traces], axis=0).tolist()

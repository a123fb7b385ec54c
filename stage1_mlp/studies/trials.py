"""Trials: give every case of a study the same chance, and keep what happened.

A comparison is fair when data, steps and seeds are the same and each case may choose its own learning rate. To compare
all cases at one rate would compare how well that rate happens to suit them.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from my_llm.errors import NotFiniteError
from my_llm.schedules import Schedule
from my_llm.training import Step
from stage1_mlp.models.losses import ClassLoss, cross_entropy
from stage1_mlp.models.mlp import MLP
from stage1_mlp.models.optimizers import Adam, RuleOptimizer
from stage1_mlp.studies.common import Dense, Scores, Split, StudyConfig, evaluate, new_mlp, seeds_of, train_dense

POINTS = 25  # evaluations along a curve


class Point(NamedTuple):
    """Where a training stood after `step` steps: mean training loss since the last point, and validation scores."""

    step: int
    train_loss: float
    scores: Scores


def learn(model: torch.nn.Module, steps: Iterable[Step], split: Split, *, every: int) -> list[Point]:
    """Go through a training and score `split` (the validation split, as a rule) after every `every` steps and the last.

    Args:
        steps: What `train_dense` returned for this model.

    Raises:
        NotFiniteError: the training diverged.
    """
    history: list[Point] = []
    losses: list[float] = []
    index = 0
    for step in steps:
        losses.append(step.loss)
        index = step.index + 1
        if index % every == 0:
            history.append(Point(index, statistics.fmean(losses), evaluate(model, split)))
            losses = []
    if losses:
        history.append(Point(index, statistics.fmean(losses), evaluate(model, split)))
    return history


Train = Callable[[float, int], tuple[MLP, list[Point]]]  # (learning rate, seed) → trained network and its history


def trainer(
    data: Dense,
    steps: int,
    shape: Mapping[str, Any],
    *,
    optimizer: Callable[..., RuleOptimizer] = Adam,
    loss: ClassLoss = cross_entropy,
    schedule: Schedule = lambda step: 1.0,
) -> Train:
    """One case, ready to be tried: a network of this shape, trained on the training split, watched on validation."""

    def train(rate: float, seed: int) -> tuple[MLP, list[Point]]:
        model = new_mlp(data, seed, **shape)
        optimiser = optimizer(model.parameters(), lr=rate)
        run = train_dense(model, data.train, optimiser, max_steps=steps, seed=seed, loss=loss, schedule=schedule)
        return model, learn(model, run, data.validation, every=max(1, steps // POINTS))

    return train


@dataclass(frozen=True)
class Runs:
    """One case of a study: the learning rate that it likes best, and with it one trained network for each seed.

    `tried` maps every learning rate to the validation accuracy of the first seed; 0 where the training diverged.
    """

    rate: float
    tried: dict[float, float]
    models: list[MLP]
    histories: list[list[Point]]

    def curve(self, value: Callable[[Point], float]) -> tuple[list[float], list[float]]:
        """(steps, the value's mean over the seeds), ready to draw."""
        points = list(zip(*self.histories))
        return [float(same[0].step) for same in points], [statistics.fmean(map(value, same)) for same in points]

    def accuracies(self, split: Split) -> list[float]:
        """Accuracy in percent of each network."""
        return [evaluate(model, split).accuracy for model in self.models]


def fair_runs(config: StudyConfig, train: Train, rates: Sequence[float]) -> Runs:
    """Give a case its chance: the first seed tries every learning rate, the other seeds take the best one.

    Best is the highest validation accuracy at the end, then the lowest validation loss.

    Raises:
        NotFiniteError: every learning rate diverged.
    """
    first, *others = seeds_of(config)
    done: dict[float, tuple[MLP, list[Point]]] = {}
    for rate in rates:
        try:
            done[rate] = train(rate, first)
        except NotFiniteError:
            if rate == rates[-1] and not done:
                raise
    ends = {rate: history[-1].scores for rate, (_, history) in done.items()}
    best = max(done, key=lambda rate: (ends[rate].accuracy, -ends[rate].loss))
    runs = [done[best], *(train(best, seed) for seed in others)]
    tried = {rate: ends[rate].accuracy if rate in ends else 0.0 for rate in rates}
    return Runs(best, tried, [model for model, _ in runs], [history for _, history in runs])

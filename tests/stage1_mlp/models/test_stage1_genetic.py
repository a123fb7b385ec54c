"""The genetic algorithm: it lowers any loss, never loses its best, and counts what it spends."""

import numpy as np
import pytest

from my_llm.errors import ConfigError
from stage1_mlp.models.genetic import crossover, evolve, mutate


def bowl(vector):
    return float(((vector - 3) ** 2).sum())


def test_lowers_a_smooth_loss_and_never_loses_its_best():
    history = list(evolve(bowl, np.zeros(5), generations=60))
    losses = [generation.loss for generation in history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.05 < 10 < losses[0]
    assert history[-1].loss == bowl(history[-1].best)


def test_lowers_a_loss_without_gradient():
    steps = list(evolve(lambda v: float(np.floor(abs(v)).sum()), np.full(7, 5.0), generations=80, mutation=1.0))
    assert steps[0].loss > 10 and steps[-1].loss <= 1


def test_counts_evaluations():
    calls = 0

    def loss(vector):
        nonlocal calls
        calls += 1
        return bowl(vector)

    *_, last = evolve(loss, np.zeros(3), generations=4, population=11, elite=2)
    assert last.evaluations == calls == 11 + 3 * 9


def test_the_seed_decides_everything():
    runs = [list(evolve(bowl, np.zeros(5), generations=5, seed=seed))[-1].loss for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_children_take_every_number_from_one_of_their_parents():
    rng = np.random.default_rng(0)
    mothers, fathers = np.zeros((100, 7)), np.ones((100, 7))
    children = crossover(mothers, fathers, rng)
    assert set(children.ravel()) == {0.0, 1.0}
    assert abs(children.mean() - 0.5) < 0.1


def test_mutation_touches_about_a_tenth():
    children = np.zeros((50, 100))
    mutated = mutate(children, 2.0, np.random.default_rng(0))
    touched = mutated != 0
    assert abs(touched.mean() - 0.1) < 0.02
    assert abs(mutated[touched].std() - 2.0) < 0.2
    assert (children == 0).all()  # the parents are not changed


def test_refuses_an_elite_that_does_not_fit():
    with pytest.raises(ConfigError, match="elite"):
        next(evolve(bowl, np.zeros(3), generations=1, population=4, elite=3))

"""A genetic algorithm: improve without a gradient, by breeding.

Holland, *Adaptation in Natural and Artificial Systems*, 1975; for networks, Montana & Davis, IJCAI 1989. A population
of parameter vectors is ranked by the loss; the better half has children, which mix two parents number by number and
are nudged at random; the best few live on unchanged. Nothing is asked of the loss but its value: it may be a step
function, an accuracy, a game.

What it cannot do: tell which of a thousand numbers was to blame. A gradient does, at the price of about two more
evaluations; here every evaluation returns one number for the whole vector.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from my_llm.errors import ConfigError


class Generation(NamedTuple):
    """The best vector so far, its loss, and how many times the loss has been evaluated."""

    best: Float[ndarray, "N"]
    loss: float
    evaluations: int


def crossover(
    mothers: Float[ndarray, "P N"], fathers: Float[ndarray, "P N"], rng: np.random.Generator
) -> Float[ndarray, "P N"]:
    """Every number of a child comes from its mother or its father, by the toss of a coin (uniform crossover)."""
    return np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)


def mutate(children: Float[ndarray, "P N"], scale: float, rng: np.random.Generator) -> Float[ndarray, "P N"]:
    """Adds Gaussian noise to about one number in ten; in a short vector, to about one."""
    hit = rng.random(children.shape) < max(0.1, 1 / children.shape[1])
    return children + scale * hit * rng.standard_normal(children.shape)


def evolve(
    loss: Callable[[ndarray], float],
    start: Float[ndarray, "N"],
    *,
    generations: int,
    population: int = 40,
    elite: int = 2,
    mutation: float = 0.3,
    seed: int = 0,
) -> Iterator[Generation]:
    """Minimises `loss`; yields after every generation, `generations` times, starting with the random one.

    Args:
        loss: Any function of a vector of N numbers.
        start: Where the first population is scattered around, with standard deviation 1.
        generations: How many generations.
        population: Vectors in each generation, P.
        elite: How many of the best live on unchanged, so the best loss never rises.
        mutation: Standard deviation of the noise; shrinks linearly to 0 over the generations.
        seed: Of all the chance involved.

    Raises:
        ConfigError: If the elite does not fit into the breeding half of the population.
    """
    if not 0 < elite <= population // 2:
        raise ConfigError("elite out of range", got=elite, valid=f"1 to {population // 2}, half of the population")
    rng = np.random.default_rng(seed)
    vectors = start + rng.standard_normal((population, len(start)))  # (P, N)
    losses = np.array([loss(vector) for vector in vectors])
    for generation in range(generations):
        if generation:
            parents = vectors[: population // 2]  # selection: the better half
            mothers, fathers = rng.choice(parents, (2, population - elite))
            children = mutate(crossover(mothers, fathers, rng), mutation * (1 - generation / generations), rng)
            vectors = np.concatenate([vectors[:elite], children])
            losses = np.concatenate([losses[:elite], [loss(child) for child in children]])
        ranking = np.argsort(losses, kind="stable")
        vectors, losses = vectors[ranking], losses[ranking]
        yield Generation(vectors[0], float(losses[0]), population + generation * (population - elite))

"""The studies of stage 1, one function per question; `python stage1_mlp/experiments.py --help` lists them.

This file holds the command line alone, so that `--help` answers without torch.
"""

from dataclasses import dataclass

from my_llm.cli import BaseConfig


@dataclass(frozen=True)
class StudyConfig(BaseConfig):
    """Run studies: each answers one question with a table in results/ and a figure in docs/figures/."""

    studies: tuple[str, ...] = ("all",)
    """which studies to run, by name; all: every one, in the order of the theory page"""
    dataset: str = "auto"
    """corpus for the studies that need text: ag_news, imdb, bbc_news, movie_reviews, python_docs, auto"""
    seeds: int = 3
    """repetitions with different random numbers; tables give mean and standard deviation"""
    max_steps: int = 0
    """optimiser steps of each training; 0: as the study says; a small number shortens everything (the numbers then
    mean nothing)"""


def seeds_of(config: StudyConfig) -> range:
    """The seeds of the repetitions."""
    return range(config.seed, config.seed + config.seeds)


def steps_of(config: StudyConfig, steps: int) -> int:
    """How many steps to train: `--max_steps` if given, else what the study wants."""
    return config.max_steps or steps

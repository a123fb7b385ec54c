"""The studies of stage 1, one function per question; `python stage1_mlp/experiments.py --help` lists them.

This file holds the command line alone, so that `--help` answers without torch.
"""

from dataclasses import dataclass
from typing import ClassVar

from my_llm import studies
from my_llm.studies import seeds_of, steps_of

__all__ = ["StudyConfig", "seeds_of", "steps_of"]


@dataclass(frozen=True)
class StudyConfig(studies.StudyConfig):
    """Run studies: each answers one question with a table in results/ and a figure in docs/figures/."""

    dataset: str = "auto"
    """corpus for the studies that need text: ag_news, imdb, bbc_news, movie_reviews, python_docs, auto"""

    stage: ClassVar[str] = "stage1_mlp"

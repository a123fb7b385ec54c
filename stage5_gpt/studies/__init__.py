"""The studies of stage 5, one function per question; `python experiments.py --help` lists them.

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
    """running text: auto, tiny_shakespeare, shakespeare, three_kingdoms, python_library"""
    news: str = "auto"
    """texts to classify, for the study encoder: ag_news, bbc_news, imdb, movie_reviews, python_docs; auto: ag_news,
    else python_docs"""
    seeds: int = 2
    """repetitions with different random numbers; tables give mean and standard deviation"""

    stage: ClassVar[str] = "stage5_gpt"

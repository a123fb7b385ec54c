"""The studies of stage 4, one function per question; `python experiments.py --help` lists them.

This file holds the command line alone, so that `--help` answers without torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from my_llm import studies
from my_llm.studies import seeds_of, steps_of

__all__ = ["StudyConfig", "seeds_of", "steps_of"]


@dataclass(frozen=True)
class StudyConfig(studies.StudyConfig):
    """Run studies: each answers one question with a table in results/ and a figure in docs/figures/."""

    dataset: str = "numbers_en_fr"
    """sentences to translate: numbers_en_fr, multi30k_en_fr, tatoeba_en_fr, bible_en_fr; the study positions always
    takes numbers_en_fr, which it can make longer"""
    text: str = "auto"
    """running text for the studies with language models: auto, tiny_shakespeare, shakespeare, three_kingdoms,
    python_library"""
    news: str = "auto"
    """texts to classify, for the study news: ag_news, bbc_news, imdb, movie_reviews, python_docs; auto: ag_news, else
    python_docs, which is always there"""
    model_path: Path | None = None
    """for the study looking: a translator that train.py wrote, in place of a small one of its own"""
    seeds: int = 1
    """repetitions with different random numbers; tables give mean and standard deviation"""

    stage: ClassVar[str] = "stage4_transformer"

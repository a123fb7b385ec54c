"""The studies of stage 3, one function per question; `python experiments.py --help` lists them.

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
    """sentences to translate: numbers_en_fr, multi30k_en_fr, tatoeba_en_fr, bible_en_fr; the study attentions always
    takes numbers_en_fr, where it is known which word belongs to which"""
    model_path: Path | None = None
    """for the studies beam and choosing: a translator that train.py wrote, in place of a small one of their own"""

    stage: ClassVar[str] = "stage3_attention_seq2seq"

"""The studies of stage 2, one function per question; `python stage2_rnn_lstm/experiments.py --help` lists them.

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
    """text to learn: tiny_shakespeare, shakespeare, three_kingdoms, python_library, auto; where a study needs labelled
    sentences, its corpus is fixed"""

    stage: ClassVar[str] = "stage2_rnn_lstm"

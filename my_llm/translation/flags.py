"""The command lines that evaluate.py and translate.py of every translating stage share. Nothing here loads torch.

A stage's own class adds the path of its checkpoint, and more flags if it has more.
"""

import dataclasses
import math
from pathlib import Path
from typing import ClassVar, Literal

from my_llm.cli import BaseConfig
from my_llm.errors import ConfigError

PENALTY = 0.6  # what --length_penalty is if nobody says


@dataclasses.dataclass(frozen=True)
class SearchConfig(BaseConfig):
    """How a translation is searched for."""

    beam_size: int = 5
    """beginnings that beam search keeps; 1: the likeliest token at each step (greedy)"""
    length_penalty: float | None = None
    """0 compares plain probabilities, which favour short sentences; larger favours longer ones; left out: 0.6"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "beam_size": (1, 1000), "length_penalty": (0, 10)
    }  # fmt: skip

    @property
    def penalty(self) -> float:
        """The length penalty that counts."""
        return PENALTY if self.length_penalty is None else self.length_penalty

    def check(self) -> None:
        """Refuse flags that contradict each other, before anything is loaded.

        Raises:
            ConfigError: a length penalty where no two lengths are compared.
        """
        if self.length_penalty is not None and self.beam_size == 1:
            raise ConfigError(
                "--length_penalty belongs to beam search",
                got=f"--beam_size 1 --length_penalty {self.length_penalty:g}",
                next_step="leave one of them out",
            )


@dataclasses.dataclass(frozen=True)
class ScoringConfig(SearchConfig):
    """What evaluate.py is asked for."""

    dataset: str = ""
    """corpus to score on; empty: the one that the model was trained on"""
    split: Literal["auto", "test", "validation", "train"] = "auto"
    """which part of the corpus; auto: test, or validation where there is no test part"""
    examples: int = 1
    """how many of the best, of the median and of the worst sentences to print"""
    report: Path | None = None
    """also write everything to this JSON file"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {**SearchConfig.ranges, "examples": (0, math.inf)}


@dataclasses.dataclass(frozen=True)
class SpeakingConfig(SearchConfig):
    """What translate.py is asked for."""

    text: str = ""
    """the sentence"""
    file: Path | None = None
    """or a file, one sentence a line"""
    interactive: bool = False
    """or ask for sentences until /quit"""
    show_attention: bool = False
    """draw where the model looked"""
    png: Path | None = None
    """where --show_attention writes its picture; left out: attention.png"""

    @property
    def picture(self) -> Path:
        """Where the picture goes."""
        return self.png or Path("attention.png")

    def check(self) -> None:
        """Refuse flags that contradict each other, before anything is loaded.

        Raises:
            ConfigError: nothing, or more than one thing to translate; more than one sentence to draw; a place for a
                picture that nobody asked for; a length penalty where no two lengths are compared.
        """
        asked = {"text": self.text.strip(), "file": self.file, "interactive": self.interactive}
        given = [name for name, value in asked.items() if value]
        if len(given) != 1:
            raise ConfigError(
                "translate what?", got=" and ".join(f"--{name}" for name in given) or "nothing",
                valid='one of --text "a dog runs", --file sentences.txt, --interactive',
            )  # fmt: skip
        if self.file is not None and self.show_attention:
            raise ConfigError("--show_attention draws one sentence", got="--file", next_step="give it as --text")
        if self.png is not None and not (self.show_attention or self.interactive):
            raise ConfigError(
                "--png is where --show_attention draws", got=f"--png {self.png}", next_step="add --show_attention"
            )
        super().check()

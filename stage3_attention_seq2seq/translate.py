"""Translate with stage 3's model: `python translate.py --text "a dog runs in the snow"`.

A sentence, a file with one sentence a line (`--file`), or one after the other (`--interactive`, also from a pipe).
`--show_attention` draws in the terminal where the model looked, and writes the picture as PNG. How it talks stands in
my_llm/translation/speaking.py.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from my_llm.cli import main
from my_llm.errors import ConfigError
from my_llm.translation.flags import SpeakingConfig

if TYPE_CHECKING:
    from my_llm.translation.translator import Translated


@dataclasses.dataclass(frozen=True)
class TranslateConfig(SpeakingConfig):
    """Translate with a model of stage 3."""

    checkpoint: Path = Path("checkpoints/best_attention_model.pt")
    """translator that train.py wrote"""


def run(config: TranslateConfig) -> None:
    """Translate what was asked for."""
    config.check()
    from my_llm.device import set_up
    from my_llm.translation.speaking import draw_alignment, speak
    from stage3_attention_seq2seq.translator import align, load_translator

    device = set_up(config.device, config.threads, config.seed)
    translator = load_translator(config.checkpoint, device, config.precision)

    def draw_look(text: str, answer: "Translated") -> None:
        alignment = align(translator, text, answer.tokens)
        if alignment is None:
            raise ConfigError("this model has no attention to show", got=translator.model.config.attention)
        draw_alignment(alignment, text, config.picture)

    speak(config, translator, draw_look)


if __name__ == "__main__":
    main(TranslateConfig, run)

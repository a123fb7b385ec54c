"""Translate with stage 4's model: `python translate.py --text "a dog runs in the snow"`.

A sentence, a file with one sentence a line (`--file`), or one after the other (`--interactive`, also from a pipe).
`--show_attention` draws in the terminal where the decoder looked at the source, in its last layer and on average over
the heads, or in one `--layer` and `--head`, and writes a PNG with every head of every layer of both stacks. How it
talks stands in my_llm/translation/speaking.py.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from my_llm.cli import main, printable
from my_llm.errors import ConfigError
from my_llm.translation.flags import SpeakingConfig

if TYPE_CHECKING:
    from my_llm.translation.translator import Translated

PICTURE = 30  # words of a sentence for which a picture has room: heads stand side by side


@dataclasses.dataclass(frozen=True)
class TranslateConfig(SpeakingConfig):
    """Translate with a model of stage 4."""

    checkpoint: Path = Path("checkpoints/best_transformer_model.pt")
    """translator that train.py wrote"""
    layer: int = 0
    """layer of the decoder that --show_attention draws in the terminal, 1 for the first; 0: the last"""
    head: int = 0
    """head that it draws, 1 for the first; 0: the mean of all"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {**SpeakingConfig.ranges, "layer": (0, 100), "head": (0, 10_000)}

    def check(self) -> None:
        """Refuse flags that contradict each other, before anything is loaded.

        Raises:
            ConfigError: as in SpeakingConfig; a layer or head for a drawing that nobody asked for.
        """
        super().check()
        for name in ("layer", "head"):
            if getattr(self, name) and not (self.show_attention or self.interactive):
                got = f"--{name} {getattr(self, name)}"
                raise ConfigError(f"--{name} is what --show_attention draws", got=got, next_step="add --show_attention")


def run(config: TranslateConfig) -> None:
    """Translate what was asked for."""
    config.check()
    from my_llm.device import set_up
    from my_llm.heatmaps import grid
    from my_llm.terminal import say
    from my_llm.translation.alignment import draw
    from my_llm.translation.speaking import speak
    from stage4_transformer.translating import align, blocks, load_translator

    device = set_up(config.device, config.threads, config.seed)
    translator = load_translator(config.checkpoint, device, config.precision)
    sizes = translator.model.config
    for name, value, most in (("layer", config.layer, sizes.layers), ("head", config.head, sizes.heads)):
        if value > most:
            raise ConfigError(f"the model has no such {name}", got=value, valid=f"1 to {most}")

    def draw_look(text: str, answer: "Translated") -> None:
        alignment = align(translator, text, answer.tokens, config.layer, config.head)
        print(printable(draw(alignment)), flush=True)
        words = max(len(alignment.source), len(alignment.target))
        if words > PICTURE:
            raise ConfigError("no picture of so long a sentence", got=f"{words} words", valid=f"at most {PICTURE}")
        shown = {name: part._replace(rows=[word[:20] for word in part.rows], columns=[w[:20] for w in part.columns])
                 for name, part in blocks(translator, text, answer.tokens).items()}  # fmt: skip
        grid(shown, config.picture, title=f"“{text[:60]}”")
        say(f"picture: {config.picture}")

    speak(config, translator, draw_look)


if __name__ == "__main__":
    main(TranslateConfig, run)

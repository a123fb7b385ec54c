"""Translate with stage 3's model: `python translate.py --text "a dog runs in the snow"`.

A sentence, a file with one sentence a line (`--file`), or one after the other (`--interactive`, also from a pipe).
`--show_attention` draws in the terminal where the model looked, and writes the picture as PNG.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from my_llm.cli import BaseConfig, main, printable
from my_llm.errors import ConfigError, DataError, UserError
from my_llm.terminal import lines, say

if TYPE_CHECKING:
    from stage3_attention_seq2seq.translator import Translated, Translator

PICTURE = 60  # words of a sentence for which a picture has room
HELP = "Type a sentence, press Enter. /attention shows where the model looks, /help, /quit; Ctrl-D leaves, too."


@dataclasses.dataclass(frozen=True)
class TranslateConfig(BaseConfig):
    """Translate with a model of stage 3."""

    checkpoint: Path = Path("checkpoints/best_attention_model.pt")
    """translator that train.py wrote"""
    text: str = ""
    """the sentence"""
    file: Path | None = None
    """or a file, one sentence a line"""
    interactive: bool = False
    """or ask for sentences until /quit"""
    beam_size: int = 5
    """beginnings that are kept; 1: the likeliest token at each step"""
    length_penalty: float = 0.6
    """0 compares plain probabilities, which favour short sentences; larger favours longer ones"""
    show_attention: bool = False
    """draw where the model looked"""
    png: Path = Path("attention.png")
    """where --show_attention writes its picture"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "beam_size": (1, 1000), "length_penalty": (0, 10), "threads": (0, 1024)
    }  # fmt: skip


def run(config: TranslateConfig) -> None:
    """Translate what was asked for.

    Raises:
        ConfigError: nothing, or more than one thing to translate, or more than one sentence to draw.
    """
    asked = {"text": config.text.strip(), "file": config.file, "interactive": config.interactive}
    given = [name for name, value in asked.items() if value]
    if len(given) != 1:
        raise ConfigError(
            "translate what?", got=" and ".join(f"--{name}" for name in given) or "nothing",
            valid='one of --text "a dog runs", --file sentences.txt, --interactive',
        )  # fmt: skip
    if config.file is not None and config.show_attention:
        raise ConfigError("--show_attention draws one sentence", got="--file", next_step="give it as --text")
    from my_llm.device import set_up
    from stage3_attention_seq2seq.translator import load_translator

    device = set_up(config.device, config.threads, config.seed)
    translator = load_translator(config.checkpoint, device, config.precision)
    if config.interactive:
        converse(translator, config)
    elif config.file is not None:
        for line in translations_of(translator, sentences_of(config.file), config):
            print(printable(line), flush=True)
    else:
        show(translator, config.text.strip(), config)


def sentences_of(file: Path) -> list[str]:
    """Its lines, as every other program counts them.

    Raises:
        DataError: it cannot be read, is not UTF-8, or is empty.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot read --file", got=file, next_step=str(error)) from None
    if not text:
        raise DataError("--file is empty", got=file, valid="one sentence a line")
    return text.removesuffix("\n").split("\n")


def translations_of(translator: "Translator", lines: list[str], config: TranslateConfig) -> list[str]:
    """A line for each line, an empty one for an empty one."""
    places = [place for place, line in enumerate(lines) if line.strip()]
    said, found = answers(translator, [lines[place].strip() for place in places], config), [""] * len(lines)
    for place, answer in zip(places, said, strict=True):
        found[place] = " ".join(answer.text.split())
    return found


def answers(translator: "Translator", texts: list[str], config: TranslateConfig) -> "list[Translated]":
    """The translations as the flags ask for them."""
    return translator.translate(texts, beam_size=config.beam_size, length_penalty=config.length_penalty)


def show(translator: "Translator", text: str, config: TranslateConfig) -> None:
    """One translation, and where the model looked.

    Raises:
        ConfigError: --show_attention with a model that has none, or of a sentence that no picture has room for.
    """
    (answer,) = answers(translator, [text], config)
    print(printable(answer.text), flush=True)
    if not config.show_attention:
        return
    from my_llm import plots
    from stage3_attention_seq2seq.alignment import align_words, draw

    looked = translator.look(text, answer.tokens)
    if looked is None:
        raise ConfigError("this model has no attention to show", got=translator.model.config.attention)
    weights, read = looked
    alignment = align_words(weights, answer.tokens, read, translator.tokenizer)
    print(printable(draw(alignment)), flush=True)
    words = max(len(alignment.source), len(alignment.target))
    if words > PICTURE:
        raise ConfigError("no picture of so long a sentence", got=f"{words} words", valid=f"at most {PICTURE}")
    target, source = ([word[:20] for word in names] for names in (alignment.target, alignment.source))
    plots.heatmap(alignment.weights, target, source, config.png, title=f"“{text[:60]}”")
    say(f"picture: {config.png}")


def converse(translator: "Translator", config: TranslateConfig) -> None:
    """Translate every line until /quit, Ctrl-D or the end of the pipe."""
    say(HELP)
    for line in map(str.strip, lines()):
        try:
            if line in ("/quit", "/exit"):
                return
            if line == "/attention":
                config = dataclasses.replace(config, show_attention=not config.show_attention)
                say(f"attention {'shown' if config.show_attention else 'not shown'}")
            elif line.startswith("/"):
                say(HELP)
            elif line:
                show(translator, line, config)
        except UserError as error:
            say(error.line())
        except KeyboardInterrupt:
            say("\nstopped")


if __name__ == "__main__":
    main(TranslateConfig, run)

"""Translating for a person or a pipe, for translate.py of every translating stage: a sentence, a file, a conversation.

Translations go to standard output, everything said about them to standard error: see my_llm/terminal.py.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from my_llm import plots
from my_llm.cli import printable
from my_llm.errors import ConfigError, DataError, UserError
from my_llm.terminal import lines, say, stoppable
from my_llm.translation.alignment import Alignment, draw
from my_llm.translation.flags import SpeakingConfig
from my_llm.translation.translator import Translated, Translator

Draw = Callable[[str, Translated], None]  # where the model looked, of a sentence and its translation
PICTURE = 60  # words of a sentence for which a picture has room
HELP = "Type a sentence, press Enter. /attention shows where the model looks, /help, /quit; Ctrl-D leaves, too."


def speak(config: SpeakingConfig, translator: Translator[Any], draw_look: Draw) -> None:
    """Translate what was asked for; with --show_attention `draw_look` shows where the model looked.

    Raises:
        DataError: --file cannot be read.
        KeyboardInterrupt: Ctrl-C, at the next token.
    """
    if config.interactive:
        converse(config, translator, draw_look)
    elif config.file is not None:
        for line in translations_of(config, translator, sentences_of(config.file)):
            print(printable(line), flush=True)
    else:
        show(config, translator, config.text.strip(), draw_look)


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


def translations_of(config: SpeakingConfig, translator: Translator[Any], lines: list[str]) -> list[str]:
    """A line for each line, an empty one for an empty one."""
    places = [place for place, line in enumerate(lines) if line.strip()]
    said, found = answers(config, translator, [lines[place].strip() for place in places]), [""] * len(lines)
    for place, answer in zip(places, said, strict=True):
        found[place] = " ".join(answer.text.split())
    return found


def answers(config: SpeakingConfig, translator: Translator[Any], texts: Sequence[str]) -> list[Translated]:
    """The translations as the flags ask for them."""
    with stoppable() as asked:
        return translator.translate(texts, beam_size=config.beam_size, length_penalty=config.penalty, stop_if=asked)


def show(config: SpeakingConfig, translator: Translator[Any], text: str, draw_look: Draw) -> None:
    """One translation, and where the model looked."""
    (answer,) = answers(config, translator, [text])
    print(printable(answer.text), flush=True)
    if config.show_attention:
        draw_look(text, answer)


def draw_alignment(alignment: Alignment, text: str, png: Path) -> None:
    """Where the model looked, in the terminal and as a picture.

    Raises:
        ConfigError: no picture has room for so long a sentence.
    """
    print(printable(draw(alignment)), flush=True)
    words = max(len(alignment.source), len(alignment.target))
    if words > PICTURE:
        raise ConfigError("no picture of so long a sentence", got=f"{words} words", valid=f"at most {PICTURE}")
    target, source = ([word[:20] for word in names] for names in (alignment.target, alignment.source))
    plots.heatmap(alignment.weights, target, source, png, title=f"“{text[:60]}”")
    say(f"picture: {png}")


def converse(config: SpeakingConfig, translator: Translator[Any], draw_look: Draw) -> None:
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
                show(config, translator, line, draw_look)
        except UserError as error:
            say(error.line())
        except KeyboardInterrupt:
            say("\nstopped")

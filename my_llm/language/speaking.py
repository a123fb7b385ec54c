"""What every generate.py does: write one text, or talk with a person or a pipe.

The text goes to standard output as it is written, everything said about it to standard error: `generate.py > play.txt`
holds text alone, and so does a pipe.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from my_llm.cli import BaseConfig, parse
from my_llm.device import Precision
from my_llm.errors import CheckpointError, ConfigError, choose
from my_llm.terminal import lines, put, say, stoppable

if TYPE_CHECKING:
    import torch

    from my_llm.language.writer import Writer

UNITS = {"char": "characters", "word": "words", "bpe": "tokens"}
SETTINGS = ("length", "temperature", "top_k", "top_p", "seed")  # what a command can change
HELP = """Type how a text begins, press Enter; \\n is a line end, and after an empty line the model begins by itself.
Ctrl-C stops the text; at the prompt it leaves, as /quit and Ctrl-D do. Each text has the next seed.
Commands, as the flags of the same name: /length 500, /temperature 0.7, /top_k 40, /top_p 0.9, /seed 0; /help, /quit"""


@dataclasses.dataclass(frozen=True)
class GenerateConfig(BaseConfig):
    """Write text with a language model; a stage adds which one."""

    checkpoint: Path = Path("checkpoints/best.pt")
    """language model that train.py wrote, with its vocabulary inside"""
    vocab: Path | None = None
    """vocabulary (.pkl or .json) that must be the checkpoint's; left out, nothing is compared"""
    prompt: str = ""
    """how the text begins, \\n is a line end; left out, the model begins a new line; not with --interactive"""
    length: int = 500
    """how many characters (or words, of a word model) to write"""
    temperature: float = 0.8
    """below 1 bolder, above 1 more varied; 0: always the likeliest"""
    top_k: int = 0
    """choose among this many likeliest tokens only; 0: among all"""
    top_p: float = 1.0
    """choose among the likeliest tokens that together have this probability; 1: among all"""
    interactive: bool = False
    """ask for beginnings until /quit"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "length": (1, 10_000_000), "temperature": (0, 100), "top_k": (0, math.inf),
        "top_p": (1e-6, 1),
    }  # fmt: skip


def run(config: GenerateConfig, load: "Callable[[Path, torch.device, Precision], Writer]") -> None:
    """Write one text, or one for each beginning that the person or the pipe gives.

    Args:
        load: Reads a checkpoint, as the stage's load_writer does.

    Raises:
        ConfigError: both were asked for.
    """
    if config.interactive and config.prompt:
        raise ConfigError("--interactive asks for beginnings", got=f"--prompt {config.prompt}", next_step="choose one")
    from my_llm.device import set_up

    device = set_up(config.device, config.threads, config.seed)
    writer = load(config.checkpoint, device, config.precision)
    if config.vocab is not None:
        compare_vocabulary(writer, config.vocab)
    if config.interactive:
        converse(writer, config)
    else:
        show(writer, config.prompt, config)


def compare_vocabulary(writer: "Writer", path: Path) -> None:
    """Nothing, if the file holds the checkpoint's vocabulary; with another one the text would be nonsense.

    Raises:
        CheckpointError: it does not, or the file is damaged or hostile.
    """
    from my_llm.text import load_vocabulary

    given, own = load_vocabulary(path), writer.tokenizer.to_state()
    if given != own:
        given_size, own_size = (f"{state['kind']}, {len(state['symbols'])} symbols" for state in (given, own))
        raise CheckpointError(
            f"--vocab {path} does not belong to the checkpoint",
            got=given_size,
            valid=own_size if own_size != given_size else f"{own_size}, others or in another order",
            next_step="leave --vocab out: the checkpoint holds its own; the file beside it is that of the newest run",
        )


def show(writer: "Writer", prompt: str, config: GenerateConfig) -> None:
    """The prompt as the model reads it, the text that it adds, and how fast."""
    prompt = prompt.replace("\\n", "\n")
    if unknown := writer.unknown(prompt):
        named = ", ".join(map(repr, unknown))
        say(f"the model does not know these {UNITS[writer.kind]} and reads <unk> for each: {named}")
    put(writer.as_read(prompt))
    started, characters = time.perf_counter(), 0
    settings = {"temperature": config.temperature, "top_k": config.top_k or None, "top_p": config.top_p}
    with stoppable() as asked:
        for piece in writer.write(prompt, length=config.length, seed=config.seed, **settings):
            put(piece)
            characters += len(piece)
            if asked():
                raise KeyboardInterrupt
    seconds = time.perf_counter() - started
    put("\n")
    say(f"{characters:,} characters, {characters / seconds:,.0f} a second; seed {config.seed}")


def converse(writer: "Writer", config: GenerateConfig) -> None:
    """Write a text for every line until /quit, Ctrl-D or the end of the pipe."""
    say(HELP)
    for line in lines():
        if line.strip() in ("/quit", "/exit"):
            return
        try:
            if line.startswith("/"):
                config = command(line, config)
            else:
                show(writer, line, config)
                config = dataclasses.replace(config, seed=config.seed + 1)
        except ConfigError as error:
            error.next_step = error.next_step if "mean" in str(error.next_step) else "/help"
            say(error.line())
        except KeyboardInterrupt:
            put("\n")
            say("stopped")


def command(line: str, config: GenerateConfig) -> GenerateConfig:
    """What `/temperature 0.7` makes of the settings; it is read as the flag --temperature 0.7 is.

    Raises:
        ConfigError: no such command, or a value that the flag would not take.
    """
    name, _, value = line.removeprefix("/").partition(" ")
    if name == "help":
        say(HELP)
    else:
        choose(name, {setting: setting for setting in SETTINGS}, "command")
        if value.strip():
            changed = parse(type(config), [f"--{name}={value.strip()}"])
            config = dataclasses.replace(config, **{name: getattr(changed, name)})
    say("   ".join(f"{name} {getattr(config, name)}" for name in SETTINGS))
    return config

"""What every generate.py does: write one text, or talk with a person or a pipe.

The text goes to standard output as it is written, everything said about it to standard error: `generate.py > play.txt`
holds text alone, and so does a pipe.
"""

import dataclasses
import math
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from my_llm.cli import BaseConfig, parse
from my_llm.device import Precision
from my_llm.errors import CheckpointError, ConfigError, UserError, choose
from my_llm.terminal import lines, put, say, stoppable

if TYPE_CHECKING:
    import torch

    from my_llm.language.filtering import Banned
    from my_llm.language.writer import Writer

UNITS = {"char": "characters", "word": "words", "wordpiece": "words"}  # of all others: tokens
PENALTY = 0.6  # what --length_penalty is if nobody says
SETTINGS = ("length", "temperature", "top_k", "top_p", "seed")  # what a command can change
OF_DRAWING = ("min_p", "repetition_penalty", "presence_penalty", "num_samples", "show_probabilities")
MORE = (*OF_DRAWING, "beam_size", "length_penalty", "stop", "banned")  # the same, shown where they are not as usual
HELP = """Type how a text begins, press Enter; \\n is a line end, and after an empty line the model begins by itself.
Ctrl-C stops the text; at the prompt it leaves, as /quit and Ctrl-D do. Each text has the next seed.
Commands, as the flags of the same name: /length 500, /temperature 0.7, /top_k 40, /top_p 0.9, /seed 0; /help, /quit;
/min_p 0.1, /repetition_penalty 1.2, /presence_penalty 0.5, /beam_size 4, /length_penalty 0.6, /num_samples 3,
/show_probabilities 5, /stop "\\n\\n" END, /banned words.txt "a phrase"; /stop "" and /banned "" for none"""


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
    min_p: float = 0.0
    """choose among tokens with at least this share of the likeliest one's probability; 0: among all"""
    repetition_penalty: float = 1.0
    """above 1: what was there before becomes less likely, its logit is divided by this; 1: off"""
    presence_penalty: float = 0.0
    """above 0: the same, but this is subtracted from its logit; 0: off"""
    beam_size: int = 1
    """beginnings that beam search keeps to find the likeliest text; 1: the text is drawn"""
    length_penalty: float | None = None
    """of beam search with --stop: larger favours longer texts, 0 compares plain probabilities; left out: 0.6"""
    stop: tuple[str, ...] = ()
    """the text ends before the first of these strings; \\n is a line end"""
    banned: tuple[str, ...] = ()
    """words that are not written; a name that ends in .txt is a file with one on every line"""
    num_samples: int = 1
    """how many texts to write, with the seeds --seed, --seed + 1, …"""
    show_probabilities: int = 0
    """list so many candidates for every token, with their probabilities; the text comes after the list"""
    interactive: bool = False
    """ask for beginnings until /quit"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "length": (1, 10_000_000), "temperature": (0, 100), "top_k": (0, math.inf),
        "top_p": (1e-6, 1), "min_p": (0, 1), "repetition_penalty": (0.01, 100), "presence_penalty": (-100, 100),
        "beam_size": (1, 1000), "length_penalty": (0, 10), "num_samples": (1, 10_000),
        "show_probabilities": (0, 1000),
    }  # fmt: skip

    def check(self) -> None:
        """Refuse flags that contradict each other.

        Raises:
            ConfigError: a prompt for a conversation; beam search together with flags of drawing, or the reverse; a
                banned word that is none.
            DataError: banned words that cannot be read.
        """
        if self.interactive and self.prompt:
            raise ConfigError(
                "--interactive asks for beginnings", got=f"--prompt {self.prompt}", next_step="choose one"
            )
        changed = [
            f"--{name}" for name in ("temperature", "top_k", "top_p", *OF_DRAWING)
            if getattr(self, name) != getattr(type(self), name)
        ]  # fmt: skip
        if self.beam_size > 1 and changed:
            raise ConfigError(
                f"beam search draws nothing: --beam_size {self.beam_size} goes without {' and '.join(changed)}",
                next_step="leave one of them out",
            )
        if self.beam_size == 1 and self.length_penalty is not None:
            raise ConfigError("--length_penalty belongs to beam search", got="--beam_size 1", next_step="--beam_size 4")
        if self.banned:
            from my_llm.language.filtering import words_of

            words_of(self.banned)


def run(config: GenerateConfig, load: "Callable[[Path, torch.device, Precision], Writer]") -> None:
    """Write one text, or one for each beginning that the person or the pipe gives.

    Args:
        load: Reads a checkpoint, as the stage's load_writer does.

    Raises:
        ConfigError: flags that contradict each other.
    """
    config.check()
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
    """The texts after one prompt; several are parted on standard error."""
    prompt = prompt.replace("\\n", "\n")
    if unknown := writer.unknown(prompt):
        named = ", ".join(map(repr, unknown))
        unit = UNITS.get(writer.kind, "tokens")
        say(f"the model does not know these {unit} and reads <unk> for each: {named}")
    for number in range(config.num_samples):
        one = dataclasses.replace(config, seed=config.seed + number)
        if config.num_samples > 1:
            say(f"--- text {number + 1} of {config.num_samples}, seed {one.seed} ---")
        show_one(writer, prompt, one)


def show_one(writer: "Writer", prompt: str, config: GenerateConfig) -> None:
    """The prompt as the model reads it, the text that it adds, how fast, and what was filtered."""
    from my_llm.language.filtering import Banned, words_of

    words = words_of(config.banned)
    banned = Banned(words) if words else None
    held: list[str] = []
    emit = held.append if config.show_probabilities else put
    emit(writer.as_read(prompt))
    started, characters = time.perf_counter(), 0
    try:
        with stoppable() as asked:
            for piece in written(writer, prompt, config, banned, asked):
                emit(piece)
                characters += len(piece)
                if asked():
                    raise KeyboardInterrupt
    finally:
        put("".join(held))
    seconds = time.perf_counter() - started
    put("\n")
    way = f"seed {config.seed}" if config.beam_size == 1 else f"beam of {config.beam_size}"
    say(f"{characters:,} characters, {characters / seconds:,.0f} a second; {way}")
    if banned is not None:
        say(banned.said())


def written(
    writer: "Writer", prompt: str, config: GenerateConfig, banned: "Banned | None", asked: Callable[[], bool]
) -> Iterator[str]:
    """The text, drawn or searched for, as the flags ask for it."""
    stop = [text.replace("\\n", "\n") for text in config.stop if text]
    if config.beam_size > 1:
        from my_llm.language.searching import search

        penalty = PENALTY if config.length_penalty is None else config.length_penalty
        yield search(
            writer, prompt, length=config.length, beam_size=config.beam_size, length_penalty=penalty, stop=stop,
            banned=banned, stop_if=asked,
        )  # fmt: skip
        return
    from my_llm.language.candidates import Listing

    yield from writer.write(
        prompt, length=config.length, temperature=config.temperature, top_k=config.top_k or None, top_p=config.top_p,
        min_p=config.min_p, repetition_penalty=config.repetition_penalty, presence_penalty=config.presence_penalty,
        seed=config.seed, stop=stop, banned=banned,
        watch=Listing(writer.tokenizer, config.show_probabilities, say) if config.show_probabilities else None,
    )  # fmt: skip


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
                config = dataclasses.replace(config, seed=config.seed + config.num_samples)
        except UserError as error:
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
        choose(name, {setting: setting for setting in (*SETTINGS, *MORE)}, "command")
        if value.strip():
            flags = [f"--{name}", *quoted(value)] if name in ("stop", "banned") else [f"--{name}={value.strip()}"]
            changed = dataclasses.replace(config, **{name: getattr(parse(type(config), flags), name)})
            changed.check()
            config = changed
    unusual = [name for name in MORE if getattr(config, name) != getattr(type(config), name)]
    say("   ".join(f"{name} {said(getattr(config, name))}" for name in (*SETTINGS, *unusual)))
    return config


def quoted(value: str) -> list[str]:
    """Strings as a shell cuts them: parted by spaces, quotes keep them together; a backslash is one, "" is nothing."""
    words = shlex.shlex(value, posix=True)
    words.whitespace_split, words.escape, words.commenters = True, "", ""
    try:
        return list(filter(None, words))
    except ValueError:
        raise ConfigError("a quotation mark without its other half", got=value, valid='"\\n\\n" END') from None


def said(value: object) -> str:
    """A setting for the eye."""
    return " ".join(map(repr, value)) if isinstance(value, tuple) else str(value)

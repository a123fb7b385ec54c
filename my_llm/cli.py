"""One flat frozen dataclass is one command line: its fields are the flags, the string under each field is its help.

A user's mistake costs one line and exit code 2; a training that became NaN ends with 3, Ctrl-C with 130. `--help`
answers without importing torch: scripts import heavy things inside the function that needs them.
"""

import contextlib
import dataclasses
import io
import math
import os
import shlex
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from my_llm.device import Precision, prepare_matrix_path
from my_llm.errors import ConfigError, NotFiniteError, UserError, choose, nearest

Config = TypeVar("Config")
Training = TypeVar("Training", bound="TrainingConfig")

NOT_PART_OF_A_RUN = ("config", "preset", "resume", "budget")  # flags that give others their values
MAY_CHANGE_ON_RESUME = (*NOT_PART_OF_A_RUN, "device", "threads")

DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # can make a line read as something else


@dataclasses.dataclass(frozen=True)
class BaseConfig:
    """Flags that every script has."""

    config: Path | None = None
    """TOML file with values for these flags; flags on the command line win"""
    device: str = "auto"
    """where to compute: auto, cpu, cuda, cuda:1, mps"""
    precision: Precision = "auto"
    """number format of matrix products; auto: bf16 on GPUs, fp32 on CPUs"""
    seed: int = 0
    """seed of everything random: the same seed gives the same bytes"""
    threads: int = 0
    """CPU threads; 0: one per core"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"seed": (0, 2**63 - 1), "threads": (0, 1024)}


@dataclasses.dataclass(frozen=True)
class TrainingConfig(BaseConfig):
    """Flags that every training script has."""

    preset: str = ""
    """name of a file of presets/, beside the script: --preset x is --config presets/x.toml"""
    budget: str = ""
    """time that the training may take, as 90s, 10m or 1h: it sets size, data and steps by rule, and says how"""
    max_steps: int = 0
    """stop after this many optimiser steps; 0: as many as --epochs asks for"""
    run_name: str = ""
    """name of the run directory, after its time stamp"""
    resume: Path | None = None
    """run directory (or last.pt) to continue exactly where it stopped"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {**BaseConfig.ranges, "max_steps": (0, math.inf)}


def main(config_class: type[Config], run: Callable[[Config], int | None]) -> None:
    """Parse sys.argv, run, and exit with the code that tells how it went."""
    sys.exit(execute(config_class, run, sys.argv[1:]))


def execute(config_class: type[Config], run: Callable[[Config], int | None], arguments: Sequence[str]) -> int:
    """The exit code of `run(config)`: 0 fine, 2 a user's mistake, 3 not finite, 130 stopped by hand."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a µ that the terminal cannot show is no reason to stop
    try:
        config = parse(config_class, arguments)
        prepare_matrix_path()
        code = run(config) or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        return _complain(error.line(), error.exit_code)
    except NotFiniteError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        return _complain(str(stop) or "stopped", 130)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; importing it here would cost --help a second
            raise
        return _complain("the memory of the GPU is full; next: a smaller --batch_size, or --precision bf16", 2)
    except BrokenPipeError:
        return unheard()


def unheard() -> int:
    """The exit code when nobody reads the output any more, as in `train.py | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def parse(config_class: type[Config], arguments: Sequence[str]) -> Config:
    """The dataclass filled from `--config FILE`, or `--preset NAME`, first and the flags second.

    Raises:
        ConfigError: an unknown flag or key (the nearest one is named), a value of the wrong type or out of the class's
            `ranges` (name → smallest and largest value), an invalid choice.
    """
    names = [field.name for field in dataclasses.fields(config_class)]  # pyright: ignore[reportArgumentType]
    for argument in arguments:
        if argument.startswith("--") and argument != "--":
            flag = argument[2:].split("=")[0].replace("-", "_")
            if flag not in ("help", *names) and flag.removeprefix("no_") not in names:
                _refuse("unknown flag", f"--{flag}", [f"--{name}" for name in names])
    path = _config_path(arguments)
    from_file = _flags_from_file(path, names)
    if budget := value_of("--budget", arguments):
        from my_llm.budget import flags_within

        from_file += flags_within(budget, sys.modules[config_class.__module__], arguments)
    if from_file:
        _read_flags(config_class, from_file, f"in {path}: ")  # alone first: a mistake in the file is called one
    config = _read_flags(config_class, [*from_file, *arguments])
    for name, (low, high) in getattr(config_class, "ranges", {}).items():
        value = getattr(config, name)
        if value is not None and (not low <= value <= high or math.isinf(value)):
            limits = f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
            raise ConfigError(f"--{name} is out of range", got=value, valid=limits)
    return config


def to_toml(config: object) -> str:
    """A flat dataclass as TOML; fields that are None are left out, as TOML has no None."""
    lines = []
    for name, value in to_plain(config).items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else _quoted(value)
            lines.append(f"{name} = {text}\n")
    return "".join(lines)


def to_plain(config: Any) -> dict[str, Any]:
    """A flat dataclass as plain data: paths become strings, tuples lists."""
    return {name: _plain(value) for name, value in dataclasses.asdict(config).items()}


def printable(text: str) -> str:
    """Text from a model or a file, safe for a terminal: without control characters and changes of writing direction."""
    return "".join(c for c in text if c in "\n\t" or not (unicodedata.category(c) in ("Cc", "Cs") or c in DIRECTIONS))


def command_line(parts: Sequence[object]) -> str:
    """A command as one would type it on this system."""
    words = [str(part) for part in parts]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _read_flags(config_class: type[Config], flags: list[str], where: str = "") -> Config:
    import tyro

    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(config_class, args=flags, use_underscores=True)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(where + _first_sentence(errors.getvalue()), next_step="see --help") from None


def _complain(line: str, code: int) -> int:
    print(f"{Path(sys.argv[0]).name}: {printable(line)}", file=sys.stderr)
    return code


def _refuse(what: str, got: str, valid: list[str]) -> None:
    near = nearest(got, valid)
    raise ConfigError(
        what, got=got, valid=None if near else valid, next_step=f"did you mean {near}?" if near else "see --help"
    )


def _config_path(arguments: Sequence[str]) -> Path | None:
    preset, path = (value_of(flag, arguments) for flag in ("--preset", "--config"))
    if preset is None:
        return Path(path) if path is not None else None
    if path is not None:
        raise ConfigError("--preset is a --config already", got=path, next_step="leave one of them out")
    presets = {path.stem: path for path in (Path(sys.argv[0]).resolve().parent / "presets").glob("*.toml")}
    if not presets:
        raise ConfigError("this script has no presets", got=preset, next_step="--config FILE.toml, or flags")
    return choose(preset, presets, "preset")


def value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """What stands behind a flag on the command line."""
    for position, argument in enumerate(arguments):
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return None


def _flags_from_file(path: Path | None, names: list[str]) -> list[str]:
    """The file's values as flags, so that they are checked like flags; a later flag of the same name wins."""
    if path is None:
        return []
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("cannot read --config", got=path, next_step=f"mend the file: {error}") from None
    flags = []
    for name, value in values.items():
        if name not in names:
            _refuse(f"unknown key in {path}", name, names)
        if name in ("preset", "budget") and value:  # it would be remembered and not read
            raise ConfigError(f"{path} cannot name a {name}", got=value, next_step=f"--{name} {value}, and flags")
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no_{name}")
        else:
            flags += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return flags


def _first_sentence(box: str) -> str:
    """tyro draws a box with a title and hints; its first paragraph is the sentence we want."""
    lines = [line.strip("│╭╮╰╯ ").strip() for line in box.splitlines()]
    lines = [line for line in lines if line]
    end = next((i for i, line in enumerate(lines) if i and line.startswith("──")), len(lines))
    return " ".join(lines[1:end]) or "cannot read the command line"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_quoted(item) for item in value) + "]"
    if isinstance(value, str):
        import json

        return json.dumps(value, ensure_ascii=False)  # a JSON string is a valid TOML basic string
    return repr(value)


# --- the flags of a run -----------------------------------------------------------------------------------------------


def settings_of(config: TrainingConfig) -> str:
    """The settings of a run as TOML, without the flags that point to files."""
    lines = to_toml(config).splitlines(keepends=True)
    return "".join(line for line in lines if line.split(" = ")[0] not in NOT_PART_OF_A_RUN)


def typed_flags() -> set[str]:
    """The fields whose flags stand on the command line."""
    words = (word.split("=")[0].lstrip("-").replace("-", "_") for word in sys.argv[1:] if word.startswith("--"))
    return {word.removeprefix("no_") for word in words}


def resumed_config(folder: Path, config: Training) -> Training:
    """The run's own configuration; a flag given beside --resume must not contradict it."""
    saved = dataclasses.replace(parse(type(config), ["--config", str(folder / "config.toml")]), config=None)
    default = type(config)()
    typed = typed_flags()
    for name, value in vars(config).items():
        same = {getattr(saved, name), *(() if name in typed else (getattr(default, name),))}
        if name not in MAY_CHANGE_ON_RESUME and value not in same:
            raise ConfigError(f"--{name} cannot change on resume", got=value, valid=str(getattr(saved, name)))
    given = [name for name in ("device", "threads") if name in typed or getattr(config, name) != getattr(default, name)]
    return dataclasses.replace(saved, **{name: getattr(config, name) for name in given})

"""One dataclass is one command line, and a mistake is one line."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from my_llm.cli import TrainingConfig, execute, parse, printable, resumed_config, settings_of, to_toml
from my_llm.errors import ConfigError, NotFiniteError


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
    epochs: int = 3
    """passes over the training text"""
    lr: float = 0.001
    """step size"""
    hidden: tuple[int, ...] = (64,)
    """units of each hidden layer"""
    mode: Literal["fast", "slow"] = "fast"
    """how"""
    interactive: bool = False
    """ask for text"""


def test_flags_become_fields_with_underscores_or_hyphens():
    config = parse(Config, ["--epochs", "7", "--max-steps", "2", "--hidden", "3", "5", "--interactive"])
    assert (config.epochs, config.max_steps, config.hidden, config.interactive) == (7, 2, (3, 5), True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epoch", "4"], r"'--epoch'.*did you mean --epochs\?"),
        (["--learning", "4"], "valid: .*--lr"),
        (["--epochs", "many"], "--epochs.*'many'"),
        (["--mode", "middle"], "'middle'.*'fast', 'slow'"),
        (["--epochs"], "--epochs"),
        (["stray"], "stray"),
        (["--config", "absent.toml"], r"absent\.toml"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ConfigError, match=words):
        parse(Config, arguments)
    assert execute(Config, lambda config: 0, arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1


def test_toml_round_trip_and_the_command_line_wins(tmp_path: Path):
    config = Config(epochs=9, lr=1e-5, hidden=(2, 3), mode="slow", interactive=True, run_name='a "b" \\ é')
    path = tmp_path / "c.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert parse(Config, ["--config", str(path)]) == dataclasses.replace(config, config=path)
    assert parse(Config, [f"--config={path}", "--epochs", "1"]).epochs == 1


@pytest.mark.parametrize("flags", [["--preset", "small"], ["--preset=small", "--lr", "0.5"]])
def test_a_preset_is_a_file_beside_the_script(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "small.toml").write_text("epochs = 7\nlr = 0.125")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py")])
    config = parse(Config, flags)
    assert (config.epochs, config.lr) == (7, 0.5 if "--lr" in flags else 0.125)
    with pytest.raises(ConfigError, match="unknown preset; got 'smal'; valid: small; next: did you mean small"):
        parse(Config, ["--preset", "smal"])
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "elsewhere" / "train.py")])
    with pytest.raises(ConfigError, match="this script has no presets; got 'small'; next: --config FILE.toml"):
        parse(Config, flags)
    with pytest.raises(ConfigError, match="--preset is a --config already"):
        parse(Config, [*flags, "--config", "c.toml"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "did you mean epochs"),
        ("preset = 'x'", "cannot name a preset"),
        ("epochs = 'x'", "--epochs"),
        ("epochs", "mend the file"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        parse(Config, ["--config", str(path)])


def test_help_states_default_unit_and_choices(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        parse(Config, ["--help"])
    text = capsys.readouterr().out
    assert stop.value.code in (0, None)
    for words in ("passes over the training text", "default: 3", "{fast,slow}", "--resume"):
        assert words in text


@pytest.mark.parametrize(
    ("error", "code"), [(NotFiniteError("loss nan"), 3), (KeyboardInterrupt("saved"), 130), (ConfigError("no"), 2)]
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]):
    def run(config: Config) -> None:
        raise error

    assert execute(Config, run, []) == code
    assert str(error) in capsys.readouterr().err


def test_a_full_gpu_is_one_line_and_any_other_error_is_not_hidden(capsys: pytest.CaptureFixture[str]):
    import torch

    def run(config: Config) -> None:
        raise error

    error: RuntimeError = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert execute(Config, run, []) == 2
    assert "the GPU is full; next: a smaller --batch_size" in capsys.readouterr().err
    error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        execute(Config, run, [])


def test_printable_removes_what_can_harm_a_terminal():
    assert printable("a\x1b[2Jb\x07\tc\n\u202edé中👩‍👧") == "a[2Jb\tc\ndé中👩‍👧"


# --- flags beside --resume --------------------------------------------------------------------------------------------

SAVED = Config(epochs=9, lr=0.25, hidden=(2, 3), mode="slow", interactive=True, max_steps=5, threads=1)


@pytest.fixture
def resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """The configuration with which a run goes on that was saved with SAVED."""

    def resumed(*flags: str) -> Config:
        (tmp_path / "config.toml").write_text(settings_of(SAVED))
        arguments = ["--resume", str(tmp_path), *flags]
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        return resumed_config(tmp_path, parse(Config, arguments))

    return resumed


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "3"], "--epochs cannot change on resume; got '3'; valid: 9"),
        (["--epochs=3"], "--epochs cannot change on resume; got '3'; valid: 9"),
        (["--epochs", "4"], "--epochs cannot change on resume; got '4'; valid: 9"),
        (["--hidden", "64"], "--hidden cannot change on resume; got '(64,)'; valid: (2, 3)"),
        (["--mode=fast"], "--mode cannot change on resume; got 'fast'; valid: slow"),
        (["--no_interactive"], "--interactive cannot change on resume; got 'False'; valid: True"),
        (["--max_steps=0"], "--max_steps cannot change on resume; got '0'; valid: 5"),
        (["--epochs", "9", "--seed", "1"], "--seed cannot change on resume; got '1'; valid: 0"),
        (["--max-steps=0"], "--max_steps cannot change on resume"),
        (["--no-interactive", "--max-steps", "5"], "--interactive cannot change"),
    ],
)
def test_a_flag_beside_resume_must_not_contradict_even_as_the_default(flags: list[str], words: str, resumed):
    with pytest.raises(ConfigError) as caught:
        resumed(*flags)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "flags",
    [
        [], ["--epochs", "9"], ["--epochs=9"], ["--hidden", "2", "3"], ["--mode", "slow", "--lr=0.25"],
        ["--interactive"], ["--max-steps", "5"], ["--seed", "0"],
    ],
)  # fmt: skip
def test_the_saved_value_may_be_said_again(flags: list[str], resumed):
    assert resumed(*flags) == SAVED


def test_device_and_threads_are_those_typed(resumed):
    assert resumed("--threads", "2", "--device", "cpu") == dataclasses.replace(SAVED, threads=2, device="cpu")

"""generate.py as people use it: once, through a pipe, in a terminal with Ctrl-C, and with mistakes."""

import contextlib
import io
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from my_llm import checkpoint
from my_llm.cli import execute
from my_llm.text import CharTokenizer, save_vocabulary
from stage2_rnn_lstm.generate import GenerateConfig, run
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.writer import KIND, parts_of

ROOT = Path(__file__).parents[2]
TOKENIZER = CharTokenizer.train(["the quick brown fox jumps over the lazy dog\n"])


def save_model(path: Path, tokenizer: CharTokenizer, favourite: int | None = None) -> Path:
    torch.manual_seed(0)
    model = LanguageModel(LanguageModelConfig(tokenizer.vocab_size, embedding=5, hidden=7))
    torch.nn.init.normal_(model.head.weight)
    if favourite is not None:
        model.head.bias.data[favourite] = 4.0
    parts = {"kind": KIND, **parts_of(model, "lstm", tokenizer), "model": model.state_dict()}
    checkpoint.save(path, {**parts, "data": {}, "settings": {}, "progress": {}})
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    save_vocabulary(folder / "char_vocabulary.pkl", TOKENIZER.to_state())
    return save_model(folder / "best_lstm_char.pt", TOKENIZER)


@pytest.fixture
def call(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Exit code, standard output, standard error of a call with these flags and this standard input."""

    def called(*flags: object, typed: str = "", checkpoint: Path = path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["generate.py"])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = execute(GenerateConfig, run, ["--checkpoint", str(checkpoint), *map(str, flags)])
        out, err = capsys.readouterr()
        return code, out, err

    return called


# ---------------------------------------------------------------- one text


def test_standard_output_is_the_text_alone(call):
    code, out, err = call("--prompt", "the ", "--length", 30)
    assert code == 0
    assert out.startswith("the ") and out.endswith("\n") and len(out) == 4 + 30 + 1
    assert re.fullmatch(r"30 characters, [\d,]+ a second; seed 0\n", err)


def test_the_seed_decides(call):
    texts = [call("--length", 50, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_temperature_top_k_and_top_p_are_honoured(call):
    def text(*flags: object) -> str:
        return call("--length", 40, "--seed", 3, *flags)[1]

    best = text("--temperature", 0)
    assert text("--top_k", 1) == text("--top_p", "1e-6") == best
    assert len({best, text(), text("--temperature", 3), text("--top_k", 3), text("--top_p", 0.5)}) == 5


def test_the_prompt_may_have_line_ends_and_what_is_unknown_is_said(call):
    code, out, err = call("--prompt", "the\\nfox", "--length", 5)
    assert out.startswith("the\nfox") and len(out) == 7 + 5 + 1 and "know" not in err
    code, out, err = call("--prompt", "the Zebra", "--length", 5)
    assert (code, out[:9]) == (0, "the \ufffdebra")
    assert "does not know these characters" in err and err.splitlines()[0].endswith(": 'Z'")


def test_control_characters_do_not_reach_the_terminal(call, tmp_path: Path):
    tokenizer = CharTokenizer.train(["ab\x1b[2J\u202e\n"])
    odd = save_model(tmp_path / "odd.pt", tokenizer, favourite=tokenizer.encode("\x1b")[0])
    code, out, err = call("--prompt", "a\x1b[2Jb\u202e", "--length", 60, checkpoint=odd)
    assert code == 0 and "60 characters" in err
    assert out.startswith("a[2Jb") and "\x1b" not in out and "\u202e" not in out


# ---------------------------------------------------------------- vocabulary


@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_the_checkpoints_own_vocabulary_is_accepted(suffix: str, call, path: Path):
    code, out, _ = call("--vocab", path.with_name("char_vocabulary.pkl").with_suffix(suffix), "--length", 5)
    assert (code, len(out)) == (0, 6)


@pytest.mark.parametrize("text", ["the quick brown fox", "the quick brown fox jumps over the lazy cat\nd#"])
def test_another_vocabulary_is_an_error(text: str, call, tmp_path: Path):
    save_vocabulary(tmp_path / "other.pkl", CharTokenizer.train([text]).to_state())
    code, out, err = call("--vocab", tmp_path / "other.pkl")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and "does not belong to the checkpoint" in err


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("opened",)


def test_a_hostile_vocabulary_is_refused_and_not_run(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.pkl").write_bytes(pickle.dumps({"kind": "char", "symbols": Hostile()}))
    code, out, err = call("--vocab", "bad.pkl")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and "not plain data" in err
    assert not Path("opened").exists()


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--checkpoint", "absent.pt"], "cannot open checkpoint"),
        (["--vocab", "absent.pkl"], "no such file"),
        (["--vocab", "absent.txt"], ".pkl"),
        (["--length", "0"], "--length"),
        (["--temperature", "-1"], "--temperature"),
        (["--temperature", "nan"], "--temperature"),
        (["--top_k", "-1"], "--top_k"),
        (["--top_p", "0"], "--top_p"),
        (["--top_p", "1.5"], "--top_p"),
        (["--seed", "-1"], "--seed"),
        (["--lenght", "5"], "did you mean --length"),
        (["--interactive", "--prompt", "the"], "--interactive asks for beginnings; got '--prompt the'"),
    ],
)
def test_mistakes_cost_one_line(flags: list[str], words: str, call):
    code, out, err = call(*flags)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and words in err


# ---------------------------------------------------------------- interactive


def test_commands_change_what_follows_and_mistakes_end_nothing(call):
    typed = """the
/length 7
/temperature 0
fox
fox
/temperature hot
/top_p 0
/lenght 9
/length
/help

/quit
never
"""
    code, out, err = call("--interactive", "--length", 5, typed=typed)
    assert code == 0
    texts = [out[:9], *(out[start : start + 11] for start in (9, 20)), out[31:]]
    assert texts[0].startswith("the") and texts[0].endswith("\n")
    assert texts[1] == texts[2] and texts[1].startswith("fox"), "temperature 0: the seed does not matter"
    assert len(texts[3]) == 8, "an empty line is an empty prompt: 7 characters and a line end"
    said = err.splitlines()
    assert "--temperature: could not convert" in err and "--top_p is out of range" in err
    assert any("lenght" in line and "did you mean length" in line for line in said)
    assert "length 7   temperature 0.0   top_k 0   top_p 1.0   seed 3" in said
    assert err.count("Type how a text begins") == 2, "help at the start and when asked"


@pytest.mark.parametrize("command", ["/quit", "/quit ", "/exit", " /quit\t"])
def test_quit_leaves_also_with_a_space(command: str, call):
    code, out, err = call("--interactive", typed=f"{command}\nthe\n")
    assert (code, out) == (0, "") and "unknown" not in err


def test_each_text_has_the_next_seed_and_seed_brings_one_back(call):
    _, out, err = call("--interactive", "--length", 30, typed="the\nthe\n/seed 0\nthe\n")
    texts = [out[start : start + 34] for start in (0, 34, 68)]
    assert texts[0] == texts[2] != texts[1]
    assert re.findall(r"second; seed (\d)", err) == ["0", "1", "0"]


def start(path: Path, *flags: object, **options) -> subprocess.Popen:
    script = ROOT / "stage2_rnn_lstm" / "generate.py"
    line = [sys.executable, script.name, "--checkpoint", path, *flags]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb", "PYTHONUNBUFFERED": ""}
    return subprocess.Popen([str(word) for word in line], cwd=script.parent, env=variables, **options)


def test_through_a_pipe_the_text_comes_as_it_is_written(path: Path):
    pipe = subprocess.PIPE
    with start(path, "--interactive", "--length", 10_000_000, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin and child.stdout
        child.stdin.write(b"the\n")
        child.stdin.flush()
        text = os.read(child.stdout.fileno(), 10_000)  # what there is: a buffer would come full, 8,192 bytes
        assert text.startswith(b"the") and len(text) < 4096
        assert len(child.stdout.read(500)) == 500
        child.kill()


pty = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")


@pty
def test_in_a_terminal_ctrl_c_stops_the_text_and_not_the_program(path: Path):
    import fcntl
    import termios

    ours, theirs = os.openpty()
    options = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    flags = ["--interactive", "--length", 10_000_000]

    def hear_ctrl_c() -> None:  # which a process that a script runs in the background does not
        signal.signal(signal.SIGINT, signal.default_int_handler)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = start(path, *flags, **options, preexec_fn=hear_ctrl_c)
    os.close(theirs)
    seen = ""

    def wait_for(pattern: str) -> str:
        """What came up to the end of the pattern."""
        nonlocal seen
        end = time.monotonic() + 60
        while not (found := re.search(pattern, seen, re.DOTALL)):
            assert time.monotonic() < end, f"no {pattern!r} in {seen[-300:]!r}"
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 4096).decode(errors="replace")
        before, seen = seen[: found.end()], seen[found.end() :]
        return before

    try:
        wait_for("/quit.*> ")
        os.write(ours, b"the\n")
        wait_for("the\r\nthe.{100}")  # the echo of what was typed, then the text
        os.write(ours, b"\x03")
        wait_for("stopped\r\n> ")
        os.write(ours, b"/length 20\n")
        wait_for("length 20 .*> ")
        os.write(ours, b"fox\n")
        wait_for("fox\r\nfox.*20 characters, .*> ")
        assert child.poll() is None
        os.write(ours, b"\x1b[A\n")  # arrow up: the last line again, where the system has readline
        wait_for("fox\r\nfox.*> " if find_spec("readline") else "> ")
        for _ in range(6):  # at the prompt it leaves; readline does not see a signal that comes just before it listens
            os.write(ours, b"\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=10)
                break
        assert child.returncode == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def test_help_needs_no_torch():
    code = (
        "import runpy, sys; sys.argv = ['generate.py', '--help']\n"
        "try: runpy.run_path('stage2_rnn_lstm/generate.py', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert all(flag in answer.stdout for flag in ("--checkpoint", "--vocab", "--prompt", "--interactive", "--top_p"))

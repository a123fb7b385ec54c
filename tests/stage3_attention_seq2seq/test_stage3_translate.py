"""translate.py as people use it: a sentence, a file, through a pipe, in a terminal, and with mistakes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stage3_world import Call, Trained

from my_llm.translation.translator import Translated, Translator
from stage3_attention_seq2seq import translate
from stage3_attention_seq2seq.models import Seq2Seq

ROOT = Path(__file__).parents[2]
SENTENCE, RIGHT = "a red dog sees a big cat", "un chien rouge voit un chat grand"
HELP = "Type a sentence"


@pytest.fixture
def ask(call: Call, trained: Trained, tmp_path: Path):
    """Exit code, standard output, lines of standard error of a call on the trained model; PNGs go to tmp_path."""

    def asked(*flags: object, model: str = "bahdanau", **typed: str) -> tuple[int, str, list[str]]:
        checkpoint = trained(model, *(["--max_steps", 2] if model == "none" else []))
        drawn = "--png" not in flags and {"--show_attention", "--interactive"} & set(flags)
        place = ["--png", tmp_path / "a.png"] if drawn else []
        return call(translate, "--checkpoint", checkpoint, *place, *flags, **typed)

    return asked


# ---------------------------------------------------------------- one sentence


@pytest.mark.parametrize("flags", [[], ["--beam_size", 1], ["--beam_size", 1000], ["--length_penalty", 0]])
def test_standard_output_is_the_translation_alone(flags: list[object], ask):
    assert ask("--text", SENTENCE, *flags) == (0, f"{RIGHT}\n", [])


def test_show_attention_draws_in_the_terminal_and_a_picture(ask, tmp_path: Path):
    code, out, errors = ask("--text", SENTENCE, "--show_attention")
    said, source, *rows = out.splitlines()
    assert (code, said, source) == (0, RIGHT, f"source: {SENTENCE} <eos>")
    assert [row.split()[0] for row in rows] == [*RIGHT.split(), "<eos>"]
    assert all(row.index("│") == rows[0].index("│") for row in rows) and set("░▒▓█") & set(out)
    assert errors == [f"picture: {tmp_path / 'a.png'}"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "text", [r"a $\foo$ dog _{", "日本 🐕 dog", "\x00\x1b[2J\u202edog", "a\tdog\n\ncat", "é" * 300]
)
def test_odd_characters_are_words_like_others(text: str, ask, tmp_path: Path):
    code, out, errors = ask("--text", text, "--show_attention")
    assert code == 0 and errors == [f"picture: {tmp_path / 'a.png'}"] and (tmp_path / "a.png").exists()
    assert not {"\x00", "\x1b", "\u202e"} & set(out)


def test_a_long_sentence_has_no_picture_but_a_translation(ask, tmp_path: Path):
    code, out, errors = ask("--text", "a red dog " * 30, "--show_attention")
    assert code == 2 and out.startswith("un ") and len(errors) == 1
    assert "no picture of so long a sentence; got '91 words'; valid: at most 60" in errors[0]
    assert not (tmp_path / "a.png").exists()


def test_what_is_no_sentence_is_refused(ask):
    code, out, errors = ask("--text", "a red dog " * 3000)
    assert (code, out) == (2, "") and len(errors) == 1 and "too long for this model; got '" in errors[0]


# ---------------------------------------------------------------- a file


def test_a_file_is_answered_line_by_line(ask, tmp_path: Path):
    """A line break is what other programs take for one; an empty line has an empty answer."""
    file = tmp_path / "sentences.txt"
    file.write_bytes(f"\ufeff{SENTENCE}\r\n\n  \na red\u2028dog sees a big cat\n{SENTENCE}".encode())
    code, out, errors = ask("--file", file)
    lines = out.split("\n")
    assert (code, errors, len(lines)) == (0, [], 6) and lines[:3] == [RIGHT, "", ""] and lines[4:] == [RIGHT, ""]
    file.write_bytes(b"\n")
    assert ask("--file", file) == (0, "\n", [])


def test_a_translation_with_a_line_break_stays_one_line(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = Translated("un\nchien  rouge", [])
    monkeypatch.setattr(Translator, "translate", lambda self, texts, **flags: [said] * len(texts))
    (tmp_path / "f.txt").write_text("a\nb\n")
    assert ask("--file", tmp_path / "f.txt")[1] == "un chien rouge\n" * 2


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "--file is empty"), (b"a red\xff dog", "cannot read --file"), (None, "cannot read --file")],
)
def test_a_file_that_cannot_be_read_is_one_line(content: bytes | None, words: str, ask, tmp_path: Path):
    file = tmp_path / "sentences.txt"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    code, out, errors = ask("--file", file)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "translate what?; got 'nothing'"),
        (["--text", "  "], "translate what?; got 'nothing'"),
        (["--text", "a", "--interactive"], "got '--text and --interactive'"),
        (["--text", "a", "--file", "absent.txt"], "got '--text and --file'"),
        (["--file", "absent.txt"], "cannot read --file"),
        (["--file", "absent.txt", "--show_attention"], "--show_attention draws one sentence"),
        (["--text", "a", "--checkpoint", "absent.pt"], "cannot open checkpoint"),
        (["--text", "a", "--beam_size", "0"], "--beam_size is out of range"),
        (["--text", "a", "--beam_size", "two"], "--beam_size"),
        (["--text", "a", "--length_penalty", "-1"], "--length_penalty is out of range"),
        (["--text", "a", "--length_penalty", "nan"], "--length_penalty is out of range"),
        (
            ["--text", "a", "--beam_size", "1", "--length_penalty", "0.6"],
            "--length_penalty belongs to beam search; got",
        ),
        (["--text", "a", "--png", "a.png"], "--png is where --show_attention draws; got '--png a.png'; next: add"),
        (["--file", "absent.txt", "--png", "a.png"], "--png is where --show_attention draws"),
        (["--text", "a", "--seed", "-1"], "--seed"),
        (["--txet", "a"], "did you mean --text"),
        (["a red dog"], "a red dog"),
    ],
)
def test_mistakes_cost_one_line(flags: list[str], words: str, ask):
    code, out, errors = ask(*flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0], errors


def test_a_model_without_attention_says_so(ask):
    code, out, errors = ask("--text", SENTENCE, "--show_attention", model="none")
    assert code == 2 and len(out.splitlines()) == 1
    assert len(errors) == 1 and "this model has no attention to show; got 'none'" in errors[0]
    typed = f"/attention\n{SENTENCE}\n/attention\n{SENTENCE}\n"
    code, out, errors = ask("--interactive", model="none", typed=typed)
    assert code == 0 and len(out.splitlines()) == 2
    assert sum("no attention to show" in line for line in errors) == 1


# ---------------------------------------------------------------- Ctrl-C


@pytest.fixture
def pressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ctrl-C, at a place that could not bear an exception, in the second step of the first translation."""
    steps, step = [], Seq2Seq.step

    def press(model: Seq2Seq, *args: object):
        steps.append(1)
        if len(steps) == 2:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise AssertionError("torn apart") from None
        return step(model, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Seq2Seq, "step", press)
    return steps


@pytest.mark.parametrize("beam_size", [1, 5])
@pytest.mark.parametrize("file", [False, True])
def test_ctrl_c_ends_a_translation_at_the_next_token(
    file: bool, beam_size: int, ask, tmp_path: Path, pressed: list[int]
):
    (tmp_path / "f.txt").write_text(f"{SENTENCE}\n" * 3)
    what = ["--file", tmp_path / "f.txt"] if file else ["--text", SENTENCE]
    code, out, errors = ask(*what, "--beam_size", beam_size)
    assert (code, out, len(errors), len(pressed)) == (130, "", 1, 2) and errors[0].endswith(": stopped")


def test_ctrl_c_stops_one_translation_of_a_conversation(ask, pressed: list[int]):
    code, out, errors = ask("--interactive", typed=f"{SENTENCE}\n{SENTENCE}\n")
    assert (code, out) == (0, f"{RIGHT}\n") and errors[1:] == ["", "stopped"]


# ---------------------------------------------------------------- interactive


def test_lines_are_translated_and_commands_obeyed(ask, tmp_path: Path):
    typed = f"{SENTENCE}\n\n  \n/attention\n {SENTENCE} \n/attention\n{SENTENCE}\n/help\n/beam 3\n/quit \nnever\n"
    code, out, errors = ask("--interactive", typed=typed)
    said = out.splitlines()
    assert code == 0 and said.count(RIGHT) == 3 and said[0] == said[1] == said[-1] == RIGHT
    assert sum(line.startswith("source: ") for line in said) == 1
    shown = ["attention shown", f"picture: {tmp_path / 'a.png'}", "attention not shown"]
    assert errors == [errors[0], *shown, errors[0], errors[0]]
    assert errors[0].startswith(HELP)


@pytest.mark.parametrize("typed", ["", "/quit\n", "/exit", " /quit\t\nnever\n"])
def test_it_leaves_at_quit_and_at_the_end_of_the_pipe(typed: str, ask):
    code, out, errors = ask("--interactive", typed=typed)
    assert (code, out) == (0, "") and len(errors) == 1 and errors[0].startswith(HELP)


def test_a_mistake_ends_nothing(ask, tmp_path: Path):
    """A picture that cannot be written, and a line that is no sentence: one line each, and the next is translated."""
    long = "a red dog " * 3000
    code, out, errors = ask("--interactive", "--png", tmp_path, typed=f"/attention\n{SENTENCE}\n{long}\n{SENTENCE}\n")
    assert code == 0 and out.splitlines().count(RIGHT) == 2
    assert [sum(words in line for line in errors) for words in ("cannot save", "too long for this model")] == [2, 1]


def start(path: Path, *flags: object, **options) -> subprocess.Popen:
    script = ROOT / "stage3_attention_seq2seq" / "translate.py"
    line = [sys.executable, script.name, "--checkpoint", path, "--threads", 1, *flags]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [str(word) for word in line], cwd=script.parent, env=variables, stdin=pipe, stdout=pipe, stderr=pipe, **options
    )


def test_through_a_pipe_each_answer_comes_before_the_next_question(trained: Trained):
    with start(trained(), "--interactive") as child:
        assert child.stdin and child.stdout and child.stderr
        for _ in range(2):
            child.stdin.write(f"{SENTENCE}\n".encode())
            child.stdin.flush()
            assert child.stdout.readline() == f"{RIGHT}\n".encode()
        child.stdin.write(b"a r\xffd dog\n")  # not UTF-8
        child.stdin.close()
        assert child.stdout.readline().startswith(b"un ")
        assert child.wait(timeout=60) == 0 and b"Traceback" not in child.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="no such way to close a file")
def test_a_closed_standard_input_and_a_closed_output_are_no_traceback(trained: Trained):
    path = trained()
    with start(path, "--interactive", preexec_fn=lambda: os.close(0)) as child:
        assert child.stderr
        said = child.stderr.read()
        assert child.wait(timeout=60) == 0 and said.startswith(HELP.encode()) and said.count(b"\n") == 1, said
    with start(path, "--interactive") as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdout.close()
        child.stdin.write(f"{SENTENCE}\n".encode() * 3)
        child.stdin.close()
        said = child.stderr.read()
        assert child.wait(timeout=60) == 141 and said.startswith(HELP.encode()) and said.count(b"\n") == 1, said

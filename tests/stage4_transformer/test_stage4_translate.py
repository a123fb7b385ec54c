"""translate.py as people use it: a sentence, the attention of every head, a file, a conversation, mistakes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stage4_world import Call, Trained

from stage4_transformer import translate
from stage4_transformer.models import Transformer
from stage4_transformer.translating import align, load_translator

ROOT = Path(__file__).parents[2]
SENTENCE, RIGHT = "a red dog sees a big cat", "un chien rouge voit un chat grand"
HELP = "Type a sentence"


@pytest.fixture
def ask(call: Call, trained: Trained, tmp_path: Path):
    """Exit code, standard output, lines of standard error of a call on the trained model; PNGs go to tmp_path."""

    def asked(*flags: object, **typed: str) -> tuple[int, str, list[str]]:
        drawn = "--png" not in flags and {"--show_attention", "--interactive"} & set(flags)
        place = ["--png", tmp_path / "a.png"] if drawn else []
        return call(translate, "--checkpoint", trained(), *place, *flags, **typed)

    return asked


# --- one sentence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["--beam_size", 1], ["--beam_size", 1000], ["--length_penalty", 0]])
def test_standard_output_is_the_translation_alone(flags: list[object], ask):
    assert ask("--text", SENTENCE, *flags) == (0, f"{RIGHT}\n", [])


def test_show_attention_draws_in_the_terminal_and_a_picture_of_all_heads(ask, tmp_path: Path):
    code, out, errors = ask("--text", SENTENCE, "--show_attention")
    said, source, *rows = out.splitlines()
    assert (code, said, source) == (0, RIGHT, f"source: {SENTENCE} <eos>")
    assert [row.split()[0] for row in rows] == [*RIGHT.split(), "<eos>"] and max(map(len, rows)) <= 80
    assert errors == [f"picture: {tmp_path / 'a.png'}"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_layer_and_a_head_are_drawn_when_asked_for(ask, trained: Trained):
    """At the end of a row stands what got most, and how much."""
    ours = load_translator(trained(), __import__("torch").device("cpu"))
    (answer,) = ours.translate([SENTENCE], beam_size=5)
    drawings = []
    for layer, head in ((0, 0), (1, 0), (0, 1), (1, 2)):
        flags = [*(["--layer", layer] if layer else []), *(["--head", head] if head else [])]
        code, out, _ = ask("--text", SENTENCE, "--show_attention", *flags)
        expected = align(ours, SENTENCE, answer.tokens, layer, head).weights.max(dim=1).values
        assert code == 0 and [row.split()[-1] for row in out.splitlines()[2:]] == [f"{w:.2f}" for w in expected]
        drawings.append(out)
    assert drawings[0] == drawings[1] and len(set(drawings)) == 3  # there is one layer


def test_odd_characters_are_words_like_others(ask, tmp_path: Path):
    for text in (r"a $\foo$ dog _{", "日本 🐕 dog", "\x00\x1b[2J\u202edog", "a\tdog\n\ncat", "é" * 300):
        code, out, errors = ask("--text", text, "--show_attention")
        assert code == 0 and errors == [f"picture: {tmp_path / 'a.png'}"], errors
        assert not {"\x00", "\x1b", "\u202e"} & set(out)


def test_a_long_sentence_has_no_picture_but_a_translation_and_a_drawing(ask, tmp_path: Path):
    code, out, errors = ask("--text", "a red dog " * 12, "--show_attention")
    assert code == 2 and out.startswith("un ") and "source: a red dog" in out and len(errors) == 1
    assert "no picture of so long a sentence; got '3" in errors[0] and "valid: at most 30" in errors[0]
    assert not (tmp_path / "a.png").exists()


def test_what_is_no_sentence_is_refused(ask):
    code, out, errors = ask("--text", "a red dog " * 3000)
    assert (code, out) == (2, "") and len(errors) == 1 and "too long for this model; got '" in errors[0]


def test_learned_positions_end_somewhere_and_say_so(call: Call, trained: Trained):
    path = trained("translate", "--positions", "learned", "--max_steps", 2, "--eval_every", 2)
    code, out, errors = call(translate, "--checkpoint", path, "--text", "a red dog " * 50)
    assert (code, out) == (2, "") and len(errors) == 1 and "too long for this model" in errors[0]
    assert "valid: at most 60" in errors[0]  # a translation of twice as many tokens and ten has positions, too


# --- a file, a conversation -------------------------------------------------------------------------------------------


def test_a_file_is_answered_line_by_line(ask, tmp_path: Path):
    file = tmp_path / "sentences.txt"
    file.write_bytes(f"\ufeff{SENTENCE}\r\n\n  \na red fox bites\n{SENTENCE}".encode())
    code, out, errors = ask("--file", file)
    assert (code, errors) == (0, [])
    assert out.split("\n") == [RIGHT, "", "", "un renard rouge mord", RIGHT, ""]


def test_lines_are_translated_and_commands_obeyed(ask, tmp_path: Path):
    typed = f"{SENTENCE}\n\n/attention\n {SENTENCE} \n/attention\n{SENTENCE}\n/help\n/beam 3\n/quit \nnever\n"
    code, out, errors = ask("--interactive", "--layer", 1, typed=typed)
    said = out.splitlines()
    assert code == 0 and said.count(RIGHT) == 3 and said[0] == said[1] == said[-1] == RIGHT
    assert sum(line.startswith("source: ") for line in said) == 1
    shown = ["attention shown", f"picture: {tmp_path / 'a.png'}", "attention not shown"]
    assert errors == [errors[0], *shown, errors[0], errors[0]] and errors[0].startswith(HELP)


def test_a_mistake_ends_no_conversation(ask, tmp_path: Path):
    """A picture that cannot be written, and a line that is no sentence: one line each, and the next is translated."""
    long = "a red dog " * 3000
    code, out, errors = ask("--interactive", "--png", tmp_path, typed=f"/attention\n{SENTENCE}\n{long}\n{SENTENCE}\n")
    assert code == 0 and out.splitlines().count(RIGHT) == 2
    assert [sum(words in line for line in errors) for words in ("cannot save", "too long for this model")] == [2, 1]


@pytest.mark.parametrize("beam_size", [1, 5])
def test_ctrl_c_ends_a_translation_at_the_next_token(beam_size: int, ask, monkeypatch: pytest.MonkeyPatch):
    steps, step = [], Transformer.step

    def press(model: Transformer, *args: object):
        steps.append(1)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return step(model, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Transformer, "step", press)
    code, out, errors = ask("--text", SENTENCE, "--beam_size", beam_size)
    assert (code, out, len(errors), len(steps)) == (130, "", 1, 2) and errors[0].endswith(": stopped")


def test_through_a_pipe_each_answer_comes_before_the_next_question(trained: Trained):
    script, pipe = ROOT / "stage4_transformer" / "translate.py", subprocess.PIPE
    line = [sys.executable, script.name, "--checkpoint", trained(), "--threads", 1, "--interactive"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}
    words = [str(word) for word in line]
    with subprocess.Popen(words, cwd=script.parent, env=variables, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin and child.stdout and child.stderr
        for _ in range(2):
            child.stdin.write(f"{SENTENCE}\n".encode())
            child.stdin.flush()
            assert child.stdout.readline() == f"{RIGHT}\n".encode()
        child.stdin.close()
        assert child.wait(timeout=120) == 0 and b"Traceback" not in child.stderr.read()


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "translate what?; got 'nothing'"),
        (["--text", "a", "--interactive"], "got '--text and --interactive'"),
        (["--file", "absent.txt"], "cannot read --file"),
        (["--file", "absent.txt", "--show_attention"], "--show_attention draws one sentence"),
        (["--text", "a", "--checkpoint", "absent.pt"], "cannot open checkpoint"),
        (["--text", "a", "--beam_size", "0"], "--beam_size is out of range"),
        (["--text", "a", "--beam_size", "1", "--length_penalty", "0.6"], "--length_penalty belongs to beam search"),
        (["--text", "a", "--png", "a.png"], "--png is where --show_attention draws; got '--png a.png'; next: add"),
        (["--text", "a", "--layer", "1"], "--layer is what --show_attention draws; got '--layer 1'; next: add"),
        (["--file", "absent.txt", "--head", "2"], "--head is what --show_attention draws"),
        (["--text", "a", "--show_attention", "--layer", "2"], "no such layer; got '2'; valid: 1 to 1"),
        (["--text", "a", "--show_attention", "--head", "3"], "no such head; got '3'; valid: 1 to 2"),
        (["--interactive", "--head", "9"], "the model has no such head"),
        (["--text", "a", "--head", "-1"], "--head is out of range"),
        (["--txet", "a"], "did you mean --text"),
    ],
)
def test_mistakes_cost_one_line(flags: list[str], words: str, ask):
    code, out, errors = ask(*flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0], errors

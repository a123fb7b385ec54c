"""Mistakes, damage and foreign files cost one line each; a question for help costs no torch."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from stage3_world import SMALL, Call, Trained, newest, scored

from my_llm import checkpoint
from stage3_attention_seq2seq import evaluate, train, translate

ROOT = Path(__file__).resolve().parents[2]

OUT_OF_RANGE = [
    ("--batch_size", "0"), ("--vocab_size", "259"), ("--vocab_size", "9999999"), ("--max_length", "1"),
    ("--embedding", "0"), ("--hidden", "-1"), ("--layers", "0"), ("--dropout", "1"), ("--teacher_forcing", "1.5"),
    ("--teacher_forcing", "-0.1"), ("--label_smoothing", "1"), ("--lr", "nan"), ("--lr", "0"), ("--warmup", "1.5"),
    ("--weight_decay", "-1"), ("--clip", "-1"), ("--accumulate", "0"), ("--eval_every", "-1"), ("--epochs", "0"),
    ("--seed", "-1"), ("--threads", "-1"), ("--max_steps", "-5"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        *((train, [flag, value], f"{flag} is out of range") for flag, value in OUT_OF_RANGE),
        (train, ["--attention_type", "bahdanu"], "'bahdanau'"),
        (train, ["--attention", "none"], "did you mean --attention_type"),
        (train, ["--no_input_feeding"], "no version without input feeding"),
        (train, ["--cell", "gruu"], "'gru'"),
        (train, ["--dataset", "conll2002"], "for tagging, not for translation"),
        (train, ["--dataset", "multi30k"], "did you mean multi30k_en_fr"),
        (train, ["--dataset", "tatoeba_en_fr"], "tatoeba"),
        (train, ["--max_length", "2"], "every pair is longer than --max_length; got '2'"),
        (train, ["--resume", "absent"], "nothing to resume"),
        (train, ["--run_name", "../up"], "--run_name must be a plain name"),
        (evaluate, ["--model_path", "absent.pt"], "cannot open checkpoint"),
        (evaluate, ["--split", "dev"], "'dev'"),
        (evaluate, ["--examples", "-1"], "--examples"),
        (evaluate, ["--beam_size", "0"], "--beam_size is out of range"),
        (evaluate, ["--length_penalty", "nan"], "--length_penalty is out of range"),
        (evaluate, ["--length_penalty", "1", "--beam_size", "1"], "--length_penalty belongs to beam search"),
    ],
)
def test_mistakes_cost_one_line_and_leave_nothing(script, flags: list[str], words: str, call: Call, home: Path):
    before = set(home.rglob("*"))
    code, _, errors = call(script, *flags)
    assert code == 2 and len(errors) == 1 and words in errors[0], errors
    assert set(home.rglob("*")) == before


@pytest.mark.parametrize(
    "flags",
    [
        ["--attention_type", "luong"], ["--lr", "1"], ["--hidden", "13"], ["--reverse_source"],
        ["--dataset", "numbers_en_fr"], ["--max_steps", "3"], ["--teacher_forcing", "0.5"], ["--seed", "1"],
    ],
)  # fmt: skip
def test_flags_that_contradict_the_resumed_run_are_refused(flags: list[str], call: Call, trained: Trained, home: Path):
    trained()
    folder = newest(home, "bahdanau")
    code, _, errors = call(train, "--resume", folder, *flags)
    assert code == 2 and len(errors) == 1 and f"{flags[0]} cannot change on resume" in errors[0]
    assert call(train, "--resume", folder, "--hidden", 32, "--attention_type", "bahdanau")[0] == 0  # the same


def test_a_run_goes_on_with_its_own_sentences_only(call: Call, trained: Trained, home: Path):
    path, files = trained(), home / "multi30k"
    english, french = (files / f"test_2016_flickr.{language}.gz" for language in ("en", "fr"))
    whole = french.read_bytes()
    try:
        french.write_bytes(english.read_bytes())  # the right answers are English
        code, _, errors = call(train, "--resume", newest(home, "bahdanau"))
        assert code == 2 and "trained on another text" in errors[-1]
        facts = scored(call, path, "--beam_size", 1)
        assert not facts["same_text_as_trained"] and facts["exact"] == 0
        assert "Not the corpus that the model was trained on" in facts["shown"]
        french.write_bytes(b"no gzip")
        code, _, errors = call(evaluate, "--model_path", path)
        assert code == 2 and len(errors) == 1
    finally:
        french.write_bytes(whole)


# --- damaged and foreign checkpoints ----------------------------------------------------------------------------------


def refused(call: Call, path: Path, content: bytes | dict[str, Any]) -> str:
    """The one line with which evaluate.py and translate.py refuse the file."""
    other = path.with_name("other.pt")
    if isinstance(content, bytes):
        other.write_bytes(content)
    else:
        checkpoint.save(other, content)
    lines = []
    for script, flags in ((evaluate, ["--model_path", other]), (translate, ["--checkpoint", other, "--text", "a"])):
        code, out, errors = call(script, *flags)
        assert (code, out) == (2, "") and len(errors) == 1, errors
        lines += errors
    assert lines[0] == lines[1]
    return lines[0]


def test_damage_is_refused(call: Call, trained: Trained):
    path = trained()
    whole, rng = path.read_bytes(), random.Random(0)
    for place in [0, 30, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(20))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        assert "damaged" in (line := refused(call, path, bytes(flipped))) or "not a my_llm checkpoint" in line
    for length in (0, 50, len(whole) // 2, len(whole) - 1):
        assert "damaged" in (line := refused(call, path, whole[:length])) or "not a my_llm checkpoint" in line
    assert "not a my_llm checkpoint" in refused(call, path, b"PK\x03\x04 of somebody else")


def test_parts_that_do_not_fit_together_are_refused(call: Call, trained: Trained):
    path = trained()
    content = checkpoint.load(path)
    config, tokenizer, weights = (content[name] for name in ("model_config", "tokenizer", "model"))
    changes: list[dict[str, Any]] = [
        {"kind": "stage2_rnn_lstm/language_model"}, {"kind": "stage1_mlp/text_classifier"}, {"settings": {}},
        {"settings": {"attention_type": 5}}, {"data": {}}, {"data": {"name": "absent"}},
        {"data": {"name": 5, "sha256": ""}}, {"progress": {}}, {"progress": 1},
        {"progress": {"seconds": float("nan")}}, {"reverse": None}, {"reverse": "yes"},
        {"model_config": {**config, "attention": "luong"}}, {"model_config": {**config, "attention": "absent"}},
        {"model_config": {**config, "hidden": 33}}, {"model_config": {**config, "hidden": -1}},
        {"model_config": {**config, "layers": 2}}, {"model_config": {**config, "cell": "lstm"}},
        {"model_config": {**config, "target_vocab": 331}}, {"model_config": {**config, "more": 1}},
        {"tokenizer": {**tokenizer, "merges": tokenizer["merges"][:-1]}}, {"tokenizer": {**tokenizer, "merges": "no"}},
        {"tokenizer": {"kind": "char", "symbols": tokenizer["symbols"]}},
        *({key: None} for key in content if key != "model"),
    ]  # fmt: skip
    for change in changes:
        refused(call, path, {**content, **change})
    for missing in content:
        refused(call, path, {key: value for key, value in content.items() if key != missing})
    name = "bridge.weight"
    for wrong in ({}, {**weights, "more": torch.zeros(1)}, {**weights, name: weights[name][:-1]},
                  {**weights, name: weights[name].double()}, {**weights, name: weights[name] * torch.nan}):  # fmt: skip
        assert "weight" in refused(call, path, {**content, "model": wrong})


def test_a_corpus_that_is_gone_is_one_line(call: Call, trained: Trained):
    path = trained()
    content = checkpoint.load(path)
    gone = path.with_name("gone.pt")
    checkpoint.save(gone, {**content, "data": {**content["data"], "name": "tatoeba_en_fr"}})
    code, out, errors = call(evaluate, "--model_path", gone)
    assert (code, out) == (2, "") and len(errors) == 1 and "tatoeba" in errors[0]


def test_a_report_that_cannot_be_written_is_one_line(call: Call, trained: Trained, home: Path):
    code, out, errors = call(evaluate, "--model_path", trained(), "--beam_size", 1, "--report", home)
    assert code == 2 and "greedy" in out and len(errors) == 1 and "cannot save" in errors[0]


def test_a_training_that_explodes_stops_and_keeps_the_weights_before_it(call: Call, home: Path):
    flags = [*SMALL, "--lr", "1e12", "--clip", 0, "--warmup", 0, "--max_steps", 30, "--run_name", "exploded"]
    code, _, errors = call(train, *flags)
    assert code == 3 and "not finite at step" in errors[-1] and "lower --lr" in errors[-1]
    assert (newest(home, "exploded") / "not_finite.pt").exists()


# --- help -------------------------------------------------------------------------------------------------------------

HELP = """
import contextlib, io, runpy, sys
for name in ("train", "evaluate", "translate", "experiments", "compare"):
    sys.argv = [f"{name}.py", "--help"]
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_path(f"stage3_attention_seq2seq/{name}.py", run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, name
    assert "--seed" in shown.getvalue(), name
    heavy = {"torch", "numpy", "matplotlib"} & set(sys.modules)
    assert not heavy, f"{name} loads {heavy}"
"""


def test_help_needs_no_torch():
    answer = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr

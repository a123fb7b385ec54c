"""Mistakes, damage and foreign files cost one line each; a question for help costs no torch."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from stage2_world import Call, Trained, newest, scored

from my_llm import checkpoint
from my_llm.cli import parse
from my_llm.text import SPECIALS
from stage2_rnn_lstm import evaluate, train
from stage2_rnn_lstm.train import TrainConfig, with_defaults

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"language_model": ("language_model", "lstm"), "ngram": ("language_model", "ngram"),
         "classifier": ("classify", "lstm"), "tagger": ("tag", "lstm")}  # fmt: skip

every_kind = pytest.mark.parametrize("kind", KINDS)

OUT_OF_RANGE = [
    ("--batch_size", "0"), ("--length", "0"), ("--max_words", "4"), ("--embedding", "0"), ("--hidden", "-1"),
    ("--layers", "0"), ("--dropout", "1"), ("--order", "0"), ("--lr", "nan"), ("--lr", "0"), ("--warmup", "1.5"),
    ("--weight_decay", "-1"), ("--clip", "-1"), ("--accumulate", "0"), ("--eval_every", "-1"), ("--epochs", "0"),
    ("--seed", "-1"), ("--threads", "-1"), ("--max_steps", "-5"), ("--members", "0"),
]  # fmt: skip


MEANINGLESS = [  # flags, and the kind that has no such setting
    ("--model_type wavenet --embedding 9", "wavenet"), ("--model_type wavenet --order 3", "wavenet"),
    ("--model_type ngram --lr 5", "ngram"), ("--model_type ngram --length 3", "ngram"),
    ("--model_type ngram --dropout 0", "ngram"),
    ("--model_type ngram --schedule linear", "ngram"), ("--model_type ngram --max_words 50", "char"),
    ("--task classify --length 3", "classify"), ("--task classify --vocab_type word", "classify"),
    ("--task tag --max_words 50", "tag"), ("--task tag --vocab_type word", "tag"),
    ("--task tag --members 2", "tag"), ("--model_type wavenet --members 2", "wavenet"),
    ("--model_type lstm --order 3", "lstm"), ("--model_type gru --order 3", "gru"),
    ("--model_type rnn --order 3", "rnn"), ("--vocab_type char --max_words 50", "char"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        *((train, flags.split(), f"{flags.split()[-2]} means nothing to {kind}; got") for flags, kind in MEANINGLESS),
        *((train, [flag, value], f"{flag} is out of range") for flag, value in OUT_OF_RANGE),
        (train, ["--task", "tag", "--model_type", "ngram"], "ngram is a language model; got 'tag'"),
        (train, ["--task", "classify", "--model_type", "wavenet"], "wavenet is a language model; got 'classify'"),
        (train, ["--task", "tag", "--dataset", "movie_reviews"], "for text classification, not for tagging"),
        (train, ["--dataset", "conll2002"], "for tagging, not for language modelling"),
        (train, ["--dataset", "tiny_shakespear"], "did you mean tiny_shakespeare"),
        (train, ["--task", "write"], "'language_model', 'classify', 'tag'"),
        (train, ["--vocab_type", "byte"], "'char', 'word'"),
        (train, ["--tied", "--embedding", "8", "--hidden", "12"], "embedding 8, hidden 12"),
        (train, ["--tied", "--task", "tag"], "--tied is for recurrent language models"),
        (train, ["--tied", "--model_type", "wavenet"], "--tied is for recurrent language models"),
        (train, ["--batch_size", "9999"], "the text is too short for one batch"),
        (train, ["--length", "9999"], "lower --batch_size or --length"),
        (train, ["--model_type", "lstn"], "'lstm'"),
        (train, ["--batchsize", "3"], "did you mean --batch_size"),
        (train, ["--resume", "absent"], "nothing to resume"),
        (train, ["--resume", "absent", "--model_type", "ngram"], "nothing to resume"),
        (train, ["--run_name", "../up"], "--run_name must be a plain name"),
        (evaluate, ["--model_path", "absent.pt"], "cannot open checkpoint"),
        (evaluate, ["--split", "dev"], "'dev'"),
        (evaluate, ["--examples", "-1"], "--examples"),
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
        ["--task", "tag"], ["--model_type", "gru"], ["--model_type", "ngram"], ["--vocab_type", "word"], ["--lr", "1"],
        ["--hidden", "13"], ["--tied"], ["--dataset", "shakespeare"], ["--max_steps", "3"], ["--order", "3"],
    ],
)  # fmt: skip
def test_flags_that_contradict_the_resumed_run_are_refused(flags: list[str], call: Call, trained: Trained, home: Path):
    folder = newest(home, trained().stem)
    code, _, errors = call(train, "--resume", folder, *flags)
    assert code == 2 and len(errors) == 1 and f"{flags[0]} cannot change on resume" in errors[0]
    assert call(train, "--resume", folder, "--hidden", "12", "--max_steps", "12")[0] == 0  # the same: no contradiction


def test_a_run_goes_on_with_its_own_text_only(call: Call, trained: Trained, home: Path):
    folder, text = newest(home, trained().stem), home / "tiny_shakespeare.txt"
    content = text.read_text()
    try:
        text.write_text(content.replace("sea", "sky"))
        code, _, errors = call(train, "--resume", folder)
        assert code == 2 and "trained on another text" in errors[-1]
        facts = scored(call, trained())
        assert not facts["same_text_as_trained"] and "Not the text that" in facts["shown"]
    finally:
        text.write_text(content)


def test_a_text_too_short_to_score_is_said(
    tmp_path: Path, call: Call, trained: Trained, monkeypatch: pytest.MonkeyPatch
):
    path = trained()
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path))
    (tmp_path / "tiny_shakespeare.txt").write_text("the sea is")  # the last tenth is one character
    for script, flags in ((train, ["--model_type", "ngram", "--order", 2]), (evaluate, ["--model_path", path])):
        code, _, errors = call(script, *flags)
        assert code == 2 and "validation part is too short; got '1 tokens'" in errors[-1] and len(errors) == 1


def test_what_none_stands_for_depends_on_the_task():
    assert with_defaults(TrainConfig()).hidden == 512
    tagger = with_defaults(TrainConfig(task="tag", lr=0.5))
    assert (tagger.hidden, tagger.lr, tagger.dropout) == (128, 0.5, 0.5)
    assert all(value is not None for name, value in vars(tagger).items() if name not in ("config", "resume"))


@pytest.mark.parametrize(
    "flags",
    [
        "--model_type ngram --vocab_type word --max_words 50 --order 2 --run_name x --dataset shakespeare --seed 3",
        "--model_type ngram --order 9",
        "--model_type wavenet --vocab_type word --max_words 50 --hidden 9 --layers 3 --length 9 --dropout 0.0",
        "--model_type gru --embedding 9 --hidden 9 --length 9 --clip 0.0 --accumulate 3",
        "--vocab_type word --max_words 50 --weight_decay 0.5 --schedule step --warmup 0.0",
        "--task classify --embedding 9 --hidden 9 --dropout 0.0 --lr 1.0 --epochs 2",
        "--task tag --model_type rnn --layers 2 --batch_size 3 --eval_every 2 --max_steps 9",
        "--model_type lstm --order 6 --max_words 10000",
    ],
)
def test_settings_that_mean_something_are_taken(flags: str):
    words = flags.split()
    config, given = with_defaults(parse(TrainConfig, words)), dict(zip(words[::2], words[1::2], strict=True))
    assert {f"--{name}": str(value) for name, value in vars(config).items() if f"--{name}" in given} == given


@pytest.mark.parametrize(
    "flags",
    [
        ["--task", "classify"], ["--task", "tag"], ["--vocab_type", "word"],
        ["--model_type", "wavenet"], ["--model_type", "ngram"],
    ],
)  # fmt: skip
def test_the_saved_settings_of_a_run_can_be_given_again(flags: list[str]):
    """config.toml holds what None stood for, and `--config` of it repeats the run."""
    config = with_defaults(parse(TrainConfig, flags))
    assert with_defaults(config) == config


def test_an_ngram_takes_what_it_needs(call: Call, home: Path):
    flags = ["--model_type", "ngram", "--vocab_type", "word", "--max_words", 7, "--order", 2, "--run_name", "x"]
    assert call(train, *flags)[0] == 0
    content = checkpoint.load(home / "stage2_rnn_lstm" / "checkpoints" / "best_ngram_word.pt")
    assert len(content["tokenizer"]["symbols"]) == 7 and len(content["ngram"]["keys"]) == 2


# --- damaged and foreign checkpoints ----------------------------------------------------------------------------------


def refused(call: Call, path: Path, content: bytes | dict[str, Any]) -> str:
    """The one line with which evaluate.py refuses the file."""
    other = path.with_name("other.pt")
    if isinstance(content, bytes):
        other.write_bytes(content)
    else:
        checkpoint.save(other, content)
    code, out, errors = call(evaluate, "--model_path", other)
    other.unlink()
    assert (code, out) == (2, "") and len(errors) == 1, errors
    return errors[0]


@every_kind
def test_damage_is_refused(kind: str, call: Call, trained: Trained):
    path = trained(*KINDS[kind])
    whole, rng = path.read_bytes(), random.Random(0)
    for place in [0, 30, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(12))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        assert "damaged" in (line := refused(call, path, bytes(flipped))) or "not a my_llm checkpoint" in line
    for length in (0, 50, len(whole) // 2, len(whole) - 1):
        assert "damaged" in (line := refused(call, path, whole[:length])) or "not a my_llm checkpoint" in line
    assert "not a my_llm checkpoint" in refused(call, path, b"PK\x03\x04 of somebody else")


SYMBOLS = [*SPECIALS, "a", "b"]
VOCABULARY = {"tokenizer": {"kind": "char", "symbols": SYMBOLS}}
FOREIGN: dict[str, list[dict[str, Any]]] = {
    "language_model": [VOCABULARY, {"model_type": "wavenet"}, {"model_type": "gru"}, {"model_config": {}}],
    "ngram": [VOCABULARY, {"ngram": {}}, {"ngram": {"vocab_size": 6, "keys": [], "counts": []}}],
    "classifier": [VOCABULARY, {"tokenizer": {"kind": "word", "symbols": SYMBOLS}}, {"labels": ["one"]},
                   {"labels": ["one", "two", "three"]}, {"labels": ["other", "classes"]}],
    "tagger": [{"words": SYMBOLS}, {"characters": SYMBOLS}, {"words": ["a", "b"]}, {"labels": ["O"]}],
}  # fmt: skip
SHARED = [
    {"kind": "stage1_mlp/text_classifier"}, {"settings": {}}, {"settings": {"model_type": 5}}, {"data": {}},
    {"data": {"name": "absent", "sha256": ""}}, {"data": {"name": 5, "sha256": ""}}, {"progress": {}}, {"progress": 1},
]  # fmt: skip


@every_kind
def test_parts_that_do_not_fit_together_are_refused(kind: str, call: Call, trained: Trained):
    path = trained(*KINDS[kind])
    content = checkpoint.load(path)
    changes = [*FOREIGN[kind], *SHARED, *({key: None} for key in content if key != "model")]
    for change in changes:
        refused(call, path, {**content, **change})
    for missing in content:
        refused(call, path, {key: value for key, value in content.items() if key != missing})
    if kind == "ngram":
        return
    weights = content["model"]
    name = next(iter(weights))
    for wrong in ({}, {**weights, "more": torch.zeros(1)}, {**weights, name: weights[name][:-1]},
                  {**weights, name: weights[name].double()}, {**weights, name: weights[name] * torch.nan}):  # fmt: skip
        assert "weight" in refused(call, path, {**content, "model": wrong})


def test_a_checkpoint_of_one_task_keeps_to_its_corpora(call: Call, trained: Trained):
    for kind, dataset in {"language_model": "conll2002", "classifier": "auto_", "tagger": "movie_reviews"}.items():
        code, _, errors = call(evaluate, "--model_path", trained(*KINDS[kind]), "--dataset", dataset)
        assert code == 2 and len(errors) == 1 and f"got '{dataset}'" in errors[0]
    code, _, errors = call(evaluate, "--model_path", trained(), "--split", "test")
    assert code == 2 and errors == ["train.py: tiny_shakespeare has no such part; got 'test'; valid: train, validation"]
    assert "no measure of anything" in scored(call, trained(), "--split", "train")["shown"]


# --- help -------------------------------------------------------------------------------------------------------------

HELP = """
import contextlib, io, runpy, sys
for name in ("train", "evaluate", "generate", "experiments", "compare"):
    sys.argv = [f"{name}.py", "--help"]
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_path(f"stage2_rnn_lstm/{name}.py", run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, name
    assert "--seed" in shown.getvalue(), name
    heavy = {"torch", "numpy", "matplotlib"} & set(sys.modules)
    assert not heavy, f"{name} loads {heavy}"
"""


def test_help_needs_no_torch():
    answer = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr

"""Mistakes, damage and foreign files cost one line each; a question for help costs no torch."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from stage4_world import FLAGS, SMALL, Call, Trained, newest, scored

from my_llm import checkpoint
from my_llm.cli import parse
from my_llm.text import SPECIALS
from stage4_transformer import evaluate, generate, train, translate
from stage4_transformer.train import TrainConfig, with_defaults

ROOT = Path(__file__).resolve().parents[2]
every_task = pytest.mark.parametrize("task", FLAGS)

OUT_OF_RANGE = [
    ("--batch_size", "0"), ("--max_tokens", "-1"), ("--max_length", "1"), ("--length", "0"), ("--vocab_size", "4"),
    ("--model", "0"), ("--heads", "0"), ("--layers", "0"), ("--hidden", "-1"), ("--dropout", "1"), ("--average", "0"),
    ("--label_smoothing", "1"), ("--lr", "nan"), ("--lr", "0"), ("--warmup", "1.5"), ("--weight_decay", "-1"),
    ("--clip", "-1"), ("--accumulate", "0"), ("--eval_every", "-1"), ("--epochs", "0"), ("--seed", "-1"),
    ("--threads", "-1"), ("--max_steps", "-5"),
]  # fmt: skip
MEANINGLESS = [  # flags, and the task that has no such setting
    ("--vocab_type word", "translate"), ("--length 3", "translate"),
    ("--task classify --vocab_type word", "classify"), ("--task classify --vocab_size 300", "classify"),
    ("--task classify --length 3", "classify"), ("--task classify --max_length 3", "classify"),
    ("--task classify --max_tokens 300", "classify"), ("--task classify --label_smoothing 0", "classify"),
    ("--task language_model --max_length 3", "language_model"),
    ("--task language_model --max_tokens 300", "language_model"),
    ("--task language_model --label_smoothing 0", "language_model"),
    ("--task language_model --vocab_size 300", "char"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        *((train, flags.split(), f"{flags.split()[-2]} means nothing to {kind}; got") for flags, kind in MEANINGLESS),
        *((train, [flag, value], f"{flag} is out of range") for flag, value in OUT_OF_RANGE),
        (train, ["--max_tokens", "500", "--batch_size", "8"], "--max_tokens counts tokens, --batch_size sentences"),
        (
            train,
            ["--max_tokens", "9", "--vocab_size", "330"],
            "the longest sequence has more tokens than a batch; got '9'",
        ),
        (
            train,
            ["--model", "10", "--heads", "3"],
            "the heads share the model's width equally; got 'width 10, 3 heads'",
        ),
        (train, ["--model", "9", "--heads", "3"], "a head's width must be even"),
        (train, ["--model", "6", "--heads", "2", "--positions", "rotary"], "a head's width must be even"),
        (train, ["--positions", "rope"], "'rotary'"),
        (train, ["--order", "before"], "'pre', 'post'"),
        (train, ["--schedule", "cosin"], "'cosine'"),
        (train, ["--task", "write"], "'translate', 'classify', 'language_model'"),
        (train, ["--vocab_size", "259"], "260"),
        (train, ["--max_length", "2"], "every pair is longer than --max_length; got '2'"),
        (train, ["--dataset", "movie_reviews"], "for text classification, not for translation"),
        (train, ["--task", "classify", "--dataset", "multi30k_en_fr"], "for translation, not for text classification"),
        (train, ["--dataset", "multi30k"], "did you mean multi30k_en_fr"),
        (train, ["--task", "language_model", "--batch_size", "9999"], "the text is too short for one batch"),
        (train, ["--task", "language_model", "--length", "9999"], "lower --batch_size or --length"),
        (train, ["--batchsize", "3"], "did you mean --batch_size"),
        (train, ["--resume", "absent"], "nothing to resume"),
        (train, ["--run_name", "../up"], "--run_name must be a plain name"),
        (evaluate, ["--model_path", "absent.pt"], "cannot open checkpoint"),
        (evaluate, ["--split", "dev"], "'dev'"),
        (evaluate, ["--examples", "-1"], "--examples"),
        (evaluate, ["--beam_size", "0"], "--beam_size is out of range"),
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
        "--max_tokens 300 --vocab_size 300 --max_length 9 --label_smoothing 0.0 --average 1 --dataset numbers_en_fr",
        "--batch_size 9 --model 8 --heads 2 --layers 9 --hidden 9 --dropout 0.0 --positions alibi --order post",
        "--task classify --norm rms --activation gelu --lr 1.0 --warmup 0.0 --epochs 2",
        "--task language_model --vocab_type bpe --vocab_size 300 --length 9 --schedule step --clip 0.0",
        "--task language_model --vocab_type word --average 3 --accumulate 3 --eval_every 2 --max_steps 9",
    ],
)
def test_settings_that_mean_something_are_taken(flags: str):
    words = flags.split()
    config, given = with_defaults(parse(TrainConfig, words)), dict(zip(words[::2], words[1::2], strict=True))
    assert {f"--{name}": str(value) for name, value in vars(config).items() if f"--{name}" in given} == given


@pytest.mark.parametrize(
    "flags",
    [[], ["--max_tokens", "300"], ["--task", "classify"], ["--task", "language_model"],
     ["--task", "language_model", "--vocab_type", "word"], ["--task", "language_model", "--vocab_type", "bpe"]],
)  # fmt: skip
def test_the_saved_settings_of_a_run_can_be_given_again(flags: list[str]):
    """config.toml holds what None stood for, and `--config` of it repeats the run."""
    config = with_defaults(parse(TrainConfig, flags))
    assert with_defaults(config) == config
    nothing = {name for name, value in vars(config).items() if value is None} - {"config", "resume"}
    assert nothing == ({"batch_size"} if "300" in flags else {"vocab_size"} if config.vocab_size is None else set())
    assert (config.vocab_size is None) == (config.task == "classify" or flags == ["--task", "language_model"])


@pytest.mark.parametrize(
    "flags",
    [["--task", "classify"], ["--lr", "1"], ["--hidden", "13"], ["--average", "2"], ["--dataset", "numbers_en_fr"],
     ["--max_steps", "3"], ["--positions", "none"], ["--max_tokens", "300"], ["--seed", "1"]],
)  # fmt: skip
def test_flags_that_contradict_the_resumed_run_are_refused(flags: list[str], call: Call, trained: Trained, home: Path):
    trained()
    folder = newest(home, "translate")
    code, _, errors = call(train, "--resume", folder, *flags)
    assert code == 2 and len(errors) == 1 and f"{flags[0]} cannot change on resume" in errors[0]
    assert call(train, "--resume", folder, "--hidden", 48, "--average", 1)[0] == 0  # the same: no contradiction


def test_a_run_goes_on_with_its_own_text_only(call: Call, trained: Trained, home: Path):
    path, text = trained("language_model"), home / "tiny_shakespeare.txt"
    content = text.read_text()
    try:
        text.write_text(content.replace("dog", "god"))
        code, _, errors = call(train, "--resume", newest(home, "language_model"))
        assert code == 2 and "trained on another text" in errors[-1]
        facts = scored(call, path)
        assert not facts["same_text_as_trained"] and "Not the text that" in facts["shown"]
    finally:
        text.write_text(content)


# --- damaged and foreign checkpoints ----------------------------------------------------------------------------------

USES = {
    "translate": (translate, ["--text", "a"]), "language_model": (generate, ["--length", "3"]), "classify": None
}  # fmt: skip


def refused(call: Call, task: str, path: Path, content: bytes | dict[str, Any]) -> str:
    """The one line with which evaluate.py, and translate.py or generate.py, refuse the file."""
    other = path.with_name("other.pt")
    if isinstance(content, bytes):
        other.write_bytes(content)
    else:
        checkpoint.save(other, content)
    code, out, errors = call(evaluate, "--model_path", other)
    assert (code, out) == (2, "") and len(errors) == 1, errors
    if (use := USES[task]) and isinstance(content, bytes):
        script, flags = use
        code, out, again = call(script, "--checkpoint", other, *flags)
        assert (code, out) == (2, "") and again == errors
    return errors[0]


@every_task
def test_damage_is_refused(task: str, call: Call, trained: Trained):
    path = trained(task)
    whole, rng = path.read_bytes(), random.Random(0)
    for place in [0, 30, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(12))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        assert "damaged" in (line := refused(call, task, path, bytes(flipped))) or "not a my_llm checkpoint" in line
    for length in (0, 50, len(whole) // 2, len(whole) - 1):
        assert "damaged" in (line := refused(call, task, path, whole[:length])) or "not a my_llm checkpoint" in line
    assert "not a my_llm checkpoint" in refused(call, task, path, b"PK\x03\x04 of somebody else")


SHARED = [
    {"kind": "stage1_mlp/text_classifier"}, {"kind": "stage3_attention_seq2seq/seq2seq"}, {"settings": {}},
    {"settings": {"model_type": 5}}, {"data": {}}, {"data": {"name": "absent", "sha256": ""}},
    {"data": {"name": 5, "sha256": ""}}, {"progress": {}}, {"progress": 1}, {"progress": {"seconds": float("nan")}},
]  # fmt: skip
CONFIGS = [
    {"heads": 3}, {"heads": 0}, {"layers": 2}, {"hidden": 49}, {"model": 34}, {"model": -1}, {"positions": "learned"},
    {"positions": "absent"}, {"order": "absent"}, {"norm": "rms"}, {"activation": "swiglu"}, {"vocab_size": 331},
    {"more": 1}, {"dropout": 2},
]  # fmt: skip
SYMBOLS = [*SPECIALS, "a", "b"]
FOREIGN: dict[str, list[dict[str, Any]]] = {
    "translate": [{"tokenizer": {"kind": "char", "symbols": SYMBOLS}}],
    "classify": [{"tokenizer": {"kind": "word", "symbols": SYMBOLS}}, {"labels": ["one"]}, {"labels": ["a", "b", "c"]},
                 {"labels": ["other", "classes"]}],
    "language_model": [{"tokenizer": {"kind": "char", "symbols": SYMBOLS}}, {"model_type": "lstm"}],
}  # fmt: skip


@every_task
def test_parts_that_do_not_fit_together_are_refused(task: str, call: Call, trained: Trained):
    path = trained(task)
    content = checkpoint.load(path)
    configs = [{"model_config": {**content["model_config"], **change}} for change in CONFIGS]
    gone = [{key: None} for key in content if key != "model"]
    for change in [*SHARED, *FOREIGN[task], *configs, *gone]:
        refused(call, task, path, {**content, **change})
    for missing in content:
        refused(call, task, path, {key: value for key, value in content.items() if key != missing})
    weights = content["model"]
    name = next(iter(weights))
    for wrong in ({}, {**weights, "more": torch.zeros(1)}, {**weights, name: weights[name][:-1]},
                  {**weights, name: weights[name].double()}, {**weights, name: weights[name] * torch.nan}):  # fmt: skip
        assert "weight" in refused(call, task, path, {**content, "model": wrong})


def test_a_training_that_explodes_stops_and_keeps_the_weights_before_it(call: Call, home: Path):
    flags = ["--lr", "1e12", "--clip", 0, "--warmup", 0, "--order", "post", "--max_steps", 30, "--run_name", "exploded"]
    code, _, errors = call(train, *SMALL, *FLAGS["translate"], *flags)
    assert code == 3 and "not finite at step" in errors[-1] and "lower --lr" in errors[-1]
    assert (newest(home, "exploded") / "not_finite.pt").exists()


def test_a_report_that_cannot_be_written_is_one_line(call: Call, trained: Trained, home: Path):
    code, out, errors = call(evaluate, "--model_path", trained("classify"), "--report", home)
    assert code == 2 and "accuracy" in out and len(errors) == 1 and "cannot save" in errors[0]


# --- help -------------------------------------------------------------------------------------------------------------

HELP = """
import contextlib, io, runpy, sys
for name in ("train", "evaluate", "translate", "generate"):
    sys.argv = [f"{name}.py", "--help"]
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_path(f"stage4_transformer/{name}.py", run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, name
    assert "--seed" in shown.getvalue(), name
    heavy = {"torch", "numpy", "matplotlib"} & set(sys.modules)
    assert not heavy, f"{name} loads {heavy}"
"""


def test_help_needs_no_torch():
    answer = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr

"""train.py, evaluate.py and predict.py do a whole job: from texts to a checkpoint, a score and an answer."""

import dataclasses
import io
import json
import random
import sys
from pathlib import Path

import pytest
import torch

from my_llm import checkpoint
from my_llm.cli import execute
from my_llm.data import catalog
from my_llm.data.catalog import Example, TextClassification
from my_llm.errors import CheckpointError
from my_llm.journal import read_metrics
from stage1_mlp import evaluate, predict, train
from stage1_mlp.classify import KIND, Classifier
from stage1_mlp.train import TrainConfig

WORDS = {"sea": "ship wave salt sail fish", "sky": "bird cloud wing wind star", "land": "tree hill road stone field"}


def tiny_corpus() -> TextClassification:
    """Three topics told in their own words, with one common word: easy, but not without learning."""
    rng = random.Random(0)
    examples = [
        Example(" ".join(rng.choices([*words.split(), "the"], k=8)), label)
        for _ in range(40)
        for label, words in enumerate(WORDS.values())
    ]
    return TextClassification("tiny", tuple(WORDS), examples[:90], examples[90:105], examples[105:], "a rule", "digest")


def load_tiny(name: str, split_seed: int = 0) -> TextClassification:
    return tiny_corpus() if name in ("auto", "tiny") else catalog_load(name)


catalog_load = catalog.load


@pytest.fixture(autouse=True)
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path))
    monkeypatch.setattr(catalog, "load", load_tiny)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model_path(small_world: Path) -> Path:
    train.run(TrainConfig(epochs=5, batch_size=8, lr=0.02, threads=1))
    return small_world / "stage1_mlp" / "checkpoints" / "best_model.pt"


CPU = torch.device("cpu")


def test_training_learns_the_rule_and_publishes_the_best_model(model_path: Path):
    content = checkpoint.load(model_path, KIND)
    assert content["progress"]["best"]["scores"]["accuracy"] == 1.0
    assert content["labels"] == list(WORDS)
    folder = next((model_path.parents[2] / "runs" / "stage1_mlp").iterdir())
    losses = [line["loss"] for line in read_metrics(folder) if "loss" in line]
    assert len(losses) == 5 * 12  # 90 texts in batches of 8: 12 steps an epoch
    assert losses[-1] < 0.7 * losses[0]
    assert {"best.pt", "last.pt", "config.toml", "curves.png", "summary.json"} <= {f.name for f in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(small_world: Path):
    def weights(seed: int, name: str) -> dict[str, torch.Tensor]:
        train.run(TrainConfig(epochs=1, batch_size=8, seed=seed, threads=1, run_name=name))
        return checkpoint.load(next((small_world / "runs" / "stage1_mlp").glob(f"*-{name}")) / "last.pt")["model"]

    first, again, other = weights(0, "a"), weights(0, "b"), weights(1, "c")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_saved_classifier_answers_alone_as_in_a_batch(model_path: Path):
    classifier = Classifier.load(model_path, CPU)
    texts = [e.text for e in tiny_corpus().test] + ["", "unknown words only", "ship"]
    together = classifier.probabilities(texts)
    alone = torch.cat([classifier.probabilities([text]) for text in texts])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together.sum(dim=1), torch.ones(len(texts)))
    torch.testing.assert_close(together[-3], together[-2])  # nothing known is the same as nothing


def test_reasons_are_real_and_evidence_speaks_for_its_class(model_path: Path):
    classifier = Classifier.load(model_path, CPU)
    text = "the ship the wave the tree"
    reasons = classifier.reasons(text, count=1)
    before = classifier.probabilities([text])[0]
    assert classifier.labels[int(before.argmax())] == "sea"
    assert reasons[0].ngram.split()[-1] in ("ship", "wave") and reasons[0].drop > 0
    assert classifier.reasons("zzz") == []
    for label, words in classifier.evidence(3).items():
        assert {word for ngram, _ in words for word in ngram.split()} <= {*WORDS[label].split(), "the"}
        assert [voice for _, voice in words] == sorted((voice for _, voice in words), reverse=True)


def test_evaluate_prints_and_reports_the_same_numbers(model_path: Path, capsys: pytest.CaptureFixture[str]):
    report = model_path.with_name("report.json")
    config = evaluate.EvaluateConfig(
        model_path=model_path, report=report, plot=model_path.with_name("c.png"), threads=1
    )
    evaluate.run(config)
    facts, shown = json.loads(report.read_text()), capsys.readouterr().out
    assert facts["n"] == 15 and sum(map(sum, facts["confusion"])) == 15
    right = sum(facts["confusion"][i][i] for i in range(3))
    assert facts["accuracy"] == pytest.approx(right / 15)
    assert f"accuracy    {100 * right / 15:.2f} %" in shown
    assert len(facts["right"]) == min(right, 5) and len(facts["wrong"]) == min(15 - right, 10)
    assert facts["latency_batch_us"] > 0 and facts["parameters"] > 0
    assert model_path.with_name("c.png").stat().st_size > 1000
    assert max(len(line) for line in shown.splitlines() if str(report.parent) not in line) <= 80


def test_evaluate_refuses_a_corpus_with_other_classes(model_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = dataclasses.replace(tiny_corpus(), labels=("a", "b", "c"))
    monkeypatch.setattr(catalog, "load", lambda *args, **kwargs: other)
    code = execute(evaluate.EvaluateConfig, evaluate.run, ["--model_path", str(model_path)])
    assert code == 2


def test_a_checkpoint_with_parts_of_two_models_is_refused(model_path: Path):
    content = checkpoint.load(model_path)
    checkpoint.save(model_path, {**content, "labels": ["only one"]})
    with pytest.raises(CheckpointError, match="do not fit together"):
        Classifier.load(model_path, CPU)


@pytest.mark.parametrize("way", ["text", "file", "pipe", "interactive"])
def test_predict_answers_in_every_way_of_asking(
    way: str, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    config = predict.PredictConfig(model_path=model_path, threads=1)
    if way == "text":
        config = dataclasses.replace(config, text="ship wave")
    elif way == "file":
        path = model_path.with_name("texts.txt")
        path.write_text("ship wave\n", encoding="utf-8")
        config = dataclasses.replace(config, file=path)
    else:
        typed = "ship wave\n" if way == "pipe" else "/words\n/nonsense\n\nship wave\n/quit\n"
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        config = dataclasses.replace(config, interactive=way == "interactive")
    predict.run(config)
    out = capsys.readouterr().out
    assert "\nsea " in "\n" + out and "because of: " in out
    assert ("Classes: sea, sky, land" in out) == (way == "interactive")


OUT_OF_RANGE = [
    ("--batch_size", "0"), ("--dropout", "1.5"), ("--accumulate", "0"), ("--accumulate", "-1"), ("--warmup", "nan"),
    ("--seed", "99999999999999999999999"), ("--threads", "100000"), ("--clip", "-1"), ("--clip", "nan"), ("--lr", "-1"),
    ("--lr", "nan"), ("--lr", "inf"), ("--label_smoothing", "2"), ("--max_features", "-3"), ("--epochs", "0"),
    ("--max_steps", "-5"),
]  # fmt: skip
CONFIGS = {train: TrainConfig, evaluate: evaluate.EvaluateConfig, predict: predict.PredictConfig}


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        (train, ["--lr", "1e12", "--optimizer", "sgd", "--clip", "0", "--epochs", "3"], "not finite"),
        (evaluate, ["--model_path", "absent.pt"], "cannot open checkpoint"),
        (predict, ["--model_path", "absent.pt", "--text", "x"], "cannot open checkpoint"),
        (train, ["--hidden", "0"], "unit"),
        *((train, [flag, value], flag) for flag, value in OUT_OF_RANGE),
        (train, ["--device", "cpu:x"], "not a device"),
        (train, ["--dataset", "bbc_mews"], "did you mean bbc_news"),
        (evaluate, ["--worst", "-1"], "--worst"),
    ],
)
def test_mistakes_cost_one_line(script, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    code = execute(CONFIGS[script], script.run, arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == (3 if words == "not finite" else 2), lines
    assert words in lines[-1]
    assert len(lines) == 1 or words == "not finite", "a mistake costs one line, and nothing was done before it"

"""The scripts of stage 2 as functions, in a home of their own, with corpora so small that training takes a second."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage2_world import DATASETS, LANGUAGE, SMALL, Call, Trained, write_corpora

from my_llm.cli import execute
from my_llm.language import scoring, writer
from stage2_rnn_lstm import evaluate, train


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for all tests of this file: what one has trained, another may use."""
    folder = tmp_path_factory.mktemp("home")
    write_corpora(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_LLM_HOME", str(folder))
        patch.setenv("MY_LLM_DATA", str(folder))
        patch.setattr(sys, "argv", ["train.py"])
        patch.setattr(writer, "SAMPLE", 20)
        patch.setattr(scoring, "ENOUGH", 30)
        yield folder


@pytest.fixture
def call(home: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Exit code, standard output, and the lines of standard error of a script with these flags."""

    def called(script, *flags: object) -> tuple[int, str, list[str]]:
        config = train.TrainConfig if script is train else evaluate.EvaluateConfig
        code = execute(config, script.run, list(map(str, flags)))
        out, err = capsys.readouterr()
        return code, out, err.strip().splitlines()

    return called


@pytest.fixture
def trained(home: Path, call: Call) -> Trained:
    """The published checkpoint of a short training, made when first asked for."""

    def published(task: str = "language_model", model_type: str = "lstm", vocab_type: str = "char") -> Path:
        last = {"language_model": vocab_type, "classify": "classifier", "tag": "tagger"}[task]
        path = home / "stage2_rnn_lstm" / "checkpoints" / f"best_{model_type}_{last}.pt"
        if not path.exists():
            flags = (
                [*LANGUAGE, "--max_steps", 12] if task == "language_model" else [*SMALL, "--embedding", 8, "--lr", 0.02]
            )
            flags = [] if model_type == "ngram" else [*flags, "--dropout", 0, "--epochs", 6]  # counts take no steps
            flags += ["--dataset", DATASETS[task], "--run_name", path.stem]
            code, out, _ = call(train, *flags, "--task", task, "--model_type", model_type, "--vocab_type", vocab_type)
            assert code == 0 and f"evaluate.py --model_path {path}" in out
        return path

    return published

"""The scripts of stage 5 as functions, in a home of their own, with corpora so small that training takes a second."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage5_world import LEARN, SMALL, Call, Trained, published, write_corpora

from my_llm import run
from my_llm.cli import execute
from my_llm.language import scoring, writer
from stage5_gpt import evaluate, export, finetune, generate, planning, sheet, train

CONFIGS = {
    train: train.TrainConfig, generate: generate.GenerateConfig, evaluate: evaluate.EvaluateConfig,
    export: export.ExportConfig, sheet: sheet.SheetConfig, finetune: finetune.FinetuneConfig,
}  # fmt: skip


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all tests of stage 5's scripts: what one has trained, another may use."""
    folder = tmp_path_factory.mktemp("home")
    write_corpora(folder)
    return folder


@pytest.fixture(autouse=True)
def at_home(request: pytest.FixtureRequest) -> Iterator[None]:
    """The scripts find corpora and checkpoints in `home`, in the tests that ask for it."""
    with pytest.MonkeyPatch.context() as patch:
        if "home" in request.fixturenames:
            folder = str(request.getfixturevalue("home"))
            patch.setenv("MY_LLM_HOME", folder)
            patch.setenv("MY_LLM_DATA", folder)
            patch.setattr(sys, "argv", ["train.py"])
            patch.setattr(run, "draw_curves", lambda folder: None)  # curves.png would take most of the time
            patch.setattr(planning, "measure_matmul", lambda dtype, seconds: 100.0)
            patch.setattr(writer, "SAMPLE", 20)
            patch.setattr(scoring, "ENOUGH", 30)
        yield


@pytest.fixture
def call(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Exit code, standard output, and the lines of standard error of a script with these flags."""

    def called(script, *flags: object, typed: str = "") -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = execute(CONFIGS[script], script.run, list(map(str, flags)))
        out, err = capsys.readouterr()
        return code, out, err.strip().splitlines()

    return called


@pytest.fixture
def trained(home: Path, call: Call) -> Trained:
    """A copy of what a short training published, made when first asked for."""

    def found(*flags: object) -> Path:
        name = "_".join(str(flag).lstrip("-") for flag in ("gpt", *flags))
        path = home / f"best_{name}.pt"
        if not path.exists():
            code, out, errors = call(train, *SMALL, *LEARN, "--run_name", name, *flags)
            assert code == 0, errors
            best = published(home, str(flags[flags.index("--vocab_type") + 1]) if "--vocab_type" in flags else "char")
            assert f"generate.py --checkpoint {best}" in out
            path.write_bytes(best.read_bytes())
        return path

    return found

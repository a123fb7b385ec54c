"""The scripts of stage 3 as functions, in a home of their own, with a corpus so small that training takes seconds."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage3_world import LEARN, Call, Trained, write_corpus

from my_llm import run
from my_llm.cli import execute
from stage3_attention_seq2seq import evaluate, train, translate

CONFIGS = {train: train.TrainConfig, evaluate: evaluate.EvaluateConfig, translate: translate.TranslateConfig}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all tests of stage 3: what one has trained, another may use."""
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    return folder


@pytest.fixture(autouse=True)
def at_home(request: pytest.FixtureRequest) -> Iterator[None]:
    """The scripts find corpus and checkpoints in `home`, in the tests that ask for it."""
    with pytest.MonkeyPatch.context() as patch:
        if "home" in request.fixturenames:
            folder = str(request.getfixturevalue("home"))
            patch.setenv("MY_LLM_HOME", folder)
            patch.setenv("MY_LLM_DATA", folder)
            patch.setattr(sys, "argv", ["train.py"])
            patch.setattr(run, "draw_curves", lambda folder: None)  # curves.png would take most of the time
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

    def published(attention: str = "bahdanau", *flags: object) -> Path:
        path = home / f"best_{'_'.join([attention, *map(str, flags)])}.pt"
        if not path.exists():
            name = path.stem.removeprefix("best_")
            code, out, _ = call(train, *LEARN, "--attention_type", attention, "--run_name", name, *flags)
            best = home / "stage3_attention_seq2seq" / "checkpoints" / "best_attention_model.pt"
            assert code == 0 and f"evaluate.py --model_path {best}" in out
            path.write_bytes(best.read_bytes())
        return path

    return published

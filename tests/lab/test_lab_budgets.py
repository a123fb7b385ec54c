"""What a budget buys is read from the runs themselves; what was trained is not trained again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import budgets, compare
from lab.jobs import folder_of
from my_llm import budget, ledger
from my_llm.cli import to_toml
from my_llm.errors import ConfigError
from my_llm.run import Stopped
from stage5_gpt.budget import rule
from stage5_gpt.train import TrainConfig

ROOT = Path(__file__).parents[2]
DIGEST = folder_of("budget", [repr(budgets.texts_and_sizes("stage5_gpt"))]).name[-8:]
SIZES = rule().sizes(budget.TO_WRITE[0].vocabulary)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path))
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    return tmp_path


def a_run(home: Path, seed: int, score: float, stage: str = "stage5_gpt", metric: str = "bits_per_byte") -> Path:
    """A training that is over, of the size and text that the budget gave it."""
    folder = home / "runs" / stage / f"20260101-000000-budget-1m-{DIGEST}-seed{seed}"
    folder.mkdir(parents=True)
    size = SIZES[0]
    config = TrainConfig(**{**size.flags, "dataset": "tiny_shakespeare", "max_steps": 500, "seed": seed})
    (folder / "config.toml").write_text(to_toml(config))
    summary = {"seconds": 50.0 + seed, "best": {"scores": {metric: score}}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_row_is_what_the_runs_say(home: Path):
    row = budgets.row_of("stage5_gpt", "1m", [a_run(home, 0, 3.0), a_run(home, 1, 3.2)])
    tokens = 500 * rule().batch
    assert (
        1e12 * row["tera_operations"] == pytest.approx(tokens * SIZES[0].operations, rel=0.01)
        and row["parameters"] == SIZES[0].parameters
    )
    assert (row["times_read"], row["seconds"]) == (round(tokens / 1_003_854, 1), 51)
    assert (row["metric"], row["data"], row["score"], row["score_sd"]) == (
        "bits_per_byte",
        "tiny_shakespeare",
        3.1,
        0.141,
    )


def test_what_is_over_is_not_trained_again_and_what_was_stopped_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch):
    called: list[list[str]] = []

    def started(line: list[str], cwd: Path) -> subprocess.Popen:
        called.append(line[1:])
        assert cwd.name == "stage5_gpt"
        return popen([sys.executable, "-c", f"raise SystemExit({code})"])

    popen, code = subprocess.Popen, 0
    monkeypatch.setattr(subprocess, "Popen", started)
    done = a_run(home, 0, 3.0)
    assert budgets.train("stage5_gpt", "1m", 0) == done and not called
    half = a_run(home, 1, 3.0)
    (half / "summary.json").unlink()
    assert budgets.train("stage5_gpt", "1m", 1) == half and called == [["train.py", "--resume", str(half)]]
    code = 130
    with pytest.raises(Stopped, match="the same command goes on"):
        budgets.train("stage5_gpt", "10m", 2)
    assert called[-1] == ["train.py", "--budget", "10m", "--run_name", f"budget-10m-{DIGEST}-seed2", "--seed", "2"]
    with pytest.raises(Stopped):
        budgets.train("stage5_gpt", "10m", 3, budgets.planned("stage5_gpt", budgets.settings_of(done)))
    assert called[-1][1:4] == ["--layers", "2", "--heads"] and "--budget" not in called[-1], "the very same training"
    assert called[-1][called[-1].index("--max_steps") + 1] == "500"
    code = 2
    with pytest.raises(ConfigError, match="ended with 2"):
        budgets.train("stage5_gpt", "10m", 2)


def test_the_table_is_written_and_says_what_to_expect(home: Path, monkeypatch: pytest.MonkeyPatch):
    for seed, score in enumerate((3.0, 3.2)):
        a_run(home, seed, score)
    monkeypatch.setattr(budgets, "METRICS", {"stage5_gpt": "bits_per_byte"})
    monkeypatch.setattr(budgets, "BUDGETS", {"1m": (0, 1)})
    assert compare.main(["--parts", "budget"]) == 0
    (row,) = ledger.read(home / "results" / "compare" / "budget.json")["rows"]
    made = budget.Plan(SIZES[0], budget.TO_WRITE[0], 500, 1e12 * row["tera_operations"], 1.0)
    assert "bits per byte 2.82 to 3.38" in budget.expected("stage5_gpt", made)

    def with_times(operations: float) -> str:
        return budget.expected("stage5_gpt", made._replace(operations=operations * made.operations))

    assert " to " in with_times(1.4) and " to " in with_times(0.7)
    assert "bits per byte better than 3.1, measured with" in with_times(1.6)
    assert with_times(0.6) == "", "with less, how much worse?"
    assert budget.expected("stage4_transformer", made) == ""
    assert budget.expected("stage5_gpt", made._replace(text=budget.PYTHON)) == "", "another text, another score"


def test_a_share_of_right_answers_is_in_percent_and_at_most_all(home: Path, monkeypatch: pytest.MonkeyPatch):
    folder = a_run(home, 0, 0.99, "stage1_mlp", "accuracy")
    settings = {"hidden": [16], "dataset": "python_docs", "max_steps": 500}
    (folder / "config.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    row = budgets.row_of("stage1_mlp", "1m", [folder])
    assert (row["metric"], row["data"], row["score"]) == ("accuracy", "python_docs", 99.0)
    assert row["times_read"] == round(500 * 64 / 3301, 1)
    monkeypatch.setattr(budget, "read", lambda path: {"rows": [row]})
    (home / "results" / "compare").mkdir(parents=True)
    (home / "results" / "compare" / "budget.json").touch()
    made = budgets.planned("stage1_mlp", settings)
    assert "accuracy 96 to 100," in budget.expected("stage1_mlp", made)
    longer = made._replace(operations=10 * made.operations)
    assert "accuracy better than 99," in budget.expected("stage1_mlp", longer)
    monkeypatch.setattr(budget, "read", lambda path: {"rows": [row | {"metric": "bleu", "score": 99.995}]})
    assert "bleu 97 to 100," in budget.expected("stage1_mlp", longer), "nothing is better than all"


def test_ctrl_c_lets_the_training_save(home: Path, tmp_path: Path):
    """A real process group, as in a terminal: the training hears it, takes its time, and is waited for."""
    stage = tmp_path / "stage5_gpt"
    stage.mkdir()
    (stage / "train.py").write_text(
        "import signal, sys, time, pathlib\n"
        "def save(*_):\n    time.sleep(1)\n    pathlib.Path('saved').touch()\n    sys.exit(130)\n"
        "signal.signal(signal.SIGINT, save)\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    script = f"import pathlib; from lab import budgets; budgets.ROOT = pathlib.Path({str(tmp_path)!r}); " \
             "budgets.train('stage5_gpt', '1m', 7)"  # fmt: skip
    line = [sys.executable, "-c", script]
    process = subprocess.Popen(
        line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (stage / "saved").exists() and "the same command goes on" in errors

"""What a budget buys is read from the runs themselves; what was trained is not trained again."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import budgets, compare
from my_llm import budget, ledger
from my_llm.cli import to_toml
from my_llm.errors import ConfigError
from my_llm.run import Stopped
from stage5_gpt.budget import rule
from stage5_gpt.train import TrainConfig


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path))
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    return tmp_path


def a_run(home: Path, seed: int, score: float, stage: str = "stage5_gpt", metric: str = "bits_per_byte") -> Path:
    """A training that is over, of the size and text that the budget gave it."""
    folder = home / "runs" / stage / f"20260101-000000-budget-1m-seed{seed}"
    folder.mkdir(parents=True)
    size = rule().sizes[0]
    config = TrainConfig(**{**size.flags, "dataset": "auto", "max_steps": 500, "seed": seed})
    (folder / "config.toml").write_text(to_toml(config))
    summary = {"seconds": 50.0 + seed, "best": {"scores": {metric: score}}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_row_is_what_the_runs_say(home: Path):
    row = budgets.row_of("stage5_gpt", "1m", [a_run(home, 0, 3.0), a_run(home, 1, 3.2)])
    made, tokens = rule(), 500 * rule().tokens_per_step
    assert row["operations"] == tokens * made.sizes[0].operations and row["parameters"] == made.sizes[0].parameters
    assert (row["steps"], row["passes"], row["seconds"]) == (500, round(tokens / 1_003_854, 1), 51.0)
    assert (row["metric"], row["score"], row["score_sd"]) == ("bits_per_byte", 3.1, 0.141)


def test_what_is_over_is_not_trained_again_and_what_was_stopped_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch):
    called: list[list[str]] = []

    def ran(line: list[str], **options: Any) -> subprocess.CompletedProcess:
        called.append(line[1:])
        assert options["cwd"].name == "stage5_gpt"
        return subprocess.CompletedProcess(line, code)

    monkeypatch.setattr(subprocess, "run", ran)
    code = 0
    done = a_run(home, 0, 3.0)
    assert budgets.train("stage5_gpt", "1m", 0) == done and not called
    half = a_run(home, 1, 3.0)
    (half / "summary.json").unlink()
    assert budgets.train("stage5_gpt", "1m", 1) == half and called == [["train.py", "--resume", str(half)]]
    code = 130
    with pytest.raises(Stopped, match="the same command goes on"):
        budgets.train("stage5_gpt", "10m", 2)
    assert called[-1] == ["train.py", "--budget", "10m", "--run_name", "budget-10m-seed2", "--seed", "2"]
    code = 2
    with pytest.raises(ConfigError, match="ended with 2"):
        budgets.train("stage5_gpt", "10m", 2)


def test_the_table_is_written_and_says_what_to_expect(home: Path, monkeypatch: pytest.MonkeyPatch):
    for seed, score in enumerate((3.0, 3.2)):
        a_run(home, seed, score)
    monkeypatch.setattr(budgets, "METRICS", {"stage5_gpt": "bits_per_byte"})
    assert compare.main(["--parts", "budget"]) == 0
    (row,) = ledger.read(home / "results" / "compare" / "budget.json")["rows"]
    made = budget.Plan(rule().sizes[0], budget.TO_WRITE[0], 500, row["operations"], 1.0)
    assert "bits per byte 2.82 to 3.38" in budget.expected("stage5_gpt", made)
    assert "bits per byte" in budget.expected("stage5_gpt", made._replace(operations=1.4 * row["operations"]))
    assert budget.expected("stage5_gpt", made._replace(operations=1.6 * row["operations"])) == ""
    assert budget.expected("stage4_transformer", made) == ""

"""Benchmarks count what happened: every candidate takes its turns, and outcomes come from pytest's own record."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab import bench_stage2
from lab.bench import BenchConfig, bench, outcomes, take_turns
from my_llm.errors import UserError

TRIALS = """
import pytest
def test_many_trials(record_property):
    record_property("trials", 7)
def test_many_that_fail(record_property):
    record_property("trials", 5)
    assert False
@pytest.mark.parametrize("number", range(3))
def test_each_is_a_trial(number):
    assert number != 1
@pytest.mark.skip
def test_not_run():
    pass
"""


def test_trials_are_counted_from_what_pytest_saw(tmp_path: Path):
    (tmp_path / "test_trials.py").write_text(TRIALS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--junitxml=outcomes.xml", "test_trials.py"]
    subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert outcomes(tmp_path / "outcomes.xml") == [
        {"case": "many trials", "trials": 7, "passed": 7, "failed": 0},
        {"case": "many that fail", "trials": 5, "passed": 0, "failed": 5},
        {"case": "each is a trial", "trials": 3, "passed": 2, "failed": 1},
    ]


def test_candidates_take_turns_and_none_is_always_first():
    order: list[str] = []
    times = take_turns({name: lambda name=name: order.append(name) for name in "abc"}, rounds=4)
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 4, "b": 4, "c": 4}
    turns = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert len(turns) == 9 and set(turns) == {"abc", "bca", "cab"}


def test_a_short_bench_of_stage_1_records_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    bench(BenchConfig(stage="stage1_mlp", rounds=2))
    table = json.loads((tmp_path / "bench" / "stage1.json").read_text(encoding="utf-8"))
    rows = {row["case"]: row for row in table["rows"]}
    assert rows["official torch.nn"]["times_official"] == 1 and rows["from scratch"]["times_official"] > 0
    assert rows["by hand, NumPy"]["step_ms"] > 0 and rows["product, fp32"]["rate"] > 0
    assert 0 < rows["text to label, batch"]["text_us"] < rows["text to label, single"]["text_us"]


def test_a_short_bench_of_stage_2_records_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Small sizes, the same way."""
    import torch

    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path))
    monkeypatch.setattr(bench_stage2, "SIZE", {"batch_size": 3, "length": 5, "hidden": 7})
    monkeypatch.setattr(bench_stage2, "CHARACTERS", 5)
    threads = torch.get_num_threads()
    try:
        bench(BenchConfig(stage="stage2_rnn_lstm", rounds=2))
    finally:
        torch.set_num_threads(threads)
    table = json.loads((tmp_path / "bench" / "stage2.json").read_text(encoding="utf-8"))
    rows = {row["case"]: row for row in table["rows"]}
    tellings = ["LSTM, by hand", "LSTM, from scratch", "LSTM, official"]
    assert list(rows)[:3] == tellings and rows["LSTM, official"]["speed_of_official"] == 1
    assert all(rows[name]["step_ms"] > 0 and rows[name]["speed_of_official"] > 0 for name in tellings)
    assert rows["writing, 1 thread"]["characters_per_second"] > 0
    assert "layers of 7, batch 3 × 5 steps" in table["title"]
    assert table["command"] == "my-llm bench --stage stage2_rnn_lstm"


def test_all_stages_have_a_process_each_and_a_failure_is_said(monkeypatch: pytest.MonkeyPatch):
    calls: list[list[str]] = []

    def call(command: list[str], **options: object) -> int:
        calls.append(command[command.index("--stage") :])
        return len(calls) - 1

    monkeypatch.setattr(subprocess, "call", call)
    with pytest.raises(UserError, match="the benchmark failed; got 'stage2_rnn_lstm'"):
        bench(BenchConfig(rounds=7))
    assert calls == [["--stage", stage, "--rounds", "7"] for stage in ("stage1_mlp", "stage2_rnn_lstm")]

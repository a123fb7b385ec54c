"""What `my-llm milestones` trains: every stage, with flags that its train.py takes, in rows of different names."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from pages import standing

from lab.bench import STAGES, BenchConfig
from lab.milestone_curves import on_the_way, record_curve
from lab.milestones import MILESTONES, Milestone, MilestonesConfig, row_of
from my_llm.cli import parse

ROOT = Path(__file__).resolve().parents[2]
ROWS = [(stage, milestone) for stage, milestones in MILESTONES.items() for milestone in milestones]


@pytest.mark.parametrize(("stage", "milestone"), ROWS, ids=[f"{stage[:6]} {row.case}" for stage, row in ROWS])
def test_the_script_takes_the_flags(stage: str, milestone: Milestone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT / stage)  # where presets/ are
    monkeypatch.setattr(sys, "argv", [str(ROOT / stage / "train.py")])
    train = import_module(f"{stage}.train")
    config = parse(train.TrainConfig, milestone.flags)
    if hasattr(train, "with_defaults"):
        train.with_defaults(config)


def test_every_stage_can_be_chosen_and_no_row_is_there_twice():
    assert [*MILESTONES] == standing() == [stage for stage in STAGES if stage in standing()]
    for config, stages in ((MilestonesConfig, standing()), (BenchConfig, STAGES)):
        assert list(get_args(get_type_hints(config)["stage"])) == ["all", *stages]
    for milestones in MILESTONES.values():
        assert len({milestone.case for milestone in milestones}) == len(milestones)


def test_a_row_of_the_transformer_holds_what_its_task_measures():
    (numbers, multi30k, news, shakespeare) = MILESTONES["stage4_transformer"]
    common = {"examples": 20000, "n": 1000, "train_seconds": 61.2}
    translated = {"bleu": 61.25, "exact": 0.991, "chrf": 75.1, "greedy_per_second": 800.4, "beam_per_second": 120.6}
    runs = [{**common, **translated, "exact": exact} for exact in (0.98, 0.99, 1.0)]
    row = row_of(numbers, runs)
    assert (row["score"], row["spread"], row["unit"], row["splits"]) == (99.0, 1.0, "%", 3)
    assert row["data"] == "numbers and dates (train 20,000)" and row["beam_per_second"] == 121
    assert row_of(multi30k, runs[:1])["score"] == 61.25
    sorted_texts = {**common, "accuracy": 0.9012, "macro_f1": 0.9, "latency_batch_us": 90.0, "latency_single_ms": 1.0}
    assert row_of(news, [sorted_texts])["score"] == 90.12
    assert row_of(shakespeare, [{**common, "mean_loss": 1.52345, "bits_per_byte": 2.2}])["score"] == 1.5234


def test_the_score_on_the_way_is_recorded_over_minutes_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    (tmp_path / "summary.json").write_text(json.dumps({"seconds": 120.0, "steps": 40}))
    lines = [
        {"step": 9, "loss": 2.0},
        {"step": 9, "bleu": 30.126},
        {"step": 39, "bleu": 40.0},
        {"step": 39, "exact": 1},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = on_the_way(tmp_path, "bleu")
    assert rows == [
        {"case": "step 10", "minutes": 0.5, "bleu": 30.13},
        {"case": "step 40", "minutes": 2.0, "bleu": 40.0},
    ]
    report = {"source": "made here", "sha256": "0" * 64}
    path = record_curve("stage4_transformer", "multi30k", "Transformer", "bleu", tmp_path, report)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["rows"] == rows and written["columns"] == {"minutes": "min", "bleu": ""}
    assert (tmp_path / "docs" / "figures" / "stage4_multi30k.png").stat().st_size > 5000

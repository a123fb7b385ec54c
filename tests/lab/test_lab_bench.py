"""Benchmarks count what happened: every candidate takes its turns, and outcomes come from pytest's own record."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lab import bench_stage2, bench_stage4, bench_stage4_attention
from lab.bench import BenchConfig, bench, outcomes, take_turns
from lab.elsewhere import elsewhere
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


def adder(first: int) -> Callable[[int], tuple[int, str]]:
    """What a process elsewhere makes: it counts, and says on which path."""
    return lambda second: (first + second, os.environ["MY_LLM_MATRIX_PATH"])


def test_a_candidate_elsewhere_takes_its_turns_on_torchs_default_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_LLM_MATRIX_PATH", "auto")
    turn = elsewhere(adder, 40)
    assert [turn(2), turn(3)] == [(42, "default"), (43, "default")]
    assert os.environ["MY_LLM_MATRIX_PATH"] == "auto"


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


def test_a_short_bench_of_stage_4_records_three_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Small sizes, one thread, the same way."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path))
    monkeypatch.setattr(bench_stage4, "SHAPE", {"model": 8, "heads": 2, "layers": 1, "hidden": 8, "dropout": 0.1})
    for name, value in {"PAIRS": 30, "WORDS": 50, "VOCABULARY": 280, "BATCH": 8, "SENTENCES": 6}.items():
        monkeypatch.setattr(bench_stage4, name, value)
    monkeypatch.setattr(bench_stage4_attention, "LENGTHS", (8, 16))
    monkeypatch.setattr(bench_stage4, "set_threads", lambda threads: None)
    bench(BenchConfig(stage="stage4_transformer", rounds=2))
    tables = {}
    for name in ("training", "translating", "attention"):
        table = json.loads((tmp_path / "bench" / f"stage4_{name}.json").read_text(encoding="utf-8"))
        assert table["command"] == "my-llm bench --stage stage4_transformer"
        tables[name] = {row["case"]: row for row in table["rows"]}
    theirs, *ours, theirs_alike, ours_alike = tables["training"].values()
    assert (
        theirs["case"] == "nn.Transformer, the obvious loop, fp32" and ours_alike["case"] == "ours, same batches, fp32"
    )
    assert theirs["speed_of_official"] == theirs_alike["speed_of_official"] == 1
    assert all(row["target_tokens_per_second"] > 0 and 0 < row["loss"] < 10 for row in tables["training"].values())
    assert theirs_alike["loss"] == pytest.approx(ours_alike["loss"], abs=0.5)  # the same weights, batches and steps
    assert [row["case"][-4:] for row in ours] == ["fp32", "bf16"] and all(row["speed_of_official"] > 0 for row in ours)
    ways = ("recomputed", "cached", "cached, bf16")
    assert [*tables["translating"]] == [f"{how}, {way}" for how in ("greedy", "beam 5") for way in ways]
    assert [row["ratio"] for row in tables["translating"].values()][::3] == [1, 1]
    assert len(tables["attention"]) == 6 and tables["attention"]["fused, 16 tokens"]["with_backward_speed"] == 1
    assert tables["attention"]["blockwise, 8 tokens"]["forward_ms"] > 0


def a_translator(cached: bool):
    """Random weights, always the same ones."""
    import torch

    from lab.bench_stage4_translating import Paced
    from my_llm.translation.batches import train_tokenizer
    from my_llm.translation.translator import Translator
    from stage4_transformer.models import Transformer, TransformerConfig

    tokenizer = train_tokenizer(bench_stage4.invented_pairs(20), 290)
    torch.manual_seed(0)
    config = TransformerConfig(vocab_size=tokenizer.vocab_size, model=8, heads=2, layers=2, hidden=8)
    return Translator(Paced(Transformer(config), cached), tokenizer, facts={})


@pytest.mark.parametrize("width", [1, 3])
def test_a_paced_translation_is_as_long_as_its_source_with_and_without_a_cache(width: int):
    texts = [pair.source for pair in bench_stage4.invented_pairs(5, seed=1)]
    translator = a_translator(True)
    said = translator.translate(texts, beam_size=width)
    assert [len(answer.tokens) for answer in said] == [
        len(ids) for ids in translator.encode(translator.tokenizer, texts)
    ]
    again = a_translator(False).translate(texts, beam_size=width)
    assert [answer.tokens for answer in again] == [answer.tokens for answer in said]


def test_batches_in_order_hold_the_same_pairs(monkeypatch: pytest.MonkeyPatch):
    from my_llm.text import PAD
    from my_llm.translation.batches import Batch, train_tokenizer

    monkeypatch.setattr(bench_stage4, "BATCH", 4)
    pairs = bench_stage4.invented_pairs(10)
    assert len({len(pair.source.split()) for pair in pairs}) > 1  # there is something to pad
    assert all(len(pair.source.split()) == len(pair.target.split()) for pair in pairs)
    batches = bench_stage4.batches_of(train_tokenizer(pairs, 300), pairs)

    def targets(found: Iterable[Batch]) -> list[list[int]]:
        return sorted(row[row != PAD].tolist() for batch in found for row in batch.target_out)

    in_order = bench_stage4.in_order(batches)
    assert [len(batch.source) for batch in in_order] == [4, 4, 2]
    assert targets(in_order) == targets(batches(i) for i in range(batches.per_epoch))
    assert in_order[0].target_in[0, 1:3].tolist() == in_order[0].target_out[0, :2].tolist()  # shifted by one


def test_all_stages_have_a_process_each_and_a_failure_is_said(monkeypatch: pytest.MonkeyPatch):
    calls: list[list[str]] = []

    def call(command: list[str], **options: object) -> int:
        calls.append(command[command.index("--stage") :])
        return len(calls) - 1

    monkeypatch.setattr(subprocess, "call", call)
    with pytest.raises(UserError, match="the benchmark failed; got 'stage2_rnn_lstm'"):
        bench(BenchConfig(rounds=7))
    assert calls == [["--stage", stage, "--rounds", "7"] for stage in ("stage1_mlp", "stage2_rnn_lstm")]

"""The ladder: its models look at nothing that is to come, its races go on where they stopped, its choice is honest."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from lab import compare, complexity, jobs, ladder
from lab.generations import GENERATIONS, LENGTH
from my_llm import ledger
from my_llm.evaluation import parameters_of
from stage5_gpt.studies.common import Learnt

SETTING = ladder.Setting("tiny_shakespeare", 0, 2)


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short text where Tiny Shakespeare would be, and a home."""
    (tmp_path / "tiny_shakespeare.txt").write_text("a red dog sees an old cat.\n" * 4000, encoding="utf-8")
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path))
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path))
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    return tmp_path


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_generation_sees_no_future_learns_and_has_its_size(name: str):
    generation = GENERATIONS[name]
    width, parameters = generation.sized(65, ladder.SIZE)
    assert 0.8 * ladder.SIZE < parameters <= ladder.SIZE
    width, parameters = generation.sized(50, 30_000)
    torch.manual_seed(0)
    model = generation.make(50, width)
    assert parameters_of(model) == parameters
    told = torch.arange(50).repeat(200)  # each token says which is next
    batches, loss_fn = generation.learning(told, seed=0)
    optimizer = generation.optimizer(model, generation.rate)
    losses = []
    for index in range(20):
        loss = loss_fn(model.train(), batches(index))
        assert loss.count == generation.batch
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        losses.append(float(loss.total.detach()) / loss.count)
    assert losses[-1] < losses[0] - 1
    assert generation.nats(model, told[: 4 * LENGTH]) / (4 * LENGTH) < losses[0] - 1
    tokens = torch.randint(50, (1, 32))
    other = tokens.clone()
    other[0, 20] = (tokens[0, 20] + 1) % 50
    with torch.inference_mode():
        before, after = model.eval()(tokens)[0], model(other)[0]
    assert torch.allclose(before[:, :20], after[:, :20], atol=1e-5)
    assert not torch.allclose(before[:, 20], after[:, 20], atol=1e-2)


def test_trainings_that_are_over_are_not_run_again(
    text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wanted = ladder.jobs(["MLP"])
    assert len({job.file for job in wanted}) == len(wanted) == 1 + 2 * len(ladder.SIZES)
    monkeypatch.setattr(ladder, "jobs", lambda names: [job for job in wanted if job.parameters == ladder.SIZE])
    done = ladder.race(SETTING, ["MLP"], text / "kept", 1)
    rows = {job.race: row for job, row in done.items()}
    assert rows["parameters"]["tokens"] == 2 * GENERATIONS["MLP"].batch and 0 < rows["seconds"]["bits"] < 20
    assert "min left" in capsys.readouterr().out
    first = next(iter(done))
    (text / "kept" / first.file).write_text(json.dumps({"bits": 1.5}))
    again = ladder.race(SETTING, ["MLP"], text / "kept", 1)
    assert again == {**done, first: {"bits": 1.5}} and "3 of 3 trainings are kept" in capsys.readouterr().out
    other = dataclasses.replace(SETTING, seed=1)
    folders = {jobs.folder_of("ladder", ladder.rules(*one)) for one in ((SETTING, "a"), (SETTING, "b"), (other, "b"))}
    assert len(folders) == 3


def test_a_curve_is_the_mean_up_to_each_point():
    learnt = Learnt([0.5 * step for step in range(1, 101)], [float(step) for step in range(100)], 1)
    curve = ladder.curve_of(learnt)
    assert 20 < len(curve) <= ladder.POINTS + 1 and curve[-1][0] == 50.0
    assert curve[0] == [0.5, 0.0] and curve[1] == [1.0, round(1 / math.log(2), 3)]
    assert sorted(curve) == curve


def test_the_part_that_chooses_is_not_learnt(text: Path):
    _, tokenizer, tokens = ladder.parts_of("tiny_shakespeare")
    told = "".join(tokenizer.decode(tokens[part].tolist()) for part in ("choice", "train", "validation"))
    assert told == (text / "tiny_shakespeare.txt").read_text("utf-8") and len(tokens["choice"]) > 1000


def test_the_part_that_chooses_is_not_the_one_that_is_shown():
    def row(bits: float, chosen_by: float, parameters: int) -> ladder.Row:
        return {"bits": bits, "chosen_by": chosen_by, "parameters": parameters, "tokens": 5, "seconds": 2.0}

    done = {ladder.Job("parameters", "MLP", ladder.SIZE): row(3.0, 3.0, 9)}
    for race in ("tokens", "seconds"):
        sizes = zip(ladder.SIZES, (2.5, 2.0, 2.2), (2.1, 2.3, 2.2), strict=True)
        done |= {ladder.Job(race, "MLP", size): row(bits, chosen_by, size) for size, bits, chosen_by in sizes}
    grams = [row(4.0, 4.0, 100), row(2.0, 2.0, ladder.SIZE + 1)]
    found = ladder.table_of(done, grams, ["MLP"])
    counts, network = ladder.results_of(found)
    assert counts == {"case": ladder.NGRAM, "equal_parameters": 4.0, "equal_tokens": 2.0, "equal_seconds": 2.0}
    assert network == {"case": "MLP", "equal_parameters": 3.0, "equal_tokens": 2.5, "equal_seconds": 2.5}
    costs = {row["case"]: row["parameters"] for row in ladder.costs_of(found)}
    assert costs["tokens: MLP"] == ladder.SIZES[0] and costs[f"parameters: {ladder.NGRAM}"] == 100


def fails_or_sleeps(job: ladder.Job) -> dict:
    """The first one fails at once."""
    if job.parameters == 1:
        raise ValueError("broken")
    time.sleep(60)
    return {}


def test_a_training_that_fails_does_not_wait_for_the_others(tmp_path: Path):
    started = time.perf_counter()
    wanted = [ladder.Job("tokens", "MLP", number) for number in range(1, 9)]
    with pytest.raises(ValueError, match="broken"):
        jobs.done(wanted, fails_or_sleeps, tmp_path, 2, lambda job, row: "")
    assert time.perf_counter() - started < 30


def left(group: int) -> int:
    """0 if all processes of the group end within five seconds."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return 0
        time.sleep(0.1)
    return 1


def test_ctrl_c_keeps_what_is_over_and_says_how_to_go_on(text: Path):
    line = [sys.executable, "-m", "lab", "compare", "--parts", "ladder", "--max_steps", "2", "--workers", "1"]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ, start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background job of a shell ignores it
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    for said in process.stdout:
        if "min left" in said:
            break
    os.killpg(process.pid, signal.SIGINT)  # a terminal tells all of its processes
    assert process.wait(timeout=30) == 130
    errors = process.stderr.read()
    assert "trainings are kept; the same command goes on" in errors and "Traceback" not in errors
    assert len(list(text.glob("runs/compare/ladder-*/*.json"))) >= 1
    assert left(process.pid) == 0, "nobody of them is left"


def test_the_table_and_the_figure_are_written(
    text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def raced(setting: ladder.Setting, names: list[str], folder: Path, workers: int) -> dict:
        row = {"bits": 2.0, "chosen_by": 2.0, "parameters": 10, "tokens": 100, "seconds": 1.0}
        row["curve"] = [[1.0, 4.0], [5.0, 3.0]]
        return {job: {**row, "bits": 2.0 + len(job.generation)} for job in ladder.jobs(names)}

    monkeypatch.setattr(ladder, "race", raced)
    assert compare.main(["--parts", "ladder", "--seed", "1"]) == 0
    table = ledger.read(text / "results" / "compare" / "ladder.json")
    assert [row["case"] for row in table["rows"]] == [ladder.NGRAM, *GENERATIONS]
    assert table["command"] == "my-llm compare --parts ladder --seed 1"
    assert (text / "docs" / "figures" / "compare_ladder.png").stat().st_size > 5000
    costs = ledger.read(text / "results" / "compare" / "ladder_costs.json")
    assert costs["command"] == table["command"]
    taken = costs["rows"]
    assert len(taken) == 3 * (1 + len(GENERATIONS)) and taken[0]["case"] == f"parameters: {ladder.NGRAM}"
    assert "seen    equal seconds" in capsys.readouterr().out


def test_a_part_that_is_not_there_costs_one_line(capsys: pytest.CaptureFixture[str]):
    assert compare.main(["--parts", "lader"]) == 2
    assert (
        "unknown part; got 'lader'; valid: abilities, budget, complexity, ladder, showcase; next: did you mean ladder?"
        in capsys.readouterr().err
    )


# --- complexity -------------------------------------------------------------------------------------------------------


def test_costs_grow_as_theory_says():
    lengths = (64, 128, 256)
    rows = complexity.table_of(lengths)
    assert len(rows) == len(complexity.COUNTED) * len(complexity.READERS) - 1  # a window has no path
    for row in rows:
        what, name = row["case"].split(": ")
        should = getattr(complexity.READERS[name], what)
        assert row["theory"] == should != ""
        predicted = complexity.exponent(lengths, [complexity.GROWTH[should](length) for length in lengths])
        slack = 0.75 if should == "T²" else 0.2  # constants and the linear part of attention are there, too
        assert row["exponent"] == pytest.approx(predicted, abs=slack), row
    assert complexity.exponent((1, 2, 4), (3, 12, 48)) == pytest.approx(2)


def test_a_path_is_computations_and_no_moves():
    x = torch.ones(2, requires_grad=True)
    first = x * 2
    y = torch.cat([first, torch.ones(2)]).view(2, 2).T.exp().sum()
    steps = dict(complexity.nodes_behind(y))
    assert steps[first.grad_fn] == 2  # sum, exp


def test_the_table_of_costs_is_written(text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    few = complexity.table_of((16, 32))
    monkeypatch.setattr(complexity, "table_of", lambda: few)
    assert compare.main(["--parts", "complexity"]) == 0
    rows = {row["case"]: row for row in ledger.read(text / "results" / "compare" / "complexity.json")["rows"]}
    assert rows["path: RNN"]["count"] > rows["path: attention"]["count"] > 0
    assert "path: MLP, a window of 16" not in rows

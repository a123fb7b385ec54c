"""Is a run normal? Runs of real trainings, then of damaged and doctored ones."""

import json
import shutil
from pathlib import Path

import pytest

from lab import check_run
from my_llm import ledger
from my_llm.cli import execute
from stage1_mlp import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trainings of stage 1, alike but for their seeds, 60 steps each."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_LLM_HOME", str(home))
        for seed in range(3):
            flags = ["--dataset", "python_docs", "--max_steps", "60", "--threads", "1", "--seed", str(seed)]
            patch.setattr("sys.argv", ["train.py", *flags])
            assert execute(train.TrainConfig, train.run, flags) == 0
    return home


@pytest.fixture(autouse=True)
def at_home(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_LLM_HOME", str(runs))
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("my_llm.machine.measure_matmul", lambda dtype: 100.0)


def folders(runs: Path) -> list[Path]:
    return sorted((runs / "runs" / "stage1_mlp").iterdir())


def check(*arguments: object) -> int:
    return check_run.main([str(argument) for argument in arguments])


def doctored(run: Path, folder: Path, **changes: float) -> Path:
    """A copy of the run in which every step's numbers are multiplied."""
    copy = folder / run.parent.name / run.name
    shutil.copytree(run, copy)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = [{key: value * changes.get(key, 1) for key, value in line.items()} for line in lines]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return copy


def test_a_run_of_a_recorded_command_is_normal_and_others_are_not(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    first, second, third = folders(runs)
    assert check(first, second, "--record") == 0
    (table,) = (tmp_path / "results" / "usual").glob("*.json")
    content = ledger.read(table)
    assert content["title"] == "stage1_mlp/train.py --dataset python_docs --max_steps 60"
    assert [row["case"] for row in content["rows"]] == ["1", "2", "5", "10", "20", "50", "60", "machine"]
    assert check(third) == 0
    said = capsys.readouterr().out
    assert f"{third}: normal (finished)" in said and "at step 60, usual" in said and "at this machine's 100" in said
    assert check(doctored(first, tmp_path / "a", loss=1.6)) == 1
    assert "broken" in (said := capsys.readouterr().out) and "outside since step 1" in said
    assert check(doctored(first, tmp_path / "b", loss=0.6)) == 1 and "too good" in capsys.readouterr().out
    assert check(doctored(first, tmp_path / "c", tokens_per_second=0.2)) == 1
    assert "slow" in (said := capsys.readouterr().out) and "close what else computes" in said
    monkeypatch.setattr("my_llm.machine.measure_matmul", lambda dtype: 20.0)  # on a slower machine it would be usual
    assert check(tmp_path / "c" / "stage1_mlp" / first.name) == 0


def test_without_a_record_it_is_judged_by_itself(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = folders(runs)[0]
    assert check() == 0 and "no usual run of this command is recorded" in capsys.readouterr().out

    def changed(name: str, lines: list[dict]) -> Path:
        copy = tmp_path / name / run.parent.name / run.name
        shutil.copytree(run, copy)
        (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return copy

    def steps(losses: list[float], speeds: list[float] | None = None) -> list[dict]:
        speeds = speeds or [100.0] * len(losses)
        return [
            {"step": step, "loss": loss, "tokens_per_second": speed}
            for step, (loss, speed) in enumerate(zip(losses, speeds, strict=True))
        ]

    falling = [4 - 3 * step / 100 for step in range(100)]
    scores = [{"step": step, "validation_loss": loss} for step, loss in ((10, 3.0), (50, 2.0), (99, 2.2))]
    for name, lines, code, words in (
        ("fine", steps(falling), 0, "normal"),
        ("flat", steps([4.0] * 100), 1, "does not fall: 4.000 at first, 4.000 now"),
        ("leak", steps([4.0] * 50 + [0.01] * 50), 1, "nearly nothing"),
        ("nan", steps([*falling, float("nan")]), 1, "not finite after step 101"),
        ("overfit", [*steps(falling), *scores], 0, "validation 2.000 after step 51, 2.200 now"),
        (
            "slower",
            steps(falling, [100.0] * 60 + [30.0] * 40),
            1,
            "became slower: 100 tokens a second at first, 30 now",
        ),
    ):
        assert check(changed(name, lines)) == code, name
        assert words in capsys.readouterr().out


def test_what_is_no_run_costs_one_line(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert check(tmp_path) == 2 and "no run directory" in capsys.readouterr().err
    first, *_ = folders(runs)
    empty = doctored(first, tmp_path / "empty")
    (empty / "metrics.jsonl").write_text("")
    assert check(empty) == 2 and "no step has been taken yet" in capsys.readouterr().err
    (empty / "summary.json").unlink()
    shutil.copy(first / "metrics.jsonl", empty)
    assert check(empty) == 0 and "not finished, 60 steps so far" in capsys.readouterr().out
    assert check(first, empty, "--record") == 2 and "finished runs of one command" in capsys.readouterr().err


def test_flags_that_do_not_matter():
    flags = ["--dataset", "x", "--seed", "3", "--lr=1", "--studies", "a", "b", "--threads=2", "--no_bias"]
    assert check_run.those_that_matter(flags) == ["--dataset x", "--lr=1", "--studies a b", "--no_bias"]

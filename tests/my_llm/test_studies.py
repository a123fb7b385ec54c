"""What the studies of every stage share: flags, figures, tables."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from my_llm import cli, ledger, studies


@dataclass(frozen=True)
class Flags(studies.StudyConfig):
    """A stage's flags."""

    stage: ClassVar[str] = "stage7_x"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of its own."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    return tmp_path


def test_steps_and_seeds():
    config = cli.parse(Flags, ["--seed", "4", "--seeds", "2", "--studies", "one", "two"])
    assert list(studies.seeds_of(config)) == [4, 5] and config.studies == ("one", "two")
    assert studies.steps_of(config, 300) == 300
    assert studies.steps_of(Flags(max_steps=7), 300) == 7


def test_a_command_holds_the_flags_that_matter():
    config = Flags(dataset="little", seeds=5, threads=1)
    assert studies.command_of(config, "gates", needs_text=True) == (
        "python stage7_x/experiments.py --studies gates --dataset little --seeds 5"
    )
    assert "--dataset" not in studies.command_of(config, "gates", needs_text=False)


def test_a_figure_is_named_after_its_stage(home: Path):
    figure, charts = studies.sheet(2, title="two")
    studies.lines(charts[0], {"a_b": ([0, 1], [2.0, 3.0])}, title="t", xlabel="x", ylabel="y")
    assert [line.get_label() for line in charts[0].lines] == ["a b"]
    studies.save(figure, "gates", stage="stage7_x")
    path = home / "docs" / "figures" / "stage7_gates.png"
    assert path == studies.figure_path("stage7_x", "gates") and path.read_bytes().startswith(b"\x89PNG")


def test_a_result_is_recorded_and_shown(home: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{"case": "a", "loss": 2.0, "loss_sd": 0.5}, {"case": "b"}]
    corpus = SimpleNamespace(name="little", source="a shelf", sha256="12")
    columns = {"loss": "nats", "loss_sd": "nats"}
    studies.finish(Flags(), "one", title="T", columns=columns, rows=rows, seen="b is gone", started=0.0, corpus=corpus)
    table = ledger.read(home / "results" / "stage7_x" / "one.json")
    assert (table["data"], table["sha256"], table["seed"]) == ("little: a shelf", "12", [0, 1, 2])
    assert table["rows"] == rows
    shown = capsys.readouterr().out
    assert "seen    b is gone" in shown and "2 ± 0.5" in shown


def test_several_corpora_are_named_as_one_source():
    one, two = studies.Together("a", "here", "1" * 64), studies.Together("b", "there", "2" * 64)
    both = studies.together([one, two])
    assert (both.name, both.source) == ("a and b", "a: here; b: there")
    assert len(both.sha256) == 64 and both.sha256 != studies.together([two, one]).sha256

"""A run can be stopped, killed and continued, and the end is the same to the last bit."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from my_llm import checkpoint
from my_llm.cli import TrainingConfig, execute
from my_llm.errors import CheckpointError, ConfigError, NotFiniteError
from my_llm.journal import read_metrics
from my_llm.run import Run, Stopped
from my_llm.training import Loss, Step, train_steps

STEPS, EVERY = 20, 5


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
    lr: float = 0.1
    """step size"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path))


def train(
    config: Config,
    *,
    after: Callable[[int], None] = lambda step: None,
    digest: str = "d",
    poison: int = -1,
    score: Callable[[Step], float] = lambda step: step.loss,
) -> Run:
    """A training with all that must survive a stop: momentum, a schedule, dropout's random numbers, a best score."""
    with Run.open("stage1_mlp", config, publish=lambda config: "best_model.pt") as run:
        torch.manual_seed(run.config.seed)
        model = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Linear(5, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=run.config.lr)
        data = {"name": "toy", "sha256": digest}
        start = run.attach(model, optimizer, kind="test", max_steps=STEPS, data=data, words=["a"])

        def loss_fn(model: nn.Module, index: int) -> Loss:
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(index))
            return Loss((model(x) - x.sum(1, keepdim=True)).square().sum() * (torch.nan if index == poison else 1), 4)

        def halving(step: int) -> float:
            return 0.5 ** (step // 7)

        steps = train_steps(model, lambda i: i, loss_fn, optimizer, schedule=halving, max_steps=STEPS, start=start)
        for step in steps:
            run.log(step)
            if run.due(step, EVERY):
                run.log_scores(step, {"validation_loss": score(step)}, best="validation_loss", lower_is_better=True)
                run.save(step)
            after(step.index)
            run.stop_if_asked(step)
        run.finish({})
    return run


def without_times(folder: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read_metrics(folder)]


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds"}:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b


def assert_same_end(one: Run, other: Run) -> None:
    for name in ("best.pt", "last.pt"):
        assert_same(checkpoint.load(one.folder / name), checkpoint.load(other.folder / name))
    assert without_times(one.folder) == without_times(other.folder)


def test_a_run_leaves_everything_that_it_promises():
    run = train(Config(run_name="name"))
    names = {file.name for file in run.folder.iterdir()}
    assert names == {
        "config.toml",
        "environment.json",
        "metrics.jsonl",
        "best.pt",
        "last.pt",
        "curves.png",
        "summary.json",
    }
    lines = read_metrics(run.folder)
    assert [line["step"] for line in lines if "loss" in line] == list(range(STEPS))
    assert [line["step"] for line in lines if "validation_loss" in line] == [4, 9, 14, 19]
    assert json.loads((run.folder / "summary.json").read_text())["best"] == run.best
    assert checkpoint.load(run.published, "test")["words"] == ["a"]
    best = min((line for line in lines if "validation_loss" in line), key=lambda line: line["validation_loss"])
    assert run.best is not None and run.best["step"] == best["step"]


@pytest.mark.parametrize("at", [0, 4, 6, 18])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_continues_as_if_nothing_had_been(at: int, number: int):
    whole = train(Config())
    with pytest.raises(Stopped, match=f"after step {at + 1} of {STEPS}.*--resume"):
        train(Config(), after=lambda step: signal.raise_signal(number) if step == at else None)
    stopped = max((f for f in whole.folder.parent.iterdir() if f != whole.folder), key=lambda f: f.stat().st_mtime)
    assert_same_end(whole, train(Config(resume=stopped)))
    assert_same_end(whole, train(Config(resume=stopped / "last.pt")))


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [2, 4, 7, 19])
def test_a_run_that_dies_between_saves_writes_no_line_twice(at: int):
    def die(step: int) -> None:
        if step == at:
            raise Killed

    whole = train(Config())
    with pytest.raises(Killed):
        train(Config(run_name="dies"), after=die)
    folder = next(whole.folder.parent.glob("*-dies"))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')  # the line that the kill tore
    resumed = train(Config(resume=folder))
    assert_same_end(whole, resumed)


def test_an_earlier_run_is_never_overwritten():
    folders = {train(Config()).folder for _ in range(3)}
    assert len(folders) == 3


def test_resume_refuses_other_flags_other_texts_and_other_folders(tmp_path: Path):
    run = train(Config(lr=0.2))
    with pytest.raises(ConfigError, match=r"--lr cannot change.*'0.3'.*valid: 0.2"):
        train(Config(lr=0.3, resume=run.folder))
    with pytest.raises(CheckpointError, match=r"another text; got 'toy, digest e'; valid: toy, digest d"):
        train(Config(resume=run.folder), digest="e")
    with pytest.raises(CheckpointError, match="nothing to resume.*absent"):
        train(Config(resume=tmp_path / "absent"))


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a\nb", "a\x7f", "a\udcff"])
def test_a_run_name_cannot_leave_the_folder(name: str):
    with pytest.raises(ConfigError, match="plain name"):
        train(Config(run_name=name))


def test_nan_keeps_the_last_good_weights_and_a_report():
    with pytest.raises(NotFiniteError):
        train(Config(run_name="nan"), poison=7)
    folder = next((Path(os.environ["MY_LLM_HOME"]) / "runs" / "stage1_mlp").glob("*-nan"))
    content = checkpoint.load(folder / "not_finite.pt", "test")
    assert "step 8" in content["report"]
    assert all(torch.isfinite(tensor).all() for tensor in content["model"].values())
    assert checkpoint.load(folder / "last.pt")["progress"]["step"] == 5


@pytest.mark.parametrize("bad", [torch.nan, -torch.inf])
def test_a_score_that_is_not_finite_never_becomes_the_best(bad: float, capsys: pytest.CaptureFixture[str]):
    """Scores come after steps 5, 10, 15 and 20; the second is bad."""
    whole = train(Config(run_name="whole"))
    whole.published.unlink()

    def run(config: Config) -> None:
        train(config, score=lambda step: bad if step.index == 9 else step.loss)

    assert execute(Config, run, ["--run_name", "bad"]) == NotFiniteError.exit_code == 3
    assert f"validation_loss is not finite after step 10: {bad}" in capsys.readouterr().err.splitlines()[-1]
    folder = next(whole.folder.parent.glob("*-bad"))
    best = checkpoint.load(folder / "best.pt")
    assert best["progress"]["step"] == checkpoint.load(folder / "last.pt")["progress"]["step"] == 5
    assert best["progress"]["best"]["scores"]["validation_loss"] == read_metrics(folder)[4]["loss"]
    assert (folder / "best.pt").read_bytes() == whole.published.read_bytes()
    assert_same_end(whole, train(Config(resume=folder)))  # the last save stands


def test_a_first_score_that_is_nan_publishes_nothing():
    with pytest.raises(NotFiniteError, match="validation_loss is not finite after step 5: nan"):
        train(Config(run_name="nan"), score=lambda step: torch.nan)
    home = Path(os.environ["MY_LLM_HOME"])
    assert not [*home.rglob("best*.pt"), *home.rglob("last.pt")]
    assert "validation_loss" in checkpoint.load(next(home.rglob("not_finite.pt")))["report"]


def test_device_and_threads_may_change_on_resume_and_do():
    run = train(Config())
    assert train(Config(resume=run.folder, threads=1, device="cpu")).config.threads == 1


def test_a_resumed_run_publishes_its_own_best_model():
    first = train(Config(run_name="a"))
    train(Config(run_name="b", lr=0.01))
    assert first.published.read_bytes() != (first.folder / "best.pt").read_bytes()
    train(Config(resume=first.folder))
    assert first.published.read_bytes() == (first.folder / "best.pt").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("data"),
        lambda content: content.pop("random"),
        lambda content: content.update(optimizer={}),
        lambda content: content["progress"].update(step=-3),
        lambda content: content["progress"].update(step=999),
        lambda content: content.update(random=[{"cpu": torch.zeros(3, dtype=torch.uint8)}]),
        lambda content: content.update(random=content["random"] * 2),
    ],
)
def test_a_whole_checkpoint_with_wrong_parts_is_one_line(damage: Callable[[dict], object]):
    run = train(Config())
    content = checkpoint.load(run.folder / "last.pt")
    damage(content)
    checkpoint.save(run.folder / "last.pt", content)
    with pytest.raises(CheckpointError, match=r"do not fit together|number of processes"):
        train(Config(resume=run.folder))


def test_a_second_signal_stops_at_once():
    def twice(step: int) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on after the second signal")

    with pytest.raises(KeyboardInterrupt, match="at once"):
        train(Config(), after=twice)


class Momentum:
    """What a step leaves to the next one, as an LSTM's state does: without it the loss is another."""

    def __init__(self) -> None:
        self.state: tuple[torch.Tensor, ...] | None = None

    def state_dict(self) -> dict:
        return {"state": self.state}

    def load_state_dict(self, content: dict) -> None:
        self.state = content["state"]

    def __call__(self, model: nn.Module, index: int) -> Loss:
        (before,) = self.state or (torch.zeros(3),)
        now = 0.9 * before + torch.randn(3, generator=torch.Generator().manual_seed(index))
        self.state = (now,)
        return Loss((model(now) - 1).square().sum(), 1)


def train_with_state(config: Config, *, stop_at: int = -1, carried: Momentum | None = None) -> Run:
    """As `train`, saving once, in the middle."""
    with Run.open("stage1_mlp", config, publish=lambda config: "best_model.pt") as run:
        torch.manual_seed(0)
        model, carried = nn.Linear(3, 1), carried or Momentum()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        data = {"name": "toy", "sha256": "d"}
        start = run.attach(model, optimizer, kind="test", max_steps=STEPS, data=data, carried=carried)
        for step in train_steps(model, lambda i: i, carried, optimizer, max_steps=STEPS, start=start):
            run.log(step)
            if run.due(step, STEPS):
                run.log_scores(step, {"loss": step.loss}, best="loss", lower_is_better=True)
                run.save(step)
            if step.index == stop_at:
                signal.raise_signal(signal.SIGINT)
            run.stop_if_asked(step)
        run.finish({})
    return run


def test_what_a_step_leaves_to_the_next_one_survives_a_stop():
    whole = train_with_state(Config())
    assert checkpoint.load(whole.folder / "last.pt")["carried"][0]["state"][0].any()
    assert "carried" not in checkpoint.load(whole.folder / "best.pt")  # use does not need it
    with pytest.raises(Stopped):
        train_with_state(Config(run_name="stopped"), stop_at=7)
    (folder,) = whole.folder.parent.glob("*-stopped")
    assert_same_end(whole, train_with_state(Config(resume=folder)))


@pytest.mark.parametrize("carried", [None, [], [{}], [None], "absent"])
def test_a_checkpoint_without_what_was_carried_is_refused(carried: object):
    run = train_with_state(Config())
    content = checkpoint.load(run.folder / "last.pt")
    if carried == "absent":
        del content["carried"]
    else:
        content["carried"] = carried
    checkpoint.save(run.folder / "last.pt", content)
    with pytest.raises(CheckpointError, match="do not fit together"):
        train_with_state(Config(resume=run.folder))

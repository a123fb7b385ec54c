"""Every flag of train.py's recipe reaches what it is for: schedule, optimiser, batches or dropout."""

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from stage2_world import LANGUAGE, newest

from my_llm import checkpoint, run
from my_llm.cli import parse
from my_llm.data.catalog import load_text
from my_llm.journal import read_metrics
from my_llm.schedules import SCHEDULES
from stage2_rnn_lstm import train

Weights = dict[str, torch.Tensor]
PEAK = 0.02  # the --lr of LANGUAGE


class End(NamedTuple):
    weights: Weights
    steps: list[dict]  # the lines of metrics.jsonl
    groups: list[dict]  # of the optimiser


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """curves.png would take most of the time."""
    monkeypatch.setattr(run, "draw_curves", lambda folder: None)


def trained_with(home: Path, *flags: object) -> End:
    train.run(parse(train.TrainConfig, [*LANGUAGE, "--run_name", "recipe", *map(str, flags)]))
    folder = newest(home, "recipe")
    last = checkpoint.load(folder / "last.pt")
    return End(
        last["model"], [line for line in read_metrics(folder) if "loss" in line], last["optimizer"]["param_groups"]
    )


@pytest.fixture(scope="module")
def usual(home: Path) -> End:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "draw_curves", lambda folder: None)
        return trained_with(home, "--max_steps", 3)


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# --- the learning rate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_learning_rate_warms_up_and_follows_its_schedule(schedule: str, home: Path):
    """A warm-up of 0.3 is 3 of 10 steps."""
    given = [] if schedule == "cosine" else ["--schedule", schedule]  # the cosine is the usual one
    rates = [line["lr"] for line in trained_with(home, "--max_steps", 10, "--warmup", 0.3, *given).steps]
    course = SCHEDULES[schedule](10, 3)
    assert rates == pytest.approx([PEAK * course(step) for step in range(10)])
    assert rates[:4] == pytest.approx([PEAK / 3, 2 * PEAK / 3, PEAK, PEAK])
    last = {"cosine": (1 + math.cos(math.pi * 6 / 7)) / 2, "linear": 1 / 7, "constant": 1}[schedule]
    assert rates[-1] == pytest.approx(PEAK * last)


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--clip", 1e-6), ("--weight_decay", 10), ("--seed", 1), ("--dropout", 0.9), ("--dropout", 0),
     ("--accumulate", 2), ("--lr", 0.01), ("--warmup", 1), ("--length", 15)],
)  # fmt: skip
def test_each_flag_changes_the_weights(flag: str, value: float, home: Path, usual: End):
    assert not same(trained_with(home, "--max_steps", 3, flag, value).weights, usual.weights)


def test_what_is_usual_may_be_said_and_a_clip_of_0_is_no_limit(home: Path, usual: End):
    assert max(line["grad_norm"] for line in usual.steps) < 1  # the usual clip had nothing to do
    said = trained_with(home, "--max_steps", 3, "--clip", 0, "--dropout", 0.1, "--seed", 0, "--weight_decay", 0)
    assert same(said.weights, usual.weights)


def test_decay_shrinks_matrices_only(home: Path):
    """One step, lr 0.02: a decay of 10 takes 0.02 · 10 of every weight. The head is 0 at the start: nothing to shrink,
    and the layers below it get no gradient, so that the decay alone moves them."""
    plain, decayed = (trained_with(home, "--max_steps", 1, "--weight_decay", decay) for decay in (0, 10))
    for name, tensor in plain.weights.items():
        left = 0.8 if tensor.ndim == 2 and name != "head.weight" else 1
        torch.testing.assert_close(decayed.weights[name], left * tensor)
    assert [group["weight_decay"] for group in decayed.groups] == [10, 0]
    assert {group["betas"] for group in decayed.groups} == {(0.9, 0.99)}


# --- steps of an epoch ------------------------------------------------------------------------------------------------


def test_two_halves_of_a_batch_are_one_step(home: Path):
    """4 streams of 128 tokens, or twice 2: as many steps in an epoch, and in two epochs twice as many."""
    shared = ["--length", 128, "--epochs", 2, "--eval_every", 0]
    characters = len(load_text("tiny_shakespeare").train)
    per_epoch = (characters - 128) // (4 * 128)
    for flags in (["--batch_size", 4], ["--batch_size", 2, "--accumulate", 2]):
        steps = trained_with(home, *shared, *flags).steps
        assert per_epoch > 3 and [line["step"] for line in steps] == list(range(2 * per_epoch))
        assert steps[per_epoch]["lr"] == pytest.approx(PEAK / 2)  # the cosine is half-way after one epoch of two

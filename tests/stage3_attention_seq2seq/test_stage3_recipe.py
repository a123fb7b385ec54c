"""Every flag of train.py's recipe reaches what it is for: schedule, optimiser, batches, model or loss."""

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from stage3_world import PARTS, SMALL, newest

from my_llm import checkpoint
from my_llm.cli import parse
from my_llm.journal import read_metrics
from my_llm.schedules import SCHEDULES
from stage3_attention_seq2seq import train

Weights = dict[str, torch.Tensor]
PEAK = 0.02


class End(NamedTuple):
    weights: Weights
    config: dict
    steps: list[dict]  # the lines of metrics.jsonl
    groups: list[dict]  # of the optimiser


def trained_with(home: Path, *flags: object) -> End:
    usual = [*SMALL, "--lr", PEAK, "--batch_size", 8, "--run_name", "recipe", "--attention_type", "luong"]
    train.run(parse(train.TrainConfig, list(map(str, [*usual, *flags]))))
    folder = newest(home, "recipe")
    last = checkpoint.load(folder / "last.pt")
    return End(
        last["model"], last["model_config"], [line for line in read_metrics(folder) if "loss" in line],
        last["optimizer"]["param_groups"],
    )  # fmt: skip


USUAL: list[End] = []


@pytest.fixture
def usual(home: Path) -> End:
    """Two steps as they usually are, taken once."""
    if not USUAL:
        USUAL.append(trained_with(home, "--max_steps", 2))
    return USUAL[0]


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
    [("--clip", 1e-6), ("--weight_decay", 10), ("--seed", 1), ("--dropout", 0.9), ("--accumulate", 2), ("--lr", 0.01),
     ("--warmup", 1), ("--label_smoothing", 0), ("--teacher_forcing", 0), ("--batch_size", 7), ("--max_length", 9)],
)  # fmt: skip
def test_each_flag_changes_the_weights(flag: str, value: float, home: Path, usual: End):
    assert not same(trained_with(home, "--max_steps", 2, flag, value).weights, usual.weights)


def test_what_is_usual_may_be_said(home: Path, usual: End):
    said = trained_with(
        home, "--max_steps", 2, "--seed", 0, "--weight_decay", 0, "--teacher_forcing", 1, "--label_smoothing", 0.1,
        "--input_feeding", "--no_reverse_source", "--cell", "gru", "--layers", 1, "--clip", 1, "--max_length", 60,
    )  # fmt: skip
    assert same(said.weights, usual.weights)


def test_decay_shrinks_matrices_only(home: Path):
    """One step, lr 0.02: a decay of 10 takes 0.02 · 10 of every weight away, one of 5 half as much."""
    plain, half, decayed = (trained_with(home, "--max_steps", 1, "--weight_decay", decay) for decay in (0, 5, 10))
    for name, tensor in plain.weights.items():
        taken = tensor - decayed.weights[name]
        torch.testing.assert_close(taken, 2 * (tensor - half.weights[name]), atol=1e-6, rtol=1e-4)
        assert bool(taken.any()) == (tensor.ndim > 1), name
    assert [group["weight_decay"] for group in decayed.groups] == [10, 0]
    assert {group["betas"] for group in decayed.groups} == {(0.9, 0.98)}


def test_the_shape_is_the_one_asked_for(home: Path):
    shape = {"cell": "lstm", "embedding": 9, "hidden": 11, "layers": 2, "input_feeding": False}
    flags = ["--cell", "lstm", "--embedding", 9, "--hidden", 11, "--layers", 2, "--no_input_feeding"]
    end = trained_with(home, "--max_steps", 1, *flags)
    assert {name: end.config[name] for name in shape} == shape
    assert end.config["attention"] == "luong" and end.config["source_vocab"] == end.config["target_vocab"] == 330
    assert end.weights["bridge.weight"].shape == (11, 22) and end.weights["head.weight"].shape == (330, 9)


# --- steps of an epoch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [["--batch_size", 100], ["--batch_size", 50, "--accumulate", 2]])
def test_two_halves_of_a_batch_are_one_step(flags: list[object], home: Path):
    """500 pairs are 5 steps of 100, or of twice 50; two epochs are twice as many, validated once each."""
    steps = trained_with(home, "--epochs", 2, *flags).steps
    assert PARTS["train"] == 500 and [line["step"] for line in steps] == list(range(10))
    validated = [line["step"] for line in read_metrics(newest(home, "recipe")) if "bleu" in line]
    assert validated == [4, 9]

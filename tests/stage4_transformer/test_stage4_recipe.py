"""Every flag of train.py's recipe reaches what it is for: schedule, optimiser, batches, model or loss."""

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from stage4_world import FLAGS, PARTS, SMALL, newest

from my_llm import checkpoint
from my_llm.cli import parse
from my_llm.data.catalog import load_pairs
from my_llm.journal import read_metrics
from my_llm.schedules import SCHEDULES
from my_llm.text import tokenizer_from_state
from my_llm.translation.batches import PairBatches
from stage4_transformer import train

Weights = dict[str, torch.Tensor]
PEAK = 0.01


class End(NamedTuple):
    weights: Weights
    content: checkpoint.Content
    steps: list[dict]  # the lines of metrics.jsonl


def trained_with(home: Path, *flags: object) -> End:
    usual = [*SMALL, "--vocab_size", 330, "--lr", PEAK, "--run_name", "recipe"]
    usual += [] if "--max_tokens" in flags else ["--batch_size", 8]
    train.run(parse(train.TrainConfig, list(map(str, [*usual, *flags]))))
    folder = newest(home, "recipe")
    last = checkpoint.load(folder / "last.pt")
    return End(last["model"], last, [line for line in read_metrics(folder) if "loss" in line])


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


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_warms_up_and_follows_its_schedule(schedule: str, home: Path):
    """A warm-up of 0.3 is 3 of 10 steps."""
    given = [] if schedule == "cosine" else ["--schedule", schedule]  # the cosine is the usual one
    rates = [line["lr"] for line in trained_with(home, "--max_steps", 10, "--warmup", 0.3, *given).steps]
    course = SCHEDULES[schedule](10, 3)
    assert rates == pytest.approx([PEAK * course(step) for step in range(10)])
    assert rates[:3] == pytest.approx([PEAK / 3, 2 * PEAK / 3, PEAK])
    last = {"cosine": (1 + math.cos(math.pi * 6 / 7)) / 2, "inverse_sqrt": math.sqrt(3 / 10), "constant": 1}
    assert rates[-1] == pytest.approx(PEAK * last.get(schedule, course(9)))


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--clip", 1e-6), ("--weight_decay", 10), ("--seed", 1), ("--dropout", 0.9), ("--accumulate", 2), ("--lr", 0.02),
     ("--warmup", 1), ("--label_smoothing", 0), ("--batch_size", 7), ("--max_length", 9), ("--max_tokens", 200),
     ("--order", "post"), ("--norm", "rms"), ("--activation", "gelu"), ("--positions", "alibi"), ("--heads", 4)],
)  # fmt: skip
def test_each_flag_changes_the_weights(flag: str, value: object, home: Path, usual: End):
    other = trained_with(home, "--max_steps", 2, flag, value).weights
    assert other.keys() != usual.weights.keys() or not same(other, usual.weights)


def test_what_is_usual_may_be_said_and_a_mean_changes_no_training(home: Path, usual: End):
    said = trained_with(
        home, "--max_steps", 2, "--seed", 0, "--weight_decay", 0, "--label_smoothing", 0.1, "--max_tokens", 0,
        "--batch_size", 8, "--clip", 1, "--max_length", 60, "--positions", "rotary", "--order", "pre", "--norm",
        "layer", "--activation", "relu", "--dropout", 0.2, "--average", 2, "--eval_every", 1,
    )  # fmt: skip
    assert same(said.weights, usual.weights)


def test_decay_shrinks_matrices_only(home: Path):
    """One step, lr 0.01: a decay of 10 takes 0.01 · 10 of every weight away, one of 5 half as much."""
    ends = [trained_with(home, "--max_steps", 1, "--weight_decay", decay) for decay in (0, 5, 10)]
    plain, half, decayed = (end.weights for end in ends)
    for name, tensor in plain.items():
        taken = tensor - decayed[name]
        torch.testing.assert_close(taken, 2 * (tensor - half[name]), atol=1e-6, rtol=1e-4)
        assert bool(taken.any()) == (tensor.ndim > 1), name
    groups = ends[-1].content["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [10, 0]
    assert {group["betas"] for group in groups} == {(0.9, 0.98)}


@pytest.mark.parametrize("task", FLAGS)
def test_the_shape_is_the_one_asked_for(task: str, home: Path):
    shape = {"model": 12, "heads": 3, "layers": 2, "hidden": 7, "positions": "rotary", "order": "post", "norm": "rms",
             "activation": "swiglu", "dropout": 0.4}  # fmt: skip
    flags = [word for name, value in shape.items() for word in (f"--{name}", str(value))]
    train.run(parse(train.TrainConfig, [*FLAGS[task], *flags, "--max_steps", "1", "--run_name", "shape"]))
    found = checkpoint.load(newest(home, "shape") / "last.pt")["model_config"]
    assert {name: found[name] for name in shape} == shape
    assert found["max_length"] == {"translate": 130, "classify": 400, "language_model": 16}[task]


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [["--batch_size", 100], ["--batch_size", 50, "--accumulate", 2]])
def test_two_halves_of_a_batch_are_one_step(flags: list[object], home: Path):
    """500 pairs are 5 steps of 100, or of twice 50; two epochs are twice as many, validated once each."""
    steps = trained_with(home, "--epochs", 2, *flags).steps
    assert PARTS["train"] == 500 and [line["step"] for line in steps] == list(range(10))
    validated = [line["step"] for line in read_metrics(newest(home, "recipe")) if "bleu" in line]
    assert validated == [4, 9]


def test_tokens_make_a_batch(home: Path):
    """As many steps an epoch as there are 1,000 tokens, both languages counted with <bos> and <eos>."""
    end, corpus = trained_with(home, "--epochs", 1, "--max_tokens", 1000), load_pairs("multi30k_en_fr")
    tokenizer = tokenizer_from_state(end.content["tokenizer"])
    sizes = [len(tokenizer.encode(pair.source)) + len(tokenizer.encode(pair.target)) + 3 for pair in corpus.train]
    assert len(end.steps) == math.ceil(sum(sizes) / 1000) > 5
    batches = PairBatches(tokenizer, corpus.train, max_length=60, batch_size=1, max_tokens=1000, seed=0)  # type: ignore
    real = [
        int(batch.lengths.sum() + (batch.target_out > 0).sum()) + len(batch.source) for batch in map(batches, range(5))
    ]
    assert all(abs(tokens - sum(sizes) / len(end.steps)) <= 2 * max(sizes) for tokens in real)

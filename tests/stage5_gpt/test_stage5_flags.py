"""Flags of train.py and finetune.py reach the training: the model, the optimizer, the loop, the compiler."""

from collections.abc import Callable
from typing import Any

import pytest
from stage5_world import SMALL, Call, Trained
from torch import nn

from my_llm import compiling, training
from stage5_gpt import finetune, tasks, train
from stage5_gpt.answering import Example, Exercise


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What train_steps was told, and how many parts were compiled; nothing is compiled."""
    seen, steps = {}, training.train_steps

    def spy(model: nn.Module, batches: Any, loss_fn: Callable, optimizer: Any, **options: Any):
        seen.update(options, model=model, groups=optimizer.param_groups)
        return steps(model, batches, loss_fn, optimizer, **options)

    monkeypatch.setattr(training, "train_steps", spy)
    monkeypatch.setattr(compiling, "compile_parts", lambda parts, device: seen.update(compiled=len([*parts])))
    return seen


def test_those_of_training(told: dict[str, Any], call: Call):
    flags = ["--optimizer", "muon", "--ngrams", 3, "--table_lr", 0.3, "--beta2", 0.9, "--clip", 0.5, "--checkpointing"]
    code, _, errors = call(train, *SMALL, "--max_steps", 1, *flags, "--final", 1, "--warmup", 0)
    assert code == 0, errors
    assert told["clip"] == 0.5 and told["model"].checkpointing and "compiled" not in told
    (tables,) = (group for group in told["groups"] if group["rows"])
    assert tables["lr"] == 0.3 and len(tables["params"]) == 2
    assert {group["betas"] for group in told["groups"]} == {(0.9, 0.9)}


@pytest.mark.parametrize(("dropout", "parts"), [(0, 1), (0.2, 2)])
def test_blocks_are_compiled_as_one_or_with_dropout_each(dropout: float, parts: int, told: dict[str, Any], call: Call):
    assert call(train, *SMALL, "--max_steps", 1, "--compile", "--dropout", dropout)[0] == 0
    assert told["compiled"] == parts


def test_it_says_whether_the_mark_was_reached(call: Call):
    for mark, words in ((9, "9.0 reached"), (0.1, "0.1 not reached")):
        assert words in call(train, *SMALL, "--max_steps", 1, "--mark", mark)[1]


TASKS = {
    "classify": ["--dataset", "movie_reviews"],
    "language_model": [],
    "questions": ["--scratch", "--vocab_size", 300],
}


@pytest.mark.parametrize("task", TASKS)
def test_those_of_tuning(
    task: str, told: dict[str, Any], trained: Trained, call: Call, monkeypatch: pytest.MonkeyPatch
):
    few = Exercise("few", *3 * [(Example("Where is Ada?", " inn"),) * 9], source="made here", sha256="0" * 64)
    monkeypatch.setitem(tasks.TASKS, "questions", tasks.TASKS["questions"]._replace(load=lambda name: few))
    flags = ["--freeze", 1, "--weight_decay", 0.3, "--clip", 0.7, "--dropout", 0.4, "--warmup", 1, "--max_steps", 2]
    line = ["--init_from", trained(), "--task", task, "--threads", 1, "--batch_size", 8, *TASKS[task], *flags]
    code, _, errors = call(finetune, *line)
    assert code == 0, errors
    gpt = getattr(told["model"], "gpt", told["model"])
    still = {name for name, weight in gpt.named_parameters() if not weight.requires_grad}
    assert "blocks.0.attention.inward.weight" in still and "blocks.1.attention.inward.weight" not in still
    assert [group["weight_decay"] for group in told["groups"]] == [0.3, 0.0]
    assert told["clip"] == 0.7 and told["schedule"](0) == 0.5 and gpt.dropout.rate == 0.4

"""What train.py needs of a task, whichever it is; each stage has a table of its tasks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from my_llm.device import rank, world
from my_llm.training import Loss


class Prepared(NamedTuple):
    """A task with its corpus and a new model."""

    model: nn.Module
    batches: Callable[[int], Any]  # batch number → batch, for train_steps
    per_epoch: int
    loss_fn: Callable[[nn.Module, Any], Loss]
    validate: Callable[[], dict[str, float]]  # scores of the model as it is now, on the validation part
    parts: Mapping[str, Any]  # what the checkpoint needs besides the weights
    size: str  # of what there is to learn from, in words
    examples: int | None = None  # texts or sentences; a language model reads one long text
    carried: Any = None  # what a step leaves to the next one, see my_llm/run.py
    sample: Callable[[], str] | None = None  # a text that the model writes as it is now


class Task(NamedTuple):
    """What differs between tasks."""

    kind: str  # of its checkpoints
    load: Callable[[str], Any]  # name of a corpus → corpus
    prepare: Callable[[Any, Any], Prepared]  # corpus and TrainConfig → model, batches, loss, validation
    best: str  # the validation score that chooses the best model; a loss is best when it is low
    publish: Callable[[Path, Mapping[str, Any]], None]  # what else use needs beside the published checkpoint


def nothing(path: Path, parts: Mapping[str, Any]) -> None:
    """What a task publishes whose checkpoint is complete by itself."""


def order_of(config: Any) -> dict[str, int]:
    """Which part of which batch this process takes; config is the TrainConfig."""
    return {"batch_size": config.batch_size, "seed": config.seed, "rank": rank(), "world": world()}

"""What train.py needs of a task, whichever it is: language.py, classifying.py and tagging.py fill it in."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from my_llm.training import Loss


class Prepared(NamedTuple):
    """A task as train.py needs it."""

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

"""The three tasks of this stage, as train.py and evaluate.py need them: one row each."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from my_llm.data.catalog import load, load_tags, load_text
from my_llm.device import rank, world
from stage2_rnn_lstm import classifying, language, tagging
from stage2_rnn_lstm.prepared import Prepared


class Task(NamedTuple):
    """What differs between tasks."""

    kind: str  # of its checkpoints
    load: Callable[[str], Any]  # name of a corpus → corpus
    prepare: Callable[[Any, Any], Prepared]  # corpus and TrainConfig → model, batches, loss, validation
    best: str  # the validation score that chooses the best model; a loss is best when it is low
    publish: Callable[[Path, Mapping[str, Any]], None]  # what else use needs beside the published checkpoint


def order_of(config: Any) -> dict[str, int]:
    """Which part of which batch this process takes."""
    return {"batch_size": config.batch_size, "seed": config.seed, "rank": rank(), "world": world()}


def labelling_shape(config: Any) -> dict[str, Any]:
    """The sizes of a classifier or tagger."""
    sizes = {name: getattr(config, name) for name in ("embedding", "hidden", "layers", "dropout")}
    return {"cell": config.model_type, **sizes}


def nothing(path: Path, parts: Mapping[str, Any]) -> None:
    """A checkpoint that is complete by itself."""


TASKS: dict[str, Task] = {
    "language_model": Task(
        language.KIND,
        load_text,
        lambda corpus, config: language.prepare(corpus, config, order_of(config)),
        "validation_loss",
        language.publish_vocabulary,
    ),
    "classify": Task(
        classifying.KIND,
        load,
        lambda corpus, config: classifying.prepare(corpus, labelling_shape(config), order_of(config)),
        "validation_loss",
        nothing,
    ),
    "tag": Task(
        tagging.KIND,
        load_tags,
        lambda corpus, config: tagging.prepare(corpus, labelling_shape(config), order_of(config)),
        "f1",
        nothing,
    ),
}

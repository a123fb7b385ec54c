"""The three tasks of this stage, as train.py and evaluate.py need them: one row each."""

import dataclasses
from typing import Any

from my_llm.data.catalog import load, load_pairs, load_text
from my_llm.language.writer import publish_vocabulary
from my_llm.tasks import Task, nothing, order_of
from stage4_transformer import classifying, language, translating

SHAPE = ("model", "heads", "layers", "hidden", "dropout", "positions", "order", "norm", "activation")


def shape_of(config: Any) -> dict[str, Any]:
    """Sizes and variants of a stack, from the flags of train.py."""
    return {name: getattr(config, name) for name in SHAPE}


def settings_of(config: Any, *names: str) -> dict[str, Any]:
    """The flags of train.py that a task has for itself."""
    return {name: getattr(config, name) for name in names}


def order_of_pairs(config: Any) -> dict[str, int]:
    """Batches of sentences, or of tokens, whose number of sentences is then no matter."""
    counted = dataclasses.replace(config, batch_size=config.batch_size or 1)
    return {**order_of(counted), "max_tokens": config.max_tokens}


TASKS: dict[str, Task] = {
    "translate": Task(
        translating.KIND,
        load_pairs,
        lambda corpus, config: translating.prepare(
            corpus,
            **settings_of(config, "vocab_size", "max_length", "label_smoothing"),
            shape=shape_of(config),
            order=order_of_pairs(config),
        ),
        "bleu",
        nothing,
    ),
    "classify": Task(
        classifying.KIND,
        load,
        lambda corpus, config: classifying.prepare(corpus, shape_of(config), order_of(config)),
        "validation_loss",
        nothing,
    ),
    "language_model": Task(
        language.KIND,
        load_text,
        lambda corpus, config: language.prepare(
            corpus,
            **settings_of(config, "model_type", "vocab_type", "vocab_size", "length"),
            shape=shape_of(config),
            order=order_of(config),
        ),
        "validation_loss",
        publish_vocabulary,
    ),
}

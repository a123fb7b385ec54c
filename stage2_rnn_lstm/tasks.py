"""The three tasks of this stage, as train.py and evaluate.py need them: one row each."""

from typing import Any

from my_llm.data.catalog import load, load_tags, load_text
from my_llm.language.writer import publish_vocabulary
from my_llm.tasks import Task, nothing, order_of
from stage2_rnn_lstm import classifying, language, tagging


def labelling_shape(config: Any) -> dict[str, Any]:
    """The sizes of a classifier or tagger."""
    sizes = {name: getattr(config, name) for name in ("embedding", "hidden", "layers", "dropout")}
    return {"cell": config.model_type, **sizes}


TASKS: dict[str, Task] = {
    "language_model": Task(
        language.KIND,
        load_text,
        lambda corpus, config: language.prepare(corpus, config, order_of(config)),
        "validation_loss",
        publish_vocabulary,
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

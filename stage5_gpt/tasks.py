"""What a trained GPT is tuned for, as finetune.py needs it: one row each."""

import dataclasses
from typing import Any

from my_llm.data.catalog import LanguageText, load, load_text
from my_llm.language.writer import publish_vocabulary
from my_llm.tasks import Prepared, Task, nothing, order_of
from stage5_gpt import classifying, language
from stage5_gpt.models import GPT, freeze
from stage5_gpt.starting import Start, read_start


def start_of(config: Any) -> Start:
    """What --init_from names; with --scratch its shape and vocabulary alone, the weights new."""
    start = read_start(config.init_from)
    return start._replace(model=GPT(start.model.config)) if config.scratch else start


def prepare_writing(corpus: LanguageText, config: Any) -> Prepared:
    """A language model for another text."""
    model, tokenizer = start = start_of(config)
    shape = {**dataclasses.asdict(model.config), "dropout": config.dropout}
    size = shape.pop("vocab_size")
    kind = str(tokenizer.to_state()["kind"])
    prepared = language.prepare(
        corpus, vocab_type=kind, vocab_size=size, shape=shape, order=order_of(config), start=start
    )
    assert isinstance(prepared.model, GPT)
    freeze(prepared.model, config.freeze)
    return prepared


TASKS: dict[str, Task] = {
    "classify": Task(
        classifying.KIND,
        load,
        lambda corpus, config: classifying.prepare(
            corpus, start_of(config), dropout=config.dropout, frozen=config.freeze, order=order_of(config)
        ),
        "validation_loss",
        nothing,
    ),
    "language_model": Task(language.KIND, load_text, prepare_writing, "validation_loss", publish_vocabulary),
}

"""What a trained GPT is tuned for, as finetune.py needs it: one row each."""

import dataclasses
from collections.abc import Callable
from typing import Any

from my_llm.data.catalog import LanguageText, load, load_text
from my_llm.errors import ConfigError
from my_llm.language.writer import publish_vocabulary
from my_llm.tasks import Prepared, Task, nothing, order_of
from my_llm.text import GPT2Tokenizer
from stage5_gpt import answering, classifying, language
from stage5_gpt.answering import Exercise, encoded
from stage5_gpt.exercises import news, questions, several, translation
from stage5_gpt.models import GPT, freeze
from stage5_gpt.starting import Start, read_start


def start_of(config: Any, exercise: Exercise | None = None) -> Start:
    """What --init_from names; with --scratch its shape and vocabulary alone, the weights new.

    With --vocab_size byte pairs of the exercise, and a context that is long enough for it.

    Raises:
        ConfigError: a new vocabulary for old weights, or for a task that has no prompts.
    """
    start, shape = (found := read_start(config.init_from)), found.model.config
    if config.vocab_size and exercise and config.scratch:
        texts = [one.prompt + one.answer for one in exercise.train]
        tokenizer = GPT2Tokenizer.train(texts, config.vocab_size)
        parts = (encoded(tokenizer, part) for part in (exercise.train, exercise.validation, exercise.test))
        context = max(shape.context, *(one.length for part in parts for one in part))  # a new model may read more
        shape = dataclasses.replace(shape, vocab_size=tokenizer.vocab_size, context=context)
        start = start._replace(tokenizer=tokenizer)
    elif config.vocab_size:
        raise ConfigError("--vocab_size is for a model that learns to answer from nothing", got=config.vocab_size,
                          next_step="leave it out, or add --scratch to a task with prompts")  # fmt: skip
    return start._replace(model=GPT(shape)) if config.scratch else start


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


def prepare_answers(exercise: Exercise, config: Any) -> Prepared:
    """A model that answers prompts."""
    start = start_of(config, exercise)
    return answering.prepare(exercise, start, dropout=config.dropout, frozen=config.freeze, order=order_of(config))


# What has prompts and answers: task → name of a corpus → exercise.
EXERCISES: dict[str, Callable[[str], Exercise]] = {
    "questions": questions.load,
    "summaries": news.summaries,
    "keywords": news.keywords,
    "translate": translation.translation,
    "several": several.load,
}

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
    # It is still a language model: generate.py and --init_from take it.
    **{
        task: Task(language.KIND, load, prepare_answers, "validation_loss", publish_vocabulary)
        for task, load in EXERCISES.items()
    },
}

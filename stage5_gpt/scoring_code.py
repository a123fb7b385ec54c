"""The scores of the code assistant, and what they have to be held against.

A share alone says nothing: how often does what people wrote meet the same rules, and how often does something that
knows nothing of what it does? So there are five rows: the library itself; its own lines in random order; an n-gram
model of the same tokens, which knows what usually follows (stage 2); the model's first answer; the best of several.
"""

import random
from typing import Any

import torch

from my_llm.data.catalog import LanguageText
from my_llm.data.corpus import standard_library
from my_llm.language.writer import Writer
from stage2_rnn_lstm.models import NGramModel
from stage5_gpt.assistant import Answer, answers, shares, solved
from stage5_gpt.code_tasks import TASKS, Asked, held_out_functions

ORDER = 6  # tokens of the n-gram model's runs
COLUMNS = ("compiles", "names_known", "arguments_used", "defined", "style", "lines_seen", "solved", "solved_by_any")


def shuffled(asked: Asked) -> list[str]:
    """The right lines in random order, the same each time."""
    lines = asked.answer.splitlines(keepends=True)
    random.Random(asked.name).shuffle(lines)
    return ["".join(lines)]


def ngram_writer(writer: Writer, text: str) -> Writer:
    """An n-gram model of the same tokens."""
    tokens = torch.tensor(writer.tokenizer.encode(text))
    return Writer(NGramModel.fit(tokens, writer.tokenizer.vocab_size, ORDER), writer.tokenizer, facts={})


def rows_of(
    writer: Writer,
    corpus: LanguageText,
    *,
    functions: int,
    candidates: int,
    length: int = 160,
    temperature: float = 0.6,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row for each of those who answer; `functions` are drawn from those that nobody has read."""
    asked = [*held_out_functions(standard_library())]
    asked = random.Random(seed).sample(asked, min(functions, len(asked)))
    counter = ngram_writer(writer, corpus.train)

    def by(model: Writer, count: int) -> Answer:
        return lambda one: answers(model, one, count, length=length, temperature=temperature, seed=seed)

    who: dict[str, tuple[Answer, bool]] = {
        "the library itself": (lambda one: [one.answer], True),
        "its lines shuffled": (shuffled, False),  # of one line there is nothing to shuffle
        f"n-grams, best of {candidates}": (by(counter, candidates), True),
        "GPT, the first": (by(writer, 1), True),
        f"GPT, best of {candidates}": (by(writer, candidates), True),
    }
    rows = []
    for name, (answer, with_tasks) in who.items():
        share = shares(asked, answer, corpus.train)
        row = {"case": name, "compiles": share.compiles, "names_known": share.known, "arguments_used": share.uses,
               "defined": share.runs, "style": share.style, "lines_seen": share.seen, "n": share.n,
               "tasks": len(TASKS)}  # fmt: skip
        if with_tasks:
            found = solved(TASKS, answer)
            row |= {"solved": found.chosen, "solved_by_any": found.any}
        rows.append(row)
    return rows

"""What they write: every generation after as much time on the same text, and after the same opening.

Two numbers stand beside each text. Words: how many of those with four letters and more are words of the text that it
has read; who cannot spell has few. Copied: the longest passage that stands in that text letter by letter; who quotes
has a long one.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lab import ladder
from lab.generations import GENERATIONS, LENGTH
from lab.jobs import Row, done
from lab.ladder import Job, Setting
from my_llm.decoding import Step
from my_llm.language.writer import Writer, plain_step, sliding_step
from stage2_rnn_lstm.models import NGramModel
from stage5_gpt.language import step_of as cached_step
from stage5_gpt.models import GPT
from stage5_gpt.studies.projects import cell_of

PARAMETERS = 200_000
READ, WRITTEN, SHOWN = 300, 2000, 240  # characters
TEMPERATURE = 0.8
BOOK = "the text itself"
WORD = re.compile(r"\w{4,}")


def opening(text: str) -> str:
    """Some lines to read, up to the first line of a paragraph, inclusive: who speaks, in a play."""
    end = text.find("\n\n", READ)
    line = text.find("\n", end + 2) if end >= 0 else -1
    return text[: line + 1] if line >= 0 else text[:READ]


def shown(text: str, written: str) -> str:
    """The last line that was read, and what was written."""
    return opening(text).rstrip("\n").rpartition("\n")[2] + "\n" + written[:SHOWN]


def real_words(written: str, read: str) -> float:
    """Percent of the words that stand in what was read; the last one may be cut off."""
    known, words = set(WORD.findall(read)), WORD.findall(written)[:-1]
    return 100 * sum(word in known for word in words) / max(len(words), 1)


def copied(written: str, read: str) -> int:
    """Characters of the longest passage that stands in what was read."""
    longest = 0
    for start in range(len(written)):
        while start + longest < len(written) and written[start : start + longest + 1] in read:
            longest += 1
    return longest


def told(written: str, corpus: Any) -> Row:
    """A text and its two numbers."""
    learnt = corpus.train[ladder.held_out(corpus.train) :]
    words, longest = real_words(written, learnt), copied(written, learnt)
    return {"words": round(words, 1), "copied": longest, "sample": shown(corpus.validation, written)}


def step_of(model: Any, *, carried: bool) -> Step:
    """One token at a time; who carries no state looks back at LENGTH of them at most, and at half when it begins."""
    if isinstance(model, GPT):
        return cached_step(model)
    return plain_step(model) if carried else sliding_step(model, LENGTH)


def write(model: Any, corpus: Any, tokenizer: Any, seed: int, *, carried: bool) -> str:
    """What a model writes after the opening."""
    writer = Writer(model, tokenizer, facts={}, precision="fp32", step=step_of(model, carried=carried))
    return "".join(writer.write(opening(corpus.validation), length=WRITTEN, temperature=TEMPERATURE, seed=seed))


def learn(job: Job, setting: Setting) -> Row:
    """Train one network and let it write; in a process of its own."""
    trained = ladder.learn(job, setting)
    carried = GENERATIONS[job.generation].carried
    written = write(trained.model, trained.corpus, trained.tokenizer, setting.seed, carried=carried)
    return trained.row | {"written": written}


def rows(setting: Setting, generations: Sequence[str], folder: Path, workers: int) -> list[Row]:
    """Counting, the networks, and for comparison as much of the text that nobody has read."""

    def said(job: Job, row: Row) -> str:
        return f"{job.generation}: {row['bits']:.3f} bits a byte"

    jobs = [Job("seconds", name, PARAMETERS) for name in generations]
    made = done(jobs, partial(learn, setting=setting), folder, workers, said)
    corpus, tokenizer, tokens = ladder.parts_of(setting.dataset)
    best = ladder.best(ladder.count(setting))
    grams = NGramModel.fit(tokens["train"], tokenizer.vocab_size, best["order"])
    texts: dict[str, Row] = {
        ladder.NGRAM: best | {"written": write(grams, corpus, tokenizer, setting.seed, carried=True)}
    }
    texts |= {job.generation: made[job] for job in jobs}
    texts[BOOK] = {"bits": None, "written": corpus.validation[len(opening(corpus.validation)) :][:WRITTEN]}
    return [
        {"case": name, "bits_per_byte": row["bits"] and round(row["bits"], 3), **told(row["written"], corpus)}
        for name, row in texts.items()
    ]


def table_of(told_of: Sequence[Row]) -> list[Row]:
    """The rows with their texts as cells of a page."""
    return [row | {"sample": cell_of(row["sample"])} for row in told_of]


COLUMNS = {"bits_per_byte": "", "words": "%", "copied": "", "sample": "text"}


def rules(setting: Setting, sha256: str) -> list[Any]:
    """What the texts depend on; they are measured and cut when the table is made."""
    return [*ladder.rules(setting, sha256), PARAMETERS, READ, WRITTEN, TEMPERATURE]

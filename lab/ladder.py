"""The ladder: one text, one validation part, every generation of language models, in three races.

    parameters   all have as many, and all read the text five times: what do so many numbers learn?
    tokens       all read the text once: who learns most from little text? The size is free.
    seconds      all have the same time on one core of this machine: what should one use? The size is free.

Where the size is free, a model runs in each of SIZES, and a part of the training text that it has not read says which
one counts. Bits per byte of the validation part. Each training is kept as a file when it is over, so that the command
goes on where it stopped.
"""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lab.generations import GENERATIONS
from lab.jobs import Row, done

NGRAM = "n-gram"
RACES = ("parameters", "tokens", "seconds")
ORDERS = range(1, 9)
SIZES = (50_000, 200_000, 800_000)  # parameters
SIZE = 200_000  # of the first race
PASSES = 5  # over the text, in the first race
SECONDS = 90.0  # of the third: processor time of one core
HELD_OUT = 50_000  # first characters of the training part, which nobody learns: they choose sizes and orders
POINTS = 40  # of a curve


class Job(NamedTuple):
    """One training."""

    race: str
    generation: str
    parameters: int

    @property
    def file(self) -> str:
        """Where its row is kept."""
        return f"{self.race}-{self.generation.replace(' ', '_').replace(',', '')}-{self.parameters}.json"


def jobs(generations: Sequence[str]) -> list[Job]:
    """All trainings, the longest first, so that no core waits for the other in the end."""
    fixed = [Job("parameters", name, SIZE) for name in generations]
    free = [Job(race, name, size) for race in ("tokens", "seconds") for name in generations for size in SIZES]
    return sorted([*fixed, *free], key=lambda job: -job.parameters * (PASSES if job.race == "parameters" else 1))


# --- one training -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all trainings of a ladder share."""

    dataset: str
    seed: int
    max_steps: int  # 0: as the race says


def parts_of(dataset: str) -> tuple[Any, Any, dict[str, Any]]:
    """Corpus, tokenizer of its characters, and what is learnt from, chosen by, and judged on, as numbers."""
    import torch

    from my_llm.data.catalog import load_text
    from my_llm.text import CharTokenizer

    corpus = load_text(dataset)
    tokenizer = CharTokenizer.train([corpus.train])
    told, judged = (torch.tensor(tokenizer.encode(part)) for part in (corpus.train, corpus.validation))
    first = held_out(corpus.train)
    return corpus, tokenizer, {"train": told[first:], "choice": told[:first], "validation": judged}


def held_out(text: str) -> int:
    """Characters at the beginning of the training part that choose and are not learnt from."""
    return min(HELD_OUT, len(text) // 10)


def bits_of(nats: dict[str, float], corpus: Any, tokens: dict[str, Any]) -> Row:
    """Bits per byte of the validation part, and of the one that chooses."""
    choice = corpus.train[: len(tokens["choice"])]
    return {
        name: nats[part] / math.log(2) / len(text.encode())
        for name, part, text in (("bits", "validation", corpus.validation), ("chosen_by", "choice", choice))
    }


class Trained(NamedTuple):
    """A network after its training, and what it has learnt from."""

    model: Any
    corpus: Any
    tokenizer: Any
    row: Row


def learn(job: Job, setting: Setting) -> Trained:
    """Run a race for one network; in a process of its own, on one thread."""
    import torch

    from stage5_gpt.studies.common import fit

    torch.set_num_threads(1)
    corpus, tokenizer, tokens = parts_of(setting.dataset)
    generation = GENERATIONS[job.generation]
    width, parameters = generation.sized(tokenizer.vocab_size, job.parameters)
    torch.manual_seed(setting.seed)
    model = generation.make(tokenizer.vocab_size, width)
    batches, loss_fn = generation.learning(tokens["train"], setting.seed)
    reads = {"parameters": PASSES * len(tokens["train"]), "tokens": len(tokens["train"])}.get(job.race)
    steps = setting.max_steps or (reads // generation.batch if reads else 10**9)
    learnt = fit(
        model, batches, loss_fn, steps, tokens=generation.batch, optimizer=generation.optimizer(model, generation.rate),
        within=math.inf if reads else SECONDS,
    )  # fmt: skip
    nats = {part: generation.nats(model, tokens[part]) for part in ("validation", "choice")}
    row = {
        **bits_of(nats, corpus, tokens), "width": width, "parameters": parameters,
        "tokens": len(learnt.losses) * generation.batch, "seconds": learnt.seconds[-1], "curve": curve_of(learnt),
    }  # fmt: skip
    return Trained(model, corpus, tokenizer, row)


def train(job: Job, setting: Setting) -> Row:
    """What came of it."""
    return learn(job, setting).row


def curve_of(learnt: Any) -> list[list[float]]:
    """Seconds, and bits of a character in the batches up to there: means over ever more steps."""
    ends = sorted({round(len(learnt.losses) ** (point / POINTS)) for point in range(POINTS + 1)})
    return [
        [round(learnt.seconds[end - 1], 2), round(statistics.fmean(learnt.losses[start:end]) / math.log(2), 3)]
        for start, end in itertools.pairwise([0, *ends])
    ]


def count(setting: Setting) -> list[Row]:
    """N-grams of each order: no race, they are done in a second."""
    from stage2_rnn_lstm.language import loss_of
    from stage2_rnn_lstm.models import NGramModel

    corpus, tokenizer, tokens = parts_of(setting.dataset)
    rows = []
    for order in ORDERS:
        before = time.process_time()
        model = NGramModel.fit(tokens["train"], tokenizer.vocab_size, order)
        seconds = time.process_time() - before
        nats = {part: float(loss_of(model, tokens[part]).total) for part in ("validation", "choice")}
        counted = sum(len(level.keys) for level in model.levels)
        rows.append({**bits_of(nats, corpus, tokens), "order": order, "parameters": counted,
                     "tokens": len(tokens["train"]), "seconds": seconds})  # fmt: skip
    return rows


# --- all of them, each once -------------------------------------------------------------------------------------------


def race(setting: Setting, generations: Sequence[str], folder: Path, workers: int) -> dict[Job, Row]:
    """The rows of all trainings; those that `folder` has are not run again."""

    def told(job: Job, row: Row) -> str:
        size = f"{row['parameters']:,} parameters"
        return f"{job.race}, {job.generation}, {size}: {row['bits']:.3f} bits a byte, {row['seconds']:.0f} s"

    return done(jobs(generations), partial(train, setting=setting), folder, workers, told)


def rules(setting: Setting, sha256: str) -> list[Any]:
    """What the rows depend on: another text, race or rate is another ladder."""
    rates = [(name, one.rate, one.batch) for name, one in GENERATIONS.items()]
    return [dataclasses.astuple(setting), sha256, SIZES, SIZE, PASSES, SECONDS, HELD_OUT, rates]


# --- what came of it --------------------------------------------------------------------------------------------------


def best(rows: Sequence[Row]) -> Row:
    """By the part that chooses."""
    return min(rows, key=lambda row: row["chosen_by"])


def table_of(rows_of: dict[Job, Row], grams: Sequence[Row], generations: Sequence[str]) -> dict[str, dict[str, Row]]:
    """Race → generation → the row that counts: where the size is free, that of the size which was chosen."""
    found = {race: {NGRAM: best(grams)} for race in RACES}
    found["parameters"][NGRAM] = best([row for row in grams if row["parameters"] <= SIZE])
    for race in RACES:
        for name in generations:
            found[race][name] = best([row for job, row in rows_of.items() if job[:2] == (race, name)])
    return found


def results_of(found: dict[str, dict[str, Row]]) -> list[Row]:
    """Bits per byte, a row for each generation."""
    names = found["parameters"]
    return [
        {"case": name, **{f"equal_{race}": round(found[race][name]["bits"], 3) for race in RACES}} for name in names
    ]


def costs_of(found: dict[str, dict[str, Row]]) -> list[Row]:
    """What each result took, a row for each race and generation."""
    return [
        {"case": f"{race}: {name}", **{key: row[key] for key in ("parameters", "tokens")},
         "seconds": round(row["seconds"], 1)}
        for race in RACES for name, row in found[race].items()
    ]  # fmt: skip


BITS = {f"equal_{race}": "" for race in RACES}
COSTS = {"parameters": "", "tokens": "", "seconds": "s"}

"""The ladder: one text, one validation part, every generation of language models, in three races.

    parameters   all have as many, and all read the text three times: what do so many numbers learn?
    tokens       all read a million characters: who learns most from little text? The size is free.
    seconds      all have the same time on one core of this machine: what should one use? The size is free.

Where the size is free, a model runs in each of SIZES, and a part of the training text that it has not read says which
one counts. Bits per byte of the validation part. Each training is kept as a file when it is over, so that the command
goes on where it stopped.
"""

import dataclasses
import json
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from my_llm.files import write_atomically
from my_llm.run import Stopped, home

Row = dict[str, Any]
NGRAM = "n-gram"
ORDERS = range(1, 9)
SIZES = (50_000, 200_000, 800_000)  # parameters
SIZE = 200_000  # of the first race
PASSES = 3  # over the text, in the first race
TOKENS = 1_000_000  # of the second
SECONDS = 40.0  # of the third: processor time of one core
HELD_OUT = 50_000  # last characters of the training part: they choose sizes and orders


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
    held_out = min(HELD_OUT, len(told) // 10)
    return corpus, tokenizer, {"train": told[:-held_out], "choice": told[-held_out:], "validation": judged}


def bits_of(nats: dict[str, float], corpus: Any, tokens: dict[str, Any]) -> Row:
    """Bits per byte of the validation part, and of the one that chooses."""
    choice = corpus.train[-len(tokens["choice"]) :]
    return {
        name: nats[part] / math.log(2) / len(text.encode())
        for name, part, text in (("bits", "validation", corpus.validation), ("chosen_by", "choice", choice))
    }


def train(job: Job, setting: Setting) -> Row:
    """Run a race for one network; in a process of its own, on one thread."""
    import torch

    from lab.generations import GENERATIONS
    from stage5_gpt.studies.common import fit

    torch.set_num_threads(1)
    corpus, tokenizer, tokens = parts_of(setting.dataset)
    generation = GENERATIONS[job.generation]
    width, parameters = generation.sized(tokenizer.vocab_size, job.parameters)
    torch.manual_seed(setting.seed)
    model = generation.make(tokenizer.vocab_size, width)
    batches, loss_fn = generation.learning(tokens["train"], setting.seed)
    reads = {"parameters": PASSES * len(tokens["train"]), "tokens": min(TOKENS, len(tokens["train"]))}.get(job.race)
    steps = setting.max_steps or (reads // generation.batch if reads else 10**9)
    learnt = fit(
        model, batches, loss_fn, steps, tokens=generation.batch, optimizer=generation.optimizer(model, generation.rate),
        within=math.inf if reads else SECONDS,
    )  # fmt: skip
    nats = {part: generation.nats(model, tokens[part]) for part in ("validation", "choice")}
    return {
        **bits_of(nats, corpus, tokens), "width": width, "parameters": parameters,
        "tokens": len(learnt.losses) * generation.batch, "seconds": learnt.seconds[-1],
    }  # fmt: skip


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


# --- all of them, two at a time, each once ----------------------------------------------------------------------------


def quiet() -> None:
    """In a worker: Ctrl-C is the business of the one who has started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def race(setting: Setting, generations: Sequence[str], folder: Path, workers: int) -> dict[Job, Row]:
    """The rows of all jobs; those that `folder` has are not run again.

    Raises:
        Stopped: by Ctrl-C.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = jobs(generations)
    done = {job: json.loads((folder / job.file).read_text()) for job in wanted if (folder / job.file).exists()}
    left = [job for job in wanted if job not in done]
    if done:
        print(f"{len(done)} of {len(wanted)} trainings are kept in {folder}", flush=True)
    started = time.perf_counter()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=quiet) as pool:
        running = {pool.submit(train, job, setting): job for job in left}
        try:
            for number, future in enumerate(as_completed(running), 1):
                job, row = running[future], future.result()
                write_atomically(folder / job.file, json.dumps(row).encode())
                done[job] = row
                minutes = (time.perf_counter() - started) / number * (len(left) - number) / 60
                print(
                    f"{len(done):>3} of {len(wanted)}: {job.race}, {job.generation}, {row['parameters']:,} parameters: "
                    f"{row['bits']:.3f} bits a byte, {row['seconds']:.0f} s; {minutes:.0f} min left",
                    flush=True,
                )
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise Stopped(f"{len(done)} of {len(wanted)} trainings are kept; the same command goes on") from None
    return done


def folder_of(setting: Setting, sha256: str) -> Path:
    """A place for these very settings; another text or another race is another folder."""
    import hashlib

    rules = [dataclasses.astuple(setting), sha256, SIZES, SIZE, PASSES, TOKENS, SECONDS, HELD_OUT]
    return home() / "runs" / "compare" / f"ladder-{hashlib.sha256(repr(rules).encode()).hexdigest()[:8]}"


def workers_of(asked: int) -> int:
    """Trainings at a time: one for each core, if nobody says otherwise."""
    return asked or os.cpu_count() or 1


# --- what came of it --------------------------------------------------------------------------------------------------


def best(rows: Sequence[Row]) -> Row:
    """By the part that chooses."""
    return min(rows, key=lambda row: row["chosen_by"])


def table_of(done: dict[Job, Row], grams: Sequence[Row], generations: Sequence[str]) -> list[Row]:
    """One row for each generation: bits per byte in the three races, and what it took."""
    small = best([row for row in grams if row["parameters"] <= SIZE])
    found = {(NGRAM, name): best(grams) for name in ("tokens", "seconds")} | {(NGRAM, "parameters"): small}
    for name in generations:
        for one in ("parameters", "tokens", "seconds"):
            rows = [row for job, row in done.items() if (job.race, job.generation) == (one, name)]
            found[name, one] = best(rows)
    return [
        {
            "case": name,
            "bits_equal_parameters": round(found[name, "parameters"]["bits"], 3),
            "seconds_for_it": round(found[name, "parameters"]["seconds"], 1),
            "bits_equal_tokens": round(found[name, "tokens"]["bits"], 3),
            "size_for_it": found[name, "tokens"]["parameters"],
            "bits_equal_seconds": round(found[name, "seconds"]["bits"], 3),
            "size_then": found[name, "seconds"]["parameters"],
            "tokens_then": found[name, "seconds"]["tokens"],
        }
        for name in (NGRAM, *generations)
    ]


BITS = ("bits_equal_parameters", "bits_equal_tokens", "bits_equal_seconds")
COLUMNS = {
    "bits_equal_parameters": "", "seconds_for_it": "s", "bits_equal_tokens": "", "size_for_it": "",
    "bits_equal_seconds": "", "size_then": "", "tokens_then": "",
}  # fmt: skip

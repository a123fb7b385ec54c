"""Many trainings, some at a time, each kept as a file when it is over: the same command goes on where it stopped."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from my_llm.files import write_atomically
from my_llm.run import Stopped, home

Row = dict[str, Any]


@runtime_checkable
class Job(Hashable, Protocol):
    """One training."""

    @property
    def file(self) -> str:
        """Where its row is kept."""
        ...


J = TypeVar("J", bound=Job)


def folder_of(part: str, rules: Sequence[Any]) -> Path:
    """Where the rows of a comparison are kept: other rules have another folder."""
    return home() / "runs" / "compare" / f"{part}-{hashlib.sha256(repr(rules).encode()).hexdigest()[:8]}"


def quiet() -> None:
    """In a worker: Ctrl-C is the business of the one who has started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def done(
    wanted: Sequence[J], work: Callable[[J], Row], folder: Path, workers: int, told: Callable[[J, Row], str]
) -> dict[J, Row]:
    """The rows of all jobs; those that `folder` has are not run again.

    Args:
        work: Does one job, in a process of its own.
        workers: Jobs at a time; 0: one for each core.
        told: What the line of a job says when it is over.

    Raises:
        Stopped: by Ctrl-C.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = {job: json.loads((folder / job.file).read_text()) for job in wanted if (folder / job.file).exists()}
    left = [job for job in wanted if job not in rows]
    if rows:
        print(f"{len(rows)} of {len(wanted)} trainings are kept in {folder}", flush=True)
    started, context = time.perf_counter(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), context, initializer=quiet) as pool:
        running = {pool.submit(work, job): job for job in left}
        try:
            for number, future in enumerate(as_completed(running), 1):
                job, row = running[future], future.result()
                write_atomically(folder / job.file, json.dumps(row).encode())
                rows[job] = row
                minutes = (time.perf_counter() - started) / number * (len(left) - number) / 60
                print(f"{len(rows):>3} of {len(wanted)}: {told(job, row)}; {minutes:.0f} min left", flush=True)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, KeyboardInterrupt):
                raise Stopped(f"{len(rows)} of {len(wanted)} trainings are kept; the same command goes on") from None
            raise
    return rows

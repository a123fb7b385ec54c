"""`my-llm milestones`: the numbers of the README, made by the commands that the README gives, over several seeds.

Each row trains with train.py and scores with evaluate.py as processes of their own. The recipe was chosen on parts of
the training texts. Another seed is also another split of the corpora that have no test set of their own.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from my_llm.cli import execute
from my_llm.errors import DataError

ROOT = Path(__file__).resolve().parents[1]


class Milestone(NamedTuple):
    """One row: what is trained, and how."""

    case: str
    model: str
    task: str
    data: str  # what of the corpus we have, in words
    flags: list[str]  # of train.py, besides the seeds
    seeds: int = 3


FINAL = ["--final"]  # a tenth of two thousand texts is too few to choose an epoch by: learn from all, keep the last
SPLITS = 10  # and four hundred test texts are few, too: the score of one split is a matter of luck
MILESTONES: dict[str, list[Milestone]] = {
    "stage1_mlp": [
        Milestone("ag_news", "MLP", "text classification", "AG News", ["--dataset", "ag_news"]),
        Milestone("bbc_news", "MLP", "text classification", "BBC News", ["--dataset", "bbc_news", *FINAL], SPLITS),
        Milestone(
            "movie_reviews",
            "MLP",
            "text classification",
            "Movie Reviews",
            ["--dataset", "movie_reviews", *FINAL],
            SPLITS,
        ),
        Milestone("python_docs", "MLP", "text classification", "Python's docstrings", ["--dataset", "python_docs"]),
    ]
}
COLUMNS = {
    "model": "", "task": "", "data": "", "metric": "", "score": "%", "spread": "%", "splits": "",
    "macro_f1": "%", "n": "",
    "train_seconds": "s", "latency_us": "µs", "latency_alone_ms": "ms",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MilestonesConfig:
    """Train and score the milestones, and write results/<stage>/milestones.json."""


def main(arguments: Sequence[str]) -> int:
    """The command."""
    return execute(MilestonesConfig, run, arguments)


def run(config: MilestonesConfig) -> None:
    """All stages, one after the other."""
    from my_llm import ledger

    for stage, milestones in MILESTONES.items():
        started, rows, sources, digests = time.perf_counter(), [], [], []
        for milestone in milestones:
            runs = [one_run(stage, milestone, seed) for seed in range(milestone.seeds)]
            rows.append(row_of(milestone, runs))
            sources.append(f"{milestone.case}: {runs[0]['source']}")
            digests += sorted({run["sha256"] for run in runs})
            print(json.dumps(rows[-1]), flush=True)
        path = ledger.record(
            stage,
            "milestones",
            title="Milestones",
            command="my-llm milestones",
            columns=COLUMNS,
            rows=rows,
            data="; ".join(sources),
            sha256=" ".join(digests),
            seed=range(max(milestone.seeds for milestone in milestones)),
            seconds=time.perf_counter() - started,
        )
        print(f"wrote {path}; next: make tables")


def one_run(stage: str, milestone: Milestone, seed: int) -> dict[str, Any]:
    """Train and score once; what evaluate.py reports, with the seconds of the training."""
    from my_llm.run import home

    name = f"milestone-{milestone.case}-{seed}"
    script("train.py", stage, *milestone.flags, "--split_seed", seed, "--seed", seed, "--run_name", name)
    folder = max((home() / "runs" / stage).glob(f"*-{name}"), key=lambda path: path.stat().st_mtime)
    report = folder / "test.json"
    script("evaluate.py", stage, "--model_path", folder / "best.pt", "--report", report)
    return {
        **json.loads(report.read_text(encoding="utf-8")),
        "seconds": json.loads((folder / "summary.json").read_text(encoding="utf-8"))["seconds"],
        "learnt_from": json.loads((folder / "summary.json").read_text(encoding="utf-8"))["examples"],
    }


def script(name: str, stage: str, *arguments: object) -> None:
    """Run a script of a stage in its folder; its own message is enough when it fails."""
    command = [sys.executable, name, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT / stage, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONUTF8": "1"})
    if done.returncode:
        raise DataError(f"{name} ended with exit code {done.returncode}", got=" ".join(command[1:]))


def row_of(milestone: Milestone, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over the seeds, and the standard deviation of the score."""

    def mean(key: str, scale: float = 1.0) -> float:
        return statistics.fmean(run[key] for run in runs) * scale

    accuracies = [100 * run["accuracy"] for run in runs]
    return {
        "case": milestone.case,
        "model": milestone.model,
        "task": milestone.task,
        "data": f"{milestone.data} (train {runs[0]['learnt_from']:,})",
        "metric": "accuracy",
        "score": round(mean("accuracy", 100), 2),
        "spread": round(statistics.stdev(accuracies), 2) if len(runs) > 1 else 0.0,
        "splits": len(runs),
        "macro_f1": round(mean("macro_f1", 100), 2),
        "n": runs[0]["n"],
        "train_seconds": round(mean("seconds"), 1),
        "latency_us": round(mean("latency_batch_us"), 1),
        "latency_alone_ms": round(mean("latency_single_ms"), 3),
    }

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
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lab.milestone_curves import record_curve
from my_llm.cli import execute
from my_llm.errors import DataError, choose

ROOT = Path(__file__).resolve().parents[1]


class Metric(NamedTuple):
    """What is printed of a report of evaluate.py."""

    name: str  # in the words of the tables
    key: str  # in the report
    unit: str = ""

    def of(self, report: dict[str, Any]) -> float:
        """The value in its unit; shares are reported as fractions."""
        return (100 if self.unit == "%" else 1) * report[self.key]


class Milestone(NamedTuple):
    """One row: what is trained, and how."""

    case: str
    model: str
    task: str
    data: str  # what of the corpus we have, in words
    flags: list[str]  # of train.py, besides the seeds
    seeds: int = 3
    metric: Metric = Metric("accuracy", "accuracy", "%")
    published: str = ""  # below checkpoints/, of a model that is trained without a run directory
    curve: bool = False  # record the score on the way, too


FINAL = ["--final"]  # a tenth of two thousand texts is too few to choose an epoch by: learn from all, keep the last
SPLITS = 10  # and four hundred test texts are few, too: the score of one split is a matter of luck
NATS = Metric("loss per character", "mean_loss", "nats")
PER_WORD = Metric("perplexity per word or mark", "perplexity")
ENTITY_F1 = Metric("entity F1", "f1", "%")
SHAKESPEARE = ["--dataset", "tiny_shakespeare"]
WORDS = [*SHAKESPEARE, "--vocab_type", "word"]
COUNTING = ["--model_type", "ngram", "--order"]
BLEU, EXACT = Metric("BLEU", "bleu"), Metric("exact", "exact", "%")
NUMBERS = ["--config", "presets/numbers.toml"]
MULTI30K = ["--dataset", "multi30k_en_fr", "--epochs", "15"]
NO_ATTENTION = ["--attention_type", "none"]
TRANSLATE = "translation"
LM, CLASSIFY = "language modelling", "text classification"
MILESTONES: dict[str, list[Milestone]] = {
    "stage1_mlp": [
        Milestone("ag_news", "MLP", CLASSIFY, "AG News", ["--dataset", "ag_news"]),
        Milestone("bbc_news", "MLP", CLASSIFY, "BBC News", ["--dataset", "bbc_news", *FINAL], SPLITS),
        Milestone("movie_reviews", "MLP", CLASSIFY, "Movie Reviews", ["--dataset", "movie_reviews", *FINAL], SPLITS),
        Milestone("python_docs", "MLP", CLASSIFY, "Python's docstrings", ["--dataset", "python_docs"]),
    ],
    "stage2_rnn_lstm": [
        Milestone("tiny_shakespeare", "LSTM", LM, "Tiny Shakespeare", SHAKESPEARE, 2, NATS),
        Milestone(
            "ngram", "7-gram", LM, "Tiny Shakespeare", [*SHAKESPEARE, *COUNTING, "7"], 1, NATS, "best_ngram_char.pt"
        ),
        Milestone(
            "one_hour", "3 LSTMs", LM, "Tiny Shakespeare", ["--config", "presets/one_hour.toml"], 1, NATS
        ),
        Milestone("words", "LSTM", LM, "Tiny Shakespeare, words", WORDS, 1, PER_WORD),
        Milestone(
            "ngram_words", "3-gram", LM, "Tiny Shakespeare, words", [*WORDS, *COUNTING, "3"], 1, PER_WORD,
            "best_ngram_word.pt",
        ),
        Milestone("ag_news", "BiLSTM", CLASSIFY, "AG News", ["--task", "classify", "--dataset", "ag_news"]),
        Milestone("conll2002", "BiLSTM-CRF", "tagging", "CoNLL-2002, Spanish", ["--task", "tag"], 3, ENTITY_F1),
    ],
    "stage3_attention_seq2seq": [
        Milestone("numbers", "Bahdanau", TRANSLATE, "numbers and dates", NUMBERS, 3, EXACT),
        Milestone("multi30k", "Bahdanau", TRANSLATE, "Multi30k, test 2016", MULTI30K, 1, BLEU, curve=True),
        Milestone("multi30k_none", "no attention", TRANSLATE, "Multi30k, test 2016", MULTI30K + NO_ATTENTION, 1, BLEU),
        Milestone(
            "tatoeba", "Bahdanau", TRANSLATE, "Tatoeba", ["--dataset", "tatoeba_en_fr", "--epochs", "4"], 1, BLEU
        ),
    ],
    "stage4_transformer": [
        Milestone("numbers", "Transformer", TRANSLATE, "numbers and dates", NUMBERS, 3, EXACT),
        Milestone(
            "multi30k", "Transformer", TRANSLATE, "Multi30k, test 2016",
            ["--dataset", "multi30k_en_fr", "--precision", "bf16"], 1, BLEU, curve=True,
        ),
        Milestone("ag_news", "Transformer", CLASSIFY, "AG News", ["--task", "classify", "--dataset", "ag_news"]),
        Milestone(
            "tiny_shakespeare", "Transformer", LM, "Tiny Shakespeare", ["--task", "language_model", *SHAKESPEARE], 1,
            NATS,
        ),
    ],
    "stage5_gpt": [
        Milestone("tiny_shakespeare", "GPT", LM, "Tiny Shakespeare", ["--preset", "quality", "--compile"], 1, NATS),
        Milestone("speedrun", "GPT, seconds", LM, "Tiny Shakespeare", ["--preset", "speedrun"], 3, NATS),
        Milestone(
            "three_kingdoms", "GPT", LM, "Romance of the Three Kingdoms",
            ["--preset", "three_kingdoms", "--precision", "bf16"], 1, NATS,
        ),
    ],
}  # fmt: skip
COLUMNS = {
    "model": "", "task": "", "data": "", "metric": "", "score": "", "spread": "", "unit": "", "splits": "",
    "macro_f1": "%", "bits_per_byte": "", "bleu_one_reference": "", "chrf": "", "n": "",
    "train_seconds": "s", "latency_us": "µs", "latency_alone_ms": "ms",
    "greedy_per_second": "1/s", "beam_per_second": "1/s",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MilestonesConfig:
    """Train and score the milestones, and write results/<stage>/milestones.json."""

    stage: Literal[
        "all", "stage1_mlp", "stage2_rnn_lstm", "stage3_attention_seq2seq", "stage4_transformer", "stage5_gpt"
    ] = "all"
    """whose milestones"""
    cases: tuple[str, ...] = ("all",)
    """which of them; the other rows of the table stay as they are"""


def main(arguments: Sequence[str]) -> int:
    """The command."""
    return execute(MilestonesConfig, run, arguments)


def run(config: MilestonesConfig) -> None:
    """All stages, one after the other."""
    for stage in MILESTONES if config.stage == "all" else [config.stage]:
        milestones = MILESTONES[stage]
        cases = {milestone.case: milestone for milestone in milestones}
        chosen = cases if "all" in config.cases else {case: choose(case, cases, "milestone") for case in config.cases}
        started, new, sources, digests = time.perf_counter(), {}, {}, {}
        for case, milestone in chosen.items():
            runs = [one_run(stage, milestone, seed) for seed in range(milestone.seeds)]
            if milestone.curve:
                title = f"{milestone.model}, {milestone.data}"
                record_curve(stage, case, title, milestone.metric.key, runs[0]["folder"], runs[0])
            new[case] = row_of(milestone, runs)
            sources[case], digests[case] = runs[0]["source"], sorted({run["sha256"] for run in runs})
            print(json.dumps(new[case]), flush=True)
        record(stage, list(cases), new, sources, digests, time.perf_counter() - started)


def record(
    stage: str,
    order: list[str],
    new: dict[str, dict[str, Any]],
    sources: dict[str, str],
    digests: dict[str, list[str]],
    seconds: float,
) -> None:
    """Write the table; rows that were not measured now are taken over from the one before."""
    from my_llm import ledger

    path = ledger.results_folder() / stage / "milestones.json"
    old = ledger.read(path) if path.exists() else {"rows": [], "data": "", "sha256": "", "seconds": 0.0}
    rows = {row["case"]: row for row in old["rows"]} | new
    kept = [case for case in rows if case not in new]
    old_sources = dict(line.split(": ", 1) for line in old["data"].split("; ") if ": " in line)
    path = ledger.record(
        stage,
        "milestones",
        title="Milestones",
        command="my-llm milestones",
        columns={key: unit for key, unit in COLUMNS.items() if any(key in row for row in rows.values())},
        rows=[rows[case] for case in order if case in rows],
        data="; ".join(f"{case}: {(sources | old_sources)[case] if case in kept else sources[case]}" for case in rows),
        sha256=" ".join(
            sorted({*(d for case in digests for d in digests[case]), *(old["sha256"].split() if kept else ())})
        ),
        seed=range(max(row["splits"] for row in rows.values())),
        seconds=seconds + (old["seconds"] if kept else 0.0),
    )
    print(f"wrote {path}; next: make tables")


def one_run(stage: str, milestone: Milestone, seed: int) -> dict[str, Any]:
    """Train and score once; what evaluate.py reports, and how much there was to learn from."""
    from my_llm.run import home

    name = f"milestone-{milestone.case}-{seed}"
    split = ["--split_seed", str(seed)] if stage == "stage1_mlp" else []
    script("train.py", stage, *milestone.flags, *split, "--seed", seed, "--run_name", name)
    if milestone.published:
        model, summary = home() / stage / "checkpoints" / milestone.published, {}
    else:
        folder = max((home() / "runs" / stage).glob(f"*-{name}"), key=lambda path: path.stat().st_mtime)
        model, summary = folder / "best.pt", json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        script("evaluate.py", stage, "--model_path", model, "--report", report)
        scores = json.loads(report.read_text(encoding="utf-8"))
        seconds = summary.get("seconds", scores["train_seconds"])  # of the whole run, not up to its best model
        return {**scores, "train_seconds": seconds, "examples": summary.get("examples"), "folder": model.parent}


def script(name: str, stage: str, *arguments: object) -> None:
    """Run a script of a stage in its folder; its own message is enough when it fails."""
    command = [sys.executable, name, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT / stage, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONUTF8": "1"})
    if done.returncode:
        raise DataError(f"{name} ended with exit code {done.returncode}", got=" ".join(command[1:]))


def row_of(milestone: Milestone, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over the seeds, and the standard deviation of the score."""
    scores = [milestone.metric.of(run) for run in runs]
    learnt_from = runs[0]["examples"]
    digits = 2 if milestone.metric.unit == "%" else 4
    row: dict[str, Any] = {
        "case": milestone.case,
        "model": milestone.model,
        "task": milestone.task,
        "data": milestone.data + (f" (train {learnt_from:,})" if learnt_from else ""),
        "metric": milestone.metric.name,
        "score": round(statistics.fmean(scores), digits),
        "spread": round(statistics.stdev(scores), digits) if len(runs) > 1 else 0.0,
        "unit": milestone.metric.unit,
        "splits": len(runs),
        "n": runs[0]["n"],
    }
    extras = {  # column → key of the report, scale, digits, over the runs
        "macro_f1": ("macro_f1", 100, 2, statistics.fmean), "bits_per_byte": ("bits_per_byte", 1, 3, statistics.fmean),
        "train_seconds": ("train_seconds", 1, 1, min),  # the run that shared the machine with the least
        "latency_us": ("latency_batch_us", 1, 1, min), "latency_alone_ms": ("latency_single_ms", 1, 3, min),
        "bleu_one_reference": ("bleu_one_reference", 1, 2, statistics.fmean), "chrf": ("chrf", 1, 2, statistics.fmean),
        "greedy_per_second": ("greedy_per_second", 1, 0, max), "beam_per_second": ("beam_per_second", 1, 0, max),
    }  # fmt: skip
    for column, (key, scale, places, over) in extras.items():
        if key in runs[0]:
            row[column] = round(scale * over(run[key] for run in runs), places)
    return row

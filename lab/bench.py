"""`make bench`: how fast are we here, as ratios measured side by side; `make bench-reliability`: the long hostile run.

A machine that does other things drifts by a factor of two within minutes, so absolute times compare nothing. All
candidates take turns inside one loop, and what is recorded is the median of the ratios of neighbouring turns.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from my_llm.cli import execute
from my_llm.errors import UserError

if TYPE_CHECKING:
    from stage1_mlp.models.mlp import MLP

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
STAGES = ("stage1_mlp", "stage2_rnn_lstm", "stage3_attention_seq2seq", "stage4_transformer", "stage5_gpt")

SIZES = (512, (256, 256), 10)  # inputs, hidden, outputs of the network whose training step is timed
BATCH = 128
# how hard `make bench-reliability` tries; `make test` does a tenth
TIMES = {"MY_LLM_DAMAGED": "1000", "MY_LLM_KILLS": "100"}


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Measure speed on this machine and record it in results/bench/."""

    stage: Literal[
        "all", "stage1_mlp", "stage2_rnn_lstm", "stage3_attention_seq2seq", "stage4_transformer", "stage5_gpt"
    ] = "all"
    """whose models to time; all: one after the other, each in a process of its own"""
    rounds: int = 60
    """turns that every candidate takes; large models take fewer"""


@dataclasses.dataclass(frozen=True)
class ReliabilityConfig:
    """Kill, damage, deceive: the reliability tests at full length, recorded in results/bench/reliability.json."""


def main(arguments: Sequence[str]) -> int:
    """`my-llm bench`."""
    return execute(BenchConfig, bench, arguments)


def reliability(arguments: Sequence[str]) -> int:
    """`my-llm bench-reliability`."""
    return execute(ReliabilityConfig, lambda config: try_hard(), arguments)


# --- speed ------------------------------------------------------------------------------------------------------------


def bench(config: BenchConfig) -> None:
    """Measure, print and record."""
    if config.stage == "all":
        for stage in STAGES:
            command = [sys.executable, "-m", "lab", "bench", "--stage", stage, "--rounds", str(config.rounds)]
            if subprocess.call(command, cwd=ROOT):
                raise UserError("the benchmark failed", got=stage, next_step="read its output above")
    elif config.stage == "stage1_mlp":
        bench_stage1(config.rounds)
    else:
        import_module(f"lab.bench_{config.stage.split('_')[0]}").bench(config.rounds)


def bench_stage1(rounds: int) -> None:
    """One thread for every candidate: the fairest, since small products do not fill two."""
    started = time.perf_counter()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))  # before NumPy is imported
    from my_llm.device import set_threads

    set_threads(1)
    rows = [*training_steps(rounds), *products(), *latencies(rounds)]
    columns = {"step_ms": "ms", "times_official": "", "rate": "GFLOP/s", "text_us": "µs"}
    title = "A training step of an MLP, matrix products, and the classifier from text to label"
    finish("stage1", title, rows, columns, "my-llm bench --stage stage1_mlp", started)


def training_steps(rounds: int) -> list[Row]:
    """Milliseconds of one step of SGD, forward and backward included, and the ratio to torch.nn's step."""
    import torch

    from stage1_mlp.models.mlp import MLP, MLPConfig
    from stage1_mlp.models.official import to_official

    torch.manual_seed(0)
    inputs, hidden, outputs = SIZES
    model = MLP(MLPConfig(inputs, hidden, outputs))
    x, target = torch.randn(BATCH, inputs), torch.randint(outputs, (BATCH,))
    official, by_hand = official_step(to_official(model), x, target), by_hand_step(model, x, target)
    times = take_turns(
        {"official torch.nn": official, "from scratch": scratch_step(model, x, target), "by hand, NumPy": by_hand},
        rounds,
    )
    base = times["official torch.nn"]
    return [
        {
            "case": name,
            "step_ms": round(1000 * statistics.median(seconds), 4),
            "times_official": round(statistics.median(s / b for s, b in zip(seconds, base, strict=True)), 3),
        }
        for name, seconds in times.items()
    ]


def take_turns(
    candidates: Mapping[Any, Callable[[], object]], rounds: int, warm_up: int = 5, rest: float = 0.0
) -> dict[Any, list[float]]:
    """Seconds of every turn of every candidate.

    `warm_up` turns before the first counted one; every turn begins with another candidate. `rest`: seconds before each,
    until the threads of another process have gone to sleep.
    """
    times, names = {name: [] for name in candidates}, [*candidates]
    for turn in range(-warm_up, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(rest)
            started = time.perf_counter()
            candidates[name]()
            if turn >= 0:
                times[name].append(time.perf_counter() - started)
    return times


def scratch_step(model: "MLP", x: Any, target: Any) -> Callable[[], None]:
    """Our layers, our cross-entropy, our SGD."""
    from stage1_mlp.models.losses import cross_entropy
    from stage1_mlp.models.optimizers import SGD

    optimizer = SGD(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(x), target).mean().backward()
        optimizer.step()

    return step


def official_step(model: Any, x: Any, target: Any) -> Callable[[], None]:
    """torch.nn, torch's cross-entropy, torch's SGD."""
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), target).backward()
        optimizer.step()

    return step


def by_hand_step(model: "MLP", x: Any, target: Any) -> Callable[[], None]:
    """NumPy with the derivatives written out, in the same precision."""
    from stage1_mlp.models.by_hand import softmax_cross_entropy
    from stage1_mlp.models.official import to_numpy

    network, inputs, classes = to_numpy(model), x.numpy(), target.numpy()

    def step() -> None:
        _, grad = softmax_cross_entropy(network.forward(inputs), classes)
        network.step(network.backward(grad), lr=0.01)

    return step


def products() -> list[Row]:
    """The rate of matrix products in both precisions."""
    import torch

    from my_llm.machine import measure_matmul

    rates = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return [{"case": f"product, {name}", "rate": round(measure_matmul(dtype), 1)} for name, dtype in rates.items()]


def latencies(rounds: int) -> list[Row]:
    """Microseconds a text of Python's own documentation needs from string to class, in batches and alone.

    The weights are random: what a text costs does not depend on what the network has learnt.
    """
    from my_llm.data.catalog import load
    from stage1_mlp.classify import Classifier
    from stage1_mlp.data import NgramFeatures
    from stage1_mlp.models import TextClassifier, TextClassifierConfig

    corpus = load("python_docs")
    features = NgramFeatures.fit([e.text for e in corpus.train], [e.label for e in corpus.train])
    model = TextClassifier(TextClassifierConfig(len(features), len(corpus.labels)))
    classifier = Classifier(model, features, corpus.labels, {})
    texts = [example.text for example in corpus.test]
    times = take_turns(
        {"batch": lambda: classifier.probabilities(texts), "single": lambda: classifier.probabilities(texts[:1])},
        max(rounds // 4, 3),
    )
    counts = {"batch": len(texts), "single": 1}
    return [
        {"case": f"text to label, {name}", "text_us": round(1e6 * statistics.median(times[name]) / counts[name], 1)}
        for name in counts
    ]


# --- reliability ------------------------------------------------------------------------------------------------------


def try_hard() -> int:
    """Run the reliability tests at full length; what they did is counted from pytest's own record."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "outcomes.xml"
        command = [sys.executable, "-m", "pytest", "-m", "reliability", "-p", "no:xdist", f"--junitxml={record}"]
        code = subprocess.call([*command, "tests"], cwd=ROOT, env={**os.environ, **TIMES})
        if not record.exists():
            raise UserError("pytest left no record", got=f"exit code {code}", next_step="read its output above")
        rows = outcomes(record)
    columns = {"trials": "", "passed": "", "failed": ""}
    command = "my-llm bench-reliability"
    finish("reliability", "Kills, damaged and hostile files", rows, columns, command, started)
    return 1 if code or any(row["failed"] for row in rows) else 0


def outcomes(record: Path) -> list[Row]:
    """One row for each test function: trials made, and how many of them passed or failed.

    A test that makes many trials in one call says how many by pytest's `record_property("trials", n)`; it passes only
    when all of them do. Otherwise a call (one set of parameters) is a trial. Skipped calls are no trials.
    """
    counts: dict[str, Row] = defaultdict(lambda: {"trials": 0, "passed": 0, "failed": 0})
    for call in ET.parse(record).iter("testcase"):
        if call.find("skipped") is not None:
            continue
        name = call.attrib["name"].split("[")[0].removeprefix("test_").replace("_", " ")
        said = [item.attrib["value"] for item in call.iter("property") if item.attrib["name"] == "trials"]
        trials = int(said[0]) if said else 1
        failed = call.find("failure") is not None or call.find("error") is not None
        row = counts[name]
        row["trials"] += trials
        row["failed" if failed else "passed"] += trials
    return [{"case": name, **row} for name, row in counts.items()]


# --- both -------------------------------------------------------------------------------------------------------------


def finish(
    name: str, title: str, rows: list[Row], columns: dict[str, str], command: str, started: float,
    data: str = "made by rule", sha256: str = "",
) -> None:  # fmt: skip
    """Record the table in results/bench/<name>.json and print it."""
    from rich.console import Console
    from rich.table import Table

    from lab.digits import formatted
    from lab.tables import heading
    from my_llm.ledger import record

    facts = {"data": data, "sha256": sha256, "seed": 0, "seconds": time.perf_counter() - started}
    path = record("bench", name, title=title, command=command, columns=columns, rows=rows, **facts)
    table = Table("case", *(heading(key, unit, chinese=False) for key, unit in columns.items()), title=title)
    for row in rows:
        table.add_row(row["case"], *(formatted(row.get(key), unit) for key, unit in columns.items()))
    Console(width=80, markup=False, highlight=False).print(table)
    print(f"recorded in {path}")

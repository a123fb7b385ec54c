"""`my-llm check-run runs/…`: is this run normal, slow, or broken, and what is most likely wrong?

Its command is looked up among the usual runs in results/usual/: the loss at each step should lie in their band, and the
speed should be theirs, by this machine's rate for products of matrices. A run of another command, or of another text,
is judged by itself: whether it learns, whether it has stopped to, whether it is as fast in the end as at the beginning.
"""

import dataclasses
import json
import math
import re
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from my_llm.cli import execute
from my_llm.errors import CheckpointError, ConfigError
from my_llm.journal import read_metrics

FOLDER = "usual"  # below results/
POINTS = (1, 2, 5)  # of each power of ten, steps at which usual runs are recorded
NO_MATTER = ("seed", "threads", "run_name", "device", "resume")  # flags that a band does not depend on
TOLERANCE = 0.05  # of a loss, besides three times the spread of the usual runs
SLOW = 0.5  # of the usual speed
Kind = Literal["normal", "slow", "broken"]


@dataclasses.dataclass(frozen=True)
class CheckRunConfig:
    """Say whether a training looks normal."""

    folder: tuple[Path, ...] = ()
    """run directories; none: the newest one"""
    record: bool = False
    """write these runs of one command down as the usual ones"""


class Finding(NamedTuple):
    """What was seen, how bad it is, and what to do."""

    kind: Kind
    seen: str
    next_step: str = ""


class Told(NamedTuple):
    """A run as its folder tells it."""

    folder: Path
    command: str  # script and flags, those that matter
    sha256: str
    losses: list[tuple[int, float]]  # step, training loss
    speeds: list[float]
    scores: list[tuple[int, float]]  # step, validation loss
    finished: bool

    def loss_at(self, step: int) -> float:
        """Mean over the last fifth of the way to the step, which counts from 1."""
        return statistics.fmean(loss for index, loss in self.losses if 0.8 * step < index + 1 <= step)


def main(arguments: Sequence[str]) -> int:
    """The command; paths need no flag."""
    flags = ["--folder", *arguments] if arguments and not arguments[0].startswith("-") else arguments
    return execute(CheckRunConfig, run, flags)


def run(config: CheckRunConfig) -> int:
    """0 if all runs look normal, 1 if not."""
    from my_llm.run import home

    runs = sorted((home() / "runs").glob("stage*/*/environment.json"), key=lambda path: path.stat().st_mtime)
    folders = config.folder or tuple(path.parent for path in runs[-1:])
    if not folders:
        raise CheckpointError("there is no run yet", got=home() / "runs", next_step="python stage1_mlp/train.py")
    told = [read(folder) for folder in folders]
    if config.record:
        record(told)
        return 0
    return max(say(one) for one in told)


def read(folder: Path) -> Told:
    """The run in `folder`.

    Raises:
        CheckpointError: it is no run directory, or its training has not begun.
    """
    facts, lines = folder / "environment.json", read_metrics(folder)
    if not facts.exists():
        raise CheckpointError("no run directory", got=folder, valid="runs/<stage>/<time>-<name>")
    known = json.loads(facts.read_text(encoding="utf-8"))
    steps = [line for line in lines if "loss" in line]
    if not steps:
        raise CheckpointError("no step has been taken yet", got=folder)
    script, *flags = shlex.split(known["command"])
    command = " ".join([f"{folder.resolve().parent.name}/{Path(script).name}", *those_that_matter(flags)])
    return Told(
        folder, command, known["data"]["sha256"], [(line["step"], line["loss"]) for line in steps],
        [line["tokens_per_second"] for line in steps],
        [(line["step"], line["validation_loss"]) for line in lines if "validation_loss" in line],
        (folder / "summary.json").exists(),
    )  # fmt: skip


def those_that_matter(flags: Sequence[str]) -> list[str]:
    """All flags with their values but those of NO_MATTER."""
    groups = re.split(r" (?=--)", " ".join(["", *flags]))
    return [group for group in groups if group and group.split("=")[0].split()[0].lstrip("-") not in NO_MATTER]


# --- what is found ----------------------------------------------------------------------------------------------------


def by_itself(told: Told) -> list[Finding]:
    """What any run should do: finite numbers, a loss that falls, a validation that does not rise, an even speed."""
    found, losses = [], [loss for _, loss in told.losses]
    if (told.folder / "not_finite.pt").exists() or not all(map(math.isfinite, losses)):
        found.append(Finding("broken", f"the loss is not finite after step {len(losses)}", "a lower --lr, or --clip 1"))
    first, last = (
        statistics.fmean(part) for part in (losses[: len(losses) // 10 or 1], losses[-(len(losses) // 10 or 1) :])
    )
    if len(losses) >= 20 and last > 0.97 * first:
        found.append(Finding("broken", f"the loss does not fall: {first:.3f} at first, {last:.3f} now",
                             "--lr ten times lower, then ten times higher"))  # fmt: skip
    elif last < 0.02 * first:
        found.append(Finding("broken", f"the loss is nearly nothing: {last:.4f}",
                             "look for answers that the model can see: a mask, a text that repeats"))  # fmt: skip
    if len(told.scores) > 2:
        best_step, best = min(told.scores, key=lambda score: score[1])
        if told.scores[-1][1] > 1.05 * best:
            found.append(Finding("normal", f"it overfits: validation {best:.3f} after step {best_step + 1}, "
                                 f"{told.scores[-1][1]:.3f} now; best.pt is the former",
                                 "more text, --dropout, or fewer epochs"))  # fmt: skip
    quarter = len(told.speeds) // 4
    if quarter >= 10:
        early, late = (statistics.median(part) for part in (told.speeds[5:quarter], told.speeds[-quarter:]))
        if late < SLOW * early:
            found.append(Finding("slow", f"it became slower: {early:,.0f} tokens a second at first, {late:,.0f} now",
                                 "close what else computes; python3 start.py doctor"))  # fmt: skip
    return found


def by_the_usual(told: Told, usual: dict[str, Any], gflops: float) -> list[Finding]:
    """Whether the loss lies in the band of the usual runs, and the speed is theirs at this machine's rate."""
    rows = {row["case"]: row for row in usual["rows"]}
    machine, found = rows.pop("machine"), []
    reached = [int(case) for case in rows if int(case) <= len(told.losses)]
    outside = [step for step in reached if not in_band(told.loss_at(step), rows[str(step)])]
    last = reached[-1]
    row, loss = rows[str(last)], told.loss_at(last)
    seen = f"loss {loss:.3f} at step {last:,}, usual {row['loss']:.3f} ± {width(row):.3f}"
    if last in outside and loss > row["loss"]:
        found.append(
            Finding("broken", f"{seen}; outside since step {outside[0]:,}", "compare config.toml and the text")
        )
    elif last in outside:
        found.append(
            Finding("broken", f"{seen}; too good since step {outside[0]:,}", "does it see what it should foretell?")
        )
    else:
        found.append(Finding("normal", seen))
    expected = machine["tokens_per_second"] * gflops / machine["gflops"]
    speed = statistics.median(told.speeds)
    seen = f"{speed:,.0f} tokens a second; {expected:,.0f} are usual at this machine's {gflops:,.0f} GFLOP/s"
    slow = speed < SLOW * expected
    found.append(
        Finding("slow" if slow else "normal", seen, "close what else computes; python3 start.py doctor" if slow else "")
    )
    return found


def width(row: dict[str, Any]) -> float:
    """Half of the band."""
    return 3 * row["loss_sd"] + TOLERANCE * row["loss"]


def in_band(loss: float, row: dict[str, Any]) -> bool:
    """Whether a loss is usual."""
    return abs(loss - row["loss"]) <= width(row)


def say(told: Told) -> int:
    """Print what was found; 0 if that is normal, else 1."""
    import torch

    from my_llm.ledger import read as read_table
    from my_llm.ledger import results_folder
    from my_llm.machine import measure_matmul

    tables = [read_table(path) for path in sorted((results_folder() / FOLDER).glob("*.json"))]
    usual = [table for table in tables if table["title"] == told.command]
    same = [table for table in usual if table["sha256"] == told.sha256]
    found = by_itself(told)
    if same:
        found += by_the_usual(told, same[0], measure_matmul(torch.float32))
    elif usual:
        found.append(Finding("normal", "the usual runs of this command had another text: judged by itself"))
    else:
        found.append(Finding("normal", "no usual run of this command is recorded: judged by itself"))
    worst = max((finding.kind for finding in found), key=("normal", "slow", "broken").index)
    state = "finished" if told.finished else f"not finished, {len(told.losses):,} steps so far"
    print(f"{told.folder}: {worst} ({state})")
    for finding in sorted(found, key=lambda one: one.kind != worst):
        print(f"  {finding.kind:<7} {finding.seen}" + (f"; next: {finding.next_step}" if finding.next_step else ""))
    return int(worst != "normal")


# --- usual runs -------------------------------------------------------------------------------------------------------


def record(told: Sequence[Told]) -> None:
    """Write runs of one command and several seeds into the ledger.

    Raises:
        ConfigError: they are of several commands or texts, or one is not finished.
    """
    import torch

    from my_llm import ledger
    from my_llm.machine import measure_matmul
    from my_llm.studies import mean_and_spread

    if len({(one.command, one.sha256) for one in told}) > 1 or not all(one.finished for one in told):
        raise ConfigError("--record wants finished runs of one command", got=", ".join(one.command for one in told))
    steps = min(len(one.losses) for one in told)
    points = [point * 10**power for power in range(7) for point in POINTS if point * 10**power < steps]
    rows: list[dict[str, Any]] = [
        {"case": str(step), **mean_and_spread("loss", [one.loss_at(step) for one in told], 4)}
        for step in [*points, steps]
    ]
    speed = statistics.median(statistics.median(one.speeds) for one in told)
    rows.append({"case": "machine", "tokens_per_second": round(speed), "gflops": round(measure_matmul(torch.float32))})
    path = ledger.record(
        FOLDER, re.sub(r"\W+", "_", told[0].command).strip("_"), title=told[0].command,
        command=f"python {told[0].command}", rows=rows, data=f"{len(told)} runs", sha256=told[0].sha256,
        columns={"loss": "nats", "loss_sd": "nats", "tokens_per_second": "", "gflops": ""},
        seed=range(len(told)), seconds=0.0,
    )  # fmt: skip
    print(f"wrote {path}")

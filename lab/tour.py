"""`my-llm tour`, the first contact: a small model of every stage is trained, measured, shown on a page.

The tour runs the same scripts that the learner will run, as processes of their own, and prints each command before it
runs it. A stage that fails costs one line; the others go on. A later stage joins with one row in TOUR.
"""

import contextlib
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lab import report
from my_llm.cli import execute, printable

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 10.0  # seconds that a stage may take to save its work after Ctrl-C
REPORT = "REPORT"  # stands in a command for the file that the report reads
PICTURE = "PICTURE"  # and this one for a picture beside it

SMALL_LSTM = [
    "--hidden", "256", "--batch_size", "16", "--length", "64", "--dropout", "0", "--lr", "0.004",
    "--max_steps", "1500", "--eval_every", "250",
]  # fmt: skip

SMALL_TRANSLATOR = ["--config", "presets/numbers.toml", "--max_steps", "900", "--eval_every", "150"]


SMALL_GPT = [
    "--preset", "speedrun", "--dataset", "auto", "--dropout", "0.1", "--mark", "0", "--max_steps", "1200",
    "--eval_every", "200",
]  # fmt: skip

CANDIDATES = ["--prompt", "My lord, ", "--length", "8", "--show_probabilities", "4", "--temperature", "0.8"]

LOOK = ["--text", "the third of May nineteen ninety-one", "--show_attention", "--png", PICTURE]


class Stop(NamedTuple):
    """One stage of the tour.

    Attributes:
        stage: Its folder.
        commands: Scripts with their arguments, run in the stage's folder; the last one writes the scores to REPORT.
        score: The number to show, out of those scores.
        look_at: What is worth the learner's eye, said before it runs.
    """

    stage: str
    commands: list[list[str]]
    score: Callable[[dict[str, Any]], str]
    look_at: str


TOUR = [
    Stop(
        stage="stage1_mlp",
        commands=[
            # One thread: nearly as fast for so small a model, and many times faster where other programs run as well.
            ["train.py", "--dataset", "auto", "--threads", "1", "--run_name", "tour"],
            ["evaluate.py", "--model_path", "checkpoints/best_model.pt", "--threads", "1", "--report", REPORT],
        ],
        score=lambda scores: f"{100 * scores['accuracy']:.1f} % right",
        look_at="the loss falls, and the accuracy on texts that the network does not train on rises with it",
    ),
    Stop(
        stage="stage2_rnn_lstm",
        commands=[
            # A small network for about a minute; it writes before the first step, on the way, and at the end.
            ["train.py", *SMALL_LSTM, "--run_name", "tour"],
            ["evaluate.py", "--model_path", "checkpoints/best_lstm_char.pt", "--report", REPORT],
        ],
        score=lambda scores: f"perplexity {scores['perplexity']:.2f}",
        look_at="what the LSTM writes: noise at first, then letters, then words",
    ),
    Stop(
        stage="stage3_attention_seq2seq",
        commands=[
            ["train.py", *SMALL_TRANSLATOR, "--run_name", "tour"],
            ["evaluate.py", "--model_path", "checkpoints/best_attention_model.pt", "--report", REPORT],
        ],
        score=lambda scores: f"{100 * scores['exact']:.1f} % exactly right",
        look_at="English numbers become French ones, wrong at first, and the share that is exactly right",
    ),
    Stop(
        stage="stage4_transformer",
        commands=[
            # The same task as stage 3's, for about as long: the report puts the two beside each other.
            ["train.py", "--config", "presets/numbers.toml", "--eval_every", "100", "--run_name", "tour"],
            ["translate.py", "--checkpoint", "checkpoints/best_transformer_model.pt", *LOOK],
            ["evaluate.py", "--model_path", "checkpoints/best_transformer_model.pt", "--report", REPORT],
        ],
        score=lambda scores: f"{100 * scores['exact']:.1f} % exactly right",
        look_at="the same numbers without recurrence; then a map: each French word, and the English one it looked at",
    ),
    Stop(
        stage="stage5_gpt",
        commands=[
            # The text of stage 2, for about as long: the report puts the two beside each other.
            ["train.py", *SMALL_GPT, "--run_name", "tour"],
            ["generate.py", "--checkpoint", "checkpoints/best_gpt_char.pt", *CANDIDATES],
            ["evaluate.py", "--model_path", "checkpoints/best_gpt_char.pt", "--report", REPORT],
        ],
        score=lambda scores: f"perplexity {scores['perplexity']:.2f}",
        look_at="the text of stage 2, read by a GPT; then eight characters, and what else each might have been",
    ),
]


@dataclasses.dataclass(frozen=True)
class TourConfig:
    """Train a small model of every stage and write runs/tour/report.html."""


def main(arguments: Sequence[str]) -> int:
    """The command."""
    return execute(TourConfig, lambda config: run(TOUR, ROOT), arguments)


def run(stops: Sequence[Stop], root: Path) -> int:
    """Take the learner through the stages; 0 when all went well, 1 when one failed."""
    folder = report.tour_folder()
    folder.mkdir(parents=True, exist_ok=True)
    done = [visit(stop, root / stop.stage, folder) for stop in stops]
    tour = {"date": time.strftime("%Y-%m-%d %H:%M"), "stages": done}
    (folder / "tour.json").write_text(json.dumps(tour, indent=1), encoding="utf-8")
    if visited := [(stop, item) for stop, item in zip(stops, done, strict=True) if not item["problem"]]:
        show_table(visited)
        judge([Path(item["run"]) for _, item in visited])
    print(f"\nThe report, with curves, words and mistakes; open it in a browser:\n{report.write().as_uri()}")
    return int(any(item["problem"] for item in done))


def visit(stop: Stop, folder: Path, tour: Path) -> dict[str, Any]:
    """Run the commands of one stage, one after the other, and say what came of it."""
    say(f"\n=== {stop.stage} ===\nLook at this: {stop.look_at}.")
    scores = tour / f"{stop.stage}.json"
    files = {REPORT: scores, PICTURE: tour / f"{stop.stage}.png"}
    scores.unlink(missing_ok=True)
    started, problem, shown = time.perf_counter(), "", []
    for command in stop.commands:
        arguments = [
            from_here(files[part], folder) if part in files else published(part, stop, folder) for part in command
        ]
        shown.append(shlex.join(["python", *arguments]))
        say(f"\n$ cd {folder.name} && {shown[-1]}")
        code = run_command([sys.executable, *arguments], folder)
        if code:
            problem = f"{command[0]} ended with exit code {code}"
            break
    if not problem and not scores.exists():
        problem = f"{stop.commands[-1][0]} wrote no scores"
    if problem:
        print(f"{stop.stage} failed: {problem}; next: run the command above by itself", file=sys.stderr, flush=True)
    return {
        "stage": stop.stage,
        "report": str(scores),
        "run": str(newest_run(stop.stage)),
        "seconds": round(time.perf_counter() - started, 1),
        "commands": shown,
        "problem": problem,
    }


def run_command(command: list[str], folder: Path) -> int:
    """Run a script with this terminal; on Ctrl-C wait until it has saved, then stop as well."""
    child = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONUTF8": "1"})
    try:
        code = child.wait()
    except KeyboardInterrupt:  # a terminal sends Ctrl-C to the script, too
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=PATIENCE)
        raise
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
    if code == 130:  # the script was stopped by hand, and we did not hear it
        raise KeyboardInterrupt("stopped")
    return code


def published(part: str, stop: Stop, folder: Path) -> str:
    """A path below checkpoints/, from the stage's folder; MY_LLM_HOME may have moved it."""
    return from_here(report.tour_folder().parents[1] / stop.stage / part, folder) if "checkpoints/" in part else part


def from_here(path: Path, folder: Path) -> str:
    """A path as one would type it in `folder`: relative inside the repository, whole outside."""
    return Path(os.path.relpath(path, folder)).as_posix() if path.is_relative_to(folder.parent) else str(path)


def newest_run(stage: str) -> Path:
    """The run directory that the tour has just made."""
    runs = sorted((report.tour_folder().parent / stage).glob("*-tour*"), key=lambda folder: folder.stat().st_mtime)
    return runs[-1] if runs else Path()


def show_table(visited: Sequence[tuple[Stop, dict[str, Any]]]) -> None:
    """One line for each stage that went well, and where its text came from."""
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "model, task", "data", "score", "time")
    table.columns[-1].justify = "right"
    table.columns[0].no_wrap = table.columns[2].no_wrap = True  # names are whole, sentences may have two lines
    sources = []
    for stop, item in visited:
        scores = report.read_json(Path(item["report"]))
        cells = [
            stop.stage.split("_")[0],
            f"{scores['model']}, {scores['task']}",
            str(scores["data"]),
            stop.score(scores),
        ]
        table.add_row(*map(printable, cells), f"{item['seconds']:.0f} s")
        sources.append(f"The text of {stop.stage}: {scores['data']}, from {scores['source']}.")
    print()
    Console(width=80, markup=False, highlight=False).print(table)
    say("\n".join(sources))


def judge(runs: Sequence[Path]) -> None:
    """Say of each run whether it is as it usually is; a script that left no run is passed over."""
    if known := [from_here(run, ROOT) for run in runs if (run / "summary.json").exists()]:
        say(f"\nIs each of them as it usually is? After any training you can ask:\n\n$ my-llm check-run {known[-1]}\n")
        run_command([sys.executable, "-m", "lab", "check-run", *known], ROOT)


def say(text: str) -> None:
    """Print at once, so that our lines and those of the scripts stay in order."""
    print(printable(text), flush=True)

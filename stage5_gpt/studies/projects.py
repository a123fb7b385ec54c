"""What the studies of the projects share: a model that train.py or finetune.py made, and text in the cell of a table.

The projects are commands, so the studies call the same commands and judge what comes out. A run that has finished and
was started with the very same words is not repeated.
"""

import html
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from my_llm import ledger
from my_llm.cli import command_line
from my_llm.errors import CheckpointError
from my_llm.language.writer import Writer
from my_llm.run import home
from my_llm.studies import Corpus, command_of
from stage5_gpt.language import load_writer
from stage5_gpt.studies import StudyConfig

Row = dict[str, Any]
ROOM = Path(__file__).resolve().parents[1]
MARKS = str.maketrans({mark: f"&#{ord(mark)};" for mark in "*_`|[]\\~$"})  # what Markdown would take for its own


def trained(config: StudyConfig, preset: str) -> Path:
    """The checkpoint of `train.py --preset <preset>`, which is trained if that has not been done."""
    return made(config, "train.py", preset, {"preset": preset})


def tuned(config: StudyConfig, name: str, start: Path, flags: Mapping[str, Any]) -> Path:
    """The checkpoint of `finetune.py --init_from <start>` with these flags."""
    return made(config, "finetune.py", name, {"init_from": str(start), **flags})


def made(config: StudyConfig, script: str, name: str, flags: Mapping[str, Any]) -> Path:
    """The best checkpoint of the newest finished run with this name and these flags, or of a new one.

    Raises:
        CheckpointError: the training failed; it has said why.
    """
    usual = StudyConfig()
    asked = {key: getattr(config, key) for key in ("precision", "device", "seed", "max_steps")}
    asked = {key: value for key, value in asked.items() if value != getattr(usual, key)}
    name = f"{name}-{config.max_steps}" if config.max_steps else name
    typed = [part for key, value in {**flags, "run_name": name, **asked}.items() for part in flag_of(key, value)]
    if (folder := finished(name, typed)) is None:
        line = [sys.executable, str(ROOM / script), *typed]
        if subprocess.run(line, stdout=subprocess.DEVNULL).returncode or (folder := finished(name, typed)) is None:
            raise CheckpointError(f"{script} did not end well", got=name)
    return folder / "best.pt"


def opened(config: StudyConfig, path: Path) -> Writer:
    """A checkpoint, to be judged."""
    return load_writer(path, torch.device("cpu"), config.precision)


def finished(name: str, typed: Sequence[str]) -> Path | None:
    """The newest run of this name that has come to its end and was started with these words, whatever the threads."""
    for folder in sorted((home() / "runs" / "stage5_gpt").glob(f"*-{name}"), reverse=True):
        if (folder / "summary.json").exists() and (folder / "best.pt").exists():
            command = json.loads((folder / "environment.json").read_text("utf-8"))["command"]
            words = re.sub(r" --threads \d+", "", command).partition(" --")[2]
            if f"--{words}" == command_line(typed):
                return folder
    return None


def flag_of(name: str, value: Any) -> list[str]:
    """A setting as it is typed."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    return [f"--{name}", str(value)]


def record_samples(
    config: StudyConfig, name: str, rows: Sequence[Row], *, title: str, corpus: Corpus, started: float, **columns: str
) -> None:
    """What the models wrote, as a table of its own: <study>_samples. `columns`: those besides the sample."""
    ledger.record(
        config.stage, f"{name}_samples", title=title, command=command_of(config, name, needs_text=False), rows=rows,
        columns={**columns, "sample": "text"}, data=f"{corpus.name}: {corpus.source}", sha256=corpus.sha256,
        seed=config.seed, seconds=time.perf_counter() - started,
    )  # fmt: skip


def cell_of(text: str, *, code: bool = False) -> str:
    """Text of several lines for one cell of a table, with nothing in it that a page would take for its own."""
    lines = [html.escape(line, quote=False).translate(MARKS) for line in text.strip("\n").split("\n")]
    if not code:
        return "<br>".join(lines)
    bare = [line.lstrip(" ") for line in lines]
    indented = ["&nbsp;" * (len(line) - len(own)) + own for line, own in zip(lines, bare, strict=True)]
    return f"<code>{'<br>'.join(indented)}</code>"

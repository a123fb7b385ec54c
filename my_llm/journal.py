"""metrics.jsonl: what a run measured, one JSON object a line; no gap and no double line after a resume."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from my_llm.files import write_atomically


class Journal:
    """Appends lines; every line is with the system before the next step begins.

    Args:
        folder: The run directory.
        start: Lines of this step and later ones are dropped: they will be written again.
    """

    def __init__(self, folder: Path, start: int):
        kept = [json.dumps(line) + "\n" for line in read_metrics(folder) if start and line["step"] < start]
        path = folder / "metrics.jsonl"
        write_atomically(path, "".join(kept).encode())
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl; a line torn by a kill, or by anything else, ends the list."""
    path, lines = folder / "metrics.jsonl", []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    with contextlib.suppress(json.JSONDecodeError):
        for line in map(json.loads, text.splitlines()):
            if not isinstance(line, dict) or "step" not in line:
                break
            lines.append(line)
    return lines


def draw_curves(folder: Path) -> None:
    """Training loss, smoothed, and every score that ends in _loss → curves.png."""
    from my_llm.plots import curves, smooth

    lines = read_metrics(folder)
    losses = smooth([(line["step"], line["loss"]) for line in lines if "loss" in line])
    series = {"training loss": ([x for x, _ in losses], [y for _, y in losses])}
    for name in sorted({name for line in lines for name in line if name.endswith("_loss")}):
        points = [(line["step"], line[name]) for line in lines if name in line]
        series[name.replace("_", " ")] = ([x for x, _ in points], [y for _, y in points])
    curves(series, folder / "curves.png", title=folder.name, xlabel="step", ylabel="nats per target")


def write_samples(folder: Path) -> None:
    """What a language model wrote on the way → samples.txt, if it wrote."""
    texts = [
        f"--- after {line['step'] + 1} steps\n{line['sample']}\n" for line in read_metrics(folder) if "sample" in line
    ]
    if texts:
        write_atomically(folder / "samples.txt", "\n".join(texts).encode())

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
        kept = [json.dumps(line) + "\n" for line in read_metrics(folder) if line["step"] < start]
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

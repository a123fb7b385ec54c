"""The results ledger: every published number stands in results/<stage>/<name>.json, with all that made it.

`make tables` copies the numbers from there into the pages; nobody types one.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from my_llm.files import write_atomically
from my_llm.machine import environment


def results_folder() -> Path:
    """$MY_LLM_RESULTS, or results/ in the repository."""
    return Path(os.environ.get("MY_LLM_RESULTS", Path(__file__).resolve().parents[1] / "results"))


def record(
    stage: str,
    name: str,
    *,
    title: str,
    command: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    data: str,
    sha256: str,
    seed: int | Sequence[int],
    seconds: float,
) -> Path:
    """Write one table of the ledger and return its path.

    Args:
        title: What was measured, in a few words.
        command: The command that repeats it, from the repository's root.
        columns: Key → unit: "%", "s", "ms", "µs", "nats", "" for a plain number or a word.
        rows: One per case: {"case": "relu", "accuracy": 90.1, …}; a value may be missing where it has no meaning.
        data: The corpus and its source, in words; sha256: its digest, "" for data made by rule.
        seconds: How long the whole measurement took.
    """
    cases = [row["case"] for row in rows]
    assert len(set(cases)) == len(cases), f"{stage}/{name}: a case stands twice"
    unknown = {key for row in rows for key in row} - {"case", *columns}
    assert not unknown, f"{stage}/{name}: columns without a unit: {sorted(unknown)}"
    content = {
        "title": title,
        "command": command,
        "columns": dict(columns),
        "rows": [dict(row) for row in rows],
        "data": data,
        "sha256": sha256,
        "seed": seed if isinstance(seed, int) else list(seed),
        "seconds": round(seconds, 1),
        "date": time.strftime("%Y-%m-%d"),
        **environment(),
    }
    path = results_folder() / stage / f"{name}.json"
    write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def read(path: Path) -> dict[str, Any]:
    """A table of the ledger as plain data."""
    return json.loads(path.read_text(encoding="utf-8"))

"""`make check`: everything about the repository that can be judged without running it. About half a minute.

Every step runs, even after a failure; a step is one line, and shows its output only when it failed.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

STEPS = {  # what is judged -> the module that judges it, with its arguments
    "layout": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["basedpyright", "--pythonpath", sys.executable],
    "architecture": ["pytest", "tests/test_architecture.py", "-p", "no:xdist"],
    "tables": ["lab", "tables", "--check"],
}


def run_step(name: str, arguments: list[str]) -> bool:
    """Runs one step and prints its line; True when it passed."""
    start = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    passed, seconds = answer.returncode == 0, time.monotonic() - start
    words = " ".join(arguments).replace(sys.executable, "this Python")
    print(f"{name:<14}{'ok' if passed else 'FAILED':<8}{seconds:5.1f} s   {words}", flush=True)
    if not passed:
        print("\n".join(f"    {line}" for line in answer.stdout.splitlines()), flush=True)
    return passed


def check() -> int:
    """Runs every step. Returns 0 when all passed, otherwise 1."""
    failed = [name for name, arguments in STEPS.items() if not run_step(name, arguments)]
    print(f"failed: {', '.join(failed)}" if failed else "all is well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(check())

"""Run what a model wrote: in a process of its own, with little time, little memory, no network, in an empty folder.

`tried(source, examples)` starts Python without site packages and environment (-I -S), as guard.py says; that process
takes its rights away and tries the examples. Here stands what the process cannot do for itself: a clock, and an end
for all that it has started. Nothing is run on a system without limits (`resource`, which Windows lacks).
"""

import contextlib
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from my_llm.errors import ConfigError

GUARD = Path(__file__).with_name("guard.py")
SECONDS = 20.0  # by the clock, on a busy machine, for what sleeps; guard.py limits those of the processor
LONGEST = 2**16  # bytes of output that are read


class Tried(NamedTuple):
    """What became of it."""

    ran: bool  # to its end, without an exception, within the limits
    attempted: int = 0  # examples
    failed: int = 0

    @property
    def passed(self) -> bool:
        """Whether there were examples, and all gave the right answer."""
        return self.ran and self.attempted > 0 and self.failed == 0


def can_run() -> bool:
    """Whether this system can limit a process."""
    return importlib.util.find_spec("resource") is not None and hasattr(os, "killpg")


def tried(source: str, examples: str = "", seconds: float = SECONDS) -> Tried:
    """Run a source, then its examples, with all limits.

    Args:
        source: Python, from anywhere.
        examples: As in a docstring: `>>> f(1)`, and the answer in the next line.
        seconds: After so many the process and all that it started is killed.

    Raises:
        ConfigError: this system cannot limit a process.
    """
    if not can_run():
        raise ConfigError("what a model wrote runs only with limits", got=sys.platform, valid="Linux, macOS")
    word = secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as said:
        folder = Path(name).resolve()
        (folder / "candidate.py").write_text(source, "utf-8", errors="replace")
        (folder / "examples.txt").write_text(examples, "utf-8", errors="replace")
        line = [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(GUARD), "candidate.py", "examples.txt"]
        process = subprocess.Popen(
            line, cwd=folder, env={}, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(f"{word}\n".encode(), timeout=seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said.seek(max(said.seek(0, os.SEEK_END) - LONGEST, 0))
        return read(said.read().decode("utf-8", "replace"), word)


def read(output: str, word: str) -> Tried:
    """What guard.py said: its last line, and only if that begins with the word."""
    last = output.strip().rpartition("\n")[2].split()
    if len(last) != 3 or last[0] != word:
        return Tried(False)
    return Tried(True, int(last[1]), int(last[2]))

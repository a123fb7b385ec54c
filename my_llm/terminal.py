"""Talking with a person or a pipe: lines in, text and remarks out. Text of a model is text: see `cli.printable`."""

import contextlib
import sys
from collections.abc import Iterator

from my_llm.cli import printable


def lines() -> Iterator[str]:
    """What the person types, with history and editing where the system has them, or what the pipe holds."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # input() uses it
    while True:
        try:
            yield input("> " if sys.stdout.isatty() else "")
        except (EOFError, KeyboardInterrupt):
            say("")
            return


def put(text: str) -> None:
    """Text of the model, at once."""
    print(printable(text), end="", flush=True)


def say(line: str) -> None:
    """About the text, not of it."""
    print(printable(line), file=sys.stderr, flush=True)

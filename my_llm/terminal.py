"""Talking with a person or a pipe: lines in, text and remarks out. Text of a model is text: see `cli.printable`."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

from my_llm.cli import printable


def lines() -> Iterator[str]:
    """What the person types, with history and editing where the system has them, or what the pipe holds."""
    if sys.stdin is None:  # closed by whoever started this: nobody will ask
        return
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


@contextlib.contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C tears nothing apart: it is noted for the loop to ask about; a second one stops at once.

    An exception that comes up anywhere may be lost in code that expects none.
    """
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # signals reach the main thread only
        yield lambda: False
        return
    try:
        yield lambda: bool(noted)
    finally:
        signal.signal(signal.SIGINT, before)


def put(text: str) -> None:
    """Text of the model, at once."""
    print(printable(text), end="", flush=True)


def say(line: str) -> None:
    """About the text, not of it."""
    print(printable(line), file=sys.stderr, flush=True)

"""What a user's mistake looks like: one line that says what is wrong, what was given, what is valid, what to do next.

Scripts end with exit code 2 on a UserError and 3 on a NotFiniteError (see cli.py); nobody sees a traceback for a
mistake of their own. Our own invariants use `assert`.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A mistake that the user can mend.

    Args:
        what: What is wrong, in a few words.
        got: The offending value, as given; left out when there is none.
        valid: The valid values, or a phrase that describes them.
        next_step: What to do now.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        valid: Iterable[object] | str | None = None,
        next_step: str | None = None,
    ):
        self.what, self.got, self.next_step = what, got, next_step
        self.valid = valid if isinstance(valid, str) or valid is None else ", ".join(str(value) for value in valid)
        super().__init__(self.line())

    def line(self) -> str:
        """The whole message on one line, without control characters."""
        parts = [self.what]
        if self.got is not None:
            parts.append(f"got {str(self.got)!r}")
        if self.valid is not None:
            parts.append(f"valid: {self.valid}")
        if self.next_step is not None:
            parts.append(f"next: {self.next_step}")
        return "; ".join(" ".join(part.split()) for part in parts)


class ConfigError(UserError):
    """A flag, a configuration file or a combination of settings that cannot work."""


class DataError(UserError):
    """A corpus that is missing, unreachable, damaged or empty."""


class CheckpointError(UserError):
    """A checkpoint, vocabulary or run directory that is missing, damaged, or not for this use."""


class NotFiniteError(Exception):
    """The loss or a gradient became NaN or infinite; raised before the update, so the weights are still good."""

    exit_code = 3


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that looks most like `name`, or None when nothing is close."""
    matches = get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return matches[0] if matches else None


def choose(name: str, table: Mapping[str, T], what: str) -> T:
    """`table[name]`, or a ConfigError that lists the names and suggests the nearest."""
    if name in table:
        return table[name]
    near = nearest(name, table)
    raise ConfigError(
        f"unknown {what}", got=name, valid=sorted(table), next_step=f"did you mean {near}?" if near else None
    )

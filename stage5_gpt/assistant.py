"""The code assistant: draw several answers, look at each, show the best.

What can be seen without running anything: whether it is Python, whether every name that it uses is bound, whether it
uses what it is given, how many rules of style it meets (code_style.py). What can be seen by running it, in a process
with limits (sandbox.py): whether it can be defined, and whether the examples of its own docstring, if there are any,
come out. The choice goes by all that; the hidden examples of a task are for the score alone.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from my_llm.language.writer import Writer
from stage5_gpt.code_style import (
    docstrings,
    last_function,
    parsed,
    style,
    unknown_attributes,
    unknown_names,
    uses_arguments,
)
from stage5_gpt.code_tasks import Asked, cut, ended
from stage5_gpt.drawing import drawn
from stage5_gpt.sandbox import Tried, can_run, tried

BEGINNING = "\n\n\n"  # what stands before a function in a file


class Checked(NamedTuple):
    """One answer, and what was seen."""

    source: str  # the whole function
    body: str  # what the model wrote of it
    compiles: bool
    known: bool  # no name comes from nowhere, no attribute of self that its class has not
    uses: bool  # it reads all of its arguments
    style: float
    tried: Tried  # in a process of its own; its examples are those of the docstring

    @property
    def runs(self) -> bool:
        """Whether it could be defined, and none of its own examples failed."""
        return self.tried.ran and self.tried.failed == 0

    @property
    def worth(self) -> tuple[bool, bool, bool, bool, float]:
        """What the choice goes by."""
        return self.compiles, self.runs, self.known, self.uses, self.style


def answers(
    writer: Writer, asked: Asked, count: int, *, length: int = 160, temperature: float = 0.8, seed: int = 0
) -> list[str]:
    """Bodies that the model writes for a function, cut where the function ends.

    It reads the beginning without the blanks at its end, and writes them itself: GPT-2's tokens begin with them.
    """
    read = asked.prompt.rstrip()
    blanks = asked.prompt[len(read) :]

    def own(text: str) -> str:
        return text.removeprefix(blanks) if text.startswith(blanks) else ""

    written = drawn(
        writer, BEGINNING + read, count, length=length, temperature=temperature, seed=seed,
        enough=lambda text: ended(asked, own(text)) or not blanks.startswith(text[: len(blanks)]),
    )  # fmt: skip
    return [cut(asked, own(text), whole=ended(asked, own(text))) for text in written]


def check(asked: Asked, body: str, *, run: bool = True) -> Checked:
    """Look at one answer.

    Args:
        run: Also run it, where the system can limit a process; else nothing is known of that.
    """
    source = asked.prompt + body
    tree = parsed(source)
    function = last_function(tree) if tree else None
    if tree is None or function is None or len(function.body) <= bool(ast.get_docstring(function)):
        return Checked(source, body, False, False, False, 0.0, Tried(False))
    known = not unknown_names(tree, set(asked.known)) and not unknown_attributes(tree)
    result = tried(source, docstrings(tree)) if run and can_run() else Tried(False)
    return Checked(source, body, True, known, uses_arguments(function), style(source), result)


def look(asked: Asked, bodies: Sequence[str], *, run: bool = True) -> list[Checked]:
    """The different answers, the best first; of equals that which was drawn most often."""
    checked = [check(asked, body, run=run) for body, _ in Counter(bodies).most_common()]
    return sorted(checked, key=lambda one: one.worth, reverse=True)


def passes(asked: Asked, one: Checked) -> bool:
    """Whether the hidden examples come out; an answer that cannot be defined is not asked."""
    return one.compiles and tried(one.source, asked.examples).passed


# --- scores -----------------------------------------------------------------------------------------------------------

Answer = Callable[[Asked], Sequence[str]]  # to a question: the bodies of a person, a model, chance


class Share(NamedTuple):
    """Shares in percent of all questions."""

    n: int
    compiles: float
    runs: float
    known: float
    uses: float
    style: float
    seen: float  # every line of the body stands in the training text, too


def shares(asked: Sequence[Asked], answer: Answer, text: str) -> Share:
    """How the best of the answers to each question does; an answer that is no Python has no style.

    Args:
        text: What the model has read, to see what it has by heart.
    """
    chosen = [look(one, answer(one))[0] for one in asked]
    read = {" ".join(line.split()) for line in text.splitlines()}

    def share(values: Iterable[float]) -> float:
        return round(100 * sum(values) / max(len(chosen), 1), 1)

    def seen(one: Checked) -> bool:
        lines = [" ".join(line.split()) for line in one.body.splitlines() if line.strip()]
        return bool(lines) and all(line in read for line in lines)

    return Share(
        n=len(chosen),
        compiles=share(one.compiles for one in chosen),
        runs=share(one.runs for one in chosen),
        known=share(one.known for one in chosen),
        uses=share(one.uses for one in chosen),
        style=share(one.style for one in chosen),
        seen=share(map(seen, chosen)),
    )


class Solved(NamedTuple):
    """Shares of the tasks, in percent."""

    n: int
    first: float  # the first answer passes the hidden examples
    chosen: float  # the one that the assistant shows
    any: float  # at least one of all


def solved(tasks: Sequence[Asked], answer: Answer) -> Solved:
    """How many tasks are solved by hidden examples."""
    counts = [0, 0, 0]
    for one in tasks:
        bodies = answer(one)
        checked = look(one, bodies)
        right = {each.body: passes(one, each) for each in checked}
        success = right[bodies[0]], right[checked[0].body], any(right.values())
        counts = [count + one for count, one in zip(counts, success, strict=True)]
    return Solved(len(tasks), *(round(100 * count / len(tasks), 1) for count in counts))

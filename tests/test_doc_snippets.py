"""The code on the theory pages is the code of the project: a quoted block stands, line by line, in the file it names.

A block counts as a quotation when the line above it names a file. Indentation and runs of spaces are not compared, so
that a page may show the body of a method without its indentation; lines may not be left out.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import ROOT

NAMED_BLOCK = re.compile(r"^[^\n]*`(?P<file>[\w./-]+\.py)`[^\n]*\n\n?```python\n(?P<code>.*?)^```$", re.M | re.S)
PAGES = sorted(ROOT.glob("docs/*/*.md"))


class Quotation(NamedTuple):
    """A block of code on a page and the file that it is said to come from, relative to the repository."""

    file: str
    code: str


def quotations(text: str) -> list[Quotation]:
    """The python blocks of a page whose line above names a file (an empty line between them is allowed)."""
    return [Quotation(match["file"], match["code"]) for match in NAMED_BLOCK.finditer(text)]


def lines_of(code: str) -> list[str]:
    """The lines that are not empty, with white space made uniform."""
    return [" ".join(line.split()) for line in code.splitlines() if line.strip()]


def stands_in(code: str, source: str) -> bool:
    """Whether all lines of `code` follow each other in `source`."""
    quoted, lines = lines_of(code), lines_of(source)
    return any(lines[i : i + len(quoted)] == quoted for i in range(len(lines) - len(quoted) + 1)) and bool(quoted)


def wrong_quotations(text: str, root: Path) -> list[str]:
    """One line for each block that is not found in its file."""
    found = []
    for file, code in quotations(text):
        path = root / file
        if not path.is_file():
            found.append(f"{file}: no such file")
        elif not stands_in(code, path.read_text("utf-8")):
            found.append(f"{file} does not hold: {lines_of(code)[:1]}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_quoted_code_stands_in_the_file_that_is_named(page: Path):
    assert wrong_quotations(page.read_text("utf-8"), ROOT) == []


def test_the_theory_pages_of_stage_1_quote_code():
    for language in ("en", "zh"):
        files = {file for file, _ in quotations((ROOT / "docs" / language / "stage1_mlp.md").read_text("utf-8"))}
        assert {"stage1_mlp/models/by_hand.py", "stage1_mlp/models/optimizers.py", "stage1_mlp/data.py"} <= files


# --- The check, tried on planted mistakes ----------------------------------------------------------------------------

SOURCE = "def f(x):\n    y = x + 1  # one more\n\n    return y\n\n\ndef g(x):\n    return x - 1\n"
PAGE = "`room/code.py`\n```python\ny = x + 1  # one more\nreturn y\n```\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "code.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        PAGE.replace("`\n```python", "`:\n\n```python"),
        PAGE.replace("`room/code.py`", "The file [`room/code.py`](../room/code.py) says:"),
        "No file is named here.\n```python\ny = x + 2\n```\n",
    ],
)
def test_a_true_quotation_passes(root: Path, page: str):
    assert wrong_quotations(page, root) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x + 1", "x + 2"),
        ("one more", "two more"),
        ("return y", "return x - 1"),  # both lines are there, but not one after the other
        ("y = x + 1  # one more\nreturn y\n", ""),
        ("code.py", "other.py"),
    ],
)
def test_a_false_quotation_is_caught(root: Path, old: str, new: str):
    assert old in PAGE
    assert len(wrong_quotations(PAGE.replace(old, new), root)) == 1

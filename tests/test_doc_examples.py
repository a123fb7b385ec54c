"""The examples on the pages are typed into Python: every block that begins with >>> must answer what it says."""

import doctest
from pathlib import Path

import pytest
from pages import ROOT, code_blocks

PAGES = [page for page in sorted(ROOT.glob("docs/*/*.md")) if ">>> " in page.read_text("utf-8")]
assert PAGES, "the pages have lost their examples"


def failures(text: str) -> int:
    """How many examples of a page answer something else; the blocks of a page are one session."""
    session = "".join(block.text for block in code_blocks(text) if ">>> " in block.text)
    example = doctest.DocTestParser().get_doctest(session, {}, "page", None, 0)
    return doctest.DocTestRunner(verbose=False).run(example).failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_answer_what_the_page_says(page: Path):
    assert failures(page.read_text("utf-8")) == 0


def test_a_wrong_answer_is_caught():
    assert failures("```python\n>>> 1 + 1\n2\n```\n") == 0
    assert failures("```python\n>>> 1 + 1\n3\n```\n") == 1

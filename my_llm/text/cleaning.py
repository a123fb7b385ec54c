"""Cleaning a text before it is learnt from: small functions, each with the number of characters that it concerned.

Text from many places says the same in many ways: é as one character or as two, line ends of three systems, invisible
characters from a web page, a paragraph that every page repeats. A tokenizer takes them for different things, and a
model learns a repeated paragraph by heart. What is cleaned is lost, so it is counted and told.

    clean("Ame\\u0301lie  \\r\\n") = ("Amélie\\n", {"line_ends": 1, "controls": 0, "unicode": 2, "white_space": 2})

What it cannot do: find near duplicates, other languages, or nonsense. Lee et al. 2022, "Deduplicating Training Data
Makes Language Models Better", measures what repetition costs.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from hashlib import blake2b
from typing import TypeVar

from my_llm.errors import choose

T = TypeVar("T")
Cleaned = tuple[str, int]  # the text, and how many characters were changed or taken out

LINE_END = re.compile("\r\n|[\r\x85\u2028\u2029]")
# Cc but for tab and line end, half characters (surrogates), what is never a character, and marks without width: byte
# order marks, soft hyphens, changes of direction. Those that join emoji or Indic letters stay.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
TRAILING = re.compile("(?<![\t \u00a0\u3000])[\t \u00a0\u3000]++(?![^\n])")  # a run of spaces is read once
GAP = re.compile("\n{3,}")
PARAGRAPHS = re.compile("\n\n+")
GUTENBERG = re.compile(
    r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG EBOOK.*?\*\*\*\n(.*?)^\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG",
    re.MULTILINE | re.DOTALL,
)


def unicode(text: str) -> Cleaned:
    """One spelling for each character (NFC): é is one code point, not e and an accent. Characters that are gone."""
    composed = unicodedata.normalize("NFC", text)
    return composed, 0 if composed == text else (Counter(text) - Counter(composed)).total()


def line_ends(text: str) -> Cleaned:
    """\\n for the line ends of Windows (\\r\\n), of old Macs (\\r) and of Unicode. Line ends that were others."""
    return LINE_END.subn("\n", text)


def controls(text: str) -> Cleaned:
    """Without control characters, half characters and invisible marks; tab and line end stay. Characters taken out."""
    return CONTROL.subn("", text)


def white_space(text: str) -> Cleaned:
    """No white space at line ends, at most one empty line. Indentation stays: code. Characters taken out."""
    shorter = GAP.sub("\n\n", TRAILING.sub("", text))
    return shorter, len(text) - len(shorter)


def gutenberg(text: str) -> Cleaned:
    """The book between the two *** lines of Project Gutenberg; other texts as they are. Characters taken out."""
    found = GUTENBERG.search(text)
    book = found[1].strip("\n") + "\n" if found else text
    return book, len(text) - len(book)


def first_of_each(items: Iterable[T], key: Callable[[T], Hashable]) -> list[T]:
    """The items whose key was not there before, in their order."""
    seen: set[Hashable] = set()
    return [item for item in items if not ((name := key(item)) in seen or seen.add(name))]


def digest(text: str) -> bytes:
    """16 bytes that stand for a text, white space at its ends apart: a large corpus need not be kept twice."""
    return blake2b(text.strip().encode("utf-8", "replace"), digest_size=16).digest()


def lines(text: str) -> Cleaned:
    """Without lines that were there before; empty ones stay. For collections of sentences, not for verse or code.

    Characters taken out.
    """
    numbered = enumerate(text.split("\n"))
    kept = first_of_each(numbered, lambda item: digest(item[1]) if item[1].strip() else item[0])
    shorter = "\n".join(line for _, line in kept)
    return shorter, len(text) - len(shorter)


def paragraphs(text: str) -> Cleaned:
    """Without paragraphs that were there before; an empty line is between two. Characters taken out."""
    parts = PARAGRAPHS.split(text)
    kept = first_of_each(parts, digest)
    return (text, 0) if len(kept) == len(parts) else ("\n\n".join(kept), len(text) - len("\n\n".join(kept)))


STEPS: dict[str, Callable[[str], Cleaned]] = {
    "line_ends": line_ends,  # first: a \r is a control character too
    "controls": controls,
    "unicode": unicode,
    "white_space": white_space,
}
EVERY_STEP = {**STEPS, "gutenberg": gutenberg, "lines": lines, "paragraphs": paragraphs}


def clean(text: str, steps: Sequence[str] = tuple(STEPS)) -> tuple[str, dict[str, int]]:
    """The text after these steps of EVERY_STEP, one after the other, and for each the characters that it concerned.

    With the four of STEPS a cleaned text stays as it is when it is cleaned again.

    Raises:
        ConfigError: no such step.
    """
    counts: dict[str, int] = {}
    for name in steps:
        text, counts[name] = choose(name, EVERY_STEP, "step of cleaning")(text)
    return text, counts

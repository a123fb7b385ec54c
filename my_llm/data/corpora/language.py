"""What a corpus for language modelling is: running text in three parts.

Train teaches, validation chooses, test is looked at once. A text is cut where it hurts least: between plays, chapters
or files, so that no scene begins in one part and ends in another. Where everybody else cuts a text in one place, as
Tiny Shakespeare at nine tenths, so do we, or the numbers would not compare.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple


class Texts(NamedTuple):
    """The three parts of a text; an empty one does not exist."""

    train: str
    validation: str
    test: str


@dataclass(frozen=True)
class LanguageText:
    """A text to learn to continue.

    Attributes:
        name: Its name in the catalog.
        language: What it is written in, as an ISO 639-1 code, or "python".
        train: What a model learns from.
        validation: For choices such as when to stop.
        test: For the one number that is reported; "" where the corpus has only two parts.
        source: Where the text came from, in words.
        sha256: Digest of text and split: two runs with the same digest saw the same data.
    """

    name: str
    language: str
    train: str
    validation: str
    test: str
    source: str
    sha256: str


def assemble(name: str, language: str, texts: Texts, source: str) -> LanguageText:
    """Sign the parts with a digest."""
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return LanguageText(name, language, *texts, source=source, sha256=digest)

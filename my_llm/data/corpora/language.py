"""What a corpus for language modelling is: running text in three parts.

Train teaches, validation chooses, test is looked at once. A text is cut where it hurts least: between plays, chapters
or files, so that no scene begins in one part and ends in another. Where everybody else cuts a text in one place, as
Tiny Shakespeare at nine tenths, so do we, or the numbers would not compare.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from my_llm.errors import DataError

CONVERT = "convert it; old Chinese files are often GB18030: iconv -f GB18030 -t UTF-8 old.txt > new.txt"


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


def own_text(path: Path) -> LanguageText:
    """A text file of the user's: nine tenths to learn from, the last tenth to validate with. Its name is its path.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        text = path.expanduser().read_text("utf-8-sig")  # Windows writes a mark in front, which is no text
    except OSError as error:
        raise DataError(f"cannot read the text: {error.strerror}", got=path) from None
    except UnicodeDecodeError as error:
        raise DataError("the text is not UTF-8", got=f"{path}, byte {error.start}", next_step=CONVERT) from None
    cut = int(0.9 * len(text))
    texts = Texts(text[:cut], text[cut:], "")
    return assemble(str(path.expanduser().resolve()), language_of(text), texts, f"the file {path}")


def language_of(text: str) -> str:
    """zh where at least a fifth of its beginning is Chinese characters, else en."""
    beginning = text[:10_000]
    return "zh" if 5 * sum("\u4e00" <= symbol <= "\u9fff" for symbol in beginning) > len(beginning) else "en"


def assemble(name: str, language: str, texts: Texts, source: str) -> LanguageText:
    """Sign the parts with a digest."""
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return LanguageText(name, language, *texts, source=source, sha256=digest)

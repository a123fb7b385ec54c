"""AG News: title and first lines of English news of 2004 in four classes.

Zhang, Zhao & LeCun, "Character-level Convolutional Networks for Text Classification" (2015), section 4. The full set
has 120,000 training and 7,600 test items. A local folder may hold a smaller selection of the same three columns, some
of it without titles; the loader takes what is there, and the numbers in results/ say how many items they were made on.
"""

import csv
import gzip
import html
import io
import re
from pathlib import Path

from my_llm.data.corpora.classification import Example

LABELS = ("World", "Sports", "Business", "Sci/Tech")

# The collection lost the "&" of its HTML entities: "Google&#39;s" became "Google #39;s", with a space in its place.
BROKEN_ENTITY = re.compile(r"(?: |\b|&)(#\d+|quot|amp|lt|gt|nbsp);")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>")


def clean(text: str) -> str:
    r"""Repair what the making of the collection broke, and nothing else.

    `Google #39;s` becomes `Google's`, `M amp;S` becomes `M&S`, `<b>...</b>` loses its tags, the backslash of
    `homer\in` (a line break once) and of `\$50` becomes a space, runs of white space become one space.
    """
    text = html.unescape(html.unescape(BROKEN_ENTITY.sub(r"&\1;", text)))
    return " ".join(TAG.sub(" ", text).replace("\\", " ").split())


def read(files: tuple[Path, ...]) -> tuple[list[Example], list[Example]]:
    """Read the train and the test file: `class (1 to 4), title, description`, as CSV or gzipped CSV.

    Raises:
        ValueError: A row does not have three columns with a class from 1 to 4.
    """
    train, test = (rows(file) for file in files)
    return train, test


def rows(file: Path) -> list[Example]:
    """The examples of one file."""
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    examples = []
    for row in csv.reader(io.StringIO(content.decode("utf-8"), newline="")):
        if len(row) != 3 or row[0] not in ("1", "2", "3", "4"):
            raise ValueError(f"{file.name}: not a row of class, title, description: {row}")
        examples.append(Example(clean(f"{row[1]} {row[2]}"), int(row[0]) - 1))
    return examples

"""Python's standard library as text to continue: source code with its comments and docstrings.

The corpus that is always there: no download, no network. It holds the files of three areas of the library, which every
Python since 3.11 has, without their tests. The name of a file decides its part, by a digest: a twentieth of the files
is for validation and a twentieth for the test, and a file keeps its part from one version of Python to the next.

Other versions of Python have other text: perplexities compare only where the digest is the same. Code repeats itself
(`ntpath` and `posixpath` are sisters in different parts), so the held-out text is less new than that of a book.
"""

import hashlib
import tokenize
from collections.abc import Iterator
from pathlib import Path

from my_llm.data.corpora.language import Texts
from my_llm.data.corpora.python_docs import AREAS, source_files

CHOSEN = ("data types", "files", "text")  # 3 to 4 MB: enough to learn from, small enough to learn in minutes


def read(files: tuple[Path, ...]) -> Texts:
    """Read the folder of the standard library."""
    texts: dict[str, list[str]] = {part: [] for part in Texts._fields}
    for name, text in documents(files[0], CHOSEN):
        texts[part_of(name, held_out=20)].append(text.strip())
    return Texts(*("\n\n\n".join(texts[part]) for part in Texts._fields))


def documents(library: Path, areas: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(name, text) of each source file of these areas, such as `json/decoder.py`, in a fixed order."""
    for module in (module for area in areas for module in AREAS[area].split()):
        for file in source_files(library, module):
            with tokenize.open(file) as stream:  # in the encoding that the file declares
                yield file.relative_to(library).as_posix(), stream.read()


def part_of(name: str, held_out: int) -> str:
    """The part of a file: one in `held_out` is for validation, one for the test, by a digest of its name."""
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % held_out
    return {0: "validation", 1: "test"}.get(number, "train")

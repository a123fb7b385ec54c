"""Tatoeba: sentences for learners of languages, by the people of tatoeba.org, as manythings.org/anki pairs them.

Everyday English, mostly short, with up to dozens of French translations a sentence: tu and vous, he and she, and many
ways to say it. A score against one of them is low for a good translation, so a held-out sentence carries them all
(`Pair.more`). 2,000 sentences are for validation and 2,000 for the test. Sentences are near to each other ("I'm cold.",
"Tom is cold."): a test sentence is new, its neighbour is not. The collection grows and its file with it: scores compare
only where the digest is the same.
"""

import gzip
import zipfile
from pathlib import Path

from my_llm.data.corpora.translation import Pair, Pairs, clean, split_by_sentence

HELD_OUT = 2_000  # sentences for the test, and as many for validation


def read(files: tuple[Path, ...]) -> Pairs:
    """Read fra-eng.zip of manythings.org, or fra.txt.gz: English, a tab, French, and perhaps a tab and the authors."""
    return split_by_sentence((pair_of(line) for line in lines_of(files[0])), HELD_OUT)


def lines_of(file: Path) -> list[str]:
    """The lines of fra.txt in the archive, or of the gzipped file."""
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            content = archive.read("fra.txt")
    else:
        content = gzip.decompress(file.read_bytes())
    return content.decode("utf-8").strip("\n").split("\n")


def pair_of(line: str) -> Pair:
    """The pair of a line.

    Raises:
        ValueError: It has no tab, or an empty column.
    """
    english, _, rest = line.partition("\t")
    pair = Pair(clean(english), clean(rest.partition("\t")[0]))
    if not (pair.source and pair.target):
        raise ValueError(f"not a line of English, tab, French: {line!r}")
    return pair

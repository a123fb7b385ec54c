"""What a corpus for tagging is: sentences in which every word carries a tag, in three parts.

The tags are BIO: B-X opens an entity of the kind X, I-X goes on with it, O is outside. One tag per word says where an
entity begins and ends, which is what a tagger is judged by (Ramshaw & Marcus, "Text Chunking using Transformation-Based
Learning", 1995; the form in which every entity opens with B is that of CoNLL-2002).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from my_llm.errors import DataError


class TaggedSentence(NamedTuple):
    """Words and, for each, the index of its tag."""

    words: tuple[str, ...]
    tags: tuple[int, ...]


class Sentences(NamedTuple):
    """The three parts of a tagging corpus."""

    train: list[TaggedSentence]
    validation: list[TaggedSentence]
    test: list[TaggedSentence]


def bio_labels(*kinds: str) -> tuple[str, ...]:
    """The labels for these kinds of entity: O first, then B-X and I-X of each."""
    return ("O", *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI"))


@dataclass(frozen=True)
class Tagging:
    """A corpus of tagged sentences.

    Attributes:
        name: Its name in the catalog.
        language: What it is written in, as an ISO 639-1 code, or "python".
        labels: The BIO tags, "O" first; `TaggedSentence.tags` are indices into it.
        train: What a model learns from.
        validation: For choices such as when to stop.
        test: For the one number that is reported.
        source: Where the sentences came from, in words.
        sha256: Digest of labels, sentences and split: two runs with the same digest saw the same data.

    Raises:
        DataError: The tags of a sentence are not BIO, or not one for each word.
    """

    name: str
    language: str
    labels: tuple[str, ...]
    train: list[TaggedSentence]
    validation: list[TaggedSentence]
    test: list[TaggedSentence]
    source: str
    sha256: str

    def __post_init__(self):
        kinds = tuple(label[2:] for label in self.labels[1::2])
        if self.labels != bio_labels(*kinds):
            raise DataError(f"the labels of {self.name} are not BIO", got=self.labels, valid="O, B-X, I-X, B-Y, I-Y, …")
        for sentence in (*self.train, *self.validation, *self.test):
            if problem := mistake(self.labels, sentence):
                raise DataError(f"corpus {self.name}: {problem}", got=" ".join(sentence.words)[:80])


def mistake(labels: Sequence[str], sentence: TaggedSentence) -> str | None:
    """What is wrong with a tagged sentence, or None."""
    words, tags = sentence
    if not words or len(words) != len(tags):
        return f"a sentence of {len(words)} words has {len(tags)} tags"
    if not all(0 <= tag < len(labels) for tag in tags):
        return f"a tag is not one of the {len(labels)} labels"
    for before, tag in zip((0, *tags), tags, strict=False):
        if labels[tag].startswith("I") and labels[before][2:] != labels[tag][2:]:
            return f"{labels[tag]} follows {labels[before]}, but only goes on with an entity of its own kind"
    return None


def assemble(name: str, language: str, labels: tuple[str, ...], sentences: Sentences, source: str) -> Tagging:
    """Check the parts and sign them with a digest."""
    digest = hashlib.sha256(json.dumps([labels, *sentences]).encode()).hexdigest()
    return Tagging(name, language, labels, *sentences, source=source, sha256=digest)

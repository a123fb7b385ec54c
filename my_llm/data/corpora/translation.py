"""What a corpus for translation is: pairs of sentences in three parts that share no source sentence.

Train teaches, validation chooses, test is looked at once. A sentence has many right translations, so a pair may carry
`more` of them, and a collection may hold the same English sentence many times: it is split by its sentences, not by
its lines, or the test would ask for what was learnt by heart. `key` says which sentences count as the same one.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from my_llm.errors import DataError

INVISIBLE = "\u00ad\u200b\ufeff"  # soft hyphen, space of no width, byte order mark
WORD = re.compile(r"\w+")


class Pair(NamedTuple):
    """A sentence, its translation, and other right answers, which are for judging and not for learning."""

    source: str
    target: str
    more: tuple[str, ...] = ()


class Pairs(NamedTuple):
    """The three parts of a translation corpus."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]


@dataclass(frozen=True)
class Translation:
    """A corpus of sentence pairs; no source sentence stands in two of the three parts.

    Attributes:
        name: Its name in the catalog.
        languages: From which language into which, as ISO 639-1 codes.
        train: What a model learns from; a sentence may come again with another translation.
        validation: For choices such as when to stop; each sentence once.
        test: For the one number that is reported; each sentence once.
        source: Where the sentences came from, in words.
        sha256: Digest of pairs and split: two runs with the same digest saw the same data.

    Raises:
        DataError: A sentence or its translation is empty.
    """

    name: str
    languages: tuple[str, str]
    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    source: str
    sha256: str

    def __post_init__(self):
        for pair in (*self.train, *self.validation, *self.test):
            if not (pair.source and pair.target) or "" in pair.more:
                raise DataError(f"corpus {self.name}: a sentence or its translation is empty", got=tuple(pair))


def clean(text: str) -> str:
    """The text without invisible characters, every run of white space one space (French writes narrow ones)."""
    for character in INVISIBLE:
        text = text.replace(character, "")
    return " ".join(text.split())


def key(sentence: str) -> str:
    """Its words without capitals and marks: "Run!" and "run." must not stand in two parts."""
    return " ".join(WORD.findall(sentence.casefold())) or sentence


def order_of(text: str) -> bytes:
    """By this digest texts are put in an order that has nothing to do with what they say, the same on every machine."""
    return hashlib.sha256(text.encode()).digest()


def split_by_sentence(pairs: Iterable[Pair], held_out: int) -> Pairs:
    """Split a collection in which sentences come many times; `held_out` of them are for validation, as many for test.

    A sentence that is held out keeps its first translation as `target`, the others as `more`; of sentences with the
    same key the first is taken. What is to learn from stays as it is: each translation is a pair. All three parts are
    in the order of a digest, so that the first thousand of a part are like the rest.
    """
    sentences: dict[str, list[Pair]] = {}
    for pair in dict.fromkeys(pairs):
        sentences.setdefault(key(pair.source), []).append(pair)
    order = sorted(sentences, key=order_of)
    test, validation = ([together(sentences[name]) for name in names] for names in cut(order, held_out))
    return Pairs([pair for name in order[2 * held_out :] for pair in sentences[name]], validation, test)


def cut(order: list[str], held_out: int) -> tuple[list[str], list[str]]:
    """What is for the test, and what for validation."""
    return order[:held_out], order[held_out : 2 * held_out]


def together(pairs: list[Pair]) -> Pair:
    """The first sentence with all its translations in one pair."""
    target, *more = (pair.target for pair in pairs if pair.source == pairs[0].source)
    return Pair(pairs[0].source, target, tuple(more))


def apart(pairs: Pairs) -> Pairs:
    """Parts that share no sentence: the test stays whole, the part that is nearer to learning gives way."""
    test = {key(pair.source) for pair in pairs.test}
    validation = [pair for pair in pairs.validation if key(pair.source) not in test]
    held_out = test.union(key(pair.source) for pair in validation)
    return Pairs([pair for pair in pairs.train if key(pair.source) not in held_out], validation, pairs.test)


def assemble(name: str, languages: tuple[str, str], pairs: Pairs, source: str) -> Translation:
    """Take the parts apart and sign them with a digest."""
    pairs = apart(pairs)
    digest = hashlib.sha256(json.dumps([languages, *pairs]).encode()).hexdigest()
    return Translation(name, languages, *pairs, source=source, sha256=digest)

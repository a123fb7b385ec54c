"""What a corpus for text classification is: labelled texts in three parts that share no text.

Train teaches, validation chooses, test is looked at once. A text that stands in two parts would be an answer copied
from the neighbour, so exact duplicates are removed *before* anything is split.

A split is decided by a digest of each text, not by a random number generator: it does not depend on the order of the
files, on the system or on the version of Python. `docs/en/stage1_mlp.md` tells what the parts are for.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

TEST_SHARE = 0.2  # of a corpus that comes without an official test part
VALIDATION_SHARE = 0.1  # of the training part


class Example(NamedTuple):
    """One text and the index of its label."""

    text: str
    label: int


@dataclass(frozen=True)
class TextClassification:
    """A corpus, loaded and split; no text stands in two of the three parts.

    Attributes:
        name: Its name in the catalog.
        labels: The name of each label; `Example.label` is an index into it.
        train: What a model learns from.
        validation: A tenth of the training part, for choices such as when to stop.
        test: For the one number that is reported.
        source: Where the text came from, in words.
        sha256: Digest of labels, texts and split: two runs with the same digest saw the same data.
    """

    name: str
    labels: tuple[str, ...]
    train: list[Example]
    validation: list[Example]
    test: list[Example]
    source: str
    sha256: str


def without_duplicates(examples: Iterable[Example], known: Iterable[Example] = ()) -> list[Example]:
    """The first example of each text, in order, without empty texts and texts that stand in `known`."""
    seen = {"", *(example.text for example in known)}
    unique = []
    for example in examples:
        if example.text not in seen:
            seen.add(example.text)
            unique.append(example)
    return unique


def hold_out(examples: list[Example], share: float, salt: str) -> tuple[list[Example], list[Example]]:
    """Split into (kept, held out), with the same share of every label in both (stratified).

    Args:
        examples: Examples without duplicates.
        share: The part of each label to hold out, 0 to 1.
        salt: Another salt is another split.
    """
    rank = {example.text: hashlib.sha256(f"{salt}\0{example.text}".encode()).digest() for example in examples}
    held: set[str] = set()
    for label in {example.label for example in examples}:
        texts = sorted((example.text for example in examples if example.label == label), key=rank.__getitem__)
        held.update(texts[: round(share * len(texts))])
    return [e for e in examples if e.text not in held], [e for e in examples if e.text in held]


def assemble(
    name: str, labels: tuple[str, ...], train: list[Example], test: list[Example], source: str, split_seed: int
) -> TextClassification:
    """Remove duplicates, split, and sign with a digest.

    An official `test` part stays exactly as it was published (less its repetitions): what it shares with the training
    part is removed from the training part. With an empty `test`, a fifth of `train` becomes the test part, chosen by
    `split_seed`.
    """
    if test:
        test = without_duplicates(test)
        train = without_duplicates(train, known=test)
    else:
        train, test = hold_out(without_duplicates(train), TEST_SHARE, f"test {split_seed}")
    train, validation = hold_out(train, VALIDATION_SHARE, "validation")
    canonical = json.dumps([labels, train, validation, test]).encode()
    return TextClassification(
        name, labels, train, validation, test, source, sha256=hashlib.sha256(canonical).hexdigest()
    )

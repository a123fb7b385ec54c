"""Text → features: the words and word pairs of a text, each with a weight, in a form that an MLP can take.

An MLP wants inputs of one size, texts come in all lengths. The bag of n-grams is the old way out: one input for each of
V known words and pairs of neighbours, nearly all of them 0 for any one text, so only the others are stored. Three
choices shape the bag. docs/en/stage1_mlp.md measures each; on short news only the second one clearly pays:

1. A feature that comes t times counts 1 + log t: the fifth "good" of a review says less than the first.
2. The weight of an n-gram is how far it leans towards a class, its naive-Bayes log-count ratio, learnt by counting.
   "the" gets a weight near 0, "striker" a large one, before the first step of training.
3. Each bag has length 1 (L2 norm), so that a long text does not shout.

What it cannot do: the order of the words is gone, except inside a pair. "Now rain, now sun, now." and "Now sun, now
rain, now." are the same input. And an n-gram that leans nowhere on its own gets no weight, even where it would matter
beside another one.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm.data.batches import batch_indices
from my_llm.errors import CheckpointError, DataError

WORD = re.compile(r"\w+")


def split_words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, in lower case: "Don't stop!" → don, t, stop."""
    return WORD.findall(text.lower())


# --- batches of bags ---------------------------------------------------------------------------------------------


class NgramBags(NamedTuple):
    """B bags, end to end: bag b holds the features `ids[offsets[b]:offsets[b + 1]]`, the last one the rest."""

    ids: Int[Tensor, "N"]
    offsets: Int[Tensor, "B"]
    weights: Float[Tensor, "N"]


def select(bags: NgramBags, rows: Int[Tensor, "K"]) -> NgramBags:
    """The bags with these numbers, in this order."""
    ends = torch.cat([bags.offsets[1:], torch.tensor([len(bags.ids)])])
    starts = bags.offsets[rows]
    lengths = ends[rows] - starts
    offsets = lengths.cumsum(dim=0) - lengths
    at = torch.arange(int(lengths.sum())) + (starts - offsets).repeat_interleave(lengths)  # (N,)
    return NgramBags(bags.ids[at], offsets, bags.weights[at])


class Batch(NamedTuple):
    """What one training step reads: B bags and the class of each."""

    bags: NgramBags
    labels: Int[Tensor, "B"]


class TextBatches:
    """Batch number i of a corpus whose texts were encoded once; called by `train_steps`.

    Args:
        bags: All examples.
        labels: The class of each.
        batch_size: Examples in a batch, over all ranks.
        seed: Another seed is another order.
        rank: This process, 0 to world - 1.
        world: Number of processes.
    """

    def __init__(
        self, bags: NgramBags, labels: Int[Tensor, "B"], *, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ):
        self.bags, self.labels = bags, labels
        self.order = {"size": len(labels), "batch_size": batch_size, "seed": seed, "rank": rank, "world": world}

    def __call__(self, index: int) -> Batch:
        rows = torch.tensor(batch_indices(index, **self.order))
        return Batch(select(self.bags, rows), self.labels[rows])


# --- features ----------------------------------------------------------------------------------------------------


def log_count_ratio(counts: Int[np.ndarray, "V C"], alpha: float = 1.0) -> Float[np.ndarray, "V C"]:
    """How far each feature leans towards class c: r = log((p / ‖p‖₁) / (q / ‖q‖₁)).

    p = α + the number of texts of class c that hold the feature, q = α + the number of all other texts that do.
    r is 0 for a feature that is as common inside the class as outside, positive for one that speaks for the class.

    Wang & Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification", ACL 2012, section 2.1.
    """
    inside = alpha + counts
    outside = alpha + counts.sum(axis=1, keepdims=True) - counts
    return np.log(inside / inside.sum(axis=0)) - np.log(outside / outside.sum(axis=0))


def word_numbers(texts: Sequence[str], index: dict[str, int]) -> tuple[Int[np.ndarray, "N"], Int[np.ndarray, "N"]]:
    """The text and the number of every word of all texts, in order; an unknown word has number -1."""
    split = [split_words(text) for text in texts]
    lengths = [len(words) for words in split]
    rows = np.repeat(np.arange(len(texts)), lengths)
    return rows, np.fromiter(map(index.get, chain.from_iterable(split), repeat(-1)), np.int64, count=sum(lengths))


def pair_keys(
    rows: Int[np.ndarray, "N"], ids: Int[np.ndarray, "N"]
) -> tuple[Int[np.ndarray, "P"], Int[np.ndarray, "P"]]:
    """The text and the key, left · 2³² + right, of every two known words that are neighbours in one text."""
    left, right = ids[:-1], ids[1:]
    pairs = (rows[:-1] == rows[1:]) & (left >= 0) & (right >= 0)
    return rows[:-1][pairs], (left[pairs] << 32) + right[pairs]


def count(
    rows: Int[np.ndarray, "N"], ids: Int[np.ndarray, "N"], features: int
) -> tuple[Int[np.ndarray, "M"], Int[np.ndarray, "M"], Int[np.ndarray, "M"]]:
    """Each (text, feature) once, sorted, and how often it came."""
    keys, counts = np.unique(rows * features + ids, return_counts=True)
    return keys // features, keys % features, counts


def class_counts(
    rows: Int[np.ndarray, "N"], ids: Int[np.ndarray, "N"], labels: Sequence[int], features: int
) -> Int[np.ndarray, "V C"]:
    """In how many texts of each class a feature stands."""
    classes = max(labels) + 1
    rows, ids, _ = count(rows, ids, features)
    return np.bincount(ids * classes + np.asarray(labels)[rows], minlength=features * classes).reshape(-1, classes)


class NgramFeatures:
    """V words and word pairs, numbered, with the weight of each; learnt from training texts by `fit`.

    Words come first, the most frequent one has number 0. A pair is stored as one integer, left · 2³² + right, in a
    sorted list, so that NumPy finds all pairs of a batch by one binary search. Nothing here depends on a hash seed:
    the same texts give the same numbers in every process.

    Args:
        words: The known words.
        pairs: The known pairs, sorted.
        importance: The weight of each word, then of each pair; V numbers.
    """

    def __init__(self, words: list[str], pairs: Int[np.ndarray, "P"], importance: Float[np.ndarray, "V"]):
        self.words, self.pairs, self.importance = words, pairs, importance
        self.index = {word: number for number, word in enumerate(words)}

    def __len__(self) -> int:
        return len(self.importance)

    @classmethod
    def fit(
        cls, texts: Sequence[str], labels: Sequence[int], *, min_count: int = 2, max_features: int = 30_000
    ) -> "NgramFeatures":
        """Choose the features and weigh them.

        Args:
            texts: Training texts; nothing else may be shown here, or the test score lies.
            labels: The class of each.
            min_count: A feature must stand in so many texts: what was seen once cannot be learnt from.
            max_features: The most frequent ones stay, so that the first layer of the network stays small.

        Raises:
            DataError: No text holds a feature that stands in `min_count` texts.
        """
        frequency = Counter(chain.from_iterable(set(split_words(text)) for text in texts))
        words = sorted((w for w, count in frequency.items() if count >= min_count), key=lambda w: (-frequency[w], w))
        if not words:
            raise DataError("no word stands in enough training texts", got=len(texts), valid=f"{min_count} or more")
        rows, ids = word_numbers(texts, {word: number for number, word in enumerate(words)})
        pair_rows, keys = pair_keys(rows, ids)
        pairs, pair_ids = np.unique(keys, return_inverse=True)
        word_counts = class_counts(rows[ids >= 0], ids[ids >= 0], labels, len(words))
        pair_counts = class_counts(pair_rows, pair_ids, labels, len(pairs))
        often = pair_counts.sum(axis=1) >= min_count
        counts, pairs = np.concatenate([word_counts, pair_counts[often]]), pairs[often]

        # A pair is never more frequent than its words, and in a tie words come first: no pair outlives its words.
        kept = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:max_features])
        of_words = kept[kept < len(words)]
        return cls(
            words=words[: len(of_words)],
            pairs=pairs[kept[len(of_words) :] - len(words)],
            importance=np.abs(log_count_ratio(counts[kept])).max(axis=1).astype(np.float32),
        )

    def encode(self, texts: Sequence[str]) -> NgramBags:
        """The bag of each text. Unknown words and pairs are left out; a text of unknown words is an empty bag."""
        rows, ids = word_numbers(texts, self.index)
        pair_rows, keys = pair_keys(rows, ids)
        at = np.searchsorted(self.pairs, keys)
        known = at < len(self.pairs)
        known[known] = self.pairs[at[known]] == keys[known]
        rows, ids, counts = count(
            np.concatenate([rows[ids >= 0], pair_rows[known]]),
            np.concatenate([ids[ids >= 0], len(self.words) + at[known]]),
            len(self),
        )
        weights = (1 + np.log(counts)) * self.importance[ids]
        norms = np.sqrt(np.bincount(rows, weights=weights**2, minlength=len(texts)))  # (B,)
        lengths = np.bincount(rows, minlength=len(texts))
        return NgramBags(
            ids=torch.from_numpy(ids),
            offsets=torch.from_numpy(lengths.cumsum() - lengths),
            weights=torch.from_numpy((weights / np.maximum(norms, 1e-12)[rows]).astype(np.float32)),
        )

    def names(self) -> list[str]:
        """What each feature looks like in a text: "goal", "prime minister"."""
        left, right = self.pairs >> 32, self.pairs & 0xFFFFFFFF
        return self.words + [f"{self.words[a]} {self.words[b]}" for a, b in zip(left, right, strict=True)]

    def to_state(self) -> dict[str, Any]:
        """Plain data and tensors, for a checkpoint. No word holds a line break."""
        return {
            "words": "\n".join(self.words),
            "pairs": torch.from_numpy(self.pairs),
            "importance": torch.from_numpy(self.importance),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "NgramFeatures":
        """The features that `to_state` described.

        Raises:
            CheckpointError: The parts do not fit together.
        """
        words, pairs, importance = state["words"].split("\n"), state["pairs"].numpy(), state["importance"].numpy()
        if len(words) + len(pairs) != len(importance):
            raise CheckpointError(
                "features do not fit together",
                got=f"{len(words)} words, {len(pairs)} pairs, {len(importance)} weights",
                next_step="use another checkpoint",
            )
        return cls(words, pairs, importance)

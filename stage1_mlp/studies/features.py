"""Which features should a text classifier read? The choices of stage1_mlp/data.py, changed one at a time.

The classifier is always the same, so that a difference comes from its inputs. Every variant but the one about length
gives bags of length 1: otherwise a large weight would work like a large learning rate.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from my_llm.data.catalog import Example, TextClassification
from stage1_mlp.classify import fit_features
from stage1_mlp.data import NgramBags, NgramFeatures, class_counts, count, log_count_ratio, pair_keys, word_numbers
from stage1_mlp.studies.baselines import FEATURES, fit_mlp
from stage1_mlp.studies.common import StudyConfig, finish, load_dense, mean_and_spread, seeds_of
from stage1_mlp.studies.drawing import COLORS, save, sheet

# --- the choices --------------------------------------------------------------------------------------------------


def log_count(times: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """1 + log t."""
    return 1 + np.log(times)


def plain_count(times: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """t."""
    return times.astype(float)


def presence(times: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """1, however often the feature comes."""
    return np.ones(len(times))


def naive_bayes(by_class: Int[np.ndarray, "V C"], texts: int) -> Float[np.ndarray, "V"]:
    """How far a feature leans towards a class: the largest |log-count ratio|."""
    return np.abs(log_count_ratio(by_class)).max(axis=1)


def idf(by_class: Int[np.ndarray, "V C"], texts: int) -> Float[np.ndarray, "V"]:
    """How rare a feature is: log((1 + N) / (1 + n)) + 1, where n of N texts hold it."""
    return np.log((1 + texts) / (1 + by_class.sum(axis=1))) + 1


def no_weight(by_class: Int[np.ndarray, "V C"], texts: int) -> Float[np.ndarray, "V"]:
    """1 for every feature."""
    return np.ones(len(by_class))


@dataclass(frozen=True)
class Choices:
    """The recipe of stage1_mlp/data.py; each case below departs from it."""

    times: Callable[[np.ndarray], np.ndarray] = log_count
    weight: Callable[[np.ndarray, int], np.ndarray] = naive_bayes
    own_length: bool = True  # each bag divided by its own length; else all by the mean length of the training bags
    pairs: bool = True
    features: int = FEATURES


CASES: dict[str, Choices] = {
    "recipe": Choices(),
    "plain_counts": Choices(times=plain_count),
    "presence": Choices(times=presence),
    "idf": Choices(weight=idf),
    "no_weight": Choices(weight=no_weight),
    "one_scale": Choices(own_length=False),
    "words_alone": Choices(pairs=False),
    "5000_features": Choices(features=5000),
    "all_plain": Choices(times=plain_count, weight=no_weight, own_length=False, pairs=False),
}

# --- from texts to bags -------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """Feature `ids[n]` stands `times[n]` times in text `rows[n]`, of so many `texts`; sorted by text."""

    rows: Int[np.ndarray, "N"]
    ids: Int[np.ndarray, "N"]
    times: Int[np.ndarray, "N"]
    texts: int


def known_features(examples: Sequence[Example], choices: Choices) -> NgramFeatures:
    """The most frequent words and pairs, or words alone; the weights come later."""
    if choices.pairs:
        return fit_features(examples, choices.features)
    words = fit_features(examples, 2**31).words[: choices.features]
    return NgramFeatures(words, np.empty(0, np.int64), np.ones(len(words), np.float32))


def counted(features: NgramFeatures, examples: Sequence[Example]) -> Counts:
    """Counts before any weight, as `NgramFeatures.encode` finds them."""
    texts = [example.text for example in examples]
    rows, ids = word_numbers(texts, features.index)
    pair_rows, keys = pair_keys(rows, ids)
    known = np.isin(keys, features.pairs)
    pair_ids = len(features.words) + np.searchsorted(features.pairs, keys[known])
    rows, ids = np.concatenate([rows[ids >= 0], pair_rows[known]]), np.concatenate([ids[ids >= 0], pair_ids])
    return Counts(*count(rows, ids, len(features)), len(texts))


def lengths(counts: Counts, values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "B"]:
    """The Euclidean length of each bag."""
    return np.sqrt(np.bincount(counts.rows, weights=values**2, minlength=counts.texts))


def encoder(choices: Choices, train: Counts, labels: Sequence[int], features: int) -> Callable[[Counts], NgramBags]:
    """Counts → weighted bags; what there is to learn is learnt from the training texts."""
    importance = choices.weight(class_counts(train.rows, train.ids, labels, features), train.texts)
    mean_length = lengths(train, choices.times(train.times) * importance[train.ids]).mean()

    def encode(counts: Counts) -> NgramBags:
        values = choices.times(counts.times) * importance[counts.ids]
        scale = np.maximum(lengths(counts, values), 1e-12)[counts.rows] if choices.own_length else mean_length
        sizes = np.bincount(counts.rows, minlength=counts.texts)
        weights = (values / scale).astype(np.float32)
        return NgramBags(
            torch.from_numpy(counts.ids), torch.from_numpy(sizes.cumsum() - sizes), torch.from_numpy(weights)
        )

    return encode


# --- the study ----------------------------------------------------------------------------------------------------


class Right(NamedTuple):
    """Which texts were classified rightly: a row for each seed, a column for each text."""

    features: int
    validation: Bool[np.ndarray, "S N"]
    test: Bool[np.ndarray, "S N"]


def try_case(choices: Choices, corpus: TextClassification, config: StudyConfig) -> Right:
    """Train the classifier on these features, once for each seed."""
    features = known_features(corpus.train, choices)
    labels = [example.label for example in corpus.train]
    train = counted(features, corpus.train)
    encode = encoder(choices, train, labels, len(features))
    bags, shape = encode(train), (len(features), len(corpus.labels))
    models = [fit_mlp(bags, torch.tensor(labels), *shape, config=config, seed=seed) for seed in seeds_of(config)]

    def right(examples: Sequence[Example]) -> Bool[np.ndarray, "S N"]:
        bags, truth = encode(counted(features, examples)), torch.tensor([example.label for example in examples])
        return torch.stack([predict(bags) == truth for predict in models]).numpy()

    return Right(len(features), right(corpus.validation), right(corpus.test))


def row_of(case: str, found: Right, recipe: Right) -> dict[str, Any]:
    """Accuracies, the change against the recipe with the same seeds, and how large a change by chance would be.

    Other test texts would give another change. `chance` is its standard error: the deviation over the texts of (share
    of the seeds that were right here) - (the same for the recipe), divided by √N. Texts on which both agree add nothing
    to it, so it is smaller than the chance in one accuracy alone.
    """
    change = found.test.mean(axis=0) - recipe.test.mean(axis=0)  # (N,)
    per_seed = 100 * (found.test.mean(axis=1) - recipe.test.mean(axis=1))  # (S,)
    return {
        "case": case,
        "features": found.features,
        **mean_and_spread("validation_accuracy", (100 * found.validation.mean(axis=1)).tolist()),
        **mean_and_spread("test_accuracy", (100 * found.test.mean(axis=1)).tolist()),
        **mean_and_spread("change", per_seed.tolist()),
        "chance": round(100 * float(change.std()) / len(change) ** 0.5, 2),
    }


def features(config: StudyConfig) -> None:
    """Which features should a text classifier read: how counted, how weighed, how long, words or pairs, how many?"""
    started = time.perf_counter()
    corpus = load_dense(config).corpus
    found = {case: try_case(choices, corpus, config) for case, choices in CASES.items()}
    rows = [row_of(case, right, found["recipe"]) for case, right in found.items()]
    draw_features(rows)
    names = {True: [], False: []}
    for row in rows[1:]:
        names[abs(row["change"]) > 2 * row["chance"]].append(f"{row['case']} {row['change']:+.2f}")
    finish(
        config,
        "features",
        title="One choice changed at a time; change: test accuracy against the recipe",
        columns={
            "features": "",
            **dict.fromkeys(
                ("validation_accuracy", "validation_accuracy_sd", "test_accuracy", "test_accuracy_sd"), "%"
            ),
            **dict.fromkeys(("change", "change_sd", "chance"), "points"),
        },
        rows=rows,
        seen=f"points of test accuracy against the recipe's {rows[0]['test_accuracy']:.2f} %: beyond twice the chance "
        f"of the texts: {', '.join(names[True]) or 'none'}; within it: {', '.join(names[False]) or 'none'}",
        started=started,
        corpus=corpus,
    )


def draw_features(rows: Sequence[dict[str, Any]]) -> None:
    """Accuracies with their spread over the seeds; the change against the recipe with twice its chance."""
    figure, (scores, changes) = sheet(2, width=4.4, height=3.4, title="The recipe, and one choice changed at a time")
    places = np.arange(len(rows))

    def dots(chart: Any, key: str, spread: Sequence[float], shift: float, **style: Any) -> None:
        chart.errorbar([row[key] for row in rows], places + shift, xerr=spread, fmt="o", capsize=3, **style)

    dots(scores, "test_accuracy", [row["test_accuracy_sd"] for row in rows], 0.14, color=COLORS[0], label="test")
    spread = [row["validation_accuracy_sd"] for row in rows]
    dots(scores, "validation_accuracy", spread, -0.14, color=COLORS[1], label="validation", markerfacecolor="white")
    dots(changes, "change", [2 * row["chance"] for row in rows], 0.0, color=COLORS[0])
    changes.axvline(0, color="#888888", linewidth=0.8)
    scores.legend(fontsize=8, frameon=False, loc="upper left")
    scores.set_title("accuracy (%), ± deviation over seeds", fontsize=10, loc="left")
    changes.set_title("change on test (points), ± 2 × chance", fontsize=10, loc="left")
    scores.set_yticks(places, [row["case"].replace("_", " ") for row in rows])
    changes.set_yticks(places, [""] * len(rows))
    for chart in (scores, changes):
        chart.set_ylim(len(rows) - 0.5, -0.5)
        chart.grid(alpha=0.25)
    save(figure, "features")

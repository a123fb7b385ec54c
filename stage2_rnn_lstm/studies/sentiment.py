"""Does reading in order pay? A bidirectional LSTM against classifiers that see the same words in a bag.

All read the words of one vocabulary. The bags hold 1 + log count for each word, scaled to length 1; stage 1's network
and its baselines sort them. To one of the bags every pair of neighbours is added as a word of its own.

Two questions show what each of them uses of the order. Shuffled: the test texts with their words in disorder. Turned: a
phrase is said with and without a "not" before the adjective, and the answer should move to the other side; in a bag
"not" weighs the same beside "good" and beside "bad", so that it is right about little more than one half of them.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from my_llm.classification import MAX_VOCABULARY, TextSorter
from my_llm.data.batches import batch_indices, batches_per_epoch
from my_llm.data.catalog import TextClassification, load
from my_llm.schedules import linear
from my_llm.text import WordTokenizer
from my_llm.training import Loss, train_steps
from stage1_mlp.models import (
    AdamW,
    Bags,
    TextClassifier,
    TextClassifierConfig,
    cross_entropy,
    linear_svm,
    logistic_regression,
    naive_bayes,
)
from stage2_rnn_lstm.classifying import prepare
from stage2_rnn_lstm.models import SequenceClassifier
from stage2_rnn_lstm.studies.common import COLORS, StudyConfig, check, finish, mean_and_spread, save, seeds_of, sheet
from stage2_rnn_lstm.studies.trials import warm_up

Row = dict[str, Any]
Logits = Callable[[Sequence[str]], Float[Tensor, "N C"]]
Features = Callable[[Sequence[str]], Bags]

CORPUS = "movie_reviews"
EPOCHS, LSTM_EPOCHS = 10, 12
SHAPE = {"embedding": 64, "hidden": 48, "dropout": 0.3}
LINEAR = {"naive_bayes": naive_bayes, "logistic_regression": logistic_regression, "linear_svm": linear_svm}
GOOD = ("good", "great", "funny", "brilliant", "interesting", "original", "moving", "memorable")
BAD = ("bad", "boring", "dull", "stupid", "awful", "ridiculous", "predictable", "terrible")
PHRASES = ("the film is {}", "this is {} at all", "the plot and the acting are {}", "it was {} , i think")


# --- bags -------------------------------------------------------------------------------------------------------------


def frequent_pairs(encoded: Sequence[Sequence[int]], vocab_size: int, size: int = 20_000) -> dict[tuple[int, int], int]:
    """The commonest pairs of neighbours and the number of each, after those of the words."""
    counts = Counter(pair for tokens in encoded for pair in pairwise(tokens))
    return {pair: vocab_size + i for i, (pair, _) in enumerate(counts.most_common(size))}


def bag(tokens: Sequence[int], pairs: Mapping[tuple[int, int], int]) -> tuple[list[int], list[float]]:
    """The different words and known pairs of a text, and the weight of each: 1 + log count, in all of length 1."""
    counts = Counter(tokens)
    counts.update(pairs[pair] for pair in pairwise(tokens) if pair in pairs)
    weights = 1 + torch.tensor(list(counts.values())).log()
    return list(counts), (weights / weights.norm().clamp(min=1e-6)).tolist()


def features_of(tokenizer: WordTokenizer, pairs: Mapping[tuple[int, int], int]) -> Features:
    """Texts → bags."""
    size = tokenizer.vocab_size + len(pairs)
    return lambda texts: Bags.pack((bag(tokenizer.encode(text.lower()), pairs) for text in texts), size)


def fit_linear(name: str, features: Features, corpus: TextClassification, config: StudyConfig, seed: int) -> Logits:
    """One of stage 1's baselines; the seed changes nothing."""
    labels = torch.tensor([example.label for example in corpus.train])
    fitted = LINEAR[name](features([example.text for example in corpus.train]), labels, len(corpus.labels))
    return lambda texts: features(texts).times(fitted.weights) + fitted.bias


def rows_of(bags: Bags, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """(ids, offsets, weights) of some of the bags, as the network of stage 1 reads them."""
    parts = [slice(int(bags.starts[row]), int(bags.starts[row + 1])) for row in rows]
    ids, weights = (torch.cat([source[part] for part in parts]) for source in (bags.ids, bags.weights))
    lengths = torch.tensor([part.stop - part.start for part in parts])
    return ids, lengths.cumsum(dim=0) - lengths, weights


def fit_mlp(features: Features, corpus: TextClassification, config: StudyConfig, seed: int) -> Logits:
    """Stage 1's network, with its settings."""
    torch.manual_seed(seed)
    bags, labels = features([example.text for example in corpus.train]), [example.label for example in corpus.train]
    model = TextClassifier(TextClassifierConfig(bags.words, len(corpus.labels)))
    steps = config.max_steps or EPOCHS * batches_per_epoch(len(labels), 64)

    def batch(index: int) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        rows = batch_indices(index, size=len(labels), batch_size=64, seed=seed).tolist()
        return rows_of(bags, rows), torch.tensor([labels[row] for row in rows])

    def loss_fn(model: nn.Module, batch: tuple[tuple[Tensor, ...], Tensor]) -> Loss:
        return Loss(cross_entropy(model(*batch[0]), batch[1]).sum(), len(batch[1]))

    optimizer = AdamW(model.parameters(), 0.01)
    for _ in train_steps(model, batch, loss_fn, optimizer, max_steps=steps, schedule=linear(steps, steps // 20)):
        pass
    model.eval()

    @torch.inference_mode()
    def logits(texts: Sequence[str]) -> Tensor:
        return model(*rows_of(features(texts), range(len(texts))))

    return logits


# --- in order ---------------------------------------------------------------------------------------------------------


def fit_lstm(corpus: TextClassification, config: StudyConfig, seed: int) -> Logits:
    """The classifier of train.py, smaller; of all epochs the one with the highest validation accuracy."""
    torch.manual_seed(seed)
    task = prepare(corpus, SHAPE, {"batch_size": 32, "seed": seed})
    model, best = task.model, (-1.0, {})
    assert isinstance(model, SequenceClassifier)
    steps = config.max_steps or LSTM_EPOCHS * task.per_epoch
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for step in train_steps(model, task.batches, task.loss_fn, optimizer, max_steps=steps, clip=1.0):
        if (step.index + 1) % task.per_epoch == 0 or step.index + 1 == steps:
            accuracy = task.validate()["accuracy"]
            best = max(best, (accuracy, deepcopy(model.state_dict())), key=lambda one: one[0])
    model.load_state_dict(best[1])
    tokenizer = WordTokenizer.from_state(task.parts["tokenizer"])
    return TextSorter(model, tokenizer, corpus.labels, facts={}).logits


# --- the study --------------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """Percent, percent, percent; processor seconds to train, and milliseconds to answer a text."""

    accuracy: float
    shuffled: float
    turned: float
    training: float
    per_text: float


def shuffled(text: str, rng: random.Random) -> str:
    """The same words in disorder."""
    words = text.split()
    return " ".join(rng.sample(words, len(words)))


def turned(logits: Logits) -> float:
    """How often, in percent, a "not" before the adjective moves the answer to the other side of where the word leans.

    The words' sides are known, so nothing depends on whether the classifier likes the word itself.
    """
    right = []
    for words, direction in ((GOOD, -1), (BAD, 1)):
        plain = [phrase.format(word) for phrase in PHRASES for word in words]
        negated = [phrase.format(f"not {word}") for phrase in PHRASES for word in words]
        lean = [scores[:, 1] - scores[:, 0] for scores in (logits(plain), logits(negated))]  # class 1: positive
        right += (direction * (lean[1] - lean[0]) > 0).tolist()
    return 100 * sum(right) / len(right)


def measure(fit: Callable[..., Logits], corpus: TextClassification, config: StudyConfig, seed: int) -> Result:
    """Train, and ask everything."""
    texts, labels = [e.text for e in corpus.test], torch.tensor([e.label for e in corpus.test])
    rng, started = random.Random(seed), time.process_time()
    logits = fit(corpus, config, seed)
    trained = time.process_time()
    answers = [logits(texts).argmax(dim=1)]
    seconds = time.process_time() - trained
    answers.append(logits([shuffled(text, rng) for text in texts]).argmax(dim=1))
    ordered, disordered = (100 * float((answer == labels).float().mean()) for answer in answers)
    return Result(ordered, disordered, turned(logits), trained - started, 1000 * seconds / len(texts))


def sentiment(config: StudyConfig) -> None:
    """Does a bidirectional LSTM tell a good review from a bad one better than bags of words, and at what price?"""
    check(config)
    started = time.perf_counter()
    corpus = load(CORPUS)
    warm_up()
    texts = [example.text.lower() for example in corpus.train]
    tokenizer = WordTokenizer.train(texts, min_count=2, max_size=MAX_VOCABULARY)
    pairs = frequent_pairs([tokenizer.encode(text) for text in texts], tokenizer.vocab_size)
    words, words_and_pairs = features_of(tokenizer, {}), features_of(tokenizer, pairs)
    fits: dict[str, Callable[..., Logits]] = {name: partial(fit_linear, name, words) for name in LINEAR}
    fits |= {"mlp": partial(fit_mlp, words), "mlp_with_pairs": partial(fit_mlp, words_and_pairs), "bilstm": fit_lstm}
    rows: list[Row] = []
    for case, fit in fits.items():
        seeds = list(seeds_of(config))[: 1 if case in LINEAR else None]  # nothing random in those
        results = [measure(fit, corpus, config, seed) for seed in seeds]
        row: Row = {"case": case}
        for key in Result._fields:
            row |= mean_and_spread(key, [getattr(result, key) for result in results])
        rows.append(row)
    chance = 100 * (0.25 / len(corpus.test)) ** 0.5
    _draw_sentiment(rows)
    units = {"accuracy": "%", "shuffled": "%", "turned": "%", "training": "s", "per_text": "ms"}
    *bags, lstm = rows
    best = max(bags, key=lambda row: row["accuracy"])
    finish(
        config,
        "sentiment",
        title=f"{len(corpus.train):,} texts to learn from, {len(corpus.test)} to ask (± {chance:.1f} points at most by "
        "their choice); accuracy as written and shuffled; how often a 'not' turns the answer; processor time",
        columns={f"{key}{spread}": unit for key, unit in units.items() for spread in ("", "_sd")},
        rows=rows,
        seen=f"the BiLSTM is right on {lstm['accuracy']:.1f} % of the texts ({lstm['shuffled']:.1f} % shuffled), the "
        f"best of the bags, {best['case']}, on {best['accuracy']:.1f} %; training took {lstm['training']:.0f} and "
        f"{best['training']:.1f} s; a 'not' moves the answer the right way in {lstm['turned']:.0f} and "
        f"{best['turned']:.0f} % of the phrases",
        started=started,
        corpus=corpus,
    )


def _draw_sentiment(rows: Sequence[Row]) -> None:
    figure, charts = sheet(4, width=2.7, height=2.9, title="Reading in order, and bags of words")
    titles = ("test accuracy (%)", "'not' turns the answer (%)", "training (s)", "answering (ms a text)")
    names = [row["case"].replace("_", " ") for row in rows]
    for chart, key, title in zip(charts, ("accuracy", "turned", "training", "per_text"), titles, strict=True):
        for place, row in enumerate(rows):
            color = COLORS[1] if row["case"] == "bilstm" else COLORS[0]
            chart.errorbar(row[key], place, xerr=row[f"{key}_sd"], fmt="o", color=color, markersize=7, capsize=3)
            chart.annotate(f"{row[key]:.3g}", (row[key], place), (0, 7), textcoords="offset points", ha="center")
            if key == "accuracy":
                label = "words shuffled" if not place else None
                chart.plot(row["shuffled"], place, "o", markersize=7, markerfacecolor="none", color=color, label=label)
        if key in ("accuracy", "turned"):
            chart.set_xlim(45 if key == "accuracy" else -4, 104)
            chart.axvline(50, color="#888888", linestyle="--", linewidth=1)
        else:
            chart.set_xscale("log")
            chart.xaxis.set_major_formatter("{x:g}")
            chart.minorticks_off()
        chart.set_title(title, fontsize=10, loc="left")
        chart.set_ylim(len(rows) - 0.5, -0.8)
        chart.set_yticks(range(len(rows)), names if chart is charts[0] else [""] * len(rows))
        chart.margins(x=0.2)
    figure.legend(*charts[0].get_legend_handles_labels(), loc="outside lower left", fontsize=8, frameon=False)
    save(figure, "sentiment")

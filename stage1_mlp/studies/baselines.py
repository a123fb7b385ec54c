"""Is a network worth it? Four classifiers that are no networks and the MLP, on the same features of the same texts."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from my_llm.data.batches import batches_per_epoch
from my_llm.metrics import accuracy, confusion_matrix, macro_f1
from my_llm.schedules import linear
from my_llm.training import train_steps
from stage1_mlp.classify import classification_loss, encode, fit_features, logits_of
from stage1_mlp.data import NgramBags, TextBatches
from stage1_mlp.models.baselines import BASELINES, Bags
from stage1_mlp.models.optimizers import AdamW
from stage1_mlp.models.text_classifier import TextClassifier, TextClassifierConfig
from stage1_mlp.studies.common import StudyConfig, finish, load_dense, mean_and_spread, seeds_of, steps_of
from stage1_mlp.studies.drawing import COLORS, save, sheet

FEATURES = 30_000
EPOCHS = 5

Predict = Callable[[NgramBags], Int[Tensor, "B"]]


class Result(NamedTuple):
    """Scores in percent on the test texts; processor time, which other programs on the machine do not change."""

    accuracy: float
    macro_f1: float
    training: float
    per_text: float


def as_rows(bags: NgramBags, features: int) -> Bags:
    """The same bags in the form that the baselines read."""
    starts = torch.cat([bags.offsets, torch.tensor([len(bags.ids)])])
    return Bags(starts, bags.ids, bags.weights, features)


def fit_baseline(name: str, bags: NgramBags, labels: Tensor, features: int, classes: int) -> Predict:
    """One of models/baselines.py, with its own settings."""
    classifier = BASELINES[name](as_rows(bags, features), labels, classes)
    return lambda texts: classifier.predict(as_rows(texts, features))


def fit_mlp(bags: NgramBags, labels: Tensor, features: int, classes: int, *, config: StudyConfig, seed: int) -> Predict:
    """The classifier of train.py, trained as there but shorter."""
    torch.manual_seed(seed)
    model = TextClassifier(TextClassifierConfig(features, classes))
    steps = steps_of(config, EPOCHS * batches_per_epoch(len(labels), 64))
    batches = TextBatches(bags, labels, batch_size=64, seed=seed)
    loss_fn = partial(classification_loss, label_smoothing=0.1)
    optimizer, schedule = AdamW(model.parameters(), 0.005), linear(steps, steps // 20)
    for _ in train_steps(model, batches, loss_fn, optimizer, schedule=schedule, max_steps=steps):
        pass
    return lambda texts: logits_of(model, texts).argmax(dim=1)


def measure(fit: Callable[..., Predict], train: tuple, test: tuple, features: int, classes: int) -> Result:
    """Fit, predict, score, and the processor time of the first two."""
    started = time.process_time()
    predict = fit(*train, features, classes)
    fitted = time.process_time()
    predicted = predict(test[0]).numpy()
    seconds, truth = time.process_time() - fitted, test[1].numpy()
    f1 = macro_f1(confusion_matrix(predicted, truth, classes))
    return Result(100 * accuracy(predicted, truth), 100 * f1, fitted - started, 1e6 * seconds / len(truth))


def baselines(config: StudyConfig) -> None:
    """What do naive Bayes, logistic regression, a linear SVM and a decision tree reach, and what does the MLP add?"""
    started = time.perf_counter()
    corpus = load_dense(config).corpus
    classes = len(corpus.labels)
    bag_features = fit_features(corpus.train, FEATURES)
    train, test = encode(bag_features, corpus.train), encode(bag_features, corpus.test)
    fits = {name: [partial(fit_baseline, name)] for name in BASELINES}  # no chance is involved: one run says it all
    fits["mlp"] = [partial(fit_mlp, config=config, seed=seed) for seed in seeds_of(config)]
    rows = []
    for case, runs in fits.items():
        results = [measure(fit, train, test, len(bag_features), classes) for fit in runs]
        row = {"case": case}
        for key in Result._fields:
            row |= mean_and_spread(key, [getattr(result, key) for result in results])
        rows.append(row)
    draw_baselines(rows)
    best = max(rows[:-1], key=lambda row: row["accuracy"])
    mlp = rows[-1]
    finish(
        config,
        "baselines",
        title=f"Classifiers on the same {len(bag_features):,} words and pairs; processor time from features to label",
        columns={
            f"{key}{spread}": unit
            for key, unit in {"accuracy": "%", "macro_f1": "%", "training": "s", "per_text": "µs"}.items()
            for spread in ("", "_sd")
        },
        rows=rows,
        seen=f"the MLP: {mlp['accuracy']:.1f} % in {mlp['training']:.1f} s of processor time; the best baseline, "
        f"{best['case']}, {best['accuracy']:.1f} % in {best['training']:.2f} s",
        started=started,
        corpus=corpus,
    )


def draw_baselines(rows: Sequence[dict]) -> None:
    """Three dot charts over the same rows: how good, how long to train, how long to ask."""
    figure, charts = sheet(3, width=3.3, height=2.4, title="The MLP beside classifiers that are no networks")
    names = [row["case"].replace("_", " ") for row in rows]
    titles = {"accuracy": "test accuracy (%)", "training": "training (s)", "per_text": "answering (µs a text)"}
    for chart, (key, title) in zip(charts, titles.items(), strict=True):
        for place, row in enumerate(rows):
            color = COLORS[1] if row["case"] == "mlp" else COLORS[0]
            chart.errorbar(row[key], place, xerr=row[f"{key}_sd"], fmt="o", color=color, markersize=8, capsize=3)
            chart.annotate(f"{row[key]:.3g}", (row[key], place), (0, 8), textcoords="offset points", ha="center")
        chart.set(title=title, xscale="linear" if key == "accuracy" else "log", ylim=(len(rows) - 0.4, -0.7))
        chart.set_yticks(range(len(rows)), names if chart is charts[0] else [""] * len(rows))
        chart.margins(x=0.15)
    save(figure, "baselines")

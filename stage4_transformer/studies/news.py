"""Sorting news with a tenth, a third and all of the texts: which network needs how many?

All three read the same words, learn from the same texts in the same way, and keep what was best on the validation texts
after an epoch; each has the shape and the rate that its own stage gives it. What differs is what they take for granted.
The MLP knows nothing of order, so that it has little to learn: a word speaks for a class or not. The LSTM knows that
what stands close together belongs together. The Transformer knows neither, and has to learn even who may be looked at.

The MLP is stage 1's network with a bag of words, each bag of length 1. Stage 1 itself also reads pairs of words, and
weighs each word by how far it leans towards a class before the training begins; its page has the scores of that.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.classification import MAX_WORDS, TextSorter, latency, prepare
from my_llm.data.catalog import Example, TextClassification, load
from my_llm.data.corpora.classification import hold_out
from my_llm.errors import DataError
from my_llm.text import WordTokenizer
from stage1_mlp.models import TextClassifier, TextClassifierConfig, cross_entropy
from stage2_rnn_lstm.models import SequenceClassifier, SequenceClassifierConfig
from stage4_transformer.models import TransformerClassifier, TransformerClassifierConfig
from stage4_transformer.studies.common import (
    COLORS,
    Recipe,
    Row,
    StudyConfig,
    check,
    finish,
    learn,
    mean_and_spread,
    parameters_of,
    save,
    seeds_of,
    sheet,
)

EPOCHS = {10: 10, 30: 6, 100: 4}  # percent of the training texts → how often they are read
BATCH = 32


def load_news(name: str) -> TextClassification:
    """The corpus of that name; "auto": AG News where it can be had, else Python's documentation, and that is said."""
    if name != "auto":
        return load(name)
    try:
        return load("ag_news")
    except DataError as error:
        print(f"note    {error.what}: python_docs instead")
        return load("python_docs")


def share_of(examples: Sequence[Example], percent: int) -> list[Example]:
    """So much of every class, always the same texts; a smaller share is a part of a larger one."""
    return hold_out(list(examples), percent / 100, "share")[1]


# --- three models -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class BagOfWordsConfig:
    """V words, `classes` answers; the rest is stage 1's."""

    vocab_size: int
    classes: int


class BagOfWords(nn.Module):
    """Stage 1's network for those who have tokens and lengths."""

    def __init__(self, config: BagOfWordsConfig):
        super().__init__()
        self.config = config
        self.network = TextClassifier(TextClassifierConfig(config.vocab_size, config.classes))

    def forward(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B C"]:
        """Logits; a word of n counts 1 / √n."""
        real = torch.arange(tokens.shape[1]) < lengths[:, None]  # (B, T)
        weights = (lengths**-0.5).repeat_interleave(lengths)  # (N,)
        return self.network(tokens[real], lengths.cumsum(dim=0) - lengths, weights)


class Contender(NamedTuple):
    """A kind of classifier: its config, its class, the shape, the learning rate that it likes."""

    config: Any
    model: Any
    shape: Mapping[str, Any]
    rate: float


CONTENDERS = {
    "mlp": Contender(BagOfWordsConfig, BagOfWords, {}, 0.01),
    "lstm": Contender(SequenceClassifierConfig, SequenceClassifier, {"embedding": 64, "hidden": 48}, 0.005),
    "transformer": Contender(
        TransformerClassifierConfig,
        TransformerClassifier,
        {"model": 64, "heads": 4, "layers": 2, "hidden": 128, "dropout": 0.3, "max_length": MAX_WORDS},
        0.002,
    ),
}

# --- the study --------------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """Percent, percent; seconds of processor time to train; milliseconds to answer one text alone."""

    accuracy: float
    macro_f1: float
    seconds: float
    latency: float


def measure(
    contender: Contender, corpus: TextClassification, epochs: int, config: StudyConfig, seed: int
) -> tuple[Result, int]:
    """Train, keep the best epoch, ask the test texts; and how many numbers were learnt."""
    torch.manual_seed(seed)
    order = {"batch_size": BATCH, "seed": seed}
    task = prepare(corpus, contender.config, contender.model, cross_entropy, shape=contender.shape, order=order)
    steps, best = config.max_steps or epochs * task.per_epoch, (-1.0, {})

    def watch(step: int, seconds: float) -> None:
        nonlocal best
        if step % task.per_epoch == 0 or step == steps:
            accuracy = task.validate()["accuracy"]
            if accuracy > best[0]:
                best = accuracy, deepcopy(task.model.state_dict())

    learnt = learn(task.model, task.batches, task.loss_fn, Recipe(steps, seed, contender.rate), watch)
    task.model.load_state_dict(best[1])
    sorter = TextSorter(task.model, WordTokenizer.from_state(task.parts["tokenizer"]), corpus.labels, facts={})
    scores = sorter.scores(corpus.test, cross_entropy)
    alone = latency(sorter, [example.text for example in corpus.test])["latency_single_ms"]
    accuracy, macro_f1 = (100 * scores[key] for key in ("accuracy", "macro_f1"))
    return Result(accuracy, macro_f1, learnt.seconds, alone), parameters_of(task.model)


def news(config: StudyConfig) -> None:
    """Which of MLP, LSTM and Transformer sorts news best, with how many texts to learn from, and at what price?"""
    check(config)
    started = time.perf_counter()
    corpus, rows = load_news(config.news), []
    for percent, epochs in EPOCHS.items():
        part = dataclasses.replace(corpus, train=share_of(corpus.train, percent))
        for name, contender in CONTENDERS.items():
            found = [measure(contender, part, epochs, config, seed) for seed in seeds_of(config)]
            row: Row = {"case": f"{name}, {percent} %", "texts": len(part.train)}
            for key in Result._fields:
                row |= mean_and_spread(key, [getattr(result, key) for result, _ in found])
            rows.append(row | {"parameters": found[0][1]})
    _draw_news(rows)
    chance = 100 * (0.25 / len(corpus.test)) ** 0.5
    units = {"accuracy": "%", "macro_f1": "%", "seconds": "s", "latency": "ms"}
    finish(
        config,
        "news",
        title=f"{corpus.name}, {len(corpus.test):,} texts to ask (± {chance:.1f} points at most by their choice): "
        "accuracy, macro-F1, processor time of the training, time for one text alone",
        columns={
            "texts": "",
            **{f"{key}{spread}": unit for key, unit in units.items() for spread in ("", "_sd")},
            "parameters": "",
        },
        rows=rows,
        seen=_seen_news(rows),
        started=started,
        corpus=corpus,
    )


def crossing(rows: Sequence[Row], challenger: str) -> int | None:
    """The number of texts from which on the challenger is always above the MLP; None: not even with all."""
    above: int | None = None
    for texts in sorted({row["texts"] for row in rows}, reverse=True):
        score = {row["case"].split(",")[0]: row["accuracy"] for row in rows if row["texts"] == texts}
        if score[challenger] <= score["mlp"]:
            break
        above = texts
    return above


def _seen_news(rows: Sequence[Row]) -> str:
    scores = []
    for texts in sorted({row["texts"] for row in rows}):
        same = [row for row in rows if row["texts"] == texts]
        words = ", ".join(f"{row['case'].split(',')[0]} {row['accuracy']:.1f}" for row in same)
        scores.append(f"with {texts:,} texts {words} %")
    least, most = (edge(row["texts"] for row in rows) for edge in (min, max))
    crossings = []
    for name in ("lstm", "transformer"):
        at = crossing(rows, name)
        passes = {None: "is not above the MLP even with all", least: "is above the MLP throughout"}
        crossings.append(f"the {name} {passes.get(at, f'passes the MLP on the way to {at or 0:,} texts')}")
    price = ", ".join(f"{r['seconds']:.0f} s and {r['latency']:.2g} ms" for r in rows if r["texts"] == most)
    return f"{'; '.join(scores)}; {', '.join(crossings)}; training on all and one text alone take {price}"


def _draw_news(rows: Sequence[Row]) -> None:
    figure, charts = sheet(3, width=3.4, height=3.0, title="Sorting news: an MLP, an LSTM and a Transformer")
    titles = {"accuracy": "test accuracy (%)", "seconds": "training (s)", "latency": "one text alone (ms)"}
    texts = sorted({row["texts"] for row in rows})
    for chart, (key, title) in zip(charts, titles.items(), strict=True):
        for number, name in enumerate(CONTENDERS):
            mine = [row for row in rows if row["case"].split(",")[0] == name]
            y, spread = [row[key] for row in mine], [row[f"{key}_sd"] for row in mine]
            chart.errorbar(texts, y, spread, marker="o", markersize=5, capsize=3, color=COLORS[number], label=name)
        chart.set(xscale="log", xlabel="texts to learn from", title=None)
        chart.set_title(title, fontsize=10, loc="left")
        chart.set_xticks(texts, [f"{count:,}" for count in texts])
        chart.minorticks_off()
        if key != "accuracy":
            chart.set_yscale("log")
            chart.yaxis.set_major_formatter("{x:g}")
    charts[0].legend(fontsize=8, frameon=False, loc="lower right")
    save(figure, "news")

"""Where does the norm stand: which order of the layers trains without a warm-up?

The paper's order is post: norm(x + sublayer(x)). At the start the gradients of its last layers are large, and every
norm on the way down divides them again; large first steps throw it where nothing is learnt any more, and only a rate
that climbs from zero brings it through. In the order pre, x + sublayer(norm(x)), nothing stands between the loss and
the lowest layer (Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture").

Each case is tried at several learning rates. One who knows how frequent each token is, and looks at nothing, has a
loss, too: a run has trained if it ends at least a tenth below that.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from my_llm.errors import NotFiniteError
from my_llm.text import EOS
from my_llm.translation.batches import PairBatches
from my_llm.translation.loss import TranslationLoss
from stage4_transformer.models import Transformer, TransformerConfig
from stage4_transformer.studies.common import (
    COLORS,
    LONGEST,
    Recipe,
    Row,
    Sentences,
    StudyConfig,
    finish,
    learn,
    load_sentences,
    save,
    seeds_of,
    sheet,
    steps_of,
)

LAYERS = (2, 6)  # of encoder and decoder each
RATES = (0.001, 0.002, 0.004)
WARM_UPS = {"without": 0.0, "with": 0.3}  # share of the steps in which the rate climbs
ORDER = ("pre", "post")
NARROW = {"model": 64, "heads": 4, "hidden": 128}
BELOW = 0.9  # of the loss that frequencies alone have
STEPS, SENTENCES = 250, 32  # steps, and sentences in a batch: less than an epoch, so that no sentence comes twice


class Case(NamedTuple):
    """One row of the table."""

    order: str
    warm_up: str
    layers: int

    def __str__(self) -> str:
        return f"{self.order}, {self.warm_up} warm-up, {self.layers} layers"


CASES = [Case(order, warm_up, layers) for layers in LAYERS for order in ORDER for warm_up in WARM_UPS]


def nats_of_frequencies(text: Sentences) -> float:
    """The loss a token for one who knows how frequent each target token is, and nothing else: the unigram loss."""
    said = text.tokenizer.encode_many([pair.target for pair in text.train])
    counts = Counter(token for ids in said for token in [*ids, EOS])
    return -sum(count / counts.total() * math.log(count / counts.total()) for count in counts.values())


def loss_of(text: Sentences, case: Case, rate: float, steps: int, seed: int) -> float:
    """Nats a token at the end of a short training, on sentences that are read for the first time; inf: it diverged."""
    torch.manual_seed(seed)
    shape = {**NARROW, "layers": case.layers, "order": case.order}
    model = Transformer(TransformerConfig(vocab_size=text.tokenizer.vocab_size, **shape))
    batches = PairBatches(text.tokenizer, text.train, max_length=LONGEST, batch_size=SENTENCES, seed=seed)
    try:
        return learn(model, batches, TranslationLoss(0.0), Recipe(steps, seed, rate, WARM_UPS[case.warm_up])).loss
    except NotFiniteError:
        return math.inf


def order(config: StudyConfig) -> None:
    """Which order of norm and residual trains, with and without a warm-up?"""
    started = time.perf_counter()
    text, steps = load_sentences(config), steps_of(config, STEPS)
    alone, rows, found = nats_of_frequencies(text), [], {}
    for case in CASES:
        runs = {rate: [loss_of(text, case, rate, steps, seed) for seed in seeds_of(config)] for rate in RATES}
        found[case] = [sum(losses) / len(losses) for losses in runs.values()]
        rows.append(row_of(case, runs, alone))
    _draw_order(found, alone)
    finish(
        config,
        "order",
        title=f"Where the norm stands, {steps} steps at {len(RATES)} learning rates: loss a token at the end (the "
        f"frequencies of the tokens alone: {alone:.2f}), runs that got at least a tenth below that",
        columns={**dict.fromkeys(map(_column, RATES), "nats"), "best": "nats", "trained": "%", "runs": ""},
        rows=rows,
        seen="runs that train: " + "; ".join(map(_told, rows)),
        started=started,
        corpus=text.corpus,
    )


def row_of(case: Case, runs: Mapping[float, Sequence[float]], alone: float) -> Row:
    """Mean loss at each rate (missing where a run diverged), the best of these, and the share of runs that trained."""
    means = {_column(rate): round(sum(losses) / len(losses), 3) for rate, losses in runs.items()}
    finite = {name: loss for name, loss in means.items() if math.isfinite(loss)}
    every = [loss for losses in runs.values() for loss in losses]
    share = 100 * sum(loss < BELOW * alone for loss in every) / len(every)
    best = {"best": min(finite.values())} if finite else {}
    return {"case": str(case), **finite, **best, "trained": round(share, 1), "runs": len(every)}


def _told(row: Row) -> str:
    """A case in words; where all of its runs diverged there is no best loss."""
    best = f"best loss {row['best']:.2f}" if "best" in row else "diverged at every rate"
    return f"{row['case']}: {row['trained']:.0f} % ({best})"


def _column(rate: float) -> str:
    return f"rate_{rate:g}"


def _draw_order(found: Mapping[Case, Sequence[float]], alone: float) -> None:
    figure, charts = sheet(len(LAYERS), width=4.2, title="Norm before or after: which Transformer trains?")
    for chart, layers in zip(charts, LAYERS, strict=True):
        for case, losses in found.items():
            if case.layers == layers:
                style = "-" if case.warm_up == "with" else "--"
                chart.plot(
                    RATES, losses, style, marker="o", markersize=4, color=COLORS[ORDER.index(case.order)],
                    label=f"{case.order}, {case.warm_up} warm-up",
                )  # fmt: skip
        chart.axhline(alone, color="#888888", linestyle=":", label="frequencies alone")
        chart.set_title(f"{layers} layers each", fontsize=10, loc="left")
        chart.set(xlabel="learning rate", ylabel="loss at the end (nats a token)", xscale="log")
        chart.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
        chart.minorticks_off()
        chart.set_ylim(0, None)
    handles, labels = charts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    save(figure, "order")

"""The ladder: every language model so far on one text, the networks with equal parameters and equal time to learn.

Counts come first, because they are what a network has to beat. Then stage 1's network, which sees a window of
characters, then those of this stage, whose state or stack of convolutions reaches further. Time is processor time,
which other programs on the machine do not change; scoring on the way does not count.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.schedules import cosine
from my_llm.studies import Curve
from my_llm.text import PAD
from my_llm.training import train_steps
from stage1_mlp.models import MLPLanguageModel, MLPLanguageModelConfig, tanh
from stage2_rnn_lstm.data import Streams
from stage2_rnn_lstm.language import CarriedLoss, loss_of
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig, NGramModel, WaveNet, WaveNetConfig
from stage2_rnn_lstm.studies.common import (
    CELL_COLORS,
    COLORS,
    Characters,
    StudyConfig,
    finish,
    load_characters,
    mean_and_spread,
    nats_per_character,
    parameters_of,
    save,
    sheet,
)
from stage2_rnn_lstm.studies.trials import Outcome, at_best_rate, warm_up, width_for

Row = dict[str, Any]
PARAMETERS = 100_000
SECONDS = 25.0  # of processor time that a training may take
RATES = (0.003, 0.01, 0.03)
ORDERS = range(1, 9)
GRAM_NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}
POINTS, SHOWN = 8, 20_000  # scores along a training, each on so many characters
NETWORK_COLORS = {**CELL_COLORS, "wavenet": COLORS[3], "mlp": COLORS[4]}


# --- the models -------------------------------------------------------------------------------------------------------


class WindowReader(nn.Module):
    """Stage 1's network as a language model of this stage: its state is the last n - 1 tokens, at first padding."""

    def __init__(self, model: MLPLanguageModel):
        super().__init__()
        self.model = model

    def forward(
        self, tokens: Int[Tensor, "B T"], state: tuple[Tensor, ...] | None = None
    ) -> tuple[Float[Tensor, "B T V"], tuple[Tensor, ...]]:
        """Logits of the token after each position, and the state after the last."""
        context = self.model.config.context
        before = tokens.new_full((len(tokens), context - 1), PAD) if state is None else state[0]
        known = torch.cat([before, tokens], dim=1)  # (B, n - 1 + T)
        windows = self.model.embedding[known].unfold(1, context, 1)  # (B, T, D, n): each character looked up once
        logits = self.model.output(tanh(self.model.hidden(windows.mT.flatten(2))))  # as in the model, many at a time
        return logits, (known[:, tokens.shape[1] :],)


def mlp(vocab_size: int, width: int) -> nn.Module:
    """Sees 16 characters."""
    return WindowReader(MLPLanguageModel(MLPLanguageModelConfig(vocab_size, context=16, embedding=24, hidden=width)))


def recurrent(vocab_size: int, width: int, cell: str) -> nn.Module:
    """One layer."""
    return LanguageModel(LanguageModelConfig(vocab_size, cell=cell, embedding=32, hidden=width))


def wavenet(vocab_size: int, width: int) -> nn.Module:
    """One block of six layers: sees 64 characters."""
    return WaveNet(WaveNetConfig(vocab_size, channels=width, layers=6, blocks=1))


# One slot: (vocabulary, width) → a network with forward(tokens, state) → (logits, state).
NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "mlp": mlp,
    **{cell: partial(recurrent, cell=cell) for cell in ("rnn", "lstm", "gru")},
    "wavenet": wavenet,
}


# --- a training that ends when its time is over -----------------------------------------------------------------------


class Trained(NamedTuple):
    """A network, what its training took, and points (seconds, nats) along it."""

    model: nn.Module
    outcome: Outcome
    characters: int
    points: list[tuple[float, float]]


def train_for(seconds: float, model: nn.Module, text: Characters, rate: float, seed: int, most: int) -> Trained:
    """Train until the processor has worked for so long, or for `most` steps if not 0.

    The learning rate follows a cosine over the time, in place of the steps: nobody knows how many there will be.
    """
    streams = Streams(text.train, 32, 64, seed=seed)
    share, used, since = cosine(1000, 50), 0.0, time.process_time()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    steps, points = 0, []

    def schedule(step: int) -> float:
        return share(int(1000 * min(1.0, used / seconds)))

    for step in train_steps(model, streams, CarriedLoss(), optimizer, max_steps=10**9, schedule=schedule, clip=1.0):
        used, steps = used + time.process_time() - since, step.index + 1
        if used >= seconds * (len(points) + 1) / POINTS:
            points.append((used, nats_per_character(model, text.validation[:SHOWN])))
        since = time.process_time()
        if used >= seconds or steps == most:
            break
    return Trained(model, Outcome(nats_per_character(model, text.validation), used), steps * 32 * 64, points)


def climb(config: StudyConfig, text: Characters, name: str) -> tuple[Row, Curve]:
    """One network of the ladder: its row, and nats against seconds for the first seed's best rate."""
    size = text.tokenizer.vocab_size
    width = width_for(PARAMETERS, lambda width: parameters_of(NETWORKS[name](size, width)))
    done: dict[tuple[float, int], Trained] = {}

    def train(rate: float, seed: int) -> Outcome:
        torch.manual_seed(seed)
        model = NETWORKS[name](size, width)
        done[rate, seed] = train_for(SECONDS, model, text, rate, seed, config.max_steps)
        return done[rate, seed].outcome

    rate, outcomes = at_best_rate(config, train, RATES)
    chosen = [trained for (tried, _), trained in done.items() if tried == rate]
    seconds = statistics.fmean(outcome.seconds for outcome in outcomes)
    row = {
        "case": name,
        **mean_and_spread("nats", [outcome.nats for outcome in outcomes], 4),
        "numbers": parameters_of(chosen[0].model),
        "cpu_seconds": round(seconds, 2),
        "per_second": round(statistics.fmean(trained.characters for trained in chosen) / seconds),
        "width": width,
        "rate": rate,
    }
    x, y = zip(*chosen[0].points) if chosen[0].points else ((), ())
    return row, (x, y)


def count(text: Characters, order: int) -> Row:
    """One n-gram model of the ladder; its numbers are the n-grams that it has counted."""
    before = time.process_time()
    model = NGramModel.fit(text.train, text.tokenizer.vocab_size, order)
    seconds, loss = time.process_time() - before, loss_of(model, text.validation)
    return {
        "case": GRAM_NAMES.get(order, f"{order}-gram"),
        **mean_and_spread("nats", [float(loss.total) / loss.count], 4),
        "numbers": sum(len(level.keys) for level in model.levels),
        "cpu_seconds": round(seconds, 3),
        "per_second": round(len(text.train) / max(seconds, 1e-3)),
    }


# --- the study --------------------------------------------------------------------------------------------------------


def ladder(config: StudyConfig) -> None:
    """How far does each language model get: counts of 1 to 8 characters, and networks of equal size in equal time?"""
    started = time.perf_counter()
    text = load_characters(config)
    warm_up()
    grams = [count(text, order) for order in ORDERS]
    climbed = {name: climb(config, text, name) for name in NETWORKS}
    networks, curves = [row for row, _ in climbed.values()], {name: curve for name, (_, curve) in climbed.items()}
    _draw_ladder(grams, networks, curves)
    counts, best = min(grams, key=lambda row: row["nats"]), min(networks, key=lambda row: row["nats"])
    finish(
        config,
        "ladder",
        title=f"Nats per character on {len(text.validation):,} characters; counts of {len(text.train):,} characters, "
        f"and networks of at most {PARAMETERS:,} parameters after {SECONDS:g} s on one text",
        columns={
            **dict.fromkeys(["nats", "nats_sd"], "nats"),
            **{"numbers": "", "cpu_seconds": "s", "per_second": "characters", "width": "", "rate": ""},
        },
        rows=[*grams, *networks],
        seen=f"unigram {grams[0]['nats']:.2f}, bigram {grams[1]['nats']:.2f}, trigram {grams[2]['nats']:.2f} nats per "
        f"character, the best counts ({counts['case']}, {counts['numbers']:,} of them) {counts['nats']:.2f}; networks "
        f"of {PARAMETERS:,} parameters in {SECONDS:g} s: "
        + ", ".join(f"{row['case']} {row['nats']:.2f}" for row in networks)
        + f"; the best network, {best['case']}, is {best['nats'] - counts['nats']:+.2f} from the best counts",
        started=started,
        corpus=text.corpus,
    )


def _draw_ladder(grams: Sequence[Row], networks: Sequence[Row], curves: Mapping[str, Curve]) -> None:
    """Left: all rungs, the best last. Right: the networks on their way, beside three of the counts."""
    figure, (rungs, way) = sheet(2, width=4.6, height=3.8, title="One text, every language model so far")
    rows = sorted([*grams, *networks], key=lambda row: -row["nats"])
    for place, row in enumerate(rows):
        color = NETWORK_COLORS.get(row["case"], "#888888")
        rungs.errorbar(row["nats"], place, xerr=row["nats_sd"], fmt="o", color=color, markersize=7, capsize=3)
        rungs.annotate(f"{row['nats']:.2f}", (row["nats"], place), (8, -3), textcoords="offset points", fontsize=8)
    rungs.set_yticks(range(len(rows)), [row["case"] for row in rows])
    rungs.set(xlabel="nats per character, whole validation text")
    rungs.margins(x=0.12)
    best = min(grams, key=lambda row: row["nats"])
    for row, style in ((grams[1], ":"), (grams[2], "-."), (best, "--")):
        way.axhline(row["nats"], color="#888888", linestyle=style, linewidth=1.2, label=f"{row['case']}, counted")
    for name, (x, y) in curves.items():
        way.plot(x, y, "o-", markersize=3, color=NETWORK_COLORS[name], label=name)
    way.set(xlabel="processor time (s)", ylabel=f"nats per character, first {SHOWN:,} of it", ylim=(None, 2.7))
    way.legend(fontsize=7.5, frameon=False, ncols=2)
    save(figure, "ladder")

"""Three ways to remember a text: step by step, by convolutions, by looking back at all of it.

Vaswani et al. 2017 compare them in table 1 by three numbers: what a layer computes for a token, how many steps must
wait for each other, and how many steps lie between two tokens. The last two are about what machines and gradients could
do; what one machine does with models of equal size is measured here, and so is what they have learnt in the end.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from my_llm.language.batches import Batch, Windows
from my_llm.language.scoring import next_token_loss
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig, WaveNet, WaveNetConfig
from stage4_transformer.models import TransformerLM, TransformerLMConfig
from stage4_transformer.studies.common import (
    COLORS,
    LENGTH,
    SHAPE,
    WINDOWS,
    Characters,
    Learnt,
    Recipe,
    Row,
    StudyConfig,
    finish,
    load_characters,
    mean_and_spread,
    nats_per_character,
    parameters_of,
    save,
    seeds_of,
    sheet,
    steps_of,
    train_on_text,
)
from stage4_transformer.studies.equal import size_of, width_for

STEPS = 600
RATES = {"lstm": 0.004, "wavenet": 0.004, "transformer": 0.002}  # of Adam
TURNS = 7  # of the clock
WIDTHS = range(8, 1025)


class Family(NamedTuple):
    """A kind of language model, at its width."""

    new: Callable[[], nn.Module]
    layers: int
    operations: int  # multiplications, with an addition each, of one layer for one token of T
    sequential: str  # steps of one layer that must wait for each other when T tokens are read
    path: str  # steps between the first and the last of them


def families_of(vocab_size: int, length: int, shape: Mapping[str, int]) -> dict[str, Family]:
    """The Transformer of this shape, and the two others with as many parameters; all read T = `length` tokens."""
    sizes: dict[str, Any] = {**shape, "vocab_size": vocab_size, "max_length": length}
    parameters = size_of(lambda: TransformerLM(TransformerLMConfig(**sizes)))
    doublings = math.ceil(math.log2(length))  # layers of a convolution that sees all of them

    def lstm(width: int) -> nn.Module:
        return LanguageModel(LanguageModelConfig(vocab_size, embedding=width, hidden=width, tied=True))

    def wavenet(width: int) -> nn.Module:
        return WaveNet(WaveNetConfig(vocab_size, channels=width, layers=doublings, blocks=1))

    hidden, channels = (width_for(parameters, make, WIDTHS) for make in (lstm, wavenet))
    model, waiting = shape["model"], f"T = {length}"
    looks = 2 * length * model  # T scores and the mean of T values; what the mask hides is computed as well
    return {
        "lstm": Family(lambda: lstm(hidden), 1, 8 * hidden**2, waiting, waiting),
        "wavenet": Family(lambda: wavenet(channels), doublings, 6 * channels**2, "1", f"log T = {doublings}"),
        "transformer": Family(
            lambda: TransformerLM(TransformerLMConfig(**sizes)),
            shape["layers"],
            4 * model**2 + 2 * model * shape["hidden"] + looks,
            "1",
            "1",
        ),
    }


# --- how fast ---------------------------------------------------------------------------------------------------------


def learning(model: nn.Module, batch: Batch) -> Callable[[], None]:
    """One step of a training."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        next_token_loss(model, batch).total.backward()
        optimizer.step()

    return step


def writing(model: nn.Module, length: int) -> Callable[[], None]:
    """A text of so many tokens, one after the other, each the likeliest; what was read need not be read again."""

    @torch.inference_mode()
    def write() -> None:
        token, state = torch.zeros(1, 1, dtype=torch.long), None
        for _ in range(length):
            logits, state = model(token, state)
            token = logits[:, -1:].argmax(dim=2)

    return write


def fastest(
    calls: Mapping[str, Callable[[], None]], tokens: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Of each call the µs a token in its fastest turn; they take turns, so that a busy machine is busy for all."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            started = clock()
            call()
            seconds[name].append(clock() - started)
    return {name: 1e6 * min(turns) / tokens for name, turns in seconds.items()}


def speeds(families: Mapping[str, Family], text: Characters) -> dict[str, Row]:
    """µs a token of training and of writing, on one thread, and on two if the program may use them."""
    threads, batch = torch.get_num_threads(), Windows(text.train, WINDOWS, LENGTH)(0)
    models = {name: family.new() for name, family in families.items()}
    found: dict[str, Row] = {name: {} for name in families}
    for count in range(1, min(threads, 2) + 1):
        torch.set_num_threads(count)
        clock = time.process_time if count == 1 else time.perf_counter  # what others do at the time does not count
        train = fastest({name: learning(model, batch) for name, model in models.items()}, WINDOWS * LENGTH, clock)
        write = fastest({name: writing(model.eval(), LENGTH) for name, model in models.items()}, LENGTH, clock)
        for name, row in found.items():
            row |= {f"train_{count}": round(train[name], 2), f"write_{count}": round(write[name], 1)}
    torch.set_num_threads(threads)
    return found


# --- how well ---------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """Bits per character of the validation text, and what the training took."""

    bits: float
    learnt: Learnt


def outcome(name: str, family: Family, text: Characters, steps: int, seed: int) -> Outcome:
    """Train one model for so many steps."""
    torch.manual_seed(seed)
    model = family.new()
    learnt = train_on_text(model, text, Recipe(steps, seed, RATES[name]))
    return Outcome(nats_per_character(model, text.validation) / math.log(2), learnt)


def families(config: StudyConfig) -> None:
    """What do an LSTM, a WaveNet and a Transformer of equal size cost, and how well do they predict a text?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, STEPS)
    compared = families_of(text.tokenizer.vocab_size, LENGTH, SHAPE)
    speed = speeds(compared, text)
    same_steps = {
        name: [outcome(name, family, text, steps, seed) for seed in seeds_of(config)]
        for name, family in compared.items()
    }
    seconds = {name: statistics.fmean(one.learnt.seconds for one in found) for name, found in same_steps.items()}
    least, rows = min(seconds.values()), []
    for name, family in compared.items():
        affordable = max(round(steps * least / seconds[name]), 1)
        found = same_steps[name]
        if affordable < steps:
            found = [outcome(name, family, text, affordable, seed) for seed in seeds_of(config)]
        rows.append(
            {
                "case": name,
                "layers": family.layers,
                "parameters": parameters_of(family.new()),
                "operations": family.operations,
                "sequential": family.sequential,
                "path": family.path,
                **speed[name],
                "seconds": round(seconds[name], 2),
                **mean_and_spread("bits", [one.bits for one in same_steps[name]], 3),
                **mean_and_spread("bits_same_time", [one.bits for one in found], 3),
            }
        )
    _draw_families(rows, steps, least)
    finish(
        config,
        "families",
        title=f"T = {LENGTH} characters of {text.corpus.name}; a layer's multiply-adds for a token (LSTM 8H², WaveNet "
        "6D², Transformer 4D² + 2DF + 2TD), its steps that wait for each other, steps between two tokens; µs a token "
        f"on 1 (and 2) threads; bits per character after {steps} steps, and after the {least:.0f} s of the fastest",
        columns={
            **{"layers": "", "parameters": "", "operations": "", "sequential": "", "path": ""},
            **{key: "µs" for key in rows[0] if key.startswith(("train_", "write_"))},
            **{"seconds": "s", "bits": "", "bits_sd": "", "bits_same_time": "", "bits_same_time_sd": ""},
        },
        rows=rows,
        seen=_seen_families(rows, steps, least),
        started=started,
        corpus=text.corpus,
    )


def _seen_families(rows: Sequence[Row], steps: int, seconds: float) -> str:
    def of(key: str, form: str) -> str:
        return ", ".join(f"{row['case']} {row[key]:{form}}" for row in rows)

    sizes = [row["parameters"] for row in rows]
    best, soonest = (min(rows, key=lambda row: row[key])["case"] for key in ("bits", "bits_same_time"))
    return (
        f"with {min(sizes):,} to {max(sizes):,} parameters a token costs in training on one "
        f"thread ({of('train_1', '.1f')} µs) and in writing ({of('write_1', '.0f')} µs); after {steps} steps the best "
        f"is the {best} ({of('bits', '.2f')} bits per character), after {seconds:.0f} s each the {soonest} "
        f"({of('bits_same_time', '.2f')})"
    )


def _draw_families(rows: Sequence[Row], steps: int, seconds: float) -> None:
    figure, charts = sheet(3, width=3.4, height=2.7, title="Three families of equal size on one text")
    titles = {"train": "training (µs a token)", "write": "writing (µs a token)", "bits": "bits per character"}
    for chart, (key, title) in zip(charts, titles.items(), strict=True):
        solid, hollow = ("bits", "bits_same_time") if key == "bits" else (f"{key}_1", f"{key}_2")
        names = (f"after {steps} steps", f"after {seconds:.0f} s") if key == "bits" else ("1 thread", "2 threads")
        for place, row in enumerate(rows):
            style: dict[str, Any] = {"color": COLORS[place], "markersize": 7}
            if hollow in row:
                label = None if place else names[1]
                chart.plot(row[hollow], place, "o", markersize=11, markerfacecolor="none", color=COLORS[place])
                chart.plot([], [], "o", markersize=9, markerfacecolor="none", color="#888888", label=label)
            chart.plot(row[solid], place, "o", **style)
            chart.plot([], [], "o", color="#888888", label=None if place else names[0])
            shown = f"{row[solid]:.2f}" if key == "bits" else f"{row[solid]:,.0f}"
            chart.annotate(shown, (row[solid], place), (0, 9), textcoords="offset points", ha="center")
        if key != "bits":
            chart.set_xlim(0, None)
        chart.set_title(title, fontsize=10, loc="left")
        chart.set_ylim(len(rows) + 0.4, -0.9)  # with room for what the marks mean
        chart.set_yticks(range(len(rows)), [row["case"] for row in rows] if chart is charts[0] else [""] * len(rows))
        chart.margins(x=0.25)
        chart.legend(fontsize=7.5, frameon=False, loc="lower right")
    save(figure, "families")

"""Studies of the gradient on its way back through time: how it fades, how it bursts, and what clipping does.

The loss at one step depends on the state `lag` steps earlier through a product of `lag` Jacobians. If their norms stay
below one the product vanishes, above one it explodes, both exponentially (Hochreiter 1991; Bengio et al. 1994). A
network whose gradient vanishes may still remember; it does not learn to.
"""

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from my_llm.errors import NotFiniteError
from my_llm.plots import smooth
from my_llm.training import train_steps
from stage2_rnn_lstm.data import Streams
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import LanguageModel, RNNLayer
from stage2_rnn_lstm.studies.common import (
    CELL_COLORS,
    COLORS,
    Characters,
    StudyConfig,
    finish,
    load_characters,
    mean_and_spread,
    new_language_model,
    save,
    seeds_of,
    sheet,
    steps_of,
    train_on_text,
)

Row = dict[str, Any]
HIDDEN = 128
LAGS, SHOWN = 100, (1, 10, 30, 100)
EXCERPTS, WARM_UP = 128, 50  # pieces of the validation text; steps that each is read before the gradient begins
CELLS = ("rnn", "lstm", "gru")
SCALE = 3.0  # of the weights of the network that is made to explode

# --- the gradient against the distance --------------------------------------------------------------------------------


def gradients_back(model: LanguageModel, excerpts: Int[Tensor, "B T"]) -> list[Float[Tensor, "N"]]:
    """|dL/dh| of the last step's loss by the state `lag` steps before, lag = 0 … LAGS; for an LSTM |dL/dc| as well.

    Args:
        model: With one layer.
        excerpts: Characters; the last one is what the loss is about. The first ones, up to LAGS + 1 steps before the
            loss, only bring the state to where it usually is.

    Returns:
        One curve per memory, h and maybe c: the mean over the excerpts.
    """
    layer = cast(RNNLayer, model.recurrent.layers[0])
    projected = layer.project(model.embedding(excerpts[:, :-1].t()))  # (T - 1, B, G)
    early = len(projected) - LAGS - 1
    with torch.no_grad():
        state = layer.initial_state(projected)
        for a in projected[:early]:
            state = layer.step(a, state)
    states = []
    for a in projected[early:]:
        state = layer.step(a, state)
        states.append(state)
    loss = cross_entropy(model.head(state[0]), excerpts[:, -1], reduction="sum")  # a sum: each excerpt has its own
    curves = []
    for memory in zip(*states, strict=True):  # the last c changes nothing but the h that was used
        found = torch.autograd.grad(loss, memory, retain_graph=True)
        curves.append(torch.stack([gradient.norm(dim=1).mean() for gradient in reversed(found)]))
    return curves


def excerpts_of(tokens: Int[Tensor, "N"], count: int) -> Int[Tensor, "B T"]:
    """Pieces at equal distances, one character longer than there are steps."""
    length = WARM_UP + LAGS + 2
    firsts = torch.linspace(0, len(tokens) - length, count).long()
    return tokens[firsts[:, None] + torch.arange(length)]


def awake(model: LanguageModel) -> LanguageModel:
    """The untrained model with output weights: those start at zero, and would send nothing back."""
    torch.nn.init.normal_(model.head.weight, std=model.config.hidden**-0.5)
    return model


def gradients(config: StudyConfig) -> None:
    """How much of a loss reaches the state `lag` steps earlier?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 500)
    excerpts = excerpts_of(text.validation, EXCERPTS)
    found: dict[str, list[Tensor]] = {}

    def measure(case: str, model: LanguageModel) -> None:
        names = (case, f"{case} cell") if model.config.cell == "lstm" else (case,)
        measured = gradients_back(model.double(), excerpts)  # in fp32 the square of 1e-25 is 0
        for name, curve in zip(names, measured, strict=True):
            found.setdefault(name, []).append(curve / curve[0])

    for seed in seeds_of(config):
        for cell in CELLS:
            model = awake(new_language_model(text, seed, cell=cell, hidden=HIDDEN))
            measure(f"{cell} new", model)
            if cell == "rnn":
                layer = cast(RNNLayer, model.recurrent.layers[0])
                layer.weight_hh.data.mul_(SCALE)
                measure("rnn scaled new", model)
            model = new_language_model(text, seed, cell=cell, hidden=HIDDEN)
            for _ in train_on_text(model, text, max_steps=steps, seed=seed, rate=0.002 if cell == "rnn" else 0.004):
                pass
            measure(f"{cell} trained", model)
    curves = {case: torch.stack(seeds).log().mean(0).exp() for case, seeds in found.items()}
    rows: list[Row] = [
        {"case": case, **{f"lag_{lag}": float(f"{curve[lag]:.3g}") for lag in SHOWN}}
        for case, curve in sorted(curves.items(), key=lambda item: "new" not in item[0])
    ]
    _draw_gradients(curves)
    finish(
        config,
        "gradients",
        title="Gradient by the state lag steps back, share of that at lag 0 (geometric mean over the seeds)",
        columns={f"lag_{lag}": "" for lag in SHOWN},
        rows=rows,
        seen=_seen_gradients({row["case"]: row for row in rows}),
        started=started,
        corpus=text.corpus,
    )


def _seen_gradients(rows: Mapping[str, Row]) -> str:
    def of(when: str) -> str:
        cases = {"the RNN": f"rnn {when}", "the LSTM": f"lstm {when}", "its cell": f"lstm {when} cell"}
        cases["the GRU"] = f"gru {when}"
        return ", ".join(f"{rows[case]['lag_30']:.1g} in {name}" for name, case in cases.items())

    return (
        f"of the gradient at distance 0 this share is left 30 steps back: in new networks {of('new')}; after training "
        f"on text {of('trained')}; in a new RNN with weights {SCALE:g} times as large it has grown by a factor of "
        f"{rows['rnn scaled new']['lag_30']:.1g}"
    )


def _draw_gradients(curves: Mapping[str, Tensor]) -> None:
    figure, charts = sheet(2, width=4.6, title="How much of a loss reaches the state some steps earlier")
    for chart, when in zip(charts, ("new", "trained"), strict=True):
        for case, curve in curves.items():
            if when in case:
                cell = case.split()[0]
                color = COLORS[3] if "scaled" in case else CELL_COLORS[cell]
                name = f"rnn, weights × {SCALE:g}" if "scaled" in case else case.replace(f" {when}", "")
                style = "--" if "cell" in case else "-"
                chart.plot(curve.clamp(min=1e-30), style, color=color, label=name, linewidth=1.6)
        chart.set_title(f"{when} networks", fontsize=10, loc="left")
        chart.set(xlabel="steps back", yscale="log", ylim=(1e-9, 1e6))
    charts[0].set_ylabel("gradient, share of that at distance 0")
    charts[0].legend(frameon=False, fontsize=8, loc="upper right")
    save(figure, "gradients")


# --- clipping ---------------------------------------------------------------------------------------------------------

RATES, CLIPS = (1.0, 3.0, 10.0), (None, 1.0, 0.25)
BATCH, LENGTH = 32, 64


class Descent(NamedTuple):
    """One training: the loss of every step, the largest gradient norm before clipping, where it ended."""

    losses: list[float]
    largest: float
    final: float


def descend(text: Characters, cell: str, rate: float, clip: float | None, *, max_steps: int, seed: int) -> Descent:
    """Plain gradient descent: Adam divides every gradient by its usual size, and would hide what clipping does."""
    model = new_language_model(text, seed, cell=cell, hidden=HIDDEN)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    streams = Streams(text.train, BATCH, LENGTH, seed=seed)
    losses, norms = [], [0.0]
    with contextlib.suppress(NotFiniteError):
        for step in train_steps(model, streams, CarriedLoss(), optimizer, max_steps=max_steps, clip=clip):
            losses.append(step.loss)
            norms.append(step.grad_norm)
    whole = len(losses) == max_steps
    return Descent(losses, max(norms), statistics.fmean(losses[-max(1, max_steps // 10) :]) if whole else math.inf)


def unigram_nats(tokens: Int[Tensor, "N"]) -> float:
    """The loss of always guessing by the frequencies alone: the entropy of the characters."""
    share = tokens.bincount().double() / len(tokens)
    return float(torch.special.entr(share).sum())


def clipping(config: StudyConfig) -> None:
    """Does clipping the gradient rescue trainings with a high learning rate?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 150)
    bound = unigram_nats(text.train)
    rows: list[Row] = []
    runs: dict[tuple[str, float, float | None], list[Descent]] = {}
    for cell, rate, clip in itertools.product(("rnn", "lstm"), RATES, CLIPS):
        same = [descend(text, cell, rate, clip, max_steps=steps, seed=seed) for seed in seeds_of(config)]
        runs[cell, rate, clip] = same
        whole = [run.final for run in same if math.isfinite(run.final)]
        row: Row = {
            "case": f"{cell}, rate {rate:g}, {clip_name(clip)}",
            "largest_norm": round(max(run.largest for run in same), 2),
        }
        row |= {"failed": sum(run.final > bound for run in same)}
        rows.append(row | (mean_and_spread("loss", whole) if whole else {}))
    _draw_clipping(runs, bound)
    finish(
        config,
        "clipping",
        title=f"Gradient descent, {steps} steps; failed: of {config.seeds} runs, those that end above the "
        f"{bound:.2f} nats of guessing by frequency",
        columns={"loss": "nats", "loss_sd": "nats", "largest_norm": "", "failed": ""},
        rows=rows,
        seen=_seen_clipping(runs, bound),
        started=started,
        corpus=text.corpus,
    )


def clip_name(clip: float | None) -> str:
    """How a case is called."""
    return "not clipped" if clip is None else f"clipped at {clip:g}"


def _seen_clipping(runs: Mapping[tuple[str, float, float | None], Sequence[Descent]], bound: float) -> str:
    parts = []
    for cell in ("rnn", "lstm"):
        for clip in CLIPS:
            mine = [run for key, same in runs.items() if key[0] == cell and key[2] == clip for run in same]
            failed = sum(run.final > bound for run in mine)
            parts.append(f"{failed} of {len(mine)} {cell.upper()} runs {clip_name(clip)}")
    largest = {
        cell: max(run.largest for key, same in runs.items() if key[0] == cell for run in same)
        for cell in ("rnn", "lstm")
    }
    return (
        f"over the learning rates {', '.join(f'{rate:g}' for rate in RATES)} these end worse than guessing by "
        f"frequency: {', '.join(parts)}; the largest gradient norm was {largest['rnn']:,.0f} in an RNN and "
        f"{largest['lstm']:,.0f} in an LSTM"
    )


def _draw_clipping(runs: Mapping[tuple[str, float, float | None], Sequence[Descent]], bound: float) -> None:
    figure, charts = sheet(3, width=3.5, title="Clipping lets a high learning rate live")
    for (cell, rate, clip), same in runs.items():
        color = COLORS[CLIPS.index(clip)]
        if cell == "rnn" and rate == RATES[1]:
            charts[0].plot(*zip(*smooth(list(enumerate(same[0].losses)), 75)), color=color, label=clip_name(clip))
    for chart, cell in zip(charts[1:], ("rnn", "lstm"), strict=True):
        for clip, color in zip(CLIPS, COLORS):
            finals = [min(statistics.fmean(run.final for run in runs[cell, rate, clip]), 100) for rate in RATES]
            chart.plot(RATES, finals, "o-", color=color, label=clip_name(clip), markersize=4)
        chart.set_title(f"{cell.upper()}: loss at the end", fontsize=10, loc="left")
        chart.set(xlabel="learning rate", xscale="log", yscale="log")
        chart.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
        chart.minorticks_off()
    charts[0].set_title(f"RNN at rate {RATES[1]:g}", fontsize=10, loc="left")
    charts[0].set(xlabel="step", ylabel="training loss (nats)", yscale="log")
    for chart in charts:
        chart.axhline(bound, color="#888888", linewidth=0.8, linestyle=":", label="guessing by frequency")
        chart.set_ylim(1.7, 80)
        chart.set_yticks([2, 3, 5, 10, 20, 50], ["2", "3", "5", "10", "20", "50"])
        chart.minorticks_off()
    charts[1].legend(frameon=False, fontsize=8, loc="upper left")
    save(figure, "clipping")

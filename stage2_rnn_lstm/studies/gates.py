"""What the forget gate of an LSTM does on real text.

c_t = f_t c_{t-1} + i_t u_t: a forget gate f of 0.9 keeps nine tenths of a memory from one character to the next, so a
memory lasts about 1 / (1 - f) characters.
"""

import statistics
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from my_llm.plots import smooth
from stage2_rnn_lstm.models import LanguageModel, LSTMLayer
from stage2_rnn_lstm.studies.common import (
    COLORS,
    Characters,
    StudyConfig,
    finish,
    load_characters,
    mean_and_spread,
    nats_per_character,
    new_language_model,
    save,
    seeds_of,
    sheet,
    steps_of,
    train_on_text,
)

Row = dict[str, Any]
HIDDEN = 128
RATE = 0.01
EXCERPTS, SPAN, WARM_UP = 32, 1000, 100  # pieces of the validation text, their characters, and those read before them

# --- reading ----------------------------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """What a network did while it read: forget gates and memory cells (T, B, H) of the characters at `rows` (T, B)."""

    forget: Float[Tensor, "T B H"]
    cells: Float[Tensor, "T B H"]
    rows: Int[Tensor, "T B"]


@torch.no_grad()
def read(model: LanguageModel, tokens: Int[Tensor, "N"]) -> Reading:
    """Read pieces of a text with a one-layer LSTM; the first characters of each are not reported."""
    span = min(SPAN, (len(tokens) - 1) // 2)
    warm_up = min(WARM_UP, span // 2)
    firsts = torch.linspace(0, len(tokens) - span - warm_up, EXCERPTS).long()
    rows = firsts + torch.arange(span + warm_up)[:, None]  # (T, B)
    layer = cast(LSTMLayer, model.recurrent.layers[0])
    x = model.embedding(tokens[rows])
    h, c = layer(x)[1]
    return Reading(forget_gates(layer, x, h)[warm_up:], c[warm_up:], rows[warm_up:])


def forget_gates(layer: LSTMLayer, x: Float[Tensor, "T B D"], h: Float[Tensor, "T B H"]) -> Float[Tensor, "T B H"]:
    """f_t = σ(W_f x_t + U_f h_{t-1} + b_f), computed again from the states; the gates lie in the order i, f, o, u."""
    hidden = layer.hidden
    own = slice(hidden, 2 * hidden)
    before = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    return (layer.project(x)[..., own] + before @ layer.weight_hh[own].t()).sigmoid()


def time_constants(forget: Float[Tensor, "T B H"]) -> Float[Tensor, "H"]:
    """1 / (1 - f) of every cell, f its mean gate: so many characters does a memory last."""
    return 1 / (1 - forget.mean(dim=(0, 1))).clamp(min=1e-6)


# --- the forget gate --------------------------------------------------------------------------------------------------

CLASSES = ("small letter", "capital letter", "space", "newline", "punctuation", "other")


def class_of(character: str) -> str:
    """One of CLASSES; letters of scripts without capitals are small."""
    if character in " \n":
        return "space" if character == " " else "newline"
    kind = unicodedata.category(character)
    if kind[0] == "L":
        return "capital letter" if kind == "Lu" else "small letter"
    return "punctuation" if kind[0] == "P" else "other"


class Trained(NamedTuple):
    """One training of the study of the forget gate: losses of the steps, validation loss, gates on validation text."""

    losses: list[float]
    final: float
    reading: Reading


def train_with_bias(text: Characters, bias: float, *, max_steps: int, seed: int) -> Trained:
    """An LSTM whose forget gates begin at σ(bias)."""
    model = new_language_model(text, seed, hidden=HIDDEN)
    cast(LSTMLayer, model.recurrent.layers[0]).bias.data[HIDDEN : 2 * HIDDEN] = bias
    losses = [step.loss for step in train_on_text(model, text, max_steps=max_steps, seed=seed, rate=RATE)]
    return Trained(losses, nats_per_character(model, text.validation), read(model, text.validation))


def forget_gate(config: StudyConfig) -> None:
    """What does the forget gate do on real text, and what does its first bias matter?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 600)
    classes = np.array([CLASSES.index(class_of(character)) for character in text.corpus.validation])
    runs = {
        bias: [train_with_bias(text, bias, max_steps=steps, seed=seed) for seed in seeds_of(config)]
        for bias in (1.0, 0.0)
    }
    rows: list[Row] = []
    for number, name in enumerate(CLASSES):
        share = 100 * float((classes == number).mean())
        row: Row = {"case": name, "characters": round(share, 1)}
        if share >= 0.1:  # what is rarer hardly stands in the pieces that were read
            row |= mean_and_spread("forget", [mean_gate(run.reading, classes == number) for run in runs[1.0]], 3)
        rows.append(row)
    memory = [time_constants(run.reading.forget) for run in runs[1.0]]
    for name, share in (("shortest tenth", 0.1), ("median cell", 0.5), ("longest tenth", 0.9)):
        rows.append({"case": name, **mean_and_spread("memory", [float(each.quantile(share)) for each in memory], 1)})
    for bias, same in runs.items():
        rows.append({"case": f"bias {bias:g}", **mean_and_spread("loss", [run.final for run in same], 3)})
    new = time_constants(read(new_language_model(text, config.seed, hidden=HIDDEN), text.validation).forget)
    _draw_forget(rows, new, torch.cat(memory), runs)
    units = {"characters": "%", "forget": "", "memory": "steps", "loss": "nats"}
    finish(
        config,
        "forget_gate",
        title=f"Forget gate after each kind of character, how long memories last, and the first bias ({steps} steps)",
        columns={**units, **{f"{key}_sd": unit for key, unit in units.items() if key != "characters"}},
        rows=rows,
        seen=_seen_forget({row["case"]: row for row in rows}),
        started=started,
        corpus=text.corpus,
    )


def mean_gate(reading: Reading, chosen: ndarray) -> float:
    """The forget gate's mean over cells and over the characters of the text that are chosen."""
    here = torch.from_numpy(chosen)[reading.rows]  # (T, B)
    return float(reading.forget.mean(dim=2)[here].mean())


def _seen_forget(rows: Mapping[str, Row]) -> str:
    gates = sorted((rows[name]["forget"], name) for name in CLASSES if "forget" in rows[name])
    spread = max(row.get("forget_sd", 0.0) for row in rows.values())
    faster, slower = sorted(("bias 1", "bias 0"), key=lambda name: rows[name]["loss"])
    return (
        f"the mean forget gate, from what makes it forget most: "
        f"{', '.join(f'{name} {gate:.2f}' for gate, name in gates)} (± up to {spread:.2f} over the seeds); the median "
        f"cell keeps a memory for {rows['median cell']['memory']:.0f} characters, one in ten for "
        f"{rows['longest tenth']['memory']:.0f} or more; with forget {faster} the network ends at "
        f"{rows[faster]['loss']:.3f} nats, with {slower} at {rows[slower]['loss']:.3f}"
    )


def _draw_forget(rows: list[Row], new: Tensor, trained: Tensor, runs: Mapping[float, Sequence[Trained]]) -> None:
    figure, (gates, memory, curves) = sheet(3, width=3.7, title="What the forget gate does on real text")
    for row in rows[: len(CLASSES)]:
        if "forget" in row:
            gates.errorbar(row["forget"], row["case"], xerr=row["forget_sd"], fmt="o", capsize=3, color=COLORS[0])
    gates.invert_yaxis()
    gates.set_title("after reading a …", fontsize=10, loc="left")
    gates.set(xlabel="mean forget gate")
    bins = np.geomspace(1, 300, 40)
    for values, label, color in ((new, "new", "#999999"), (trained, "trained", COLORS[0])):
        weights = np.full(len(values), 100 / len(values))
        memory.hist(values.clamp(max=299).numpy(), bins=bins, weights=weights, label=label, color=color, alpha=0.8)
    memory.set_title("how long a memory lasts", fontsize=10, loc="left")
    memory.set(xlabel="1 / (1 - mean gate), characters", ylabel="cells (%)")
    memory.set_xscale("log")
    memory.set_xticks([1, 3, 10, 30, 100, 300], ["1", "3", "10", "30", "100", "300"])
    memory.minorticks_off()
    memory.set_ylim(0, min(memory.get_ylim()[1], 40))
    memory.legend(frameon=False)
    for (bias, same), color in zip(runs.items(), COLORS):
        mean = [statistics.fmean(losses) for losses in zip(*(run.losses for run in same))]
        curves.plot(*zip(*smooth(list(enumerate(mean)), 60)), color=color, label=f"first bias {bias:g}")
    curves.set_title("the first bias", fontsize=10, loc="left")
    curves.set(xlabel="step", ylabel="training loss (nats)")
    curves.legend(frameon=False)
    save(figure, "forget_gate")

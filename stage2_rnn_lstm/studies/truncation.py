"""How far back must the gradient reach? Truncated back-propagation through time with windows of many lengths.

The gradient ends where the window begins. The state need not: it can be carried from window to window, so that the
network reads on, but learns only from the last few steps why it should have remembered something (Williams & Peng,
1990). Every optimiser step reads the same number of characters here, in many short windows or in few long ones: all
cases take the same steps and see as much text.
"""

import statistics
import time
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.schedules import cosine
from my_llm.training import Loss, train_steps
from stage2_rnn_lstm.data import Streams, Window
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import LanguageModel
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
)
from stage2_rnn_lstm.studies.trials import warm_up

Row = dict[str, Any]
HIDDEN = 128
STEP = 2048  # characters that an optimiser step reads
LENGTHS = (2, 4, 8, 16, 32, 64, 128, 256)


def fresh_loss(model: nn.Module, window: Window) -> Loss:
    """The loss of a window that is read from zeros, whatever stood before it."""
    return CarriedLoss()(model, window)


@torch.inference_mode()
def windowed_nats(model: LanguageModel, tokens: Int[Tensor, "N"], length: int) -> float:
    """Mean loss over a text that is read in windows, each from zeros; what does not fill a window is left out."""
    whole = (len(tokens) - 1) // length * length
    inputs, targets = (part.view(-1, length) for part in (tokens[:whole], tokens[1 : whole + 1]))
    total, rows = 0.0, max(1, 16_384 // length)
    for x, y in zip(inputs.split(rows), targets.split(rows), strict=True):
        total += float(cross_entropy(model(x)[0].flatten(0, 1), y.flatten(), reduction="sum"))
    return total / whole


def train_windows(
    text: Characters, steps: int, length: int, seed: int, *, carried: bool
) -> tuple[LanguageModel, float]:
    """A model trained on windows of this length, STEP characters an optimiser step; and its processor time."""
    model, before = new_language_model(text, seed, hidden=HIDDEN), time.process_time()
    streams = Streams(text.train, STEP // length, length, seed=seed)
    loss_fn = CarriedLoss() if carried else fresh_loss
    optimizer, schedule = torch.optim.Adam(model.parameters(), 0.02), cosine(steps, steps // 20)
    for _ in train_steps(model, streams, loss_fn, optimizer, max_steps=steps, schedule=schedule, clip=1.0):
        pass
    return model, time.process_time() - before


def truncation(config: StudyConfig) -> None:
    """How far back must the gradient reach, and what is a state worth that is carried from window to window?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 800)
    rows: list[Row] = []
    warm_up()
    for state in ("carried", "zero"):
        for length in LENGTHS:
            trained = [train_windows(text, steps, length, s, carried=state == "carried") for s in seeds_of(config)]
            row = {"case": f"{length} {state}", "length": length}
            row |= mean_and_spread("nats", [nats_per_character(model, text.validation) for model, _ in trained], 4)
            row |= mean_and_spread("windows", [windowed_nats(m, text.validation, length) for m, _ in trained], 4)
            rows.append({**row, "cpu_seconds": round(statistics.fmean(seconds for _, seconds in trained), 2)})
    _draw_truncation(rows)
    carried, zero = rows[: len(LENGTHS)], rows[len(LENGTHS) :]
    best, other = min(zip(carried, zero, strict=True), key=lambda pair: pair[0]["nats"])  # of the same length
    finish(
        config,
        "truncation",
        title=f"LSTM of {HIDDEN}, {steps} steps of {STEP:,} characters: nats per character of validation text read in "
        "one go, and in windows as long as in training, each from zeros",
        columns={
            "length": "steps",
            **dict.fromkeys(["nats", "nats_sd", "windows", "windows_sd"], "nats"),
            "cpu_seconds": "s",
        },
        rows=rows,
        seen=f"with a carried state windows of {LENGTHS[0]} steps reach {carried[0]['nats']:.3f} nats, of "
        f"{LENGTHS[-1]} {carried[-1]['nats']:.3f}, the best ({best['length']}) {best['nats']:.3f}; from zeros windows "
        f"of {LENGTHS[0]} reach {zero[0]['nats']:.3f}, of {best['length']} {other['nats']:.3f} (read in such windows "
        f"{other['windows']:.3f}), of {LENGTHS[-1]} {zero[-1]['nats']:.3f}",
        started=started,
        corpus=text.corpus,
    )


def _draw_truncation(rows: list[Row]) -> None:
    figure, (nats, seconds) = sheet(2, width=4.4, title="The gradient is cut at the window, the state need not be")
    carried, zero = rows[: len(LENGTHS)], rows[len(LENGTHS) :]
    curves = (("state carried", carried, "nats"), ("zeros, read in one go", zero, "nats"))
    for color, (name, kind, key) in zip(COLORS, (*curves, ("zeros, read in windows", zero, "windows"))):
        found, spread = [row[key] for row in kind], [row[f"{key}_sd"] for row in kind]
        nats.errorbar(LENGTHS, found, spread, marker="o", markersize=4, capsize=3, color=color, label=name)
    for color, name, kind in ((COLORS[0], "state carried", carried), (COLORS[1], "zeros", zero)):
        seconds.plot(LENGTHS, [row["cpu_seconds"] for row in kind], "o-", markersize=4, color=color, label=name)
    nats.set(ylabel="validation loss (nats per character)")
    seconds.set(ylabel="processor time of the training (s)", ylim=(0, None))
    for chart in (nats, seconds):
        chart.set(xscale="log", xlabel="window (steps); rows × steps stay the same")
        chart.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
        chart.minorticks_off()
        chart.legend(fontsize=8, frameon=False)
    save(figure, "truncation")

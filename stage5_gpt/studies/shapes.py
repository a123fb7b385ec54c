"""What a GPT should look like: its size at equal compute, layers against width, heads, context."""

import dataclasses
import math
import time
from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from my_llm import studies
from my_llm.evaluation import parameters_of
from my_llm.studies import finish, lines, mean_and_spread, sheet
from stage5_gpt.models import GPT, cost_of
from stage5_gpt.studies import StudyConfig, seeds_of, steps_of
from stage5_gpt.studies.common import RATE, SHAPE, Row, Text, adamw, best_of, learn, load, nats, new_gpt, publish

SIZES = ((1, 8), (1, 16), (1, 32), (2, 48), (2, 64), (3, 96), (4, 128))  # layers, width
COMPUTE = (1e10, 3e10, 1e11, 3e11)  # operations of training
LENGTH, TOKENS = 64, 512  # of a window and of a step of `size`
FEWEST, READINGS = 40, 4  # with fewer steps there is nothing to compare; how often the text may be read
SHAPES = ((1, 88), (2, 64), (4, 48), (8, 32))  # layers, width: about equally many weights
HEADS = (1, 2, 4, 8, 16)
CONTEXTS = (4, 8, 16, 32, 64, 128, 256)
ASKED = 1500  # characters that `context` asks for
STEPS = 400
COLUMNS = {"loss": "nats", "loss_sd": "nats", "steps": "", "seconds": "s", "parameters": ""}


def rate_of(width: int) -> float:
    """The wider, the smaller: a step of Adam moves each weight by the rate, and a product adds up a width of them."""
    return RATE * (64 / width) ** 0.5


def row_of(config: StudyConfig, text: Text, case: str, steps: int, **shape: int) -> Row:
    """Train one shape with every seed: the loss on text that it did not read."""
    losses, seconds, parameters = [], [], 0
    rate = rate_of(shape.get("model", int(SHAPE["model"])))
    for seed in seeds_of(config):
        model = new_gpt(text, seed, **shape)
        seconds.append(learn(model, text, steps, seed, optimizer=adamw(model, rate)).seconds[-1])
        losses.append(nats(model, text))
        parameters = parameters_of(model)
    spent = round(sum(seconds) / len(seconds), 1)
    return {"case": case, **mean_and_spread("loss", losses, 3), "steps": steps, "seconds": spent} | {
        "parameters": parameters
    }


def _publish(config: StudyConfig, name: str, title: str, text: Text, rows: list[Row], started: float) -> None:
    publish(
        config, name, text.corpus, rows, title=title, columns=COLUMNS, draw=("loss", "seconds"), started=started,
        seen=lambda: best_of(rows),
    )  # fmt: skip


def depth(config: StudyConfig) -> None:
    """Few wide layers, or many narrow ones, of equally many weights?"""
    started, text, steps = time.perf_counter(), load(config), steps_of(config, STEPS)
    rows = [row_of(config, text, f"{n} x {width}", steps, layers=n, model=width) for n, width in SHAPES]
    _publish(config, "depth", "Layers x width at about equal parameters: held-out loss", text, rows, started)


def heads(config: StudyConfig) -> None:
    """What do more heads bring at equal width?"""
    started, text, steps = time.perf_counter(), load(config), steps_of(config, STEPS)
    rows = [row_of(config, text, str(n), steps, heads=n) for n in HEADS]
    _publish(config, "heads", "Heads at equal width: held-out loss", text, rows, started)


# --- size -------------------------------------------------------------------------------------------------------------


def size(config: StudyConfig) -> None:
    """Which size is best if all may compute equally much, and how does that change with the amount?"""
    config = dataclasses.replace(config, seeds=1)  # sizes differ by more than seeds
    started, text, rows = time.perf_counter(), load(config), []
    for layers, width in SIZES:
        row: Row = {"case": f"{layers} x {width}"}
        for compute in COMPUTE:
            losses = []
            for seed in seeds_of(config):
                model = new_gpt(text, seed, layers=layers, model=width, context=LENGTH)
                row["parameters"] = parameters_of(model)
                steps = round(compute / cost_of(model.config).flops_per_token / TOKENS)
                if FEWEST <= steps <= READINGS * len(text.train) / TOKENS:
                    options = {"length": LENGTH, "tokens": TOKENS, "optimizer": adamw(model, rate_of(width))}
                    learn(model, text, steps_of(config, steps), seed, **options)
                    losses.append(nats(model, text, LENGTH))
            if losses:
                row |= mean_and_spread(_key(compute), losses, 3)
        print(row, flush=True)
        rows.append(row)
    keys = [_key(compute) for compute in COMPUTE]
    _draw_size(rows, keys)
    columns = {f"{key}{end}": "nats" for key in keys for end in ("", "_sd")}
    finish(
        config, "size", columns={"parameters": "", **columns}, rows=rows, started=started, corpus=text.corpus,
        title=f"Layers x width at equal operations of training: held-out loss (–: fewer than {FEWEST} steps, or more "
        f"than {READINGS} readings)",
        seen="; ".join(best_of(rows, key) for key in keys),
    )  # fmt: skip


def _key(compute: float) -> str:
    return f"loss_at_{compute:.0e}".replace("e+", "e")


def _draw_size(rows: Sequence[Row], keys: Sequence[str]) -> None:
    figure, (chart,) = sheet(1, width=6.5, height=3.8, title="Equal operations, different sizes")
    series = {}
    for key in keys:
        there = [row for row in rows if key in row]
        series[f"{key.removeprefix('loss_at_')} operations"] = (
            [row["parameters"] for row in there], [row[key] for row in there],
        )  # fmt: skip
    lines(chart, series, title="held-out loss", xlabel="parameters", ylabel="nats a character", mark="o")
    for x, y in series.values():
        if y:
            chart.plot(x[y.index(min(y))], min(y), "*", color="black", markersize=11, zorder=5)
    chart.set_xscale("log")
    chart.legend(fontsize=8, frameon=False)
    studies.save(figure, "size", stage=StudyConfig.stage)


# --- context ----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def nats_after(model: GPT, text: Text, past: int) -> float:
    """Mean loss at characters of the held-out text, always the same ones, when the model reads the last `past` only."""
    most = min(max(CONTEXTS), len(text.validation) // 2)
    places = torch.linspace(most, len(text.validation) - 1, ASKED).long()
    losses = []
    for some in places.split(max(1, 16_384 // past)):
        logits, _ = model(text.validation[some[:, None] + torch.arange(-past, 0)])
        losses.append(cross_entropy(logits[:, -1], text.validation[some], reduction="none"))
    return float(torch.cat(losses).mean())


def context(config: StudyConfig) -> None:
    """How far back is it worth looking, and is it the training or the reading that a short context costs?"""
    started, text, steps, longest = time.perf_counter(), load(config), steps_of(config, STEPS), max(CONTEXTS)
    trained: dict[int, list[float]] = {n: [] for n in CONTEXTS}
    shortened: dict[int, list[float]] = {n: [] for n in CONTEXTS}
    seconds: dict[int, list[float]] = {n: [] for n in CONTEXTS}
    for seed in seeds_of(config):
        for n in CONTEXTS:
            model = new_gpt(text, seed, context=n)
            seconds[n].append(learn(model, text, steps, seed, length=n).seconds[-1])
            trained[n].append(nats_after(model, text, n))
            if n == longest:
                for past in CONTEXTS:
                    shortened[past].append(nats_after(model, text, past))
    rows: list[Row] = []
    for n in CONTEXTS:
        row: Row = {"case": str(n), **mean_and_spread("loss", trained[n], 3)}
        row |= mean_and_spread("loss_at_position", shortened[n], 3)
        rows.append(row | {"seconds": round(math.fsum(seconds[n]) / len(seconds[n]), 1)})
    _draw_context(rows, longest)
    columns = {f"{key}{end}": "nats" for key in ("loss", "loss_at_position") for end in ("", "_sd")}
    finish(
        config, "context", columns={**columns, "seconds": "s"}, rows=rows, started=started, corpus=text.corpus,
        title=f"Characters that the model sees: loss at the same {ASKED:,} places, trained with so many, and the model "
        f"of {longest} at that position of its window",
        seen=best_of(rows) + "; " + best_of(rows, "loss_at_position"),
    )  # fmt: skip


def _draw_context(rows: Sequence[Row], longest: int) -> None:
    figure, charts = sheet(2, width=4.6, title="How much a token far back helps")
    x = [int(row["case"]) for row in rows]
    names = {"loss": "trained with this context", "loss_at_position": f"trained with {longest}, position in the window"}
    lines(
        charts[0], {label: (x, [row[key] for row in rows]) for key, label in names.items()},
        title="loss at the same places", xlabel="characters seen", ylabel="nats a character", mark="o",
    )  # fmt: skip
    lines(
        charts[1], {"": (x, [row["seconds"] for row in rows])}, title="processor time at equal tokens",
        xlabel="context of the training", ylabel="seconds", mark="o",
    )  # fmt: skip
    for chart in charts:
        chart.set_xscale("log", base=2)
        chart.set_xticks(x, [str(n) for n in x])
    charts[0].legend(fontsize=8, frameon=False)
    charts[1].set_ylim(bottom=0)
    studies.save(figure, "context", stage=StudyConfig.stage)

"""Must everybody look at everything? Masks that leave most of the scores out.

Sliding window: a token sees the last w tokens, itself among them (Beltagy et al. 2020, Longformer). With L layers it
still hears from about L · w tokens back, as it reads what others have heard. Strided: the last s tokens, and before
them every s-th (Child et al. 2019, "Generating Long Sequences with Sparse Transformers", §4.2): any token is two steps
away.

A mask by itself saves nothing, since every score is computed and then thrown away. What saves is not to compute them:
for the window that is short to write, with blocks of w queries that see their own block of keys and the one before.
The strided pattern would need a kernel of its own; of it only the share of scores is told.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from stage4_transformer.models import TransformerLM, TransformerLMConfig, attention, causal_mask, window_mask
from stage4_transformer.studies.common import (
    COLORS,
    LENGTH,
    SHAPE,
    Characters,
    Recipe,
    Row,
    StudyConfig,
    finish,
    load_characters,
    mean_and_spread,
    nats_per_character,
    save,
    seeds_of,
    sheet,
    steps_of,
    train_on_text,
)
from stage4_transformer.studies.cost import milliseconds_of

STEPS = 400
LONG, HEADS, WIDTH = 4096, 4, 32  # tokens, heads and their width, of the attention that is timed
Mask = Callable[[int], Bool[Tensor, "T T"]]


# --- patterns ---------------------------------------------------------------------------------------------------------


def full(steps: int) -> Bool[Tensor, "T T"]:
    """A token sees itself and all before it."""
    return causal_mask(steps, steps)


def window(steps: int, width: int) -> Bool[Tensor, "T T"]:
    """A token sees the last `width`, itself among them."""
    return causal_mask(steps, steps) & window_mask(steps, steps, width)


def strided(steps: int, stride: int) -> Bool[Tensor, "T T"]:
    """A token sees the last `stride`, itself among them, and before them every token a multiple of `stride` away."""
    positions = torch.arange(steps)
    away = positions[:, None] - positions  # (T, T)
    return window(steps, stride) | (causal_mask(steps, steps) & (away % stride == 0))


class Case(NamedTuple):
    """A pattern, and the width of its window where it has nothing else."""

    mask: Mask
    width: int = 0


CASES: dict[str, Case] = {
    "all": Case(full),
    "window of 64": Case(lambda steps: window(steps, 64), 64),
    "window of 16": Case(lambda steps: window(steps, 16), 16),
    "window of 4": Case(lambda steps: window(steps, 4), 4),
    "strided by 16": Case(lambda steps: strided(steps, 16)),
    "strided by 8": Case(lambda steps: strided(steps, 8)),
}


def share(mask: Mask, steps: int) -> float:
    """Of the scores of a causal attention, those that the pattern has (%)."""
    return 100 * float(mask(steps).sum() / full(steps).sum())


class SparseLM(TransformerLM):
    """The language model with another mask. It reads whole windows, and never with a past."""

    def __init__(self, config: TransformerLMConfig, pattern: Mask):
        super().__init__(config)
        self.pattern = pattern

    def mask(self, steps: int, start: int, device: torch.device) -> Tensor:
        """The pattern."""
        return self.pattern(steps).to(device)


# --- a window that is computed ----------------------------------------------------------------------------------------


def banded_attention(
    query: Float[Tensor, "B H T K"], key: Float[Tensor, "B H T K"], value: Float[Tensor, "B H T K"], width: int
) -> Float[Tensor, "B H T K"]:
    """Causal attention in a window, T · 2w scores instead of T²: blocks of w queries see two blocks of w keys.

    Args:
        width: w; divides T.
    """
    steps = query.shape[2]
    blocks = query.unflatten(2, (steps // width, width)).flatten(0, 1)  # (B·H, T/w, w, K)

    def pairs_of_blocks(x: Tensor) -> Tensor:
        """Each block with the one before it; before the first there is nothing."""
        x = pad(x.flatten(0, 1), (0, 0, width, 0)).unflatten(1, (steps // width + 1, width))
        return torch.cat([x[:, :-1], x[:, 1:]], dim=2)  # (B·H, T/w, 2w, K)

    seen = causal_mask(width, 2 * width) & window_mask(width, 2 * width, width)
    mask = seen.repeat(steps // width, 1, 1)  # (T/w, w, 2w)
    mask[0, :, :width] = False
    said, _ = attention(blocks, pairs_of_blocks(key), pairs_of_blocks(value), mask)
    return said.flatten(1, 2).unflatten(0, query.shape[:2])


def milliseconds(case: Case) -> float | None:
    """Of one attention forward and backward at LONG tokens; None where nobody has written how to leave scores out."""
    if not case.width and case.mask is not full:
        return None
    query, key, value = (torch.randn(1, HEADS, LONG, WIDTH, requires_grad=True) for _ in range(3))
    grad = torch.randn(1, HEADS, LONG, WIDTH)

    def step() -> None:
        if case.width:
            said = banded_attention(query, key, value, case.width)
        else:
            said, _ = attention(query, key, value, full(LONG))
        torch.autograd.grad(said, (query, key, value), grad)

    step()
    return milliseconds_of(step)


# --- the study --------------------------------------------------------------------------------------------------------


def nats_with(text: Characters, pattern: Mask, steps: int, seed: int) -> float:
    """Loss a character of a language model that has learnt, and reads, with this pattern."""
    torch.manual_seed(seed)
    config = TransformerLMConfig(vocab_size=text.tokenizer.vocab_size, max_length=LENGTH, **SHAPE)
    model = SparseLM(config, pattern)
    train_on_text(model, text, Recipe(steps, seed))
    return nats_per_character(model, text.validation)


def windows(config: StudyConfig) -> None:
    """What is lost when most of the scores are left out, and what is gained?"""
    started = time.perf_counter()
    text, steps, rows = load_characters(config), steps_of(config, STEPS), []
    for name, case in CASES.items():
        row: Row = {"case": name, "share": round(share(case.mask, LENGTH), 1)}
        row["share_long"] = round(share(case.mask, LONG), 2)
        row |= mean_and_spread("nats", [nats_with(text, case.mask, steps, seed) for seed in seeds_of(config)], 4)
        taken = milliseconds(case)
        rows.append(row if taken is None else {**row, "long": round(taken, 2)})
    _draw_windows(rows)
    whole, others = rows[0], rows[1:]
    finish(
        config,
        "windows",
        title=f"Which scores a character-level language model computes (share of the causal ones at {LENGTH} tokens, "
        f"which it reads, and at {LONG:,}): nats a character after {steps} steps; one attention of {LONG:,} tokens, "
        "forward and backward, written out, where the scores that the mask leaves out are not computed (long)",
        columns={"share": "%", "share_long": "%", "nats": "nats", "nats_sd": "nats", "long": "ms"},
        rows=rows,
        seen=f"all scores: {whole['nats']:.3f} nats; "
        + "; ".join(
            f"{row['case']} ({row['share']:.0f} % of them) {row['nats'] - whole['nats']:+.3f}"
            + (f", {whole['long'] / row['long']:.1f} times as fast at {LONG:,} tokens" if "long" in row else "")
            for row in others
        ),
        started=started,
        corpus=text.corpus,
    )


def _draw_windows(rows: Sequence[Row]) -> None:
    """Left: the patterns. Middle and right: what they cost and what they lose."""
    figure, charts = sheet(5, width=2.6, height=3.0, title="Which scores can be left out?")
    shown = 48
    for chart, name in zip(charts, ("all", "window of 16", "strided by 8")):
        chart.imshow(CASES[name].mask(shown).numpy(), cmap="Blues", vmin=0, vmax=1.3, interpolation="nearest")
        chart.set_title(name, fontsize=9, loc="left")
        chart.set(xlabel="seen", xticks=[], yticks=[])
        chart.grid(False)
    charts[0].set_ylabel("sees")
    for row in rows:
        color = COLORS[2 if row is rows[0] else "strided" in row["case"]]
        charts[3].errorbar(row["share"], row["nats"], row["nats_sd"], marker="o", capsize=3, color=color)
        charts[3].annotate(row["case"], (row["share"], row["nats"]), (0, 6), textcoords="offset points", fontsize=7,
                           ha="center")  # fmt: skip
    timed = [row for row in rows if "long" in row]
    bars = charts[4].barh([row["case"] for row in timed], [row["long"] for row in timed], color=COLORS[0])
    charts[4].bar_label(bars, [f"{row['long']:,.0f}" for row in timed], padding=3, fontsize=8)
    charts[3].set_title("loss (nats a character)", fontsize=9, loc="left")
    charts[3].set(xlabel="share of the scores (%)", xlim=(-20, 125))
    charts[3].margins(y=0.2)
    charts[4].set_title(f"{LONG:,} tokens (ms)", fontsize=9, loc="left")
    charts[4].margins(x=0.25)
    charts[4].grid(False, axis="y")
    charts[4].invert_yaxis()
    save(figure, "windows")

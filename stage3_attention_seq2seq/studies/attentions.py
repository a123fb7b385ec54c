"""Six ways to look back at the same task, and do they look where they should?

In numbers_en_fr it is known for every French word which English words it says: so an alignment is not only pretty or
ugly, but right or wrong. All translators read the same right translations, so that all are asked about the same words.
What is measured are the attention weights. A model may translate well and look elsewhere: what the encoder says about a
word stands in its neighbours, too, and nothing in the loss asks for the word itself.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import torch
from jaxtyping import Float
from torch import Tensor

from my_llm.data.catalog import Pair
from my_llm.plots import LOOK
from my_llm.text import EOS
from my_llm.translation.alignment import Alignment, agreement, align_words, diagonal, partners
from my_llm.translation.translator import Translator
from stage3_attention_seq2seq.models import Seq2Seq
from stage3_attention_seq2seq.studies.common import (
    COLORS,
    Row,
    Sentences,
    Setting,
    StudyConfig,
    finish,
    load_sentences,
    mean_and_spread,
    save,
    scored,
    seeds_of,
    sheet,
    steps_of,
    trained,
)
from stage3_attention_seq2seq.translator import look

NAMES = ("none", "bahdanau", "luong_dot", "luong_general", "luong_concat", "local")
STEPS, POINTS = 1200, 12
LOOKED = 300  # sentences whose alignments are judged
BLIND = "the diagonal"  # who always looks at the same share of the way looks there


# --- is an alignment sharp, is it right? ------------------------------------------------------------------------------


def sharpness(weights: Float[Tensor, "T S"]) -> tuple[Float[Tensor, "T"], Float[Tensor, "T"]]:
    """Of each row the entropy in nats, of weights that are made to sum to 1, and the largest weight as it is.

    An entropy of log n is a look spread evenly over n tokens; 0 is a look at one.
    """
    shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return -torch.xlogy(shares, shares).sum(dim=1), weights.amax(dim=1)


class Looks(NamedTuple):
    """How a translator looks at sentences while it says what is right: means over tokens, over sentences."""

    entropy: float
    largest: float
    agreement: float


def alignment_of(translator: Translator[Seq2Seq], pair: Pair) -> tuple[Float[Tensor, "T S"], Alignment]:
    """Weights of tokens and of words while the translator says the right translation."""
    tokens = [*translator.tokenizer.encode(pair.target), EOS]
    looked = look(translator, pair.source, tokens)
    assert looked is not None
    return looked[0], align_words(looked[0], tokens, looked[1], translator.tokenizer)


def looks_of(translator: Translator[Seq2Seq], pairs: Sequence[Pair]) -> Looks:
    """Sharpness and agreement; <eos> is a place to look at, which is never right, but not a word to be judged."""
    entropies, largest, agreements = [], [], []
    for pair in pairs:
        weights, words = alignment_of(translator, pair)
        entropy, most = sharpness(weights)
        entropies.append(entropy)
        largest.append(most)
        agreements.append(agreement(words.weights[:-1].argmax(dim=1).tolist(), partners(pair)))
    return Looks(float(torch.cat(entropies).mean()), float(torch.cat(largest).mean()), sum(agreements) / len(pairs))


# --- the study --------------------------------------------------------------------------------------------------------


def attentions(config: StudyConfig) -> None:
    """Which attention translates best, which looks most sharply, and which looks at the right words?"""
    started = time.perf_counter()
    text, steps = load_sentences(config, "numbers_en_fr"), steps_of(config, STEPS)
    pairs, rows, models, curves = text.validation[:LOOKED], [], {}, {}
    for name in NAMES:
        found = [trained(text, Setting(name, steps, seed, points=POINTS)) for seed in seeds_of(config)]
        row: Row = {"case": name, **scored(found, text.validation)}
        curves[name] = found[0].curve
        if name != "none":
            models[name] = found[0].translator
            looks = [looks_of(each.translator, pairs) for each in found]
            row |= mean_and_spread("entropy", [look.entropy for look in looks], 3)
            row |= mean_and_spread("largest", [look.largest for look in looks], 3)
            row |= mean_and_spread("agrees", [100 * look.agreement for look in looks], 1)
        rows.append(row)
    blind = 100 * sum(agreement(diagonal(pair), partners(pair)) for pair in pairs) / len(pairs)
    maps = {name: alignment_of(model, example(text))[1] for name, model in models.items()}
    _draw_attentions(rows, curves, blind, maps, partners(example(text)))
    finish(
        config,
        "attentions",
        title=f"{steps} steps: translations that are exactly right, BLEU (greedy, {len(text.validation)} sentences); "
        f"entropy of the attention weights, largest weight; words whose largest weight is at a true partner",
        columns={
            **dict.fromkeys(["exact", "exact_sd"], "%"),
            **dict.fromkeys(["bleu", "bleu_sd"], ""),
            **{"seconds": "s", "parameters": "", "entropy": "nats", "entropy_sd": "nats"},
            **{"largest": "", "largest_sd": "", "agrees": "%", "agrees_sd": "%"},
        },
        rows=[*rows, {"case": BLIND, "agrees": round(blind, 1), "agrees_sd": 0.0}],
        seen=_seen_attentions(rows, curves, blind),
        started=started,
        corpus=text.corpus,
    )


def example(text: Sentences) -> Pair:
    """A sentence for the figure: among the first hundred the one whose words change places most."""

    def crossings(pair: Pair) -> int:
        first = [min(places) for places in partners(pair)]
        return sum(a > b for i, b in enumerate(first) for a in first[:i])

    return max(text.validation[:100], key=crossings)


Curves = Mapping[str, Sequence[tuple[int, float]]]  # attention → (step, share of exact translations)


def _seen_attentions(rows: Sequence[Row], curves: Curves, blind: float) -> str:
    none, *others = rows
    best, truest = (max(others, key=lambda row: row[key]) for key in ("exact", "agrees"))
    sharpest = min(others, key=lambda row: row["entropy"])
    third = {name: curve[(len(curve) - 1) // 3] for name, curve in curves.items()}
    early = ", ".join(f"{name} {100 * share:.0f}" for name, (_, share) in third.items())
    return (
        f"without attention {none['exact']:.0f} % are exactly right, with it {min(row['exact'] for row in others):.0f} "
        f"to {best['exact']:.0f} % ({best['case']}); after {third['none'][0]} steps it is {early} %; {truest['case']} "
        f"looks at a true partner for {truest['agrees']:.0f} % of the words, bahdanau for {others[0]['agrees']:.0f} %, "
        f"the diagonal for {blind:.0f} %; the sharpest is {sharpest['case']} with {sharpest['entropy']:.2f} nats"
    )


def _draw_attentions(
    rows: Sequence[Row], curves: Curves, blind: float, maps: Mapping[str, Alignment], truth: Sequence[set[int]]
) -> None:
    """Above: the scores. Below: one sentence as each attention sees it, the true partners framed."""
    figure, (whole,) = sheet(1, width=12.0, height=6.0, title="Six ways to look back")
    whole.remove()
    above = ("exact", "agrees", "curves")  # what has the names comes first
    rows_of_charts: Any = [[key for key in above for _ in maps], [name for name in maps for _ in above]]
    with matplotlib.rc_context(LOOK):
        charts = figure.subplot_mosaic(rows_of_charts, height_ratios=[1, 1.2])
    for color, (name, curve) in zip(COLORS, curves.items()):
        steps, shares = zip(*curve)
        charts["curves"].plot(steps, [100 * share for share in shares], "o-", markersize=3, color=color, label=name)
    charts["curves"].set(xlabel="step", xlim=(0, None), ylim=(-3, 103))
    charts["curves"].set_title("exactly right on the way (%)", fontsize=10, loc="left")
    charts["curves"].legend(fontsize=7.5, frameon=False)
    _draw_scores(charts["exact"], rows, "exact", "exactly right in the end (%)", labelled=True)
    _draw_scores(charts["agrees"], rows, "agrees", "largest weight at a true partner (%)", labelled=False)
    charts["agrees"].axvline(blind, color="#888888", linestyle=":", label=BLIND)
    charts["agrees"].legend(fontsize=8, frameon=False, loc="upper left")
    for name, words in maps.items():
        _draw_map(charts[name], words, truth, name, labelled=name == next(iter(maps)))
    save(figure, "attentions")


def _draw_scores(chart: Any, rows: Sequence[Row], key: str, title: str, *, labelled: bool) -> None:
    for place, row in enumerate(rows):
        if key not in row:
            continue
        chart.errorbar(row[key], place, xerr=row[f"{key}_sd"], fmt="o", color=COLORS[place], capsize=3)
        chart.annotate(f"{row[key]:.3g}", (row[key], place), (0, 6), textcoords="offset points", fontsize=8)
    chart.set_yticks(range(len(rows)), [row["case"] for row in rows] if labelled else [])
    chart.set(xlim=(0, 110), ylim=(len(rows) - 0.5, -0.8))
    chart.set_title(title, fontsize=10, loc="left")


def _draw_map(chart: Any, words: Alignment, truth: Sequence[set[int]], name: str, *, labelled: bool) -> None:
    chart.imshow(words.weights[:-1].numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, places in enumerate(truth):
        for place in places:
            frame = {"markerfacecolor": "none", "markeredgecolor": COLORS[1], "markersize": 9}
            chart.plot(place, row, "s", **frame)
    chart.set_xticks(
        range(len(words.source)), words.source, rotation=60, ha="right", rotation_mode="anchor", fontsize=7
    )
    chart.set_yticks(range(len(truth)), words.target[:-1] if labelled else [""] * len(truth), fontsize=7)
    chart.grid(False)
    chart.set_title(name, fontsize=9, loc="left")

"""What the heads of a trained translator look at.

Nobody told them: a head is three matrices and a softmax. For each head of each layer the weights are sorted by where
they go: to the token itself, to its neighbours, to the beginning or the end, where there is nothing to be read and a
head may rest. In numbers_en_fr it is known for every French word which English words it says; there the heads that look
at the source can be right or wrong as well (Voita et al. 2019 and Clark et al. 2019 sort the heads of large models).
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import torch
from jaxtyping import Float
from torch import Tensor

from my_llm.data.catalog import Pair, Translation, load_pairs
from my_llm.plots import LOOK
from my_llm.text import EOS, BPETokenizer
from my_llm.translation.alignment import agreement, align_words, diagonal, partners
from my_llm.translation.translator import Translator
from stage4_transformer.models import Maps, Transformer
from stage4_transformer.studies.common import (
    SCORED,
    Row,
    Setting,
    StudyConfig,
    check,
    finish,
    load_sentences,
    save,
    sheet,
    steps_of,
    trained,
)
from stage4_transformer.studies.translation import POINTS, STEPS
from stage4_transformer.translating import load_translator

LOOKED = 200  # sentences
PLACES = ("same", "previous", "next", "first", "end")
ALIGNED = "numbers_en_fr"  # the corpus whose partners are known
BLIND = "the diagonal"  # who always looks at the same share of the way looks there


class Watched(NamedTuple):
    """A translator to look at, the sentences that it says, and where it comes from."""

    translator: Translator[Transformer]
    corpus: Translation
    pairs: Sequence[Pair]
    origin: str


def watched(config: StudyConfig) -> Watched:
    """The translator of `--model_path`, or the first small one of the study translation.

    One is enough, whatever `--seeds` says: heads of the same number in two of them have nothing else in common.

    Raises:
        CheckpointError: `--model_path` cannot be read.
    """
    check(config)
    if config.model_path is not None:
        translator = load_translator(config.model_path, torch.device("cpu"), "fp32")
        corpus = load_pairs(translator.facts["data"]["name"])
        return Watched(translator, corpus, corpus.validation[:SCORED], f"trained on {corpus.name} by train.py")
    text, steps = load_sentences(config), steps_of(config, STEPS)
    found = trained(text, Setting(steps, config.seed, points=POINTS)).translator
    return Watched(found, text.corpus, text.validation, f"after {steps} steps on {text.corpus.name}")


# --- where the weights go ---------------------------------------------------------------------------------------------


def places_of(weights: Float[Tensor, "H T S"]) -> Float[Tensor, "H P"]:
    """Mean share of the weight, for each of PLACES: same, previous and next position, the first and the last column.

    The first token and its neighbours may be the same place: the shares are not parts of a whole. A place that a token
    does not have, such as one before the first, gets nothing.
    """
    steps = weights.shape[1]
    shares = [weights.diagonal(shift, dim1=1, dim2=2).sum(dim=1) / steps for shift in (0, -1, 1)]
    return torch.stack([*shares, weights[:, :, 0].mean(dim=1), weights[:, :, -1].mean(dim=1)], dim=1)


def entropies(weights: Float[Tensor, "H T S"]) -> Float[Tensor, "H"]:
    """Mean over the rows, in nats: log n of a look spread evenly over n tokens, 0 of a look at one."""
    return -torch.xlogy(weights, weights).sum(dim=2).mean(dim=1)


def agreements(
    weights: Float[Tensor, "H T S"], target: Sequence[int], source: Sequence[int], tokenizer: BPETokenizer, pair: Pair
) -> Float[Tensor, "H"]:
    """Of each head the share of the words whose largest weight is at a true partner; <eos> is never one."""
    words = [align_words(head, target, source, tokenizer).weights[:-1] for head in weights]
    return torch.tensor([agreement(each.argmax(dim=1).tolist(), partners(pair)) for each in words])


Shares = dict[str, Float[Tensor, "L_and_H _"]]  # encoder, decoder, cross → of each head its PLACES, entropy, agreement


def shares_of(translator: Translator[Transformer], pairs: Sequence[Pair], aligned: bool) -> Shares:
    """Means over sentences while the translator says the right translation; without `aligned` no agreement is known."""
    sums: dict[str, Any] = dict.fromkeys(Maps._fields, 0)
    for pair in pairs:
        target = [*translator.tokenizer.encode(pair.target), EOS]
        maps, source = translator.look(pair.source, target)
        for name, layers in maps._asdict().items():
            weights = layers[:, 0].flatten(0, 1)  # (L·H, T, S)
            found = [places_of(weights), entropies(weights)[:, None]]
            if aligned and name == "cross":
                found.append(agreements(weights, target, source, translator.tokenizer, pair)[:, None])
            sums[name] = sums[name] + torch.cat(found, dim=1)
    return {name: total / len(pairs) for name, total in sums.items()}


# --- the study --------------------------------------------------------------------------------------------------------


def looking(config: StudyConfig) -> None:
    """Where does every head of a trained translator look?"""
    started = time.perf_counter()
    seen = watched(config)
    pairs, aligned = seen.pairs[:LOOKED], seen.corpus.name == ALIGNED
    heads = seen.translator.model.config.heads
    rows = [
        row_of(f"{name} {number // heads + 1}.{number % heads + 1}", values)
        for name, shares in shares_of(seen.translator, pairs, aligned).items()
        for number, values in enumerate(shares.tolist())
    ]
    blind = 100 * sum(agreement(diagonal(p), partners(p)) for p in pairs) / len(pairs) if aligned else None
    _draw_looking(rows)
    finish(
        config,
        "looking",
        title=f"A Transformer {seen.origin}, {len(pairs)} sentences: share of the weight of every head (layer.head) on "
        "the same, the previous and the next position, the first token and the last; entropy; words whose largest "
        "weight is at a true partner",
        columns={
            **dict.fromkeys(PLACES, "%"),
            "entropy": "nats",
            **({"agrees": "%"} if aligned else {}),
        },
        rows=rows if blind is None else [*rows, {"case": BLIND, "agrees": round(blind, 1)}],
        seen=_seen_looking(rows, blind),
        started=started,
        corpus=seen.corpus,
    )


def row_of(case: str, values: Sequence[float]) -> Row:
    """One head: PLACES and agreement in percent, entropy in nats."""
    keys = [*PLACES, "entropy", "agrees"][: len(values)]
    in_units = [round(value, 2) if key == "entropy" else round(100 * value, 1) for key, value in zip(keys, values)]
    return {"case": case, **dict(zip(keys, in_units))}


def _seen_looking(rows: Sequence[Row], blind: float | None) -> str:
    parts = []
    for name in Maps._fields:
        mine = [row for row in rows if row["case"].startswith(name)]
        most, place, case = max((row[key], key, row["case"]) for row in mine for key in PLACES)
        sure = sum(max(row[key] for key in PLACES) > 50 for row in mine)
        parts.append(f"{name} {sure} of {len(mine)} (most: {case.split()[1]} with {most:.0f} % at {place})")
    found = f"heads with more than half of their weight at one place: {', '.join(parts)}"
    if blind is None:
        return found
    truth = {row["case"]: row["agrees"] for row in rows if "agrees" in row}
    best = max(truth, key=lambda case: truth[case])
    return (
        f"{found}; {best} looks at a true partner for {truth[best]:.0f} % of the words, the heads of cross on average "
        f"for {sum(truth.values()) / len(truth):.0f} %, the diagonal for {blind:.0f} %"
    )


def _draw_looking(rows: Sequence[Row]) -> None:
    figure, charts = sheet(3, width=3.7, height=0.9 + 0.27 * len(rows) / 3, title="Where the heads look")
    titles = {
        "encoder": "source at source",
        "decoder": "target at target",
        "cross": "target at source",
    }
    with matplotlib.rc_context(LOOK):
        for chart, (name, title) in zip(charts, titles.items(), strict=True):
            _draw_heads(chart, [row for row in rows if row["case"].startswith(name)], title)
    save(figure, "looking")


def _draw_heads(chart: Any, rows: Sequence[Row], title: str) -> None:
    keys = [key for key in (*PLACES, "agrees") if key in rows[0]]
    values = [[row[key] for key in keys] for row in rows]
    chart.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for place, line in enumerate(values):
        for column, value in enumerate(line):
            color = "white" if value > 60 else "#444444"
            chart.text(column, place, f"{value:.0f}", ha="center", va="center", fontsize=7.5, color=color)
    chart.set_xticks(range(len(keys)), [key.replace("previous", "prev.") for key in keys], fontsize=8)
    chart.set_yticks(range(len(rows)), [f"{row['case'].split()[1]}" for row in rows], fontsize=8)
    chart.set_title(f"{title} (%)", fontsize=10, loc="left")
    chart.grid(False)

"""What becomes of a long sentence? One vector holds so much and no more, attention looks it up again.

The expressions of a corpus are joined to lists, "twenty-two, half past six, one thousand": each part is as hard as
before, only the sentence grows. So a translator that fails on the long ones fails because they are long. Lists longer
than any that was learnt from ask a second question: what does a translator do with a length that it has never seen?
"""

import random
import time
from collections.abc import Sequence
from functools import lru_cache

from my_llm import metrics
from my_llm.data.catalog import Pair
from my_llm.translation.translator import Translator
from stage3_attention_seq2seq.studies.common import (
    COLORS,
    HIDDEN,
    Row,
    Sentences,
    Setting,
    StudyConfig,
    finish,
    load_sentences,
    mean_and_spread,
    save,
    seeds_of,
    sheet,
    steps_of,
    trained,
)

LEARNT, ASKED = 4, 6  # expressions in the longest list to learn from, and to be asked
LISTS, TESTS = 20_000, 600
STEPS = 900
COMMA = ", "
WORDS = (5, 10, 15, 20, 25)  # of a source: up to 5, 6 to 10, …
CASES = {  # column → attention, units
    "vector": ("none", HIDDEN),
    "wide_vector": ("none", 2 * HIDDEN),
    "attention": ("bahdanau", HIDDEN),
}
LABELS = (f"one vector of {HIDDEN}", f"one vector of {2 * HIDDEN}", f"attention, {HIDDEN} units")


# --- lists ------------------------------------------------------------------------------------------------------------


def lists(pairs: Sequence[Pair], count: int, longest: int, seed: int) -> list[Pair]:
    """So many lists of 1 to `longest` pairs, each length as often; the same seed, the same lists."""
    draw, found = random.Random(seed), []
    for number in range(count):
        parts = [pairs[int(draw.random() * len(pairs))] for _ in range(1 + number % longest)]
        found.append(Pair(COMMA.join(part.source for part in parts), COMMA.join(part.target for part in parts)))
    return found


def listed(text: Sentences, learnt: int = LEARNT, asked: int = ASKED) -> Sentences:
    """The corpus as lists: of up to `learnt` parts to learn from, of up to `asked` to be judged by."""
    return _listed(text, LISTS, TESTS, learnt, asked)


@lru_cache(maxsize=4)
def _listed(text: Sentences, count: int, tests: int, learnt: int, asked: int) -> Sentences:
    train, validation = lists(text.train, count, learnt, seed=0), lists(text.validation, tests, asked, seed=1)
    return Sentences(text.corpus, text.tokenizer, train, validation)


def parts_right(said: str, right: str) -> tuple[int, int]:
    """How many parts of a list stand translated at their place, and how many there are."""
    parts, found = right.split(COMMA), said.split(COMMA)
    return sum(a == b for a, b in zip(parts, found)), len(parts)


def buckets(lengths: Sequence[int], edges: Sequence[int]) -> dict[str, list[int]]:
    """Where the lengths up to each edge stand, and those beyond the last; a bucket that is empty is left out."""
    found, low = {}, 1
    for high in (*edges, max([*lengths, *edges]) + 1):
        places = [place for place, length in enumerate(lengths) if low <= length <= high]
        if places:
            found[f"{low} to {high}" if high in edges else f"{low} and more"] = places
        low = high + 1
    return found


def scores_by_length(translator: Translator, pairs: Sequence[Pair]) -> dict[str, tuple[float, float]]:
    """For each bucket of source words: parts that are right (%), and BLEU."""
    said = [answer.text for answer in translator.translate([pair.source for pair in pairs])]
    scores = {}
    for name, places in buckets(words_of(pairs), WORDS).items():
        right, parts = map(sum, zip(*(parts_right(said[place], pairs[place].target) for place in places)))
        bleu = metrics.bleu([said[place] for place in places], [pairs[place].target for place in places])
        scores[name] = (100 * right / parts, bleu)
    return scores


def words_of(pairs: Sequence[Pair]) -> list[int]:
    """How many words each source has."""
    return [len(pair.source.split()) for pair in pairs]


# --- the study --------------------------------------------------------------------------------------------------------


def length(config: StudyConfig) -> None:
    """How does quality fall with the length of the source, with one vector and with attention?"""
    started = time.perf_counter()
    text, steps = listed(load_sentences(config)), steps_of(config, STEPS)
    words, longest = words_of(text.validation), max(words_of(text.train))
    rows: dict[str, Row] = {
        name: {"case": name, "words": sum(words[i] for i in places) / len(places)}
        for name, places in buckets(words, WORDS).items()
    }
    for key, (attention, hidden) in CASES.items():
        found = [trained(text, Setting(attention, steps, seed, hidden=hidden)) for seed in seeds_of(config)]
        scores = [scores_by_length(each.translator, text.validation) for each in found]
        for name, row in rows.items():
            right, bleu = zip(*(score[name] for score in scores), strict=True)
            row |= mean_and_spread(key, right, 1) | mean_and_spread(f"{key}_bleu", bleu, 1)
    _draw_length(list(rows.values()), longest)
    keys = [name for key in CASES for name in (key, f"{key}_sd", f"{key}_bleu", f"{key}_bleu_sd")]
    finish(
        config,
        "length",
        title=f"Lists of 1 to {LEARNT} expressions learnt in {steps} steps, at most {longest} words; asked for lists "
        f"of 1 to {ASKED}, by words of the source: expressions that are right, and BLEU; {', '.join(LABELS)}",
        columns={key: "" if "bleu" in key else "%" for key in keys},
        rows=[{key: value for key, value in row.items() if key != "words"} for row in rows.values()],
        seen=f"expressions that are right, for sources of {', '.join(rows)} words: "
        + "; ".join(
            f"{label} {', '.join(str(round(row[key])) for row in rows.values())} %"
            for key, label in zip(CASES, LABELS, strict=True)
        ),
        started=started,
        corpus=text.corpus,
    )


def _draw_length(rows: Sequence[Row], longest: int) -> None:
    figure, charts = sheet(2, width=4.4, title="Long sentences: one vector, or a look back")
    x = [row["words"] for row in rows]
    for chart, end, title in zip(charts, ("", "_bleu"), ("expressions that are right (%)", "BLEU"), strict=True):
        for color, key, label in zip((COLORS[1], COLORS[4], COLORS[0]), CASES, LABELS, strict=True):
            y, spread = ([row[name] for row in rows] for name in (key + end, f"{key}{end}_sd"))
            chart.errorbar(x, y, spread, marker="o", markersize=4, capsize=3, color=color, label=label)
        chart.axvline(longest, color="#888888", linestyle=":", label="longest that was learnt from")
        chart.set_title(title, fontsize=10, loc="left")
        chart.set(xlabel="words of the source", ylim=(-3, 103))
    figure.legend(
        *charts[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
    )
    save(figure, "length")

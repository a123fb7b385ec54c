"""Where a token stands, told in five ways: which of them still works in sentences longer than all that were learnt?

The expressions of a corpus are joined to lists, "twenty-two, half past six, one thousand", so that only the length
grows and each part stays as hard as before. What is learnt from has at most N words; what is asked has up to 4 N.
A table of learned positions ends somewhere: beyond the last one there is no answer, and the table of results is empty.

A language model is asked the same: it learns windows of T characters, and reads windows of 4 T.
"""

import random
import time
from collections.abc import Sequence
from functools import lru_cache

from my_llm import metrics
from my_llm.data.catalog import Pair
from my_llm.translation.translator import Translator
from stage4_transformer.models import POSITIONS, Transformer
from stage4_transformer.studies.common import (
    COLORS,
    Characters,
    Recipe,
    Row,
    Sentences,
    Setting,
    StudyConfig,
    finish,
    load_characters,
    load_sentences,
    mean_and_spread,
    nats_per_character,
    new_language_model,
    save,
    seeds_of,
    sheet,
    steps_of,
    train_on_text,
    trained,
)

COMMA = ", "
WORDS = 12  # N, of the longest source to learn from
TIMES = ("x1", "x2", "x3", "x4")  # lengths up to N, 2 N, 3 N, 4 N
LISTS, TESTS = 20_000, 100  # to learn from, and to be asked in each bin
STEPS = 500
TABLE = 120  # learned positions: more than training ever needs, and too few for what is asked
WINDOW, SCORED = 64, 20_000  # characters that the language model learns at once, and is judged by
WRITER_STEPS = 200
LONGER = 4


# --- lists ------------------------------------------------------------------------------------------------------------


def list_of(pairs: Sequence[Pair], words: int, draw: random.Random) -> Pair:
    """Pairs drawn and joined until there are so many source words, or one part more would be too many."""
    parts, count = [], 0
    while True:
        part = pairs[int(draw.random() * len(pairs))]
        count += len(part.source.split())
        if parts and count > words:
            return Pair(COMMA.join(part.source for part in parts), COMMA.join(part.target for part in parts))
        parts.append(part)


def lists(pairs: Sequence[Pair], count: int, least: int, most: int, seed: int) -> list[Pair]:
    """So many lists whose sources have `least` to `most` words; the same seed, the same lists."""
    draw, found = random.Random(seed), []
    while len(found) < count:
        made = list_of(pairs, least + int(draw.random() * (most - least + 1)), draw)
        if least <= words_of(made) <= most:
            found.append(made)
    return found


def words_of(pair: Pair) -> int:
    """How many words the source has."""
    return len(pair.source.split())


@lru_cache(maxsize=2)
def listed(text: Sentences, count: int, words: int) -> Sentences:
    """The corpus as so many lists of up to `words` source words."""
    train = lists(text.train, count, 1, words, seed=0)
    return Sentences(text.corpus, text.tokenizer, train, text.validation)


@lru_cache(maxsize=2)
def asked(text: Sentences, count: int, words: int) -> dict[str, list[Pair]]:
    """As many lists of up to N words, and as many of N + 1 to 2 N, 2 N + 1 to 3 N, 3 N + 1 to 4 N."""
    edges = range(0, len(TIMES) * words, words)
    return {
        name: lists(text.validation, count, low + 1, low + words, seed=1)
        for name, low in zip(TIMES, edges, strict=True)
    }


# --- scores -----------------------------------------------------------------------------------------------------------


def has_room(translator: Translator[Transformer], pairs: Sequence[Pair]) -> bool:
    """Whether there is a learned position for all that may be said: a translation goes as far as twice its source."""
    if translator.model.config.positions != "learned":
        return True
    sources = translator.encode(translator.tokenizer, [pair.source for pair in pairs])
    return 2 * max(map(len, sources)) + 10 <= translator.model.config.max_length


def scores_of(translator: Translator[Transformer], bins: dict[str, list[Pair]]) -> dict[str, tuple[float, float]]:
    """For each bin that there is room for: translations that are exactly right (%), and BLEU."""
    found = {}
    for name, pairs in bins.items():
        if has_room(translator, pairs):
            said = [answer.text for answer in translator.translate([pair.source for pair in pairs])]
            right = [pair.target for pair in pairs]
            exact = sum(a == b for a, b in zip(said, right, strict=True))
            found[name] = (100 * exact / len(pairs), metrics.bleu(said, right))
    return found


def nats_by_window(text: Characters, positions: str, steps: int, seed: int) -> list[float]:
    """Loss of a language model that learnt windows of T characters, reading windows of T, and of 4 T if it can."""
    model = new_language_model(text, seed, positions=positions, max_length=WINDOW)
    train_on_text(model, text, Recipe(steps, seed), WINDOW)
    windows = (WINDOW,) if positions == "learned" else (WINDOW, LONGER * WINDOW)
    return [nats_per_character(model, text.validation[:SCORED], window) for window in windows]


# --- the study --------------------------------------------------------------------------------------------------------


def positions(config: StudyConfig) -> None:
    """Which positions still mean something in sentences longer than all that were learnt?"""
    started = time.perf_counter()
    plain, characters = load_sentences(config, "numbers_en_fr"), load_characters(config)
    text, bins = listed(plain, LISTS, WORDS), asked(plain, TESTS, WORDS)
    steps, rows = steps_of(config, STEPS), []
    for name in POSITIONS:
        settings = [Setting(steps, seed, positions=name, max_length=TABLE) for seed in seeds_of(config)]
        scores = [scores_of(trained(text, setting).translator, bins) for setting in settings]
        row: Row = {"case": name}
        for place in scores[0]:
            exact, bleu = zip(*(score[place] for score in scores), strict=True)
            row |= mean_and_spread(place, exact, 1) | mean_and_spread(f"{place}_bleu", bleu, 1)
        writer_steps = min(steps, WRITER_STEPS)
        nats = [nats_by_window(characters, name, writer_steps, seed) for seed in seeds_of(config)]
        for key, values in zip(("nats", "nats_x4"), zip(*nats)):
            row |= mean_and_spread(key, values, 3)
        rows.append(row)
    _draw_positions(rows)
    keys = [name for key in TIMES for name in (key, f"{key}_sd")]
    bleus = [name for key in TIMES for name in (f"{key}_bleu", f"{key}_bleu_sd")]
    finish(
        config,
        "positions",
        title=f"Lists of at most {WORDS} source words learnt in {steps} steps; asked for lists of up to {WORDS} "
        f"(x1), {2 * WORDS} (x2), {3 * WORDS} (x3), {4 * WORDS} words (x4): exactly right, BLEU; a language model of "
        f"{WINDOW} characters ({characters.corpus.name}) reads {WINDOW} and {LONGER * WINDOW}: nats a character. The "
        f"table of learned positions has {TABLE} places, in the language model {WINDOW}: beyond them there is "
        "nothing to say",
        columns={
            **dict.fromkeys(keys, "%"),
            **dict.fromkeys(bleus, ""),
            **dict.fromkeys(("nats", "nats_sd", "nats_x4", "nats_x4_sd"), "nats"),
        },
        rows=rows,
        seen="exactly right at lengths that were learnt, and up to two, three and four times as long: "
        + "; ".join(f"{row['case']} {', '.join(_percent(row, key) for key in TIMES)} %" for row in rows),
        started=started,
        corpus=text.corpus,
    )


def _percent(row: Row, key: str) -> str:
    return f"{row[key]:.0f}" if key in row else "–"


def _draw_positions(rows: Sequence[Row]) -> None:
    figure, charts = sheet(3, width=3.7, title="Longer than all that was learnt")
    ends = [WORDS * times for times in range(1, len(TIMES) + 1)]
    for chart, end, title in zip(charts, ("", "_bleu"), ("exactly right (%)", "BLEU")):
        for color, row in zip(COLORS, rows):
            known = [(x, row[key + end]) for x, key in zip(ends, TIMES) if key in row]
            chart.plot(*zip(*known), marker="o", markersize=4, color=color, label=row["case"])
        chart.axvline(WORDS, color="#888888", linestyle=":", label="longest that was learnt from")
        chart.set_title(title, fontsize=10, loc="left")
        chart.set(xlabel="words of the source, at most", ylim=(-3, 103))
        chart.set_xticks(ends)
    for color, row in zip(COLORS, rows):
        known = [(x, row[key]) for x, key in zip((WINDOW, LONGER * WINDOW), ("nats", "nats_x4")) if key in row]
        charts[2].plot(*zip(*known), marker="o", markersize=4, color=color)
    charts[2].set_title("a language model (nats a character)", fontsize=10, loc="left")
    charts[2].set_xlabel("characters that are read at once")
    charts[2].set_xticks([WINDOW, LONGER * WINDOW])
    charts[2].margins(x=0.15)
    handles, labels = charts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    save(figure, "positions")

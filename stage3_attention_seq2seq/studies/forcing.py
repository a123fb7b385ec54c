"""Teacher forcing: must a decoder that learns read what is right, or what it would have said itself?

In training it is given the right words, all known beforehand, whatever it would have said. In use it reads itself. With
scheduled sampling (Bengio et al. 2015) some of the words that it reads in training are its own guesses: it learns to go
on after a mistake, but the word that it is asked for may no longer be the right one after what it has read, and every
step pays a second pass.
"""

import time
from collections.abc import Sequence

from my_llm.data.catalog import Pair
from my_llm.text import EOS
from my_llm.translation.translator import Translator
from stage3_attention_seq2seq.studies.common import (
    COLORS,
    Row,
    Setting,
    StudyConfig,
    finish,
    load_sentences,
    mean_and_spread,
    nats_of,
    save,
    scored,
    seeds_of,
    sheet,
    steps_of,
    trained,
)

RATIOS = (1.0, 0.75, 0.5, 0.25)
STEPS = 400  # later, all of them would be nearly perfect


def nats_per_token(translator: Translator, pairs: Sequence[Pair]) -> float:
    """The loss on right translations, read word by right word."""
    tokens = [[*ids, EOS] for ids in translator.tokenizer.encode_many([pair.target for pair in pairs])]
    return sum(nats_of(translator, [pair.source for pair in pairs], tokens)) / sum(map(len, tokens))


def forcing(config: StudyConfig) -> None:
    """What is gained, and what does it cost, when the decoder reads its own guesses in training?"""
    started = time.perf_counter()
    text, steps, rows = load_sentences(config), steps_of(config, STEPS), []
    for ratio in RATIOS:
        found = [trained(text, Setting("bahdanau", steps, seed, teacher_forcing=ratio)) for seed in seeds_of(config)]
        row: Row = {"case": f"{ratio:.0%} right words", **scored(found, text.validation)}
        nats = [nats_per_token(each.translator, text.validation) for each in found]
        rows.append(row | mean_and_spread("nats", nats, 4))
    _draw_forcing(rows)
    first, *_, last = rows
    best = max(rows, key=lambda row: row["exact"])
    finish(
        config,
        "forcing",
        title=f"So many of the words that the decoder reads in training are right, {steps} steps: translations that "
        "are exactly right, BLEU (greedy), loss on right translations",
        columns={
            **{"exact": "%", "exact_sd": "%", "bleu": "", "bleu_sd": ""},
            **{"nats": "nats", "nats_sd": "nats", "seconds": "s", "parameters": ""},
        },
        rows=rows,
        seen=f"with teacher forcing {first['exact']:.1f} % are exactly right (BLEU {first['bleu']:.1f}), with "
        f"{last['case']} {last['exact']:.1f} % ({last['bleu']:.1f}), the best is {best['case']}; own guesses cost "
        f"{last['seconds'] / max(first['seconds'], 0.01):.1f} times the processor time; the loss goes from "
        f"{first['nats']:.3f} to {last['nats']:.3f} nats a token",
        started=started,
        corpus=text.corpus,
    )


def _draw_forcing(rows: Sequence[Row]) -> None:
    figure, charts = sheet(3, width=3.6, title="Reading what is right in training, or one's own guesses")
    titles = {"exact": "exactly right (%)", "nats": "loss on right translations (nats)", "seconds": "training (s)"}
    for color, chart, (key, title) in zip(COLORS, charts, titles.items()):
        values, spread = [row[key] for row in rows], [row.get(f"{key}_sd", 0.0) for row in rows]
        chart.errorbar(RATIOS, values, spread, marker="o", capsize=3, color=color)
        for ratio, row in zip(RATIOS, rows, strict=True):
            chart.annotate(f"{row[key]:.3g}", (ratio, row[key]), (5, 6), textcoords="offset points", fontsize=8)
        chart.set_title(title, fontsize=10, loc="left")
        chart.set(xlabel="share of right words", xlim=(1.08, 0.15))
        chart.margins(y=0.25)
    charts[2].set_ylim(0, None)
    save(figure, "forcing")

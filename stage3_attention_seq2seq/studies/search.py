"""From probabilities to a sentence: greedy, beam search, sampling.

A translator says how probable each next word is; the sentence still has to be found. Greedy takes the likeliest word
each time, beam search keeps several beginnings, sampling draws. A wider beam finds more probable sentences; whether
they are better ones is another question (Koehn & Knowles 2017, challenge 6), and one that only a translator with doubts
can answer: the small one here has learnt for a short time only. `--model_path` takes another.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from textwrap import fill
from typing import NamedTuple

import torch

from my_llm import metrics
from my_llm.cli import printable
from my_llm.data.catalog import Pair, Translation, load_pairs
from my_llm.sampling import greedy, sample
from my_llm.translation.translator import Translated, Translator
from stage3_attention_seq2seq.studies.common import (
    COLORS,
    SCORED,
    Row,
    Setting,
    StudyConfig,
    check,
    finish,
    load_sentences,
    mean_and_spread,
    nats_of,
    save,
    seeds_of,
    sheet,
    steps_of,
    trained,
)
from stage3_attention_seq2seq.translator import load_translator

BEAMS, PENALTIES, PENALTY = (2, 5, 10), (0.0, 0.6, 1.0), 0.6
TEMPERATURES = (0.3, 0.7, 1.0)
DRAWS = 20  # translations of one sentence
STEPS = 200  # of a small translator: it is to have doubts


class Speaker(NamedTuple):
    """Translators to choose words from, one a seed, the corpus that they know, and where they come from."""

    translators: list[Translator]
    corpus: Translation
    pairs: Sequence[Pair]
    origin: str


def speaker_of(config: StudyConfig) -> Speaker:
    """The translator of `--model_path`, or a small one for every seed, that has not learnt to the end.

    Raises:
        CheckpointError: `--model_path` cannot be read.
    """
    check(config)
    if config.model_path is not None:
        translator = load_translator(config.model_path, torch.device("cpu"))
        corpus = load_pairs(translator.facts["data"]["name"])
        return Speaker([translator], corpus, corpus.validation[:SCORED], f"trained on {corpus.name} by train.py")
    text, steps = load_sentences(config), steps_of(config, STEPS)
    found = [trained(text, Setting("bahdanau", steps, seed)).translator for seed in seeds_of(config)]
    return Speaker(found, text.corpus, text.validation, f"after {steps} steps")


def references_of(pairs: Sequence[Pair]) -> list[tuple[str, ...]]:
    """All right answers of each sentence."""
    return [(pair.target, *pair.more) for pair in pairs]


def quality(said: Sequence[Translated], pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """BLEU, share of exact translations in percent, words said for each word of the reference."""
    texts, references = [answer.text for answer in said], references_of(pairs)
    exact = 100 * sum(text in right for text, right in zip(texts, references, strict=True)) / len(pairs)
    words = sum(len(text.split()) for text in texts) / sum(len(pair.target.split()) for pair in pairs)
    return metrics.bleu(texts, references), exact, words


# --- how wide a beam --------------------------------------------------------------------------------------------------


def beam(config: StudyConfig) -> None:
    """What do wider beams and the length penalty do to BLEU, to the length, to the time?"""
    started = time.perf_counter()
    speaker = speaker_of(config)
    by_setting = {(1, 0.0): _beam_row(speaker, 1, 0.0)}
    by_setting |= {(width, alpha): _beam_row(speaker, width, alpha) for width in BEAMS for alpha in PENALTIES}
    rows = list(by_setting.values())
    _draw_beam(by_setting)
    first, best, widest = rows[0], max(rows, key=lambda row: row["bleu"]), by_setting[BEAMS[-1], PENALTIES[0]]
    finish(
        config,
        "beam",
        title=f"A translator {speaker.origin}; {len(speaker.pairs)} sentences: BLEU, exactly right, −log p of what is "
        "said, words said for a word of the reference, sentences a second of processor time",
        columns={
            **{"bleu": "", "bleu_sd": "", "exact": "%", "exact_sd": "%"},
            **{
                "surprise": "nats",
                "surprise_sd": "nats",
                "length_ratio": "",
                "length_ratio_sd": "",
                "per_second": "sentences",
            },
        },
        rows=rows,
        seen=f"greedy: BLEU {first['bleu']:.2f}, {first['surprise']:.2f} nats a sentence; best: {best['case']} with "
        f"BLEU {best['bleu']:.2f} and {best['per_second'] / first['per_second']:.2f} of the speed; the widest beam "
        f"without a penalty finds {widest['surprise']:.2f} nats, BLEU {widest['bleu']:.2f}, length "
        f"{widest['length_ratio']:.3f} (greedy {first['length_ratio']:.3f})",
        started=started,
        corpus=speaker.corpus,
    )


def _beam_row(speaker: Speaker, width: int, penalty: float) -> Row:
    sources, before = [pair.source for pair in speaker.pairs], time.process_time()
    said = [each.translate(sources, beam_size=width, length_penalty=penalty) for each in speaker.translators]
    seconds = (time.process_time() - before) / len(said)
    nats = [
        sum(nats_of(each, sources, [answer.tokens for answer in answers])) / len(sources)
        for each, answers in zip(speaker.translators, said, strict=True)
    ]
    runs = list(zip(*(quality(answers, speaker.pairs) for answers in said), strict=True))
    row: Row = {"case": "greedy" if width == 1 else f"beam {width}, penalty {penalty:g}"}
    for key, values, digits in zip(("bleu", "exact", "length_ratio"), runs, (2, 1, 4), strict=True):
        row |= mean_and_spread(key, values, digits)
    return row | mean_and_spread("surprise", nats, 3) | {"per_second": round(len(sources) / seconds)}


def _draw_beam(rows: Mapping[tuple[int, float], Row]) -> None:
    figure, charts = sheet(4, width=3.0, title="A wider beam finds more probable sentences, and takes longer")
    titles = {
        "bleu": "BLEU",
        "surprise": "−log p of a sentence (nats)",
        "length_ratio": "words for a word of the reference",
        "per_second": "sentences a second",
    }
    for chart, (key, title) in zip(charts, titles.items(), strict=True):
        for color, penalty in zip(COLORS, PENALTIES):
            mine = [rows[1, 0.0], *(rows[width, penalty] for width in BEAMS)]
            values, spread = [row[key] for row in mine], [row.get(f"{key}_sd", 0.0) for row in mine]
            label = f"length penalty {penalty:g}"
            chart.errorbar([1, *BEAMS], values, spread, marker="o", markersize=4, capsize=3, color=color, label=label)
        chart.set_title(title, fontsize=10, loc="left")
        chart.set(xscale="log", xlabel="beam size")
        chart.set_xticks([1, *BEAMS], ["1", *map(str, BEAMS)])
        chart.minorticks_off()
    charts[3].set_ylim(0, None)
    figure.legend(*charts[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save(figure, "beam")


# --- how to choose words ----------------------------------------------------------------------------------------------

Say = Callable[[Translator, Sequence[str], int], list[Translated]]  # (translator, sentences, seed)


def by_greedy(translator: Translator, texts: Sequence[str], seed: int) -> list[Translated]:
    """The likeliest word each time."""
    return translator.translate(texts, choose=greedy)


def by_beam(translator: Translator, texts: Sequence[str], seed: int) -> list[Translated]:
    """Five beginnings."""
    return translator.translate(texts, beam_size=5, length_penalty=PENALTY)


def by_sampling(translator: Translator, texts: Sequence[str], seed: int, temperature: float) -> list[Translated]:
    """Drawn, from bolder (below 1) or more varied (above 1) probabilities."""
    generator = torch.Generator().manual_seed(seed)
    return translator.translate(texts, choose=partial(sample, temperature=temperature, generator=generator))


WAYS: dict[str, Say] = {
    "greedy": by_greedy,
    "beam 5": by_beam,
    **{f"sampling at {t:g}": partial(by_sampling, temperature=t) for t in TEMPERATURES},
}


def choosing(config: StudyConfig) -> None:
    """What do greedy, beam search and sampling make of one sentence, and of many?"""
    started = time.perf_counter()
    speaker = speaker_of(config)
    sentence = max(speaker.pairs[:50], key=lambda pair: len(pair.source))
    rows = [_choosing_row(speaker, sentence, name, say) for name, say in WAYS.items()]
    _draw_choosing(rows, sentence)
    by_name = {row["case"]: row for row in rows}
    finish(
        config,
        "choosing",
        title=f"A translator {speaker.origin}; {len(speaker.pairs)} sentences: BLEU, exactly right, −log p of what is "
        f"said; and different translations in {DRAWS} of “{sentence.source}” (“{sentence.target}”), the first of them",
        columns={
            **{"bleu": "", "bleu_sd": "", "exact": "%", "exact_sd": "%", "surprise": "nats", "surprise_sd": "nats"},
            **{"different": "", "says": ""},
        },
        rows=rows,
        seen=", ".join(f"{name} BLEU {row['bleu']:.1f} ({row['surprise']:.1f} nats)" for name, row in by_name.items())
        + f"; of {DRAWS} translations of one sentence "
        + ", ".join(f"{row['different']} ({name})" for name, row in by_name.items() if "sampling" in name)
        + " are different",
        started=started,
        corpus=speaker.corpus,
    )


def _choosing_row(speaker: Speaker, sentence: Pair, name: str, say: Say) -> Row:
    sources, runs = [pair.source for pair in speaker.pairs], []
    for seed, translator in enumerate(speaker.translators):
        said = say(translator, sources, seed)
        nats = sum(nats_of(translator, sources, [answer.tokens for answer in said])) / len(sources)
        runs.append((*quality(said, speaker.pairs)[:2], nats))
    one = [answer.text for answer in say(speaker.translators[0], [sentence.source] * DRAWS, 0)]
    row: Row = {"case": name}
    for key, values, digits in zip(("bleu", "exact", "surprise"), zip(*runs, strict=True), (2, 1, 3), strict=True):
        row |= mean_and_spread(key, values, digits)
    return row | {"different": len(set(one)), "says": printable(one[0])}


def _draw_choosing(rows: Sequence[Row], sentence: Pair) -> None:
    figure, charts = sheet(3, width=3.7, height=3.6, title="One translator, several ways to choose its words")
    titles = {"bleu": "BLEU of many sentences", "surprise": "−log p of a sentence (nats)"}
    for chart, (key, title) in zip(charts, titles.items()):
        values, spread = [row[key] for row in rows], [row[f"{key}_sd"] for row in rows]
        drawn = chart.barh(range(len(rows)), values, 0.62, xerr=spread, color=COLORS[: len(rows)])
        chart.bar_label(drawn, [f"{value:.3g}" for value in values], padding=4, fontsize=8)
        chart.set_yticks(range(len(rows)), [row["case"] for row in rows] if key == "bleu" else [])
        chart.set_ylim(len(rows) - 0.5, -0.5)
        chart.margins(x=0.15)
        chart.set_title(title, fontsize=10, loc="left")
    charts[2].axis("off")
    said = {"source": sentence.source, "right": sentence.target}
    said |= {f"{row['case']} ({row['different']} of {DRAWS})": row["says"] for row in rows}
    written = [fill(f"{name}: {words}", 56, subsequent_indent="    ") for name, words in said.items()]
    text = charts[2].text(0, 1, "\n".join(written), va="top", fontsize=7.5, linespacing=1.35, parse_math=False)
    text.set_in_layout(False)
    save(figure, "choosing")

"""The scores of a translator, for evaluate.py of every translating stage.

BLEU and chrF are sacrebleu's, with their signatures, and ours must equal them to the last digit; greedy decoding and
beam search; BLEU by length of the source; and the best, the median and the worst sentence.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from my_llm import metrics
from my_llm.cli import printable
from my_llm.data.catalog import Pair, load_pairs
from my_llm.evaluation import part_of
from my_llm.files import write_atomically
from my_llm.heatmaps import Block
from my_llm.translation.alignment import Alignment
from my_llm.translation.flags import ScoringConfig
from my_llm.translation.translator import Translated, Translator

Facts = dict[str, Any]
Align = Callable[[str, Sequence[int]], Alignment | None]  # (source, tokens of its translation) → where it looked
Heads = Callable[[str, Sequence[int]], Mapping[str, Block]]  # the same → where each of its heads looked
LENGTHS = (5, 10, 15, 20, 30)  # words of a source: up to 5, 6 to 10, …


def report(
    config: ScoringConfig,
    translator: Translator[Any],
    align: Align,
    *,
    stage: str,
    model: str,
    heads: Heads | None = None,
) -> None:
    """Load the corpus, translate, score, print, and write if asked for.

    Args:
        config: What the command line asked for.
        translator: From a checkpoint: its facts say what it was trained on.
        align: Where the model looked, of one sentence.
        stage: For the reader: the folder of the stage.
        model: For the reader: what is scored.
        heads: Where each head of the model looked, of the same sentence, if it has several.
    """
    facts = {"stage": stage, "model": model, **facts_of(config, translator, align, heads)}
    show(facts, config.examples)
    if config.report is not None:
        write_atomically(config.report, json.dumps(facts, indent=1, ensure_ascii=False).encode())
        print(f"report      {config.report}")


def facts_of(config: ScoringConfig, translator: Translator[Any], align: Align, heads: Heads | None = None) -> Facts:
    """Everything that is measured, as plain data."""
    data, settings = translator.facts["data"], translator.facts["settings"]
    corpus = load_pairs(config.dataset or data["name"])
    split, pairs = part_of(corpus, config.split)
    same = corpus.sha256 == data["sha256"]
    widths = dict.fromkeys([1, config.beam_size])
    decoded = {width: timed(translator, pairs, width, config.penalty) for width in widths}
    said, _ = decoded[config.beam_size]
    facts: Facts = {
        "task": "translation",
        "parameters": sum(parameter.numel() for parameter in translator.model.parameters()),
        "train_seconds": translator.facts["progress"]["seconds"], "settings": settings, "data": corpus.name,
        "source": corpus.source, "sha256": corpus.sha256, "split": split, "n": len(pairs),
        "same_text_as_trained": same, "learnt_from": same and split == "train", "beam_size": config.beam_size,
        "decoding": {str(width): {**scores(answers, pairs), "per_second": len(pairs) / seconds}
                     for width, (answers, seconds) in decoded.items()},
        "by_length": by_length(said, pairs), "examples": ranked(said, pairs),
        **looked_at(align, heads, said, pairs),
    }  # fmt: skip
    greedy, beam = facts["decoding"]["1"], facts["decoding"][str(config.beam_size)]
    facts |= {name: beam[name] for name in ("bleu", "bleu_one_reference", "chrf", "exact")}
    return facts | {"greedy_per_second": greedy["per_second"], "beam_per_second": beam["per_second"]}


def timed(translator: Translator, pairs: Sequence[Pair], width: int, penalty: float) -> tuple[list[Translated], float]:
    """All translations, and the seconds that they took."""
    started = time.perf_counter()
    said = translator.translate([pair.source for pair in pairs], beam_size=width, length_penalty=penalty)
    return said, time.perf_counter() - started


def references_of(pairs: Sequence[Pair]) -> list[tuple[str, ...]]:
    """All right answers of each sentence."""
    return [(pair.target, *pair.more) for pair in pairs]


def scores(said: Sequence[Translated], pairs: Sequence[Pair]) -> Facts:
    """BLEU with one and with all references, chrF, share of exact translations, length relative to the reference.

    Raises:
        AssertionError: our BLEU or chrF is not sacrebleu's.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    texts, references = [answer.text for answer in said], references_of(pairs)
    most = max(map(len, references))
    columns = [[several[min(k, len(several) - 1)] for several in references] for k in range(most)]  # the last again
    official = {"bleu": BLEU(), "chrf": CHRF()}
    found = {name: metric.corpus_score(texts, columns).score for name, metric in official.items()}
    ours = {"bleu": metrics.bleu(texts, references), "chrf": metrics.chrf(texts, references)}
    for name, score in found.items():
        assert math.isclose(score, ours[name], abs_tol=1e-9), f"{name}: sacrebleu {score}, ours {ours[name]}"
    exact = sum(text in several for text, several in zip(texts, references, strict=True))
    return {
        **found, "signature": str(official["bleu"].get_signature()), "references": most,
        "bleu_one_reference": metrics.bleu(texts, [pair.target for pair in pairs]),
        "exact": exact / len(pairs),
        "length_ratio": sum(len(text.split()) for text in texts) / sum(len(pair.target.split()) for pair in pairs),
    }  # fmt: skip


def by_length(said: Sequence[Translated], pairs: Sequence[Pair]) -> list[Facts]:
    """BLEU of the sentences whose source has so many words."""
    rows = []
    for smallest, largest in zip((1, *(length + 1 for length in LENGTHS)), (*LENGTHS, math.inf), strict=True):
        places = [place for place, pair in enumerate(pairs) if smallest <= len(pair.source.split()) <= largest]
        if places:
            texts, references = [said[place].text for place in places], references_of([pairs[p] for p in places])
            words = f"{smallest} to {largest}" if largest < math.inf else f"{smallest} and more"
            rows.append({"words": words, "n": len(places), "bleu": metrics.bleu(texts, references)})
    return rows


def ranked(said: Sequence[Translated], pairs: Sequence[Pair], most: int = 20) -> dict[str, list[Facts]]:
    """Sentences with their chrF: the best, those in the middle, the worst."""
    rows = [
        {"source": pair.source, "said": answer.text, "right": pair.target,
         "chrf": metrics.chrf([answer.text], [(pair.target, *pair.more)])}
        for answer, pair in zip(said, pairs, strict=True)
    ]  # fmt: skip
    rows.sort(key=lambda row: -row["chrf"])
    middle = max((len(rows) - most) // 2, 0)
    return {"best": rows[:most], "median": rows[middle : middle + most], "worst": rows[::-1][:most]}


def looked_at(
    align: Align, heads: Heads | None, said: Sequence[Translated], pairs: Sequence[Pair]
) -> dict[str, Facts | None]:
    """Where the model looked while it translated a rather long sentence, a right one if there is one."""
    right = [place for place, pair in enumerate(pairs) if said[place].text == pair.target] or range(len(pairs))
    place = sorted(right, key=lambda place: len(pairs[place].source))[3 * len(right) // 4]
    sentence = pairs[place].source, said[place].tokens
    found = align(*sentence)
    maps = {} if heads is None else heads(*sentence)
    return {
        "alignment": found and {"weights": plain(found.weights), "target": found.target, "source": found.source},
        "heads": {name: block._asdict() | {"weights": plain(block.weights)} for name, block in maps.items()} or None,
    }


def plain(weights: Any) -> list[Any]:
    """Lists of numbers, as JSON has them."""
    return np.asarray(weights, dtype=float).round(4).tolist()


def show(facts: Facts, examples: int) -> None:
    """The facts, 80 columns wide."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=80, highlight=False)
    console.print(Text(f"{facts['model']}, {facts['task']}: {facts['data']}, {facts['split']} part"))
    console.print(f"{facts['n']:,} sentences, {facts['parameters']:,} parameters\n")
    table = Table("decoding")
    for heading in ("BLEU", "one reference", "chrF", "exact", "length", "sentences/s"):
        table.add_column(heading, justify="right")
    for width, row in facts["decoding"].items():
        table.add_row(
            "greedy" if width == "1" else f"beam {width}", f"{row['bleu']:.2f}", f"{row['bleu_one_reference']:.2f}",
            f"{row['chrf']:.2f}", f"{100 * row['exact']:.1f} %", f"{row['length_ratio']:.3f}",
            f"{row['per_second']:,.0f}",
        )  # fmt: skip
    console.print(table)
    console.print(Text(f"BLEU {next(iter(facts['decoding'].values()))['signature']}"))
    lengths = Table("words of the source")
    for heading in ("sentences", "BLEU"):
        lengths.add_column(heading, justify="right")
    for row in facts["by_length"]:
        lengths.add_row(row["words"], f"{row['n']:,}", f"{row['bleu']:.2f}")
    console.print(lengths)
    for kind, rows in facts["examples"].items():
        for row in rows[:examples]:
            console.print(Text(f"\n{kind}, chrF {row['chrf']:.0f}: {printable(row['source'])}"))
            console.print(Text(f"  said:  {printable(row['said'])}\n  right: {printable(row['right'])}"))
    if facts["learnt_from"]:
        console.print("The model has learnt from these very sentences: no measure of anything.")
    if not facts["same_text_as_trained"]:
        console.print("Not the corpus that the model was trained on, or another split of it.")

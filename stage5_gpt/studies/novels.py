"""Two books, of plays and of chapters: how well a small GPT foretells Shakespeare and 三国演义, and what it writes."""

import dataclasses
import time
from typing import cast

import torch

from my_llm import metrics
from my_llm.data.catalog import load_text
from my_llm.device import autocast
from my_llm.language.batches import tokens_of
from my_llm.language.diversity import diversity
from my_llm.language.scoring import predicted_bytes
from my_llm.language.writer import Writer
from my_llm.text import unknown_id
from stage2_rnn_lstm.models import NGramModel
from stage5_gpt.language import loss_of
from stage5_gpt.models import GPT
from stage5_gpt.studies import StudyConfig
from stage5_gpt.studies.common import publish
from stage5_gpt.studies.projects import Row, cell_of, opened, record_samples, trained

BOOKS = {"shakespeare": "GLOUCESTER:\n", "three_kingdoms": "却说"}  # corpus and preset: how a sample begins
JUDGED = 50_000  # characters of the test part
WRITTEN = {"en": 400, "zh": 200}  # characters of a text
TEXTS = 4  # to measure how varied they are
ORDER = 5  # of the n-grams beside it


def measured(writer: Writer, dataset: str, prompt: str, seed: int) -> tuple[list[Row], list[Row]]:
    """GPT, n-grams of the same characters, and the book: scores; and a text of each."""
    corpus, tokenizer = load_text(dataset), writer.tokenizer
    text, length = corpus.test[:JUDGED], WRITTEN[corpus.language]
    tokens = tokens_of(tokenizer, text, "test")
    with autocast(writer.precision, writer.device):
        loss = loss_of(cast(GPT, writer.model), tokens)
    unknown = round(100 * float((tokens == unknown_id(tokenizer)).float().mean()), 2)
    counts = NGramModel.fit(torch.tensor(tokenizer.encode(corpus.train)), tokenizer.vocab_size, ORDER)
    nats = {"GPT": float(loss.total), "n-grams": float(counts.score(tokens)[1:].sum())}

    def said(model: Writer) -> list[str]:
        return ["".join(model.write(prompt, length=length, temperature=0.8, seed=seed + n)) for n in range(TEXTS)]

    place, step = text.find(prompt) + len(prompt), (len(text) - length) // TEXTS
    texts = {"GPT": said(writer), "n-grams": said(Writer(counts, tokenizer, facts={}))}
    texts["the book"] = [text[first:][:length] for first in (place, *range(step, TEXTS * step, step))]
    rows, samples = [], []
    for name, some in texts.items():
        found = diversity(some, "characters")
        row: Row = {"case": f"{dataset}, {name}", "n": len(tokens) - 1}
        if name in nats:
            row["unknown"] = unknown
            row["bits_per_byte"] = round(metrics.bits_per_byte(nats[name], predicted_bytes(tokenizer, text)), 3)
            row["perplexity"] = round(metrics.perplexity(nats[name], len(tokens) - 1), 2)
        row |= {measure: round(found[measure], 3) for measure in ("distinct_2", "repetition_4")}
        rows.append(row)
        samples.append({"case": row["case"], "sample": cell_of(prompt + some[0])})
    return rows, samples


def novels(config: StudyConfig) -> None:
    """How well is each book foretold, by byte, and what does a model write that has read it?"""
    config = dataclasses.replace(config, seeds=1)
    started, rows, samples = time.perf_counter(), [], []
    for dataset, prompt in BOOKS.items():
        more, texts = measured(opened(config, trained(config, dataset)), dataset, prompt, config.seed)
        rows, samples = rows + more, samples + texts
    bits = [f"{row['case']} {row['bits_per_byte']}" for row in rows if "bits_per_byte" in row]
    corpus = load_text("three_kingdoms")
    publish(
        config, "novels", corpus, rows, started=started, draw=("bits_per_byte", "distinct_2"),
        title="Shakespeare and the Three Kingdoms: test text, models of characters",
        columns={**dict.fromkeys(("bits_per_byte", "perplexity"), ""), "unknown": "%",
                 **dict.fromkeys(("distinct_2", "repetition_4", "n"), "")},
        seen=lambda: "bits per byte: " + ", ".join(bits),
    )  # fmt: skip
    record_samples(config, "novels", samples, title="What they write", corpus=corpus, started=started)

"""Verse: how often the form is kept by what is drawn once, and by the best of many."""

import dataclasses
import time
from typing import Any

from my_llm.data.catalog import load_text
from stage5_gpt.poet import couplet_rows, poem_rows
from stage5_gpt.studies import StudyConfig
from stage5_gpt.studies.common import publish
from stage5_gpt.studies.projects import Row, cell_of, opened, record_samples, trained, tuned

COUPLETS, CANDIDATES = 40, (1, 8, 32)
POEMS, DRAWN = 24, 16
TUNING: dict[str, Any] = {
    "task": "language_model", "dataset": "three_kingdoms_verse", "epochs": 50, "batch_size": 8, "dropout": 0.2,
    "lr": 2e-3,
}  # fmt: skip


def verses(config: StudyConfig) -> None:
    """How often does verse keep its form, and what does choosing bring?"""
    config = dataclasses.replace(config, seeds=1)
    started, book = time.perf_counter(), load_text("three_kingdoms_verse")
    dramatist = opened(config, trained(config, "shakespeare"))
    rows: list[Row] = [
        {**row, "case": f"couplet: {row['case']}"}
        for row in couplet_rows(dramatist, load_text("shakespeare"), COUPLETS, CANDIDATES, seed=config.seed)
    ]
    novel = trained(config, "three_kingdoms")
    novelist, poet = (opened(config, path) for path in (novel, tuned(config, "verse", novel, TUNING)))
    rows += [
        {**row, "case": f"poem: {row['case']}"}
        for row in poem_rows(novelist, poet, book, POEMS, DRAWN, seed=config.seed)
    ]
    samples = [{"case": row["case"], "sample": cell_of(row.pop("sample"))} for row in rows]
    publish(
        config, "verses", book, rows, started=started, draw=("in_form", "rhymed"),
        title="Verse: second lines of couplets, and Chinese poems of five and seven characters",
        columns={**dict.fromkeys(("of_its_length", "rhymed", "in_form", "copied"), "%"), "n": ""},
        seen=lambda: "; ".join(f"{row['case']}: {row['in_form']} % in form" for row in rows),
    )  # fmt: skip
    record_samples(config, "verses", samples, title="What was written", corpus=book, started=started)

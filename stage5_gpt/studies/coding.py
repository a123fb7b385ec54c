"""The code assistant, held against the library, against chance and against n-grams; and what it wrote."""

import dataclasses
import time

from my_llm.data.catalog import load_text
from my_llm.language.writer import Writer
from stage5_gpt.assistant import answers, look, passes
from stage5_gpt.code_tasks import TASKS
from stage5_gpt.scoring_code import COLUMNS, rows_of
from stage5_gpt.studies import StudyConfig
from stage5_gpt.studies.common import publish
from stage5_gpt.studies.projects import Row, cell_of, opened, record_samples, trained

FUNCTIONS, CANDIDATES, LENGTH = 40, 8, 64  # asked, answers to each, tokens of an answer
SHOWN = 6  # tasks on the page


def shown(writer: Writer, seed: int) -> list[Row]:
    """What it answers to some of the tasks, whether right or wrong."""
    rows = []
    for task in TASKS[:: max(len(TASKS) // SHOWN, 1)][:SHOWN]:
        one = look(task, answers(writer, task, CANDIDATES, length=LENGTH, seed=seed))[0]
        method = one.source.partition("\n\n    def ")[2]
        text = f"    def {method}" if method else one.source
        rows.append({"case": task.name, "passes": passes(task, one), "sample": cell_of(text, code=True)})
    return rows


def coding(config: StudyConfig) -> None:
    """How often is what it writes Python, uses names that exist, keeps to style, does what it should?"""
    config = dataclasses.replace(config, seeds=1)
    started, corpus = time.perf_counter(), load_text("python_library")
    writer = opened(config, trained(config, "code"))
    rows = rows_of(writer, corpus, functions=FUNCTIONS, candidates=CANDIDATES, length=LENGTH, seed=config.seed)
    samples, ours = shown(writer, config.seed), rows[-1]
    publish(
        config, "coding", corpus, rows, started=started, draw=("names_known", "solved"),
        title=f"Code: functions of held-out files, and {len(TASKS)} tasks with hidden examples",
        columns={**dict.fromkeys(COLUMNS, "%"), "n": "", "tasks": ""},
        seen=lambda: f"{ours['case']}: {ours['compiles']} % are Python, {ours['solved']} % of the tasks are solved",
    )  # fmt: skip
    title = f"The best of {CANDIDATES} answers to some of the tasks"
    record_samples(config, "coding", samples, title=title, corpus=corpus, started=started, passes="")

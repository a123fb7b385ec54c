"""`my-llm report`: the last tour as one page that opens without a network, runs/tour/report.html.

The tour leaves runs/tour/tour.json, which says for each stage where its scores and its run directory are. Each stage
has one function that turns them into its section, and one row in SECTIONS.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab import report_stage1, report_stage2, report_stage3, report_stage4, report_stage5
from lab.page import both, data, document, heading, paragraph
from my_llm.cli import execute
from my_llm.errors import CheckpointError

Scores, Metrics = dict[str, Any], list[dict[str, Any]]
Section = Callable[[Scores, Metrics, dict[str, Any]], str]  # (scores, metrics, environment)

SECTIONS: dict[str, tuple[str, str, Section]] = {  # stage -> its title in both languages, its section
    "stage1_mlp": (
        "Perceptron and MLP: a text in, a class out",
        "感知机与 MLP：读入文本，给出类别",
        report_stage1.section,
    ),
    "stage2_rnn_lstm": (
        "RNN and LSTM: a memory, and text that writes itself",
        "RNN 与 LSTM：记忆，以及自己写出来的文字",
        report_stage2.section,
    ),
    "stage3_attention_seq2seq": (
        "Attention: translation that looks back at the source",
        "注意力：回头看原文的翻译",
        report_stage3.section,
    ),
    "stage4_transformer": (
        "The Transformer: all words at once",
        "Transformer：所有的词同时进行",
        report_stage4.section,
    ),
    "stage5_gpt": (
        "GPT: what comes next, asked of everything that was read",
        "GPT：下一个是什么，向读过的一切提问",
        report_stage5.section,
    ),
}


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Write the report of the last tour again."""


def main(arguments: Sequence[str]) -> int:
    """The command."""
    return execute(ReportConfig, lambda config: run(), arguments)


def run() -> None:
    """Write the page and say where it is."""
    print(f"report: {write().as_uri()}")


def tour_folder() -> Path:
    """Where the tour leaves its things."""
    from my_llm.run import home

    return home() / "runs" / "tour"


def write() -> Path:
    """Write report.html beside tour.json; returns its path.

    Raises:
        CheckpointError: There was no tour yet, or it left something unreadable.
    """
    from my_llm.files import write_atomically

    path = tour_folder() / "tour.json"
    if not path.exists():
        raise CheckpointError("there is no tour to report on", got=path, next_step="run: python3 start.py tour")
    page = path.with_name("report.html")
    write_atomically(page, render(read_json(path)).encode())
    return page


def render(tour: dict[str, Any]) -> str:
    """The page of a tour: {"date", "stages": [{"stage", "report", "run", "seconds", "commands", "problem"}]}."""
    body = [
        "<header><h1>",
        both("What your machine has just learnt", "你的机器刚刚学会了什么"),
        "</h1>",
        paragraph(
            f"The tour of my_llm on {data(tour['date'])}. Everything on this page was computed here; the page loads "
            "nothing from anywhere.",
            f"my_llm 导览，{data(tour['date'])}。本页的一切都是在这台机器上算出来的；页面不从任何地方加载内容。",
            "lead",
        ),
        "</header><main>",
        *(stage_section(stop) for stop in tour["stages"]),
        side_by_side([left_by(stop)[:2] for stop in tour["stages"] if not stop["problem"]]),
        "</main>",
    ]
    return document("my_llm", "".join(body))


def stage_section(stop: dict[str, Any]) -> str:
    """One stage: its title, then its own section, or what went wrong."""
    english, chinese, section = SECTIONS[stop["stage"]]
    title = f'<p class="kicker">{data(stop["stage"])}</p>{heading(english, chinese, 2)}'
    if stop["problem"]:
        failure = paragraph(
            f"This stage failed: {data(stop['problem'])}. Its command was {data(stop['commands'][-1])}.",
            f"本阶段失败：{data(stop['problem'])}。命令是 {data(stop['commands'][-1])}。",
            "verdict odd",
        )
        return f'<section class="stage">{title}{failure}</section>'
    return f'<section class="stage" id="{stop["stage"]}">{title}{section(*left_by(stop))}</section>'


def side_by_side(stages: Sequence[tuple[Scores, Metrics]]) -> str:
    """The translators beside each other, and the language models, if there are several."""
    sections = []
    for task, beside, english, chinese in (
        ("translation", report_stage4.beside, "The same task, twice", "同一个任务，做两遍"),
        ("language model", report_stage5.beside, "The same text, twice", "同一份文本，读两遍"),
    ):
        found = [(scores, metrics) for scores, metrics in stages if scores.get("task") == task]
        if len({scores["data"] for scores, _ in found}) == 1 < len(found):
            sections.append(f'<section class="stage">{heading(english, chinese, 2)}{beside(found)}</section>')
    return "".join(sections)


def left_by(stop: dict[str, Any]) -> tuple[Scores, Metrics, dict[str, Any]]:
    """What a stage's scripts wrote: scores, the run's metrics, its environment."""
    folder = Path(stop["run"])
    return read_json(Path(stop["report"])), read_lines(folder), read_json(folder / "environment.json")


def read_lines(folder: Path) -> Metrics:
    """The run's metrics.jsonl."""
    from my_llm.journal import read_metrics

    return read_metrics(folder)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file, or a CheckpointError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read {path}, {error}", next_step="run the tour again: python3 start.py tour"
        ) from None

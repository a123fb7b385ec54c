"""The score of a milestone over the minutes of its training: results/<stage>/<case>_curve.json, and a chart of all."""

import json
from pathlib import Path
from typing import Any

ENDS = {"stage3_attention_seq2seq": "Bahdanau (stage 3)", "stage4_transformer": "Transformer (stage 4)"}
CHART = "stage4_transformer"  # whose figures hold it


def on_the_way(folder: Path, key: str) -> list[dict[str, Any]]:
    """A row for each validation of a finished run; its steps take about equally long, so minutes are shares of all.

    Args:
        folder: Of the run.
        key: The score, as the lines of metrics.jsonl have it.
    """
    from my_llm.journal import read_metrics

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    a_step = summary["seconds"] / 60 / summary["steps"]
    return [
        {
            "case": f"step {line['step'] + 1}",
            "minutes": round((line["step"] + 1) * a_step, 2),
            key: round(line[key], 2),
        }
        for line in read_metrics(folder)
        if key in line
    ]


def record_curve(stage: str, case: str, title: str, key: str, folder: Path, report: dict[str, Any]) -> Path:
    """Write the rows of a run, and draw them beside those that other stages have recorded.

    Args:
        title: What was trained on what.
        report: Of evaluate.py, which knows the data.
    """
    from my_llm import ledger

    rows = on_the_way(folder, key)
    path = ledger.record(
        stage, f"{case}_curve", title=f"{title}: greedy {key.upper()} of the validation part over minutes of training",
        command=f"my-llm milestones --stage {stage} --cases {case}", columns={"minutes": "min", key: ""}, rows=rows,
        data=report["source"], sha256=report["sha256"], seed=0, seconds=60 * rows[-1]["minutes"],
    )  # fmt: skip
    draw(case, key)
    return path


def draw(case: str, key: str) -> None:
    """docs/figures/stage4_<case>.png."""
    from my_llm import ledger
    from my_llm.plots import curves
    from my_llm.studies import figure_path

    series = {}
    for stage, name in ENDS.items():
        if (path := ledger.results_folder() / stage / f"{case}_curve.json").exists():
            rows = ledger.read(path)["rows"]
            series[name] = ([row["minutes"] for row in rows], [row[key] for row in rows])
    curves(
        series, figure_path(CHART, case), title="Multi30k, English to French: quality over time",
        xlabel="minutes of training", ylabel=f"{key.upper()} of the validation part, greedy",
    )  # fmt: skip

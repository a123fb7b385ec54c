"""How a result of a study leaves the house: a table in the ledger, a figure beside it, a sentence on the screen."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, SupportsFloat

from my_llm import ledger
from my_llm.data.catalog import TextClassification
from my_llm.plots import PALETTE
from stage1_mlp.studies import StudyConfig, seeds_of

Curve = tuple[Sequence[SupportsFloat], Sequence[SupportsFloat]]  # x, y


def mean_and_spread(name: str, values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """{name: mean, name_sd: standard deviation} over the seeds (0 for a single one)."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {name: round(statistics.fmean(values), digits), f"{name}_sd": round(spread, digits)}


def figure_path(name: str) -> Path:
    """docs/figures/stage1_<name>.png beside the folder of results."""
    return ledger.results_folder().parent / "docs" / "figures" / f"stage1_{name}.png"


def lines(chart: Any, series: Mapping[str, Curve], *, title: str, xlabel: str, ylabel: str, mark: str = "") -> None:
    """Draw named curves into one chart of `drawing.sheet`; every second one dashed and on top, as some coincide.

    Args:
        mark: matplotlib's sign for single measurements, such as "o"; "" for a plain line.
    """
    for number, (name, (x, y)) in enumerate(series.items()):
        style = {"linestyle": "--", "zorder": 3} if number % 2 else {}
        style |= {"color": PALETTE[number % len(PALETTE)], "marker": mark, "markersize": 3.5, "linewidth": 1.6}
        chart.plot(x, y, label=name.replace("_", " "), **style)
    chart.set_title(title, fontsize=10, loc="left")
    chart.set_xlabel(xlabel)
    chart.set_ylabel(ylabel)
    chart.grid(alpha=0.25)


def finish(
    config: StudyConfig,
    name: str,
    *,
    title: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    seen: str,
    started: float,
    corpus: TextClassification | None = None,
) -> None:
    """Record a study in the ledger, show its table, say where table and figure are and what is to be seen.

    Args:
        columns: Key → unit, as in `ledger.record`.
        seen: What the numbers say, one sentence, computed from them.
        started: `time.perf_counter()` when the study began.
        corpus: The text; None for data made by rule.
    """
    path = ledger.record(
        "stage1_mlp",
        name,
        title=title,
        command=command_of(config, name, needs_text=corpus is not None),
        columns=columns,
        rows=rows,
        data=f"{corpus.name}: {corpus.source}" if corpus else "made by rule",
        sha256=corpus.sha256 if corpus else "",
        seed=list(seeds_of(config)),
        seconds=time.perf_counter() - started,
    )
    show_table(title, columns, rows)
    print(f"table   {path}\nfigure  {figure_path(name)}\nseen    {seen}")
    print("note    these two files are published; git checkout results docs/figures brings the old ones back\n")


def command_of(config: StudyConfig, name: str, *, needs_text: bool) -> str:
    """The command that repeats one study: the flags that differ from their defaults."""
    default, given = asdict(StudyConfig()), asdict(config)
    ignored = {"studies", "config", "threads", *(() if needs_text else ("dataset",))}
    flags = [f"--{flag} {value}" for flag, value in given.items() if value != default[flag] and flag not in ignored]
    return " ".join(["python stage1_mlp/experiments.py --studies", name, *flags])


def show_table(title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the table, at most 80 characters wide; a spread (…_sd) stands behind its mean."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("case", overflow="fold")
    shown = [key for key in columns if not key.endswith("_sd")]
    for key in shown:
        unit = f" ({columns[key]})" if columns[key] else ""
        table.add_column(key.replace("_", " ") + unit, justify="right", overflow="fold")
    for row in rows:
        table.add_row(str(row["case"]), *(_cell(row.get(key), row.get(f"{key}_sd")) for key in shown))
    Console(width=80).print(table)


def _cell(value: Any, spread: float | None) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}"

"""`my-llm compare`: the whole path seen at once, measured here.

    ladder       every generation of language models on one text, in three races
    complexity   how operations, waiting, paths and memory grow with the length of a text, predicted and counted

Its tables stand in results/compare/, its figures in docs/figures/; what they mean stands in docs/en/compare.md.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from my_llm.cli import BaseConfig, execute
from my_llm.errors import choose

STAGE = "compare"  # its folder below results/


@dataclasses.dataclass(frozen=True)
class CompareConfig(BaseConfig):
    """Compare every generation of models."""

    parts: tuple[str, ...] = ("all",)
    """what to compare, by name: ladder, complexity; all: everything"""
    dataset: str = "auto"
    """corpus of the ladder, a language modelling one"""
    workers: int = 0
    """trainings at a time; 0: one for each core"""
    max_steps: int = 0
    """steps of each training; 0: as the race says; with a small number the numbers mean nothing"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "workers": (0, 1024), "max_steps": (0, 1e9)
    }  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """The command."""
    return execute(CompareConfig, run, arguments)


def run(config: CompareConfig) -> None:
    """Each part that was asked for."""
    for part in PARTS if "all" in config.parts else [choose(name, PARTS, "part") and name for name in config.parts]:
        PARTS[part](config)


def ladder(config: CompareConfig) -> None:
    """Who predicts a text best with equal parameters, after equal text, and after equal time?"""
    from lab import ladder as races
    from lab.generations import GENERATIONS

    started = time.perf_counter()
    corpus, *_ = races.parts_of(config.dataset)
    setting = races.Setting(corpus.name, config.seed, config.max_steps)
    names = list(GENERATIONS)
    print(f"{corpus.source}: {len(races.jobs(names))} trainings of at most a few minutes each", flush=True)
    done = races.race(setting, names, races.folder_of(setting, corpus.sha256), races.workers_of(config.workers))
    rows = races.table_of(done, races.count(setting), names)
    title = (
        f"Bits per byte of {len(corpus.validation):,} characters of {corpus.name} that nobody has read: "
        f"{races.SIZE:,} parameters and {races.PASSES} passes; {races.TOKENS:,} characters; {races.SECONDS:g} s"
    )
    draw_ladder(rows)
    publish(config, "ladder", rows, races.COLUMNS, title=title, corpus=corpus, started=started)
    for key in races.BITS:
        first = min(rows, key=lambda row: row[key])
        print(f"seen    {key.replace('_', ' ')}: {first['case']}, {first[key]:.3f}")


def draw_ladder(rows: Sequence[Mapping[str, Any]]) -> None:
    """One rung for each generation, in the order of the stages, and three charts that share their height."""
    from lab import ladder as races
    from lab.generations import GENERATIONS
    from my_llm import studies
    from my_llm.plots import INK, PALE, PALETTE

    figure, charts = studies.sheet(
        3, width=4.6, height=4.4, title="One text, every generation: bits per byte of what comes next (lower is better)"
    )
    told = (
        f"equal parameters: {races.SIZE:,}, {races.PASSES} passes",
        f"equal text: {races.TOKENS:,} characters, any size",
        f"equal time: {races.SECONDS:g} s of one core, any size",
    )
    names = [row["case"] for row in rows]
    years = {races.NGRAM: 1948, **{name: one.year for name, one in GENERATIONS.items()}}
    low, high = (side(row[key] for row in rows for key in races.BITS) for side in (min, max))
    for chart, key, title, color in zip(charts, races.BITS, told, PALETTE):
        values = [row[key] for row in rows]
        first = values.index(min(values))
        chart.bar(names, values, color=[color if place == first else PALE for place in range(len(values))], width=0.7)
        for place, value in enumerate(values):
            chart.annotate(f"{value:.2f}", (place, value), (0, 3), textcoords="offset points", ha="center", fontsize=8,
                           color=INK, fontweight="bold" if place == first else "normal")  # fmt: skip
        chart.set_ylim(low - 0.35 * (high - low), high + 0.12 * (high - low))
        chart.set_xticks(range(len(names)), [f"{name}\n{years[name]}" for name in names], rotation=60, fontsize=8)
        chart.set_title(title, fontsize=10, loc="left")
    studies.save(figure, "ladder", stage=STAGE)


def complexity(config: CompareConfig) -> None:
    """Do costs grow with the length of a text as theory says?"""
    from lab import complexity as costs

    started = time.perf_counter()
    rows = costs.table_of()
    columns = {f"{what}{end}": "" for what in costs.COUNTED for end in ("_should", "_exponent", "")}
    title = (
        f"Texts of {costs.LENGTHS[0]} to {costs.LENGTHS[-1]} tokens, width {costs.WIDTH}: how counts should grow, the "
        f"exponent that fits them, and the counts at {costs.LENGTHS[-1]}"
    )
    publish(config, "complexity", rows, columns, title=title, started=started)


def publish(
    config: CompareConfig,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    title: str,
    corpus: Any = None,
    started: float,
) -> None:
    """Write the table into the ledger and show it."""
    from my_llm import ledger
    from my_llm.studies import figure_path, show_table

    path = ledger.record(
        STAGE, name, title=title, command=command_of(config, name), columns=columns, rows=rows,
        data=f"{corpus.name}: {corpus.source}" if corpus else "made by rule", sha256=corpus.sha256 if corpus else "",
        seed=config.seed, seconds=time.perf_counter() - started,
    )  # fmt: skip
    show_table(title, columns, rows)
    figure = figure_path(STAGE, name)
    print(f"table   {path}" + (f"\nfigure  {figure}" if figure.exists() else ""))


def command_of(config: CompareConfig, part: str) -> str:
    """The command that repeats one part: the flags that differ from their defaults."""
    default = CompareConfig()
    flags = [
        f"--{name} {value}"
        for name, value in dataclasses.asdict(config).items()
        if value != getattr(default, name) and name not in ("config", "parts", "workers", "threads")
    ]
    return " ".join(["my-llm compare --parts", part, *flags])


PARTS: dict[str, Callable[[CompareConfig], None]] = {"ladder": ladder, "complexity": complexity}

"""`my-llm compare`: the whole path seen at once, measured here.

    ladder       every generation of language models on one text, in three races
    abilities    which of them knows order, recalls from far away, and shows where its answer comes from
    complexity   how operations, waiting, paths and memory grow with the length of a text, predicted and counted
    showcase     what each generation writes after as much time
    budget       what a minute and ten of `train.py --budget` buy in each stage, and an hour in three

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
    """what to compare, by name: ladder, abilities, complexity, showcase, budget; all: everything"""
    dataset: str = "auto"
    """corpus of the ladder and the showcase, a language modelling one"""
    workers: int = 0
    """trainings at a time; 0: one for each core"""
    max_steps: int = 0
    """steps of each training (not of budget); 0: as the race says; with a small number the numbers mean nothing"""

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
    from lab.jobs import folder_of

    started = time.perf_counter()
    corpus, *_ = races.parts_of(config.dataset)
    setting = races.Setting(corpus.name, config.seed, config.max_steps)
    names = list(GENERATIONS)
    print(f"{corpus.source}: {len(races.jobs(names))} trainings of at most a few minutes each", flush=True)
    done = races.race(setting, names, folder_of("ladder", races.rules(setting, corpus.sha256)), config.workers)
    found = races.table_of(done, races.count(setting), names)
    first, second = f"at most {races.SIZE:,} parameters and {races.PASSES} passes", "the text once"
    said = f"{first}; {second}; {races.SECONDS:g} s of one core"
    judged = f"Bits per byte of {len(corpus.validation):,} characters of {corpus.name} that nobody has read: {said}"
    draw_ladder(found)
    rows, costs = races.results_of(found), races.costs_of(found)
    publish(config, "ladder", rows, races.BITS, title=judged, corpus=corpus, started=started)
    taken = f"What the ladder took: {said}"
    publish(config, "ladder_costs", costs, races.COSTS, title=taken, corpus=corpus, started=started)
    for race in races.RACES:
        winner = min(rows, key=lambda row: row[f"equal_{race}"])
        print(f"seen    equal {race}: {winner['case']}, {winner[f'equal_{race}']:.3f}")


def draw_ladder(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Three charts of bars, in the order of the stages, that share their height; and the third race as it was run."""
    from lab import ladder as races
    from lab.generations import GENERATIONS
    from my_llm import studies
    from my_llm.plots import INK, PALE, PALETTE

    title = "One text, every generation: bits per byte of what comes next (lower is better)"
    figure, charts = studies.sheet(4, width=6.2, height=4.2, rows=2, title=title)
    told = {
        "parameters": f"equal parameters: at most {races.SIZE:,}, {races.PASSES} passes over the text",
        "tokens": "equal text: read once, any size",
        "seconds": f"equal time: {races.SECONDS:g} s of one core, any size",
    }
    years = {races.NGRAM: 1948, **{name: one.year for name, one in GENERATIONS.items()}}
    everything = [row["bits"] for race in found.values() for row in race.values()]
    low, high = min(everything), max(everything)
    for chart, (race, rows), color in zip(charts, found.items(), PALETTE):
        values = [row["bits"] for row in rows.values()]
        first = values.index(min(values))
        colors = [color if place == first else PALE for place in range(len(values))]
        chart.bar([*rows], values, color=colors, width=0.7)
        for place, value in enumerate(values):
            number = f"{round(value, 3):.2f}"  # as the table rounds
            chart.annotate(number, (place, value), (0, 3), textcoords="offset points", ha="center", fontsize=9,
                           color=INK, fontweight="bold" if place == first else "normal")  # fmt: skip
        chart.set_ylim(low - 0.35 * (high - low), high + 0.12 * (high - low))
        names = [f"{name}\n{years[name]}" for name in rows]
        chart.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        chart.set_title(told[race], fontsize=10, loc="left")
    draw_race(charts[3], found["seconds"])
    studies.save(figure, "ladder", stage=STAGE)


def draw_race(chart: Any, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """What each network says of the text that it learns from, second by second; counting is done before they begin."""
    from lab.ladder import NGRAM, SECONDS
    from my_llm.plots import INK, PALETTE

    counted = rows[NGRAM]["bits"]
    chart.axhline(counted, color=INK, linestyle="--", linewidth=1)
    chart.annotate(
        f"counting: {NGRAM}, on the part that judges",
        (1, counted),
        (0, -11),
        textcoords="offset points",
        fontsize=8,
        color=INK,
    )
    for number, (name, row) in enumerate((name, row) for name, row in rows.items() if name != NGRAM):
        seconds, bits = zip(*row["curve"])
        color, style = PALETTE[number % 4], ("-", "--")[number // 4]
        chart.plot(seconds, bits, label=name, color=color, linestyle=style, linewidth=1.6)
    chart.set_xscale("log")
    chart.set_xlim(1, SECONDS)
    chart.set_xticks([1, 2, 5, 10, 20, 50, SECONDS], ["1", "2", "5", "10", "20", "50", f"{SECONDS:g}"])
    chart.minorticks_off()
    chart.set_ylim(counted - 0.3, 4.6)
    chart.set_xlabel("seconds of one core")
    chart.legend(fontsize=8, frameon=False, ncols=2)
    chart.set_title("the third race as it was run: bits per character of the batches", fontsize=10, loc="left")


def abilities(config: CompareConfig) -> None:
    """Can each generation do what one ability is needed for?"""
    from lab import abilities as tasks
    from lab.jobs import folder_of

    started = time.perf_counter()
    folder = folder_of("abilities", tasks.rules(config.seed, config.max_steps))
    names = list(tasks.MODELS)
    done = tasks.learn(names, config.seed, config.max_steps, folder, config.workers)
    rows = tasks.table_of(done, names)
    title = (
        f"Answers right: which of two came first (chance {tasks.CHANCE['order']:g} %), which of 8 keys it was, by "
        f"distance ({tasks.CHANCE['recall']:g} %), which value has a key ({tasks.CHANCE['pairs']:g} %); "
        f"{tasks.PARAMETERS:,} parameters, {tasks.SECONDS:g} s of one core; how often the key is found by trial, and "
        "by a head"
    )
    publish(config, "abilities", rows, tasks.COLUMNS, title=title, started=started)


def complexity(config: CompareConfig) -> None:
    """Do costs grow with the length of a text as theory says?"""
    from lab import complexity as costs

    started = time.perf_counter()
    rows = costs.table_of()
    title = (
        f"Texts of {costs.LENGTHS[0]} to {costs.LENGTHS[-1]} tokens, width {costs.WIDTH}: how counts should grow, the "
        f"exponent that fits them, and the counts at {costs.LENGTHS[-1]}"
    )
    publish(config, "complexity", rows, costs.COLUMNS, title=title, started=started)


def showcase(config: CompareConfig) -> None:
    """What does each generation write, after as much time on the same text?"""
    from lab import ladder as races
    from lab import showcase as samples
    from lab.generations import GENERATIONS
    from lab.jobs import folder_of

    started = time.perf_counter()
    corpus, *_ = races.parts_of(config.dataset)
    setting = races.Setting(corpus.name, config.seed, config.max_steps)
    folder = folder_of("showcase", samples.rules(setting, corpus.sha256))
    rows = samples.rows(setting, list(GENERATIONS), folder, config.workers)
    for row in rows:
        print(f"\n--- {row['case']} ---\n{row['sample']}")
    print()
    title = (
        f"After {races.SECONDS:g} s of one core, at most {samples.PARAMETERS:,} parameters: bits per byte; of "
        f"{samples.WRITTEN:,} characters written, the share of words of four letters and more that the text has, "
        "too, and the longest copy"
    )
    table = samples.table_of(rows)
    publish(config, "showcase", table, samples.COLUMNS, title=title, corpus=corpus, started=started)


def budget(config: CompareConfig) -> None:
    """What do one and ten minutes of training buy in each stage, if the rule of --budget spends them? And an hour?"""
    from lab import budgets

    started = time.perf_counter()
    rows = list(budgets.rows())
    title = "Trained with --budget: the best score on the validation part; 1m over two seeds; seconds with everything"
    seeds = sorted({seed for seeds in budgets.BUDGETS.values() for seed in seeds})
    publish(config, "budget", rows, budgets.COLUMNS, title=title, data="auto", seed=seeds, started=started)


def publish(
    config: CompareConfig,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    title: str,
    corpus: Any = None,
    data: str = "made by rule",
    seed: Sequence[int] = (),
    started: float,
) -> None:
    """Write the table into the ledger and show it."""
    from lab.tables import TEXT
    from my_llm import ledger
    from my_llm.studies import figure_path, show_table

    path = ledger.record(
        STAGE, name, title=title, command=command_of(config, name.removesuffix("_costs")), columns=columns, rows=rows,
        data=f"{corpus.name}: {corpus.source}" if corpus else data, sha256=corpus.sha256 if corpus else "",
        seed=seed or config.seed, seconds=time.perf_counter() - started,
    )  # fmt: skip
    show_table(title, {column: unit for column, unit in columns.items() if unit != TEXT}, rows)
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


PARTS: dict[str, Callable[[CompareConfig], None]] = {
    "ladder": ladder, "abilities": abilities, "complexity": complexity, "showcase": showcase, "budget": budget
}  # fmt: skip

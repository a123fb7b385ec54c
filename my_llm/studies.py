"""What the studies of every stage share: their flags, and how a result leaves the house.

A study answers one question with a table in the ledger, a figure beside it and a sentence on the screen, computed from
the numbers. torch, numpy and matplotlib are imported inside the functions, as `experiments.py --help` must not wait.
"""

import hashlib
import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, SupportsFloat, runtime_checkable

from my_llm.cli import BaseConfig
from my_llm.errors import ConfigError, choose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[Sequence[SupportsFloat], Sequence[SupportsFloat]]  # x, y


@dataclass(frozen=True)
class StudyConfig(BaseConfig):
    """The flags of every experiments.py; a stage says which one it is, and which corpora there are."""

    studies: tuple[str, ...] = ("all",)
    """which studies to run, by name; all: every one, in the order of the theory page"""
    dataset: str = "auto"
    """corpus for the studies that need text"""
    seeds: int = 3
    """repetitions with different random numbers; tables give mean and standard deviation"""
    max_steps: int = 0
    """optimiser steps of each training; 0: as the study says; a small number shortens everything (the numbers then
    mean nothing)"""

    stage: ClassVar[str]


@runtime_checkable
class Corpus(Protocol):
    """What a table says about its text; every kind of corpus has it."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def sha256(self) -> str: ...


class Together(NamedTuple):
    """Several corpora, as one source of a table."""

    name: str
    source: str
    sha256: str


def together(corpora: Sequence[Corpus]) -> Together:
    """Their names and sources one behind the other, and a digest of their digests."""
    named = "; ".join(f"{corpus.name}: {corpus.source}" for corpus in corpora)
    digest = hashlib.sha256("".join(corpus.sha256 for corpus in corpora).encode()).hexdigest()
    return Together(" and ".join(corpus.name for corpus in corpora), named, digest)


def check(config: StudyConfig) -> None:
    """Refuse what a study that compares trainings cannot honour.

    Raises:
        ConfigError: fewer than one seed, or bf16: the studies compare in fp32.
    """
    if config.seeds < 1:
        raise ConfigError("--seeds must be positive", got=config.seeds, valid="1 or more")
    if config.precision == "bf16":
        raise ConfigError("the studies compare in fp32", got=config.precision, valid=["auto", "fp32"])


def study_of(stage: str, name: str, modules: Mapping[str, str]) -> Callable[[Any], None]:
    """The function of a study; its module, and torch with it, is loaded only now.

    Args:
        stage: The folder of the stage.
        name: Of the study.
        modules: Study → the module of <stage>/studies/ that holds the function of that name.

    Raises:
        ConfigError: no such study; the nearest name is suggested.
    """
    return getattr(import_module(f"{stage}.studies.{choose(name, modules, 'study')}"), name)


def run_studies(config: StudyConfig, modules: Mapping[str, str]) -> None:
    """Run the chosen studies one after the other; `modules` as in `study_of`, in the order of the theory page."""
    names = list(modules) if "all" in config.studies else config.studies
    functions = [study_of(config.stage, name, modules) for name in names]  # all are checked before a minute is spent
    from my_llm.device import set_up

    set_up(config.device, config.threads, config.seed)
    for number, (name, function) in enumerate(zip(names, functions, strict=True), 1):
        print(f"study {number} of {len(names)}: {name}", flush=True)
        function(config)


def seeds_of(config: StudyConfig) -> range:
    """The seeds of the repetitions."""
    return range(config.seed, config.seed + config.seeds)


def steps_of(config: StudyConfig, steps: int) -> int:
    """How many steps to train: `--max_steps` if given, else what the study wants."""
    return config.max_steps or steps


def mean_and_spread(name: str, values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """{name: mean, name_sd: standard deviation} over the seeds (0 for a single one)."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {name: round(statistics.fmean(values), digits), f"{name}_sd": round(spread, digits)}


# --- figures ----------------------------------------------------------------------------------------------------------


def figure_path(stage: str, name: str) -> Path:
    """docs/figures/stage1_<name>.png beside the folder of results; `stage` is a room, such as stage1_mlp."""
    from my_llm import ledger

    return ledger.results_folder().parent / "docs" / "figures" / f"{stage.split('_')[0]}_{name}.png"


def sheet(
    charts: int, *, width: float = 4.0, height: float = 3.4, title: str = "", rows: int = 1
) -> tuple["Figure", list[Any]]:
    """An empty figure in the look of `plots`: charts side by side, in rows; `width` and `height` (inches) of one."""
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure

    from my_llm.plots import INK, LOOK, PALETTE

    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(width * charts / rows, height * rows), dpi=110, layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, charts // rows)).ravel().tolist()
        for chart in axes:
            chart.set_prop_cycle(color=PALETTE[:6])
        if title:
            figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure, axes


def save(figure: "Figure", name: str, *, stage: str) -> None:
    """Write the figure of a study, in 128 colours to keep it small; the same drawing, the same bytes."""
    import matplotlib
    from PIL import Image

    from my_llm.files import write_atomically
    from my_llm.plots import LOOK

    drawn, written = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(LOOK):
        figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(128).save(written, format="png", optimize=True)
    path = figure_path(stage, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, written.getvalue())


def lines(chart: Any, series: Mapping[str, Curve], *, title: str, xlabel: str, ylabel: str, mark: str = "") -> None:
    """Draw named curves into one chart of `sheet`; every second one dashed and on top, as some coincide.

    Args:
        mark: matplotlib's sign for single measurements, such as "o"; "" for a plain line.
    """
    from my_llm.plots import PALETTE

    for number, (name, (x, y)) in enumerate(series.items()):
        style = {"linestyle": "--", "zorder": 3} if number % 2 else {}
        style |= {"color": PALETTE[number % len(PALETTE)], "marker": mark, "markersize": 3.5, "linewidth": 1.6}
        chart.plot(x, y, label=name.replace("_", " "), **style)
    chart.set_title(title, fontsize=10, loc="left")
    chart.set_xlabel(xlabel)
    chart.set_ylabel(ylabel)
    chart.grid(alpha=0.25)


# --- tables -----------------------------------------------------------------------------------------------------------


def finish(
    config: StudyConfig,
    name: str,
    *,
    title: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    seen: str,
    started: float,
    corpus: Corpus | None = None,
) -> None:
    """Record a study in the ledger, show its table, say where table and figure are and what is to be seen.

    Args:
        columns: Key → unit, as in `ledger.record`.
        seen: What the numbers say, one sentence, computed from them.
        started: `time.perf_counter()` when the study began.
        corpus: The text; None for data made by rule.
    """
    from my_llm import ledger

    path = ledger.record(
        config.stage,
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
    print(f"table   {path}\nfigure  {figure_path(config.stage, name)}\nseen    {seen}")
    print("note    these two files are published; git checkout results docs/figures brings the old ones back\n")


def command_of(config: StudyConfig, name: str, *, needs_text: bool) -> str:
    """The command that repeats one study: the flags that differ from their defaults."""
    default, given = asdict(type(config)()), asdict(config)
    ignored = {"studies", "config", "threads", *(() if needs_text else ("dataset",))}
    flags = [f"--{flag} {value}" for flag, value in given.items() if value != default[flag] and flag not in ignored]
    return " ".join([f"python {config.stage}/experiments.py --studies", name, *flags])


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
        return "–" if value is None else str(value)
    return f"{value:,.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}"

"""Figures with one look: curves, bars, confusion matrix, heat-map, histograms, panels. PNG files, no display needed.

The look: one sans-serif type, colours that colour-blind readers can tell apart (Okabe and Ito 2008), a light grid
behind the data, no box around it, names at the lines instead of a legend. The same input gives the same bytes: no date,
no version in the file. A value that is NaN or infinite is left out; a diverged run simply ends.

matplotlib is imported inside the functions, because it takes most of a second.
"""

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike

from my_llm.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = Mapping[str, tuple[ArrayLike, ArrayLike]]  # name → (x, y), each of shape (N,)

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
DASHES = ("-", "--", ":", "-.")  # a second round of the palette is dashed
INK, PALE = "#333333", "#E3E3E3"
LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}


def curves(
    series: Series, path: Path, *, title: str, xlabel: str, ylabel: str, log_x: bool = False, log_y: bool = False
) -> None:
    """Lines over a shared axis: {name: (x, y)}, each named at its end."""
    with drawing(path, title, (7.0, 4.2), series) as figure:
        axes = figure.add_subplot()
        axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
        _draw_lines(axes, series, list(series))
        figure.draw_without_rendering()  # settles the scales
        _name_lines(axes)


def panels(charts: Mapping[str, Series], path: Path, *, xlabel: str, ylabel: str, title: str) -> None:
    """Curve charts side by side over the same axes, one colour per name in all of them, one legend."""
    with drawing(path, title, (0.8 + 2.6 * len(charts), 3.8), charts) as figure:
        grid = figure.subplots(1, len(charts), sharex=True, sharey=True, squeeze=False)[0]
        names = list(dict.fromkeys(name for series in charts.values() for name in series))
        for axes, (heading, series) in zip(grid, charts.items()):
            axes.set(title=heading, xlabel=xlabel)
            _draw_lines(axes, series, names)
        grid[0].set_ylabel(ylabel)
        handles = {line.get_label(): line for axes in grid for line in axes.lines}
        columns = 2 * len(charts)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, handlelength=1.4)


def bars(
    values: Mapping[str, SupportsFloat],
    path: Path,
    *,
    title: str,
    ylabel: str,
    errors: Mapping[str, SupportsFloat] | None = None,
) -> None:
    """One bar per name from zero, with its value; `errors` (for example standard deviations) as whiskers.

    The bars lie on their side, so that long names stay readable; `ylabel` names what they measure.
    """
    names, lengths = list(values), [float(value) for value in values.values()]
    spread = None if errors is None else [float(errors.get(name, 0.0)) for name in names]
    with drawing(path, title, (7.0, 0.8 + 0.36 * len(names)), values) as figure:
        axes = figure.add_subplot()
        whiskers = {"ecolor": INK, "elinewidth": 1, "capsize": 2.5}
        drawn = axes.barh(names, lengths, xerr=spread, color=PALETTE[0], height=0.66, error_kw=whiskers)
        texts = [short(x) + ("" if spread is None else f" ± {short(s)}") for x, s in zip(lengths, spread or lengths)]
        axes.bar_label(drawn, texts, padding=5)
        axes.margins(x=0.12, y=0.03)
        axes.set(xlabel=ylabel)
        axes.invert_yaxis()  # the first name on top
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color="#888888", linewidth=0.8)


def confusion(matrix: ArrayLike, labels: Sequence[str], path: Path, *, title: str) -> None:
    """Counts (C, C), rows = truth; the colour is the share of the row, so that rare classes are seen too."""
    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.0 + 0.75 * len(labels)
    with drawing(path, title, (side + 0.5, side), counts) as figure:
        texts = [[f"{n}\n{s:.0%}" if n else "0" for n, s in zip(*rows)] for rows in zip(counts, share)]
        axes = _draw_matrix(figure, share, labels, labels, texts, limits=(0.0, 1.0), cell=0.75)
        axes.set(xlabel="predicted", ylabel="true")


def heatmap(
    matrix: ArrayLike, row_labels: Sequence[str], column_labels: Sequence[str], path: Path, *, title: str
) -> None:
    """A matrix (rows, columns) as colours, for example attention weights; blue–red around zero if there are both signs.

    Small ones show their numbers.
    """
    values = np.asarray(matrix, dtype=float)
    size = 1.8 + 0.42 * len(column_labels), 1.3 + 0.42 * len(row_labels)
    with drawing(path, title, size, values) as figure:
        texts = [[f"{x:.2f}" for x in row] for row in values] if values.size <= 64 else None
        reach = float(np.nanmax(np.abs(values)))
        limits = (-reach, reach) if np.nanmin(values) < 0 else (0.0, reach)
        _draw_matrix(figure, values, row_labels, column_labels, texts, limits=limits, cell=0.42)


def histograms(groups: Mapping[str, ArrayLike], path: Path, *, title: str, columns: int = 4) -> None:
    """One histogram per name over the same horizontal axis, with mean μ and standard deviation σ."""
    values = {name: np.asarray(group, dtype=float).ravel() for name, group in groups.items()}
    values = {name: group[np.isfinite(group)] for name, group in values.items()}
    every = np.concatenate([*values.values(), []])
    columns = min(columns, len(groups))
    rows = math.ceil(len(groups) / max(columns, 1))
    with drawing(path, title, (2.1 * columns + 0.6, 1.45 * rows + 0.7), every) as figure:
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
        for axes, (name, group) in zip(grid, values.items()):
            if group.size:
                axes.hist(group, bins=40, range=(every.min(), every.max()), color=PALETTE[0], density=True)
            axes.set_title(name)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            statistics = f"μ {short(group.mean())}\nσ {short(group.std())}" if group.size else "nothing finite"
            axes.text(0.98, 0.95, statistics, transform=axes.transAxes, ha="right", va="top", fontsize=7.5)
        for axes in grid[len(values) :]:
            axes.set_axis_off()
        for axes in grid[: len(values)][-columns:]:  # nothing stands below these
            axes.tick_params(labelbottom=True)


def smooth(points: Sequence[tuple[float | int, float]], pieces: int = 200) -> list[tuple[float, float]]:
    """Means over up to `pieces` or so equal stretches: a readable curve out of thousands of steps."""
    size = max(len(points) // pieces, 1)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(float(group[-1][0]), sum(y for _, y in group) / len(group)) for group in groups]


def short(value: SupportsFloat) -> str:
    """A number for people: three or four digits, thousands apart."""
    size = abs(value := float(value))
    digits = ",.0f" if size >= 1000 else ".1f" if size >= 10 else ".2f" if size >= 1 else ".2g"
    return f"{value:{digits}}".replace("-", "−")


# ---------------------------------------------------------------- the look


@contextmanager
def drawing(path: Path, title: str, inches: tuple[float, float], data: object) -> Iterator["Figure"]:
    """An empty figure to draw on; saved at the end, whole or not at all."""
    import matplotlib
    from matplotlib.figure import Figure

    from my_llm.files import write_atomically

    if not len(data):  # type: ignore[arg-type]
        raise DataError("nothing to draw", got=title)
    width, height = inches
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(max(width, 0.3 + 0.095 * len(title)), height), dpi=150, layout="constrained")
        figure.suptitle(title.replace("$", r"\$"), x=0.012, ha="left", fontsize=11, fontweight="bold")
        yield figure
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a box in the picture says so
            figure.savefig(buffer, format="png")
    write_atomically(Path(path), _fewer_colours(buffer))


def _fewer_colours(png: io.BytesIO) -> bytes:
    """The same picture with 128 colours instead of 16 million: a third of the size, and nobody sees the difference.

    What matplotlib writes beside the picture, its version among it, stays behind.
    """
    from PIL import Image

    smaller = io.BytesIO()
    Image.open(png).convert("RGB").quantize(128).save(smaller, format="png", optimize=True)
    return smaller.getvalue()


def _draw_lines(axes: "Axes", series: Series, names: list[str]) -> None:
    """Each line in the colour of its name's place in `names`."""
    for name, (x, y) in series.items():
        x, y, place = np.asarray(x), np.asarray(y), names.index(name)
        style = DASHES[place // len(PALETTE) % len(DASHES)]
        width = 0.7 if len(x) > 2000 else 1.6  # a long noisy line would be a blot
        color, marker = PALETTE[place % len(PALETTE)], "o" if len(x) == 1 else None
        axes.plot(x, y, style, color=color, label=name, linewidth=width, marker=marker)
    axes.margins(x=0.02)


def _name_lines(axes: "Axes") -> None:
    """Write each name behind the last point of its line; names that would overlap are pushed apart."""
    to_axes = axes.transData - axes.transAxes  # data → (0 … 1, 0 … 1)
    ends = []
    for line in axes.lines:
        points = to_axes.transform(line.get_xydata())
        points = points[np.isfinite(points).all(axis=1)]
        if len(points):
            ends.append((*points[-1], line))
    late = sorted((end for end in ends if end[0] > 0.85), key=lambda end: end[1])
    places = [(1.015, height) for height in _apart([height for _, height, _ in late], gap=0.055)]
    early = [end for end in ends if end[0] <= 0.85]  # a run that was cut short is named where it ends
    for (x, y), (*_, line) in zip([*places, *((x + 0.015, y) for x, y, _ in early)], [*late, *early]):
        axes.text(x, y, str(line.get_label()), color=line.get_color(), transform=axes.transAxes, va="center")


def _apart(heights: list[float], gap: float) -> list[float]:
    """Rising heights in [0, 1], moved as little as needed to be `gap` apart, as far as there is room."""
    moved = np.array(heights)
    for _ in range(200):
        missing = np.maximum(gap - np.diff(moved), 0) / 2
        moved[:-1] -= missing
        moved[1:] += missing
        moved = moved.clip(0.01, 0.99)
    return moved.tolist()


def _draw_matrix(
    figure: "Figure",
    values: np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    texts: list[list[str]] | None,
    limits: tuple[float, float],
    cell: float,
) -> "Axes":
    """Colours, and in them either texts or, beside them, a scale. `cell`: width of a column in inches."""
    if values.shape != (len(row_labels), len(column_labels)):
        raise DataError(
            "labels do not fit the matrix", got=f"{len(row_labels)} × {len(column_labels)}", valid=values.shape
        )
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="RdBu_r" if limits[0] < 0 else "Blues", vmin=limits[0], vmax=limits[1])
    axes.set_xticks(range(len(column_labels)), [label.replace("$", r"\$") for label in column_labels])  # no mathematics
    if max(map(len, column_labels)) > 11 * cell:  # about eleven letters an inch
        axes.tick_params(axis="x", rotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(row_labels)), [label.replace("$", r"\$") for label in row_labels])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for row, line in enumerate(texts or []):
        for column, text in enumerate(line):
            dark = abs(values[row, column]) > 0.6 * limits[1]
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if dark else INK)
    if texts is None:
        figure.colorbar(image, shrink=0.8, aspect=25).outline.set_visible(False)  # type: ignore[operator]
    return axes

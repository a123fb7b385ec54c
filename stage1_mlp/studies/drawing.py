"""Figures that mix kinds of chart, in the look of `my_llm.plots`: a row of empty charts, and the way they are saved."""

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from my_llm.files import write_atomically
from my_llm.plots import INK, LOOK, PALETTE
from stage1_mlp.studies.report import figure_path

COLORS = PALETTE[:6]


def sheet(charts: int, *, width: float = 4.0, height: float = 3.4, title: str = "") -> tuple[Figure, list[Any]]:
    """A matplotlib figure and its charts, side by side; `width` and `height` (inches) are those of one chart."""
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(width * charts, height), dpi=110, layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, charts)).tolist()
        for chart in axes:
            chart.set_prop_cycle(color=COLORS)
        if title:
            figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure, axes


def save(figure: Figure, name: str) -> None:
    """Write docs/figures/stage1_<name>.png, in 128 colours to keep it small; the same drawing, the same bytes."""
    drawn, written = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(LOOK):
        figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(128).save(written, format="png", optimize=True)
    path = figure_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, written.getvalue())

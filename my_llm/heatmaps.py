"""Many heat maps in one picture: what every head of every layer looks at.

A map needs a sixth of an inch for each word, so that the words can be read beside the first map of a row and below the
last one of a column. The colours are those of my_llm/plots.py: white for 0, the darkest blue for 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from my_llm.errors import DataError
from my_llm.plots import drawing

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

CELL, LETTER = 0.15, 0.055  # inches of a word's row, and of a letter of its name
SMALL = 6.5  # points


class Block(NamedTuple):
    """Weights between 0 and 1 of L layers and H heads over the same words."""

    weights: ArrayLike  # (L, H, T, S)
    rows: Sequence[str]  # who looks
    columns: Sequence[str]  # at whom


def grid(blocks: Mapping[str, Block], path: Path, *, title: str) -> None:
    """The blocks below each other, each a row for a layer and a column for a head.

    Raises:
        DataError: nothing to draw, or words that do not fit the weights.
    """
    shapes = {name: np.shape(block.weights) for name, block in blocks.items()}
    for name, block in blocks.items():
        if len(shapes[name]) != 4 or shapes[name][2:] != (len(block.rows), len(block.columns)):
            words = f"{len(block.rows)} × {len(block.columns)} words"
            raise DataError("words do not fit the weights", got=words, valid=shapes[name])
    longest = max((len(word) for block in blocks.values() for word in (*block.rows, *block.columns)), default=0)
    names = 0.5 + LETTER * longest  # inches beside a row of maps, and below a column
    widths = [heads * (max(columns, 4) * CELL + 0.15) + names for _, heads, _, columns in shapes.values()]
    heights = [layers * (max(rows, 4) * CELL + 0.15) + names for layers, _, rows, _ in shapes.values()]
    with drawing(path, title, (max(widths, default=0) + 0.4, sum(heights) + 0.4), blocks) as figure:
        parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, (name, block) in zip(parts, blocks.items(), strict=True):
            _draw_block(part, name, block)


def _draw_block(part: "SubFigure", name: str, block: Block) -> None:
    """Layers downwards, heads to the right; the names of the words at the border only."""
    weights = np.asarray(block.weights, dtype=float)
    rows, columns = ([word.replace("$", r"\$") for word in words] for words in (block.rows, block.columns))
    part.suptitle(name, x=0.012, ha="left", fontsize=9)
    layers, heads = weights.shape[:2]
    axes = part.subplots(layers, heads, squeeze=False)
    for layer in range(layers):
        for head in range(heads):
            at = axes[layer, head]
            at.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            at.set_xticks(range(len(columns)), columns if layer == layers - 1 else [], fontsize=SMALL, rotation=90)
            at.set_yticks(range(len(rows)), rows if head == 0 else [], fontsize=SMALL)
            at.tick_params(length=0)
            at.grid(False)
            at.spines[:].set(visible=True, color="#BBBBBB", linewidth=0.5)
            if layer == 0:
                at.set_title(f"head {head + 1}", fontsize=SMALL + 1, loc="center")
            if head == heads - 1:
                at.yaxis.set_label_position("right")
                at.set_ylabel(f"layer {layer + 1}", fontsize=SMALL + 1)

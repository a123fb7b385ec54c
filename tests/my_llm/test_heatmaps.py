"""The grid of heat maps: every layer and head is drawn, with its words, and what does not fit is one clear line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from my_llm.errors import DataError
from my_llm.heatmaps import Block, grid

rng = np.random.default_rng(0)


def block(layers: int, heads: int, rows: list[str], columns: list[str]) -> Block:
    return Block(rng.dirichlet(np.ones(len(columns)), size=(layers, heads, len(rows))), rows, columns)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("rows", "columns"),
    [(["a", "b"], list("cdefg")), (["x" * 20], ["y" * 20]), (["$x_{", "%"], ["$", "été"]), (list("abc") * 10, ["d"])],
)
def test_any_words_are_drawn_the_same_twice(rows: list[str], columns: list[str], tmp_path: Path):
    blocks = {"encoder": block(2, 3, columns, columns), "cross": block(2, 3, rows, columns)}
    for name in ("a.png", "b.png"):
        grid(blocks, tmp_path / name, title="“a dog”")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        shades = np.asarray(image.convert("L"), dtype=float)
        assert shades.std() > 5 and (shades[:, -1] > 250).all() and (shades[-1] > 250).all()
    assert (tmp_path / "a.png").stat().st_size < 80_000


def test_each_map_has_its_place(tmp_path: Path):
    """One map of two layers and three heads is dark, all others are white: so is one sixth of the picture."""
    words, dark = list("abcdefgh"), []
    for layer in range(2):
        for head in range(3):
            weights = np.zeros((2, 3, 8, 8))
            weights[layer, head] = 1
            grid({"": Block(weights, words, words)}, tmp_path / "a.png", title="")
            with Image.open(tmp_path / "a.png") as image:
                places = np.argwhere(np.asarray(image.convert("L")) < 60)
            dark.append(places.mean(axis=0))
    down, right = np.array(dark).T.reshape(2, 2, 3)
    assert (np.diff(down, axis=0) > 150).all() and (np.diff(right, axis=1) > 150).all()


@pytest.mark.parametrize(
    "blocks",
    [
        {},
        {"a": Block(np.zeros((1, 1, 2, 2)), ["a"], ["b", "c"])},
        {"a": Block(np.zeros((2, 2)), ["a", "b"], ["b", "c"])},
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line_and_leaves_the_old_file(blocks: dict[str, Block], tmp_path: Path):
    path = tmp_path / "old.png"
    path.write_bytes(b"old")
    with pytest.raises(DataError):
        grid(blocks, path, title="t")
    assert path.read_bytes() == b"old"

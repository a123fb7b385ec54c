"""Figures: every kind is drawn, small, the same twice, and never half written. Their beauty is judged by looking."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

from my_llm import plots
from my_llm.errors import CheckpointError, DataError

rng = np.random.default_rng(0)
STEPS = list(range(300))
LINES = {name: (STEPS, (2 / (k + 1) + rng.normal(0, 0.05, 300)).tolist()) for k, name in enumerate("abcdefghi")}
NAMES = ["World", "Sports", "Business", "Sci/Tech"]

KINDS = {
    "curves": partial(plots.curves, LINES, title="Loss", xlabel="step", ylabel="nats"),
    "log curves": partial(plots.curves, LINES, title="Loss", xlabel="step", ylabel="nats", log_x=True, log_y=True),
    "panels": partial(plots.panels, {"SGD": LINES, "Adam": LINES}, title="Loss", xlabel="step", ylabel="nats"),
    "bars": partial(plots.bars, {"a": 90.1, "b": -3.0}, title="Accuracy", ylabel="%"),
    "bars with errors": partial(plots.bars, {"a": 90.1, "b": 88.0}, title="Accuracy", ylabel="%", errors={"a": 0.3}),
    "confusion": partial(plots.confusion, rng.integers(0, 900, (4, 4)), NAMES, title="What is taken for what"),
    "heatmap": partial(
        plots.heatmap, rng.random((11, 13)), list("abcdefghijk"), list("abcdefghijklm"), title="Weights"
    ),
    "signed heatmap": partial(plots.heatmap, rng.normal(size=(2, 3)), ["u", "v"], ["x", "y", "z"], title="Weights"),
    "histograms": partial(plots.histograms, {f"layer {i}": rng.normal(size=99) for i in range(5)}, title="Activations"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_small_and_the_same_twice(kind, tmp_path):
    KINDS[kind](tmp_path / "new" / "a.png")
    KINDS[kind](tmp_path / "b.png")
    content = (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "new" / "a.png").read_bytes() == content
    assert len(content) < 80_000
    with Image.open(tmp_path / "b.png") as image:
        assert not {"Software", "Creation Time", "date"} & image.info.keys()
        shades = np.asarray(image.convert("L"), dtype=float)
        assert shades.shape[1] > 150 and shades.std() > 5, "something is drawn"
        assert (shades[:, -1] > 250).all() and (shades[-1] > 250).all(), "nothing is cut off at the border"
    assert len(list(tmp_path.iterdir())) == 2, "no temporary file is left"


def test_what_is_not_finite_is_left_out(tmp_path):
    diverged = ([0, 1, 2, 3], [1.0, 5.0, float("inf"), float("nan")])
    plots.curves({"a": diverged, "b": ([0], [2.0]), "c": ([0], [float("nan")])}, tmp_path / "c.png", title="t",
                 xlabel="x", ylabel="y")  # fmt: skip
    plots.histograms({"a": [1.0, float("nan"), 2.0], "b": [float("inf")]}, tmp_path / "h.png", title="t")
    assert (tmp_path / "c.png").exists() and (tmp_path / "h.png").exists()


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plots.curves({}, path, title="t", xlabel="x", ylabel="y"),
        lambda path: plots.panels({}, path, title="t", xlabel="x", ylabel="y"),
        lambda path: plots.bars({}, path, title="t", ylabel="y"),
        lambda path: plots.histograms({}, path, title="t"),
        lambda path: plots.histograms({"a": [float("nan")]}, path, title="t"),
        lambda path: plots.heatmap(np.zeros((0, 0)), [], [], path, title="t"),
        lambda path: plots.heatmap(np.zeros((2, 3)), ["a", "b"], ["a", "b"], path, title="t"),
        lambda path: plots.confusion(np.zeros((2, 2)), ["a"], path, title="t"),
    ],
)
def test_nothing_to_draw_is_one_clear_line_and_leaves_the_old_file(draw, tmp_path):
    path = tmp_path / "old.png"
    path.write_bytes(b"old")
    with pytest.raises(DataError):
        draw(path)
    assert path.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot save"):
        KINDS["bars"](tmp_path / "file" / "a.png")


def test_names_are_pushed_apart_and_stay_inside():
    assert plots._apart([0.1, 0.5, 0.9], 0.05) == pytest.approx([0.1, 0.5, 0.9])  # room enough: nothing moves
    assert plots._apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    moved = plots._apart([0.0, 0.0, 0.01, 0.99, 1.0], 0.05)
    assert min(np.diff(moved)) > 0.049 and moved[0] >= 0 and moved[-1] <= 1


def test_numbers_for_people():
    assert [plots.short(x) for x in (0, 0.00123, 0.5, 1.234, 90.149, 12345.6, -2.5)] == [
        "0", "0.0012", "0.5", "1.23", "90.1", "12,346", "−2.50"
    ]  # fmt: skip


def test_importing_is_light():
    code = "import sys, my_llm.plots; sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Things that a reader of a text knows at every character, as numbers; and a strip of text in the colours of a cell.

A signal says what is true *after* the character was read: inside a string, the opening quote counts and the closing
one does not.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from numpy import ndarray

OPENING, CLOSING = "([{", ")]}"


def signals_of(text: str, language: str) -> dict[str, Float[ndarray, "N"]]:
    """Name → one number for every character; strings, comments and brackets only where the language has them."""
    found = {"line position": line_position(text), "capitalised word": capitalised(text)}
    return found | (code_signals(text) if language == "python" else {})


def line_position(text: str) -> Float[ndarray, "N"]:
    """Characters since the line began; 0 at its end."""
    numbers, position = [], 0
    for character in text:
        position = 0 if character == "\n" else position + 1
        numbers.append(position)
    return np.array(numbers, dtype=np.float64)


def capitalised(text: str) -> Float[ndarray, "N"]:
    """1 inside a word that begins with a capital letter: names, speakers, classes, constants."""
    numbers, inside, before = [], False, ""
    for character in text:
        inside = character.isalpha() and (inside if before.isalpha() else character.isupper())
        numbers.append(inside)
        before = character
    return np.array(numbers, dtype=np.float64)


def code_signals(text: str) -> dict[str, Float[ndarray, "N"]]:
    """Inside a string, inside a comment, and the number of open brackets of Python code.

    One pass with four facts: the quote that is open, a comment, a backslash just read, the depth. A prefix such as f""
    is not looked into. A string between single quotes ends with its line at the latest.
    """
    quote, escaped, comment, depth, skip = "", False, False, 0, 0
    rows = []
    for at, character in enumerate(text):
        if skip:
            skip -= 1
        elif comment:
            comment = character != "\n"
        elif quote:
            ends = text.startswith(quote, at) and not escaped
            if ends:
                skip = len(quote) - 1
            escaped = character == "\\" and not escaped
            if ends or (character == "\n" and len(quote) == 1):
                quote, escaped = "", False
        elif character in "\"'":
            quote = character * 3 if text.startswith(character * 3, at) else character
            skip = len(quote) - 1
        elif character == "#":
            comment = True
        else:
            depth = max(0, depth + (character in OPENING) - (character in CLOSING))
        rows.append((bool(quote), comment, depth))
    string, remark, brackets = np.array(rows, dtype=np.float64).T
    return {"inside a string": string, "inside a comment": remark, "open brackets": brackets}


def draw_strip(chart: Any, text: str, values: Sequence[float], *, width: int, title: str) -> None:
    """Write a text into a chart, `width` characters a line, each on the colour of its value (-1 blue … 1 red)."""
    rows = -(-len(text) // width)
    colours = np.full(rows * width, np.nan)
    colours[: len(text)] = values
    shades = matplotlib.colormaps["RdBu_r"].resampled(17)  # few, as a saved figure has 128 colours in all
    chart.imshow(colours.reshape(rows, width), cmap=shades, vmin=-1, vmax=1, aspect="auto", alpha=0.85)
    for at, character in enumerate(text):
        row, column = divmod(at, width)
        shown = "↵" if character == "\n" else character
        chart.text(column, row, shown, ha="center", va="center", fontsize=6.5, family="DejaVu Sans Mono")
    chart.set_title(title, fontsize=8.5, loc="left")
    chart.set_xticks([])
    chart.set_yticks([])
    chart.grid(False)
    chart.spines[:].set_visible(False)

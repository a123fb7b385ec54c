"""A sheet for people who judge texts without knowing who wrote them, and what their marks say.

Several sources (models, or a book) have gone on from the same prompts. `make_sheet` writes two files: a table (CSV) for
the raters, with the texts in an order that only the seed knows, and a key (JSON) that says which text is whose. Each
rater fills a copy. `read_sheets` puts the marks together, `judge` makes of them

    the mean mark of each source, with a 95 % interval (Student 1908) over its texts: those of one text, by several
    raters, are not independent of each other and count once, as their mean;
    Krippendorff's alpha for each question: 1 if all raters always agree, 0 if no more than by chance (Krippendorff
    2011, "Computing Krippendorff's Alpha-Reliability").

A text could be a formula: "=2+3" or "@SUM(A1)" in a table makes a spreadsheet compute, or worse. Such a cell begins
with an apostrophe. What the sheet cannot do: make five people enough.
"""

import csv
import hashlib
import io
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from my_llm.cli import printable
from my_llm.errors import DataError
from my_llm.files import write_atomically

QUESTIONS = ("fluency", "coherence", "style")
MARKS = range(1, 6)
HEADER = ("number", "prompt", "text", *(f"{question} 1-5" for question in QUESTIONS), "comment")
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # how a cell begins that may be computed
LARGEST = 2**26  # bytes of a sheet


# --- the sheet --------------------------------------------------------------------------------------------------------


def harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula, without control characters."""
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def digest_of(prompt: str, text: str) -> str:
    """Knows a row again, however a spreadsheet program has changed white space and apostrophes at the start."""
    words = [" ".join(harmless(cell).lstrip("'").split()) for cell in (prompt, text)]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def make_sheet(
    path: Path, key: Path, prompts: Sequence[str], sources: Mapping[str, Sequence[str]], seed: int = 0
) -> None:
    """Write the sheet and its key.

    Args:
        path: The table for the raters, .csv.
        key: Which text is whose, .json; not for the raters.
        prompts: How the texts begin.
        sources: For each source its texts, one for each prompt.
        seed: Of the order.

    Raises:
        DataError: nothing to judge, or a source without a text for each prompt.
        CheckpointError: a file cannot be written.
    """
    for name, texts in sources.items():
        if len(texts) != len(prompts):
            raise DataError(f"{name} needs a text for each prompt", got=len(texts), valid=str(len(prompts)))
    if not prompts or not sources:
        raise DataError("nothing to judge", got=f"{len(prompts)} prompts, {len(sources)} sources")
    rows = [(name, prompt, text) for name, texts in sources.items() for prompt, text in zip(prompts, texts)]
    random.Random(seed).shuffle(rows)
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL)
    writer.writerow(HEADER)
    for number, (_, prompt, text) in enumerate(rows, 1):
        writer.writerow([number, harmless(prompt), harmless(text), *[""] * (len(QUESTIONS) + 1)])
    content = {
        "sources": list(sources),
        "rows": [[name, digest_of(prompt, text)] for name, prompt, text in rows],
        "seed": seed,
    }
    sealed = {**content, "sha256": _seal(content)}
    write_atomically(path, table.getvalue().encode("utf-8-sig"))  # with the mark by which Excel knows UTF-8
    write_atomically(key, (json.dumps(sealed, indent=1, ensure_ascii=False) + "\n").encode())


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# --- the marks --------------------------------------------------------------------------------------------------------


class Marks(NamedTuple):
    """What the raters said."""

    sources: tuple[str, ...]  # all of them
    source: tuple[str, ...]  # of each text
    values: NDArray[np.float64]  # (raters, texts, questions)


def read_sheets(paths: Sequence[Path], key: Path) -> Marks:
    """The marks of one rater or several, each from a filled copy of the sheet; rows may have been sorted.

    Raises:
        DataError: a file that cannot be read, is damaged or does not belong to the key; a mark that is missing or none.
    """
    content = _read_key(key)
    if not paths:
        raise DataError("no sheet to read", valid="at least one filled copy")
    rows = content["rows"]
    values = np.array([_read_sheet(path, rows) for path in paths])
    return Marks(tuple(content["sources"]), tuple(name for name, _ in rows), values)


def _read_key(key: Path) -> dict[str, Any]:
    try:
        content = json.loads(key.read_text(encoding="utf-8"))
        whole = content.pop("sha256") == _seal(content)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DataError("cannot read the key", got=key, next_step=f"take another copy: {error}") from None
    if not whole:
        raise DataError("the key was changed after it was made", got=key, next_step="take another copy")
    return content


def _read_sheet(path: Path, rows: Sequence[Sequence[str]]) -> list[list[int]]:
    """The marks of one rater, (texts, questions), in the order of the key."""
    marks: dict[int, list[int]] = {}
    for line, cells in _read_table(path):
        number = _whole(path, f"line {line}", "number", cells["number"], range(1, len(rows) + 1))
        if number in marks:
            raise DataError(f"{path}, line {line}, column number stands twice", got=number)
        if digest_of(cells["prompt"], cells["text"]) != rows[number - 1][1]:
            raise DataError(
                f"{path}, row {number}, column text is not the key's", got=cells["text"][:40],
                next_step="take the key that was made with this sheet",
            )  # fmt: skip
        columns = [f"{question} 1-5" for question in QUESTIONS]
        marks[number] = [_whole(path, f"row {number}", column, cells[column], MARKS) for column in columns]
    for number in range(1, len(rows) + 1):
        if number not in marks:
            raise DataError(f"{path}, row {number} is missing", valid=f"{len(rows)} rows")
    return [marks[number] for number in sorted(marks)]


def _read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows that hold something, with their line in the file."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        text = content.decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)  # what the spreadsheet of this country writes
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        filled = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("cannot read the sheet", got=path, next_step=f"save it as CSV in UTF-8: {error}") from None
    missing = [column for column in HEADER if column not in (table.fieldnames or [])]
    if missing or len(content) > LARGEST:
        raise DataError(f"{path} is no such sheet", got=f"no column {missing[0]}" if missing else "", valid=HEADER)
    cells = [(line, {column: (row[column] or "").strip() for column in HEADER}) for line, row in filled]
    return [(line, row) for line, row in cells if any(row.values())]


def _whole(path: Path, row: str, column: str, value: str, valid: range) -> int:
    """The whole number in a cell."""
    if value.isascii() and value.isdigit() and int(value) in valid:
        return int(value)
    what = "is empty" if not value else "is no such number"
    raise DataError(f"{path}, {row}, column {column} {what}", got=value[:40], valid=f"{valid[0]} to {valid[-1]}")


# --- what they say ----------------------------------------------------------------------------------------------------


class Score(NamedTuple):
    """Of one source and one question."""

    mean: float
    interval: float | None  # half of the 95 % interval; None of a single text
    texts: int


class Verdict(NamedTuple):
    """What all raters together say."""

    scores: dict[str, dict[str, Score]]  # source → question → score
    agreement: dict[str, float | None]  # question → alpha; None where it means nothing
    raters: int


def judge(marks: Marks) -> Verdict:
    """Means with their intervals, and how far the raters agree."""
    by_text = marks.values.mean(axis=0)  # (texts, questions)
    owner = np.array(marks.source)
    scores = {
        source: {question: score(by_text[owner == source, place]) for place, question in enumerate(QUESTIONS)}
        for source in marks.sources
    }
    agreement = {question: krippendorff_alpha(marks.values[:, :, place]) for place, question in enumerate(QUESTIONS)}
    return Verdict(scores, agreement, len(marks.values))


def score(values: ArrayLike) -> Score:
    """The mean of independent values and half of its 95 % interval, t · s / √n."""
    values = np.asarray(values, dtype=float)
    count = len(values)
    if count < 2:
        return Score(float(values.mean()), None, count)
    return Score(float(values.mean()), student(count - 1) * float(values.std(ddof=1)) / math.sqrt(count), count)


def student(freedom: int) -> float:
    """The t beyond which 2.5 % of Student's distribution lie on each side, to a thousandth.

    From the normal one by the series of Fisher and Cornish (1960), which needs some degrees of freedom.
    """
    few = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469)
    if freedom <= len(few):
        return few[freedom - 1]
    z, n = 1.959964, freedom
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def krippendorff_alpha(values: ArrayLike) -> float | None:
    """Agreement of raters on marks whose differences mean something: 1 - observed / expected disagreement.

    Disagreement is the mean squared difference: observed, between two marks of the same text (each text weighs as many
    marks as it has); expected, between any two marks at all (Krippendorff 2011, interval metric).

    Args:
        values: (raters, texts); NaN where a rater has said nothing. A text with one mark only is left out.

    Returns:
        At most 1, below 0 for systematic disagreement; None if no text has two marks, or if all marks are equal.
    """
    table = np.asarray(values, dtype=float)
    texts = [column[~np.isnan(column)] for column in table.T]
    texts = [text for text in texts if len(text) > 1]
    marks = np.concatenate(texts) if texts else np.array([])
    if not texts or np.all(marks == marks[0]):
        return None
    observed = sum(len(text) * _disagreement(text) for text in texts) / len(marks)
    return float(1 - observed / _disagreement(marks))


def _disagreement(marks: NDArray[np.float64]) -> float:
    """The mean squared difference of two different ones: twice their variance."""
    return 2 * float(marks.var(ddof=1))


def table_of(verdict: Verdict) -> list[str]:
    """The verdict as lines of at most 80 columns for a few questions: means ± interval, then alpha."""
    wide = max(16, *(len(source) for source in verdict.scores))
    lines = [f"{'':{wide}}" + "".join(f"{question:>16}" for question in QUESTIONS)]
    for source, scores in verdict.scores.items():
        cells = [f"{s.mean:.2f}" + ("" if s.interval is None else f" ± {s.interval:.2f}") for s in scores.values()]
        lines.append(f"{printable(source):{wide}}" + "".join(f"{cell:>16}" for cell in cells))
    alphas = ["–" if alpha is None else f"{alpha:.3f}" for alpha in verdict.agreement.values()]
    lines.append(f"{'agreement α':{wide}}" + "".join(f"{alpha:>16}" for alpha in alphas))
    return lines

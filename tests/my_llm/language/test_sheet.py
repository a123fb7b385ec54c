"""The blind sheet: nobody sees who wrote, no cell computes, the way back, and the statistics by hand."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import DataError
from my_llm.language.sheet import (
    HEADER,
    Marks,
    harmless,
    judge,
    krippendorff_alpha,
    make_sheet,
    read_sheets,
    score,
    student,
    table_of,
)

PROMPTS = ["ROMEO:", "=1+1", "他说"]
SOURCES = {
    "small": ["\nO, she doth", '"no", he; said\n\n  so', "“你好”"],
    "large": ["@SUM(A1)", "-5 is cold", "'tis\ttime"],
}


@pytest.fixture
def sheet(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "sheet.csv", tmp_path / "key.json"
    make_sheet(*paths, PROMPTS, SOURCES, seed=4)
    return paths


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def save(path: Path, rows: list[list[Any]], delimiter: str = ",", encoding: str = "utf-8-sig") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def filled(sheet: tuple[Path, Path], name: str, marks: dict[str, int], **how: str) -> Path:
    """A rater who gives every text of a source the same mark, and one less for style."""
    owner = [source for source, _ in json.loads(sheet[1].read_text("utf-8"))["rows"]]
    header, *rows = rows_of(sheet[0])
    for row in rows:
        mark = marks[owner[int(row[0]) - 1]]
        row[3:7] = [str(mark), str(mark), str(mark - 1), "a comment, with; marks"]
    return save(sheet[0].with_name(name), [header, *rows], **how)


# --- the sheet --------------------------------------------------------------------------------------------------------


def test_the_sheet_hides_who_wrote_and_the_seed_decides_the_order(sheet, tmp_path: Path):
    text = sheet[0].read_text(encoding="utf-8-sig")
    assert "small" not in text and "large" not in text
    header, *rows = rows_of(sheet[0])
    assert tuple(header) == HEADER == (
        "number", "prompt", "text", "fluency 1-5", "coherence 1-5", "style 1-5", "comment"
    )  # fmt: skip
    assert [row[0] for row in rows] == list("123456") and all(row[3:] == [""] * 4 for row in rows)
    key = json.loads(sheet[1].read_text("utf-8"))
    for row, (source, _) in zip(rows, key["rows"]):
        pairs = [(harmless(prompt), harmless(text)) for prompt, text in zip(PROMPTS, SOURCES[source])]
        assert (row[1], row[2]) in pairs
    orders = []
    for seed in (4, 4, 5):
        make_sheet(tmp_path / "a.csv", tmp_path / "a.json", PROMPTS, SOURCES, seed=seed)
        orders.append(rows_of(tmp_path / "a.csv"))
    assert orders[0] == orders[1] == [header, *rows] != orders[2]
    assert sheet[0].read_bytes().startswith(b"\xef\xbb\xbf"), "Excel needs it to read UTF-8"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", " =1", "\t=1", "\r=1", "\n-1", "\x00=1", "＝1", "\u202e=1"])
def test_no_cell_is_a_formula(text: str):
    assert harmless(text).startswith("'") and "\r" not in harmless(text) and "\x00" not in harmless(text)


def test_what_is_no_formula_stays():
    for text in ("a = b", "\nROMEO", "1-2", "", "他"):
        assert harmless(text) == text


def test_nothing_to_judge_is_one_line(tmp_path: Path):
    for prompts, sources in (([], {"a": []}), (["x"], {}), (["x"], {"a": ["y", "z"]})):
        with pytest.raises(DataError):
            make_sheet(tmp_path / "s.csv", tmp_path / "k.json", prompts, sources)
    assert not list(tmp_path.iterdir())


# --- the way back -----------------------------------------------------------------------------------------------------


def test_filled_sheets_come_back(sheet):
    first = filled(sheet, "a.csv", {"small": 2, "large": 5})
    second = filled(sheet, "b.csv", {"small": 3, "large": 5}, delimiter=";")
    marks = read_sheets([first, second], sheet[1])
    assert marks.values.shape == (2, 6, 3) and marks.sources == ("small", "large")
    verdict = judge(marks)
    assert verdict.raters == 2
    assert verdict.scores["small"]["fluency"] == (2.5, 0.0, 3) and verdict.scores["large"]["style"] == (4.0, 0.0, 3)
    lines = table_of(verdict)
    assert max(map(len, lines)) <= 80 and "2.50 ± 0.00" in lines[1] and lines[-1].startswith("agreement α")


def test_sorted_rows_empty_rows_and_changed_spaces_do_no_harm(sheet):
    header, *rows = rows_of(filled(sheet, "a.csv", {"small": 2, "large": 5}))
    rows = [[row[0], row[1], row[2].replace("\n", "\r\n").lstrip("'"), *row[3:]] for row in reversed(rows)]
    changed = save(sheet[0].with_name("c.csv"), [header, *rows, [""] * 7, []], delimiter="\t", encoding="utf-8")
    same = [read_sheets([sheet[0].with_name(name)], sheet[1]).values for name in ("a.csv", "c.csv")]
    assert changed.exists() and np.array_equal(*same)


@pytest.mark.parametrize(
    ("row", "column", "value", "words"),
    [
        (2, 3, "", "row 2, column fluency 1-5 is empty; got ''; valid: 1 to 5"),
        (5, 4, "6", "row 5, column coherence 1-5 is no such number; got '6'; valid: 1 to 5"),
        (1, 5, "good", "row 1, column style 1-5 is no such number; got 'good'"),
        (1, 5, "4,5", "got '4,5'"),
        (1, 5, "²", "got '²'"),
        (3, 0, "7", "line"),
        (3, 0, "2", "column number stands twice; got '2'"),
        (3, 2, "something else", "row 3, column text is not the key's; got 'something else'"),
        (4, None, "", "row 4 is missing"),
    ],
)
def test_a_cell_that_is_wrong_is_named(row: int, column: int | None, value: str, words: str, sheet):
    rows = rows_of(filled(sheet, "a.csv", {"small": 2, "large": 5}))
    if column is None:
        del rows[row]
    else:
        rows[row][column] = value
    with pytest.raises(DataError) as caught:
        read_sheets([save(sheet[0].with_name("bad.csv"), rows)], sheet[1])
    assert words in str(caught.value) and "bad.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_sheet_cost_one_line(sheet, tmp_path: Path):
    for name, content in {
        "u.csv": "number,text\n".encode("utf-16"),
        "e.csv": b"",
        "n.csv": b"number,prompt\n1,a\n",
    }.items():
        (tmp_path / name).write_bytes(content)
    for name in ("u.csv", "e.csv", "n.csv", "absent.csv"):
        with pytest.raises(DataError) as caught:
            read_sheets([tmp_path / name], sheet[1])
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(DataError):
        read_sheets([], sheet[1])


def test_a_key_that_was_changed_or_is_anothers_is_refused(sheet, tmp_path: Path):
    good = filled(sheet, "a.csv", {"small": 2, "large": 5})
    key = sheet[1].read_text("utf-8")
    for name, text in {"changed": key.replace('"small"', '"large"', 1), "broken": key[:50], "list": "[]"}.items():
        (tmp_path / f"{name}.json").write_text(text, "utf-8")
    make_sheet(tmp_path / "o.csv", tmp_path / "other.json", PROMPTS, SOURCES, seed=5)
    for name in ("changed", "broken", "list", "other", "absent"):
        with pytest.raises(DataError):
            read_sheets([good], tmp_path / f"{name}.json")


# --- the statistics ---------------------------------------------------------------------------------------------------

_ = np.nan
KRIPPENDORFF = [  # Krippendorff 2011, example C: four observers, twelve units, the published interval alpha is 0.849
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


def test_alpha_of_the_published_example():
    assert round(krippendorff_alpha(KRIPPENDORFF) or 0, 3) == 0.849


def test_alpha_by_hand():
    # pairs inside texts: (1, 2) and (4, 4), mean squared difference (1 + 0) / 2 = 0.5
    # any two of 1, 2, 4, 4: 1, 9, 9, 4, 4, 0, mean 27 / 6 = 4.5
    assert krippendorff_alpha([[1, 4], [2, 4]]) == pytest.approx(1 - 0.5 / 4.5)
    assert krippendorff_alpha([[1, 5], [5, 1]]) == pytest.approx(1 - 16 / (4 * 16 / 6))  # systematic: below 0
    assert krippendorff_alpha([[1, 2, 3], [1, 2, 3], [1, 2, 3]]) == 1
    assert krippendorff_alpha([[3, 3], [3, 3]]) is None and krippendorff_alpha([[1, 2, 3]]) is None


@given(st.lists(st.lists(st.integers(1, 5), min_size=4, max_size=4), min_size=2, max_size=4))
def test_alpha_is_what_its_definition_counts(values: list[list[int]]):
    """With coincidences counted pair by pair, as the paper defines it."""
    raters, marks = len(values), [mark for row in values for mark in row]
    texts = list(zip(*values))
    observed = sum((a - b) ** 2 for text in texts for a in text for b in text) / (raters - 1) / len(marks)
    expected = sum((a - b) ** 2 for a in marks for b in marks) / (len(marks) - 1) / len(marks)
    alpha = krippendorff_alpha(values)
    assert (alpha is None) if expected == 0 else alpha == pytest.approx(1 - observed / expected)


def test_means_and_intervals_by_hand():
    assert score([2, 4]) == (3.0, pytest.approx(12.7062), 2)  # s = √2, t · √2 / √2
    assert score([1, 2, 3, 4, 5]).interval == pytest.approx(2.7764 * math.sqrt(2.5) / math.sqrt(5))
    assert score([3]) == (3.0, None, 1)
    values = np.array([[[1, 1, 1], [3, 3, 3]], [[3, 1, 1], [5, 3, 3]]], dtype=float)  # 2 raters, 2 texts
    verdict = judge(Marks(("a",), ("a", "a"), values))
    assert verdict.scores["a"]["fluency"] == (3.0, pytest.approx(12.7062), 2), "a text counts once: 2 and 4"
    assert verdict.agreement["coherence"] == 1
    one = judge(Marks(("a", "b"), ("a", "b"), values[:1]))
    assert one.agreement["style"] is None and one.scores["b"]["style"] == (3.0, None, 1)
    assert table_of(one)[-1].split() == ["agreement", "α", "–", "–", "–"]


@pytest.mark.parametrize(
    ("freedom", "expected"),  # from printed tables
    [(1, 12.706), (4, 2.776), (6, 2.447), (7, 2.365), (9, 2.262), (15, 2.131), (30, 2.042), (120, 1.980)],
)
def test_students_quantile(freedom: int, expected: float):
    assert student(freedom) == pytest.approx(expected, abs=1.5e-3)  # and the table is rounded

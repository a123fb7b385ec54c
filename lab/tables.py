"""`make tables`: the numbers of results/ go into the pages, so that nobody types one. `--check` only looks.

A page says what it wants in a comment that Markdown does not show; everything up to the closing comment is ours:

    <!-- table stage1_mlp/activations columns=accuracy,seconds -->     (all columns without `columns=`)
    <!-- /table -->
    <!-- number stage1_mlp/activations:relu.accuracy -->90.1 %<!-- /number -->
    <!-- milestones -->
    <!-- /milestones -->

Markers in fenced blocks and after a backtick are left alone: they are talked about, not meant. A column `x_sd` is the
spread of column `x` and is printed behind it.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.digits import Value, formatted, places_of
from lab.marks import marks_cell
from lab.words import unit_word, value_word, word
from my_llm.cli import execute
from my_llm.errors import ConfigError, choose
from my_llm.ledger import read, results_folder

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "stage*/*.md", "lab/*.md", "docs/**/*.md")

MARKER = re.compile(r"<!-- (?P<kind>table|number|milestones)(?P<wish>[^>]*?) -->(?P<body>.*?)<!-- /(?P=kind) -->", re.S)
OPENED = re.compile(r"<!-- (table|number|milestones)\b")
UNIT_AT_THE_END = {"s": "seconds", "ms": "ms", "µs": "us"}  # a key that ends in its unit: train_seconds, latency_us
TEXT = "text"  # the unit of a column that holds what somebody wrote


@dataclasses.dataclass(frozen=True)
class TablesConfig:
    """Write the numbers of results/ into the pages."""

    check: bool = False
    """write nothing; list the pages that are stale and exit with 1"""


def main(arguments: Sequence[str]) -> int:
    """The command."""
    return execute(TablesConfig, lambda config: run(config, ROOT), arguments)


def run(config: TablesConfig, root: Path) -> int:
    """Fill (or check) every page below `root`; 0 fine, 1 stale, 2 a marker that cannot be filled."""
    problems, stale = [], []
    for page in sorted({page for pattern in PAGES for page in root.glob(pattern)}):
        name = page.relative_to(root).as_posix()
        old = page.read_text(encoding="utf-8")
        new, wrong = fill(old, chinese=name.endswith(".zh.md") or name.startswith("docs/zh/"))
        problems += [f"{name}:{problem}" for problem in wrong]
        if new != old:
            stale.append(name)
            if not config.check:
                page.write_text(new, encoding="utf-8", newline="\n")
    for name in stale:
        print(f"stale: {name}; next: make tables" if config.check else f"written: {name}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 2 if problems else int(config.check and bool(stale))


def fill(text: str, *, chinese: bool) -> tuple[str, list[str]]:
    """The page with its markers filled, and `line: what is wrong` for each marker that cannot be."""
    problems, pieces, end = [], [], 0
    markers = [match for match in MARKER.finditer(text) if not quoted(text, match.start())]
    for match in markers:
        try:
            if OPENED.search(match["body"]):
                raise ConfigError("marker is not closed", next_step=f"write <!-- /{match['kind']} --> after it")
            body = WRITERS[match["kind"]](match["wish"].strip(), chinese)
        except ConfigError as error:
            problems.append(f"{line_number(text, match)}: {error.line()}")
            continue
        pieces += [text[end : match.start("body")], body]
        end = match.end("body")
    lost = [
        opened
        for opened in OPENED.finditer(text)
        if not quoted(text, opened.start()) and not any(m.start() <= opened.start() < m.end() for m in markers)
    ]
    problems += [f"{line_number(text, opened)}: marker is not closed" for opened in lost]
    return "".join(pieces) + text[end:], problems


def line_number(text: str, match: re.Match[str]) -> int:
    """The line on which a match begins."""
    return text.count("\n", 0, match.start()) + 1


def quoted(text: str, position: int) -> bool:
    """True inside a fenced block or right after a backtick."""
    fences = sum(line.lstrip().startswith(("```", "~~~")) for line in text[:position].split("\n"))
    return fences % 2 == 1 or text[position - 1 : position] == "`"


# --- what stands between the markers ----------------------------------------------------------------------------------


def number(wish: str, chinese: bool) -> str:
    """`stage/name:case.column` → "90.1 %"."""
    name, colon, place = wish.partition(":")
    if not colon or "." not in place:
        raise ConfigError("cannot read the marker", got=wish, valid="number stage/name:case.column")
    content = ledger(name)
    column = next((key for key in content["columns"] if place.endswith(f".{key}")), place.rsplit(".", 1)[1])
    unit = choose(column, content["columns"], f"column of {name}")
    case = place.removesuffix(f".{column}")
    row = choose(case, {row["case"]: row for row in content["rows"]}, f"case of {name}")
    if column not in row:
        raise ConfigError(f"case {case} of {name} has no value", got=column)
    return with_unit(row[column], unit, chinese, places_of(content, column, row[column]))


def table(wish: str, chinese: bool) -> str:
    """`stage/name [columns=a,b]` → a Markdown table and its footnote."""
    name, _, rest = wish.partition(" ")
    content = ledger(name)
    if rest and not rest.startswith("columns="):
        raise ConfigError("cannot read the marker", got=rest, valid="columns=a,b")
    keys = shown_columns(content, rest.removeprefix("columns=").split(",") if rest else None, name)
    units = content["columns"]
    heads = [word("case", chinese), *(heading(key, units[key], chinese) for key in keys)]
    rows = [
        [value_word(row["case"], chinese)]
        + [cell(row, key, units, chinese, places_of(content, key, row.get(key))) for key in keys]
        for row in content["rows"]
    ]
    texts = [place for place, key in enumerate(keys, 1) if units[key] == TEXT]
    return f"\n{markdown(heads, rows, numbers_from=1, texts=texts)}\n\n<sub>{footnote(content, chinese)}</sub>\n"


def milestones(wish: str, chinese: bool) -> str:
    """results/<stage>/milestones.json of every stage as one table, published marks beside them."""
    keys = ("stage", "model", "task", "data", "metric", "score", "training", "latency", "published")
    rows, notes = [], []
    for path in sorted(results_folder().glob("*/milestones.json")):
        content = read(path)
        notes.append(footnote(content, chinese))
        rows += [[path.parent.name, *milestone(row, content["columns"], chinese)] for row in content["rows"]]
    lines = "\n".join(f"<sub>{note}</sub><br>" for note in notes).removesuffix("<br>")
    return f"\n{markdown([word(key, chinese) for key in keys], rows, numbers_from=9)}\n\n{lines}\n" if rows else "\n"


def milestone(row: dict[str, Any], units: dict[str, str], chinese: bool) -> Iterator[str]:
    """The cells of one milestone after its stage."""
    yield value_word(row["model"], chinese)
    yield word(row["task"], chinese)
    yield value_word(row["data"], chinese)
    yield word(row["metric"], chinese)
    units = {**units, "score": row.get("unit", units["score"])}
    value, _, spread = cell(row, "score", units, chinese).partition(" ± ")
    yield f"**{value}**{' ± ' if spread else ''}{spread} {unit_word(units['score'], chinese)}".rstrip()
    yield with_unit(row.get("train_seconds"), "s", chinese)
    yield with_unit(row.get("latency_us"), "µs", chinese)
    yield marks_cell(row["case"])


WRITERS: dict[str, Callable[[str, bool], str]] = {"number": number, "table": table, "milestones": milestones}


def footnote(content: dict[str, Any], chinese: bool) -> str:
    """n, seeds, data, hardware, date, command: what a reader needs to believe the table or to repeat it."""
    counts = sorted({row["n"] for row in content["rows"] if "n" in row})
    seeds = content["seed"] if isinstance(content["seed"], list) else [content["seed"]]
    hardware, versions = content["hardware"], content["versions"]
    cpu = re.sub(r"\((R|TM)\)| Processor| CPU|@.*| \d+-Core", "", hardware["cpu"]).strip()
    parts = [
        *([f"n = {'–'.join(f'{count:,}' for count in (counts[0], *counts[1:][-1:]))}"] if counts else []),
        f"{word('seed' if len(seeds) == 1 else 'seeds', chinese)} {', '.join(map(str, seeds))}",
        word(content["data"], chinese) if content["data"] == "made by rule" else content["data"],
        f"{hardware['gpu'] or cpu}, {hardware['cores']} {word('cores', chinese)}, torch {versions['torch']}",
        content["date"],
        f"`{content['command']}`",
    ]
    return ("；" if chinese else "; ").join(part.replace("\n", " ") for part in parts if part)


# --- small parts ------------------------------------------------------------------------------------------------------


def ledger(name: str) -> dict[str, Any]:
    """results/<name>.json, or a ConfigError that names what there is."""
    folder = results_folder()
    there = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.glob("*/*.json")}
    return read(choose(name, there, "result"))


def shown_columns(content: dict[str, Any], wanted: list[str] | None, name: str) -> list[str]:
    """The columns to print: those asked for, or all but spreads, and n where it is the same in every row."""
    columns = content["columns"]
    for key in wanted or ():
        choose(key, columns, f"column of {name}")
    same_n = len({row.get("n") for row in content["rows"]}) == 1
    return wanted or [
        key
        for key in columns
        if not (key == "n" and same_n) and key not in [spread_of(other, columns) for other in columns]
    ]


def spread_of(key: str, columns: dict[str, str]) -> str:
    """The column that holds the spread of another; milestones call theirs simply so."""
    return "spread" if key == "score" and "spread" in columns else f"{key}_sd"


def heading(key: str, unit: str, chinese: bool) -> str:
    """train_seconds, "s" → "train (s)"."""
    stem = word(key.removesuffix("_" + UNIT_AT_THE_END.get(unit, " ")), chinese)
    stem = re.sub(r"(?<=\d) (?=\d)", "–", stem)  # at_1_4 is a range
    return f"{stem} ({unit_word(unit, chinese)})" if unit not in ("", TEXT) else stem


def cell(row: dict[str, Any], key: str, units: dict[str, str], chinese: bool, places: int = 0) -> str:
    """A value, with its spread where the table has one, and its unit where every row has another."""
    if key in ("task", "metric"):
        return word(row[key], chinese)
    if isinstance(row.get(key), str):
        return value_word(row[key], chinese)
    spread, own = row.get(spread_of(key, units)), row.get("unit", "") if key == "score" and not units[key] else ""
    text = formatted(row.get(key), units[key] or own, places)
    text += f" ± {formatted(spread, units[key] or own)}" if spread else ""
    return f"{text} {unit_word(own, chinese)}".rstrip()


def with_unit(value: Value, unit: str, chinese: bool, places: int = 0) -> str:
    """A value and its unit: 90.1 %, 31.0 s; 90.1%, 31.0 秒 in Chinese."""
    if value is None:
        return "–"
    gap = "" if chinese and unit == "%" else " "
    return f"{formatted(value, unit, places)}{gap}{unit_word(unit, chinese)}".rstrip()


def markdown(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int, texts: Sequence[int] = ()
) -> str:
    """A Markdown table; columns from `numbers_from` on are aligned to the right, but for those of `texts`."""
    rule = ["---" if i < numbers_from or i in texts else "---:" for i in range(len(heads))]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [heads, rule, *rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)

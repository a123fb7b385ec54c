"""The parts of a Markdown page that tests look at: headings, code blocks, links, figures, number markers."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = {"runs", "checkpoints", "dist", "build", "site", "node_modules"}

FENCE = re.compile(r"^ *(`{3,}|~{3,})(.*?)\n(.*?)^ *\1 *$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#{1,6}) +(.+?) *#* *$", re.MULTILINE)
LINK = re.compile(r"!?\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\]\(<?([^)\s>]+)>?(?: +\"[^\"]*\")?\)")
FIGURE = re.compile(r"!\[[^\]]*\]\(<?([^)\s>]+)|<img[^>]*\bsrc=\"([^\"]+)\"")
HTML_LINK = re.compile(r"<(?:a|img|source)\b[^>]*\b(?:href|src|srcset)=\"([^\"]+)\"")
MARKER = re.compile(r"<!-- ((?:table|number) .+?|milestones) *-->")


class Code(NamedTuple):
    """A fenced block."""

    language: str
    text: str


def standing() -> list[str]:
    """The stages that the front page leads to. One that is being built has tests, too, but no place in the roof."""
    front = (ROOT / "README.md").read_text("utf-8")
    return sorted(path.name for path in ROOT.glob("stage[1-9]_*") if f"({path.name}/README.md)" in front)


def all_pages() -> list[Path]:
    """Every Markdown page of the repository."""
    found = []
    for path in ROOT.rglob("*.md"):
        folders = path.relative_to(ROOT).parts[:-1]
        if not any(name.startswith(".") or name in NOT_OURS or name.endswith(".egg-info") for name in folders):
            found.append(path)
    return sorted(found)


def code_blocks(text: str) -> list[Code]:
    """The fenced blocks in their order."""
    return [Code(match[2].strip().split(" ")[0], match[3]) for match in FENCE.finditer(text)]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text)


def headings(text: str) -> list[tuple[int, str]]:
    """Level and title of every heading."""
    return [(len(match[1]), match[2]) for match in HEADING.finditer(prose(text))]


def links(text: str) -> list[str]:
    """Targets of links and pictures, Markdown and HTML; not those inside `code`."""
    bare = re.sub(r"`[^`\n]*`", "", prose(text))
    inner = [match[1] or match[2] for match in FIGURE.finditer(bare)]
    return list(dict.fromkeys(LINK.findall(bare) + inner + HTML_LINK.findall(bare)))


def figures(text: str) -> list[str]:
    """Paths of the pictures in their order."""
    return [match[1] or match[2] for match in FIGURE.finditer(prose(text))]


def markers(text: str) -> list[str]:
    """What the page takes from the results ledger, in its order."""
    return MARKER.findall(text)


def anchors(text: str) -> set[str]:
    """The #names that a page can be entered by: its headings as GitHub spells them, and explicit ids."""
    names: list[str] = []
    for _, title in headings(text):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)|<[^>]+>", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = sum(name == slug or re.fullmatch(re.escape(slug) + r"-\d+", name) is not None for name in names)
        names.append(f"{slug}-{count}" if slug in names else slug)
    return {*names, *re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)}

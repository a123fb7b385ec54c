"""The pages: both languages say the same in the same order, every link leads somewhere, nothing private is named.

Each check takes texts, so that it can be tried on planted mistakes as well as on the real pages.
"""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from pages import MARKER, ROOT, Code, all_pages, anchors, code_blocks, figures, headings, links, markers, prose

STAGES = sorted(path.name for path in ROOT.glob("stage[1-9]_*"))
COMMANDS = {"bash", "sh", "console", "python", "toml", "json"}  # other blocks are drawings or output: may be translated

PRIVATE = {
    "a folder outside the repository": re.compile(r"\.\./shared|(?<![\w.])/work/"),
    "a home folder": re.compile(r"(?<![\w.])/(?:home|root|Users)/\w|[A-Z]:\\Users", re.IGNORECASE),
    "an issue number": re.compile(r"(?<![\w&(/#\[])#\d+\b|\bissues? #?\d+\b|/issues/\d+", re.IGNORECASE),
    "a package server": re.compile(r"pypi\.org|pythonhosted\.org|download\.pytorch\.org"),
}


def translation(page: Path) -> Path | None:
    """The page in the other language, None for pages that have one language only."""
    if page.parent.name in ("en", "zh") and page.parent.parent.name == "docs":
        return page.parent.parent / {"en": "zh", "zh": "en"}[page.parent.name] / page.name
    if page.name.endswith(".zh.md"):
        return page.with_name(page.name.replace(".zh.md", ".md"))
    return page.with_name(f"{page.stem}.zh.md") if page.stem in ("README", "CONTRIBUTING") else None


def comparable(block: Code) -> Code:
    """A block without what may be translated: its comments, or all of it where it holds no command."""
    lines = [re.sub(r"(^|\s+)#.*$", "", line).rstrip() for line in block.text.splitlines()]
    return Code(block.language, "\n".join(line for line in lines if line) if block.language in COMMANDS else "")


def differences(english: str, chinese: str) -> list[str]:
    """Where two pages do not say the same, as far as can be seen without reading them."""
    views = {
        "heading levels": lambda text: [level for level, _ in headings(text)],
        "code blocks": lambda text: [comparable(block) for block in code_blocks(text)],
        "figures": figures,
        "numbers and tables": markers,
    }
    found = []
    for what, view in views.items():
        pair = view(english), view(chinese)
        if pair[0] != pair[1]:
            first = next(i for i in range(max(map(len, pair))) if pair[0][i : i + 1] != pair[1][i : i + 1])
            found.append(f"{what} differ from the {first + 1}th on: {pair[0][first:][:1]} and {pair[1][first:][:1]}")
    return found


def torn_sentences(text: str) -> list[str]:
    """Lines that break between two Chinese characters: a browser shows a space there."""
    return re.findall(r".{0,9}[\u3000-\u9fff\uff00-\uffef]\n[\u3000-\u9fff\uff00-\uffef].{0,9}", prose(text))


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere, to a missing file or to a missing heading."""
    found = []
    for link in links(page.read_text("utf-8")):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):  # another site, or mailto:
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name) if name else page
        if not target.exists():
            found.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text("utf-8")):
            found.append(f"{link}: no such heading")
    return found


def private_words(text: str) -> list[str]:
    """Places that only mean something on one machine, or to one group of people."""
    return [f"{what}: {match[0]}" for what, pattern in PRIVATE.items() for match in pattern.finditer(text)]


def unclosed_markers(text: str) -> list[str]:
    """Number markers without their end, which `make tables` could not fill."""
    opened = [name.split(" ")[0] for name in MARKER.findall(text)]
    ends = re.findall(r"<!-- /(table|number|milestones) -->", text)
    return [] if opened == ends else [f"{len(opened)} markers are opened, {len(ends)} closed, or not in order"]


# --- The pages -------------------------------------------------------------------------------------------------------


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_the_root_and_every_stage_have_a_readme_and_every_stage_its_theory():
    wanted = [f"{folder}README{tail}" for folder in ("", *(f"{s}/" for s in STAGES)) for tail in (".md", ".zh.md")]
    wanted += [f"docs/{language}/{stage}.md" for language in ("en", "zh") for stage in STAGES]
    missing = [name for name in wanted if not (ROOT / name).is_file()]
    assert not missing


@pytest.mark.parametrize("page", all_pages(), ids=relative)
def test_the_page_says_the_same_in_both_languages(page: Path):
    other = translation(page)
    if other is None:
        assert relative(page) in ("CHANGELOG.md", "docs/design.md", "docs/log.md")
    else:
        assert other.is_file(), f"{relative(page)} has no {relative(other)}"
        assert differences(page.read_text("utf-8"), other.read_text("utf-8")) == []


@pytest.mark.parametrize("page", all_pages(), ids=relative)
def test_the_page_holds_what_it_promises(page: Path):
    text = page.read_text("utf-8")
    assert broken_links(page) == []
    assert private_words(text) == []
    assert unclosed_markers(text) == []
    assert torn_sentences(text) == []


@pytest.mark.parametrize(
    "page", [page for page in all_pages() if relative(page).startswith(("docs/en/", "stage"))], ids=relative
)
def test_the_page_says_what_to_read_next(page: Path):
    if relative(page).endswith(".zh.md"):  # it says the same
        return
    sections = re.split(r"^## ", page.read_text("utf-8"), flags=re.M)
    following = [section for section in sections if re.match(r".*\bnext\b", section.partition("\n")[0])]
    assert following and re.search(r"\]\([^)#]+\.md", following[-1]), "no section that leads on to another page"


# --- The checks, tried on planted mistakes ---------------------------------------------------------------------------

PAGE = """# Title
A [link](b.md#two-words) and ![a figure](b.png). <!-- number stage1/x:relu.accuracy -->90 %<!-- /number -->
## Part
```bash
python train.py  # trains
```
```text
a drawing
```
"""
TRANSLATED = (
    PAGE.replace("Title", "标题").replace("# trains", "# 训练").replace("a drawing", "图").replace("Part", "部分")
)


def test_a_faithful_translation_has_no_differences():
    assert differences(PAGE, TRANSLATED) == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("## ", "### ", "heading"),
        ("## 部分\n", "", "heading"),
        ("train.py", "train.py --epochs 3", "code"),
        ("```text", "```bash", "code"),
        ("b.png", "c.png", "figures"),
        ("relu.accuracy", "relu.f1", "numbers"),
        ("<!-- number stage1/x:relu.accuracy -->", "", "numbers"),
    ],
)
def test_an_unfaithful_translation_is_caught(old: str, new: str, what: str):
    assert old in TRANSLATED
    assert [line.split(" ")[0] for line in differences(PAGE, TRANSLATED.replace(old, new))] == [what]


def test_links_that_lead_nowhere_are_caught(tmp_path: Path):
    (tmp_path / "b.md").write_text("## Two words\n## Part\n## Part\n## 部分 1\n")
    (tmp_path / "b.png").touch()
    page = tmp_path / "a.md"
    page.write_text(PAGE + "[x](#part) [y](b.md#part-1) [z](b.md#部分-1) [w](https://example.org/x) `[no](link.md)`")
    assert broken_links(page) == []
    page.write_text(
        '# A\n[1](none.md) [2](b.md#three-words) [3](#b) ![4](none.png) <img src="no.svg"> [![5](no.png)](b.md)'
    )
    assert len(broken_links(page)) == 6


@pytest.mark.parametrize(
    "text",
    [
        "see ../shared/x",
        "/home/ann/x",
        "C:\\Users\\ann",
        "/root/x",
        "fixed in #12",
        "issue 3",
        "pypi.org/simple",
        "/work/x",
    ],
)
def test_private_words_are_caught(text: str):
    assert private_words(text)


@pytest.mark.parametrize("text", ["[a](b.md#2-the-cell)", "`#1f77b4`", "homework/x", "the root/leaf", "rank #one"])
def test_ordinary_words_are_not(text: str):
    assert private_words(text) == []


def test_an_open_marker_is_caught():
    assert unclosed_markers(PAGE) == []
    assert unclosed_markers(PAGE.replace("<!-- /number -->", "")) != []


def test_a_torn_sentence_is_caught():
    assert torn_sentences("网络\n学习。\n\n再见\n- 一\nGPT 写\n```\n图\n形\n```\n") == ["网络\n学习。"]


def test_every_page_is_looked_at():
    assert ROOT / "README.md" in all_pages()
    assert not any(".venv" in str(page) for page in all_pages())

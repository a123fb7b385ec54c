"""The site: complete in both languages, every link alive, and quiet in a browser that no network reaches."""

import ast
import html
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import Chromium

from lab import docs, docs_links, docs_reference
from lab.docs_pages import ROOT, address, chinese, markdown, source_page
from my_llm.errors import ConfigError

PAGES = [path for *_, paths in docs.contents()[0] for path in paths]  # of the English half, by their file


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [package for module, package in docs.TOOLS.items() if not importlib.util.find_spec(module)]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")
    folder = tmp_path_factory.mktemp("site") / "site"
    assert docs.build(folder) == []
    return folder


def both_halves(site: Path) -> list[Path]:
    return [page for language in docs.LANGUAGES for page in sorted((site / language).rglob("*.html"))]


def article(page: Path) -> str:
    text = page.read_text("utf-8")
    return text[text.index("<article") : text.index("</article>")]


def test_every_page_is_there_in_both_languages_and_in_the_navigation(site: Path):
    assert {f"docs/en/{path.name}" for path in (ROOT / "docs" / "en").glob("*.md")} <= set(PAGES)
    for language in docs.LANGUAGES:
        wanted = [address(chinese(path) if language == "zh" else path, language) for path in PAGES]
        assert sorted(wanted) == sorted(page.relative_to(site).as_posix() for page in (site / language).rglob("*.html"))
        text = (site / language / "index.html").read_text("utf-8")
        linked = re.findall(r'<a href="([^"]*)" class="md-nav__link', text)
        links = [f"{language}/{link.removeprefix('./')}" for link in linked if "#" not in link]
        assert list(dict.fromkeys(links)) == wanted


def test_each_page_leads_to_the_next_and_to_its_twin(site: Path):
    for page in both_halves(site):
        text, here = page.read_text("utf-8"), page.relative_to(site).as_posix()
        switch = re.search(r'class="docs-language"[^>]*href="([^"]*)"', text)
        assert switch, here
        twin = here.replace("en/", "zh/", 1) if here.startswith("en/") else here.replace("zh/", "en/", 1)
        assert (page.parent / switch[1]).resolve() == (site / twin).resolve(), here
        last = here.removeprefix("en/").removeprefix("zh/") == "CHANGELOG.html"
        assert ("md-footer__link--next" in text) != last, here
    assert 'url=en/index.html"' in (site / "index.html").read_text("utf-8")


def test_formulas_diagrams_and_markers_do_not_show_as_they_were_written(site: Path):
    for page in both_halves(site):
        shown = re.sub(r"<(code|pre)\b.*?</\1>", "", article(page), flags=re.DOTALL)
        assert not re.search(r"arithmatex|\\frac|\\text|&lt;!--|<!-- page", shown), page
    formulas = re.findall(r"^\$\$", (ROOT / "docs/en/stage4_transformer.md").read_text("utf-8"), re.MULTILINE)
    text = article(site / "en/stage4_transformer.html")
    assert text.count('<div class="formula"><math display="block">') == len(formulas) > 20
    assert '<span class="number">(1)</span>' in text and "<mfrac>" in text
    assert re.search(r'<div class="diagram"><svg.*FlashAttention.*</svg>', article(site / "zh/roadmap.html"), re.DOTALL)


def test_the_reference_names_what_stands_at_the_doors_and_where(site: Path):
    texts = docs_reference.pages()
    for stage in docs.stages():
        folder = stage[2][0].split("/")[0]
        door = docs_reference.read(ROOT / folder / "models" / "__init__.py").tree.body[-1]
        assert isinstance(door, ast.Assign)
        headings = re.findall(r"^### (\w+)$", texts[f"docs/reference/{folder}.models.md"], re.MULTILINE)
        assert {name for name in ast.literal_eval(door.value) if not name.isupper()} - set(headings) == set(), folder
    training = texts["docs/reference/my_llm.md"]
    line = int(re.search(r"### train_steps.*?training\.py#L-(\d+)\)", training, re.DOTALL)[1])  # type: ignore[index]
    assert (ROOT / "my_llm/training.py").read_text("utf-8").splitlines()[line - 1].startswith("def train_steps(")
    assert "- `clip`: Largest Euclidean norm" in training and "**Raises**" in training
    assert f'id="L-{line}"' in (site / "source/my_llm/training.py.html").read_text("utf-8")


# --- Without building ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "language", "expected"),
    [
        ("README.md", "zh", "en/index.html"),
        ("stage1_mlp/README.zh.md", "en", "zh/stage1_mlp/index.html"),
        ("docs/zh/data.md", "en", "zh/data.html"),
        ("docs/log.md", "zh", "zh/log.html"),
        ("stage1_mlp/visualize.ipynb", "zh", "zh/stage1_mlp/visualize.html"),
        ("docs/figures/path.svg", "en", "figures/path.svg"),
        ("lab/tour.py", "en", "source/lab/tour.py.html"),
        ("stage1_mlp/studies", "en", "source/stage1_mlp/studies/index.html"),
    ],
)
def test_each_file_has_an_address(path: str, language: str, expected: str):
    assert address(path, language) == expected


def test_links_that_lead_nowhere_are_told(tmp_path: Path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "b.html").write_text('<h1 id="部分">')
    page = '<a href="b.html#%E9%83%A8%E5%88%86"> <a href="https://example.org/x"> <a href="#a"> <i id="a">'
    (tmp_path / "en" / "a.html").write_text(page)
    assert docs_links.problems(tmp_path) == []
    wrong = '<a href="c.html"> <img src="../d.png"> <a href="b.html#part"> <code class="unrendered">\\x &lt;</code>'
    (tmp_path / "en" / "a.html").write_text(page + wrong)
    assert docs_links.problems(tmp_path) == [
        "en/a.html: en/c.html: no such file",
        "en/a.html: d.png: no such file",
        "en/a.html: en/b.html#part: no such heading",
        "en/a.html: cannot be drawn: \\x <",
    ]


def test_a_page_without_a_place_or_a_twin_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "reference", dict)
    for name in ("en/data", "zh/data", "en/howto_x", "zh/howto_x", "en/lost", "zh/lost", "en/alone"):
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / f"{name}.md").write_text("# A page\n")
    chapters, wrong = docs.contents()
    assert [paths for *_, paths in chapters] == [["docs/en/howto_x.md"], ["docs/en/data.md"]]
    assert [line.split(":")[0] for line in wrong] == ["docs/en/lost.md", "docs/en/alone.md"]
    assert "NAVIGATION" in wrong[0] and "docs/zh/alone.md" in wrong[1]


def test_without_the_tools_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(docs, "TOOLS", {"no_such_module": "no-such-package"})
    with pytest.raises(ConfigError, match=r"not installed.*no-such-package.*next: .*pip install no-such-package"):
        docs.build(tmp_path / "site")


def test_a_notebook_is_a_page_with_its_pictures(tmp_path: Path):
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [{"data": {"text/plain": ["2"]}}, {"text": ["hi\n"]}]},
        {"cell_type": "code", "source": [], "outputs": [{"data": {"image/png": "YWJj\n", "text/plain": "no"}}]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    text = markdown(tmp_path / "a.ipynb")
    assert text.startswith("# Title\ntext\n\n```python\n1 + 1\n```\n\n```text\n2\n```\n\n```text\nhi\n")
    assert text.endswith('<img alt="" src="data:image/png;base64,YWJj">')


def test_source_pages_show_text_and_lists_and_nothing_else():
    page = source_page("stage1_mlp/train.py")
    assert page and 'id="L-1"' in page and html.escape("<title>") not in page
    assert 'href="xor.py.html"' in (source_page("stage1_mlp/studies") or "") or "href=" in (
        source_page("stage1_mlp") or ""
    )
    assert source_page("docs/figures/stage1_xor.png") is None and source_page("no/such.py") is None


# --- In a browser ----------------------------------------------------------------------------------------------------


def test_every_page_is_quiet_and_fits_on_a_phone(site: Path, chromium: Chromium):
    chromium.resize(360)
    pages = [site / address(path, "en") for path in PAGES]
    pages += [
        site / address(chinese(path), "zh") for path in PAGES if chinese(path) != path
    ]  # the rest is the same text
    for page in [*pages, next(site.glob("source/**/index.html")), site / "source/my_llm/decoding.py.html"]:
        assert chromium.complaints(page) == [], page
        assert chromium.width() <= 360, page


@pytest.mark.parametrize(
    ("language", "words", "found"), [("en", "vanishing gradient", "vanish"), ("zh", "梯度消失", "梯度")]
)
def test_the_search_finds_words_without_a_server(site: Path, chromium: Chromium, language: str, words: str, found: str):
    chromium.open(site / language / "index.html")
    chromium.value("document.querySelector('.md-search__button').click(), 1")
    chromium.ask("Input.insertText", text=words)
    results = "[...document.querySelectorAll('*')].find(e => e.shadowRoot).shadowRoot.querySelectorAll('ol a, li a')"
    wait = f"""new Promise(done => {{ let tries = 100; const look = () => {{
        const text = [...{results}].map(e => e.textContent).join(' ');
        text || !tries-- ? done(text) : setTimeout(look, 100); }}; look(); }})"""
    assert found in chromium.value(wait)

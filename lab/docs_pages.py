"""What becomes of a file of the repository in the site: its address, and its text where it is no page of its own."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TWINS = re.compile(r"docs/(?P<folder>en|zh)/(?P<page>.*)|(?P<text>(?:.*/)?(?:README|CONTRIBUTING))(?P<zh>\.zh)?")


def address(path: str, language: str) -> str:
    """Where the site shows a file or folder of the repository; pages in one language only stand in both halves."""
    if path.startswith("docs/figures/"):
        return path.removeprefix("docs/")
    if not path.endswith((".md", ".ipynb")):
        return f"source/{path}/index.html" if (ROOT / path).is_dir() else f"source/{path}.html"
    name = re.sub(r"\.(md|ipynb)$", "", path)
    if twin := TWINS.fullmatch(name):
        language = twin["folder"] or ("zh" if twin["zh"] else "en")
        name = twin["page"] or twin["text"]
    name = re.sub(r"README$", "index", name.removeprefix("docs/"))
    return f"{language}/{name}.html"


def chinese(path: str) -> str:
    """The Chinese twin of an English page, or the page itself where it has one language only."""
    if path.startswith("docs/en/"):
        return path.replace("docs/en/", "docs/zh/")
    return re.sub(r"(README|CONTRIBUTING)\.md$", r"\1.zh.md", path)


def markdown(path: Path) -> str:
    """The text of a page; a notebook becomes one, with its pictures inside."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    pieces = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        pieces.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        pieces += [shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(pieces)


def shown(output: dict) -> str:
    """What a cell of a notebook has printed or drawn."""
    data = output.get("data", {})
    if "image/png" in data:
        image = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="" src="data:image/png;base64,{image}">'
    return f"```text\n{''.join(output.get('text') or data.get('text/plain', ''))}\n```"


def source_page(path: str) -> str | None:
    """A file, highlighted, or the list of a folder; nothing where there is no such file or it is not text."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, get_lexer_for_filename
    from pygments.util import ClassNotFound

    file = ROOT / path
    if file.is_dir():
        names = [name.name for name in sorted(file.iterdir()) if name.is_file() and not name.name.startswith(".")]
        body = "".join(f'<li><a href="{name}.html">{name}</a></li>' for name in names)
        return SOURCE.format(path=path, css="", body=f"<ul>{body}</ul>")
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    try:
        lexer = get_lexer_for_filename(path, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    light = HtmlFormatter(style="default", lineanchors="L", anchorlinenos=True, linenos="inline")
    dark = HtmlFormatter(style="github-dark").get_style_defs("body")
    css = f"{light.get_style_defs('body')} @media (prefers-color-scheme: dark) {{ {dark} }}"
    return SOURCE.format(path=path, css=css, body=highlight(text, lexer, light))


SOURCE = """<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{path} · my_llm</title>
<style>{css}
body {{ margin: 1rem; font: 14px/1.5 ui-monospace, Consolas, Menlo, monospace; background: Canvas }}
h1 {{ font-size: 1rem; overflow-wrap: anywhere }} pre {{ overflow-x: auto }}
pre a {{ text-decoration: none }}</style>
<h1>{path}</h1>
{body}
"""

"""One self-contained page: no request leaves it, every text that is not ours is escaped, both languages are in it.

Words of ours come in pairs, `both(english, chinese)`; two radio buttons and four lines of CSS show one of the two.
Everything else, such as a word of a corpus or a class name, is data: `data(text)` strips control characters, escapes
the rest and tells the browser not to translate it. What a page may load is forbidden twice: nothing here asks for
anything, and the Content-Security-Policy would refuse it.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from my_llm.cli import printable

STYLE = Path(__file__).with_name("report.css")
# Chinese for a reader whose browser speaks it, or for page.html#zh; screen readers are told which language is shown.
SCRIPT = """
const chinese = document.getElementById("choose-zh"), english = document.getElementById("choose-en");
const tell = () => { document.documentElement.lang = chinese.checked ? "zh-Hans" : "en"; };
chinese.checked = location.hash === "#zh" || (location.hash !== "#en" && navigator.language.startsWith("zh"));
english.checked = !chinese.checked;
for (const button of [chinese, english]) button.addEventListener("change", tell);
tell();
"""


def data(text: object, css: str = "") -> str:
    """Text that is not ours, safe inside a page."""
    return f'<span class="data {css}" translate="no">{escaped(text)}</span>'


def escaped(text: object) -> str:
    """Without control characters, and with <, >, &, quotes as entities."""
    return html.escape(" ".join(printable(str(text)).split()))


def both(english: str, chinese: str) -> str:
    """The same in both languages; numbers and `data(…)` may be inside."""
    return f'<span class="en" lang="en">{english}</span><span class="zh" lang="zh-Hans">{chinese}</span>'


def heading(english: str, chinese: str, level: int = 3) -> str:
    """A title inside a section."""
    return f"<h{level}>{both(english, chinese)}</h{level}>"


def paragraph(english: str, chinese: str, css: str = "") -> str:
    """A paragraph in both languages."""
    return f'<p class="{css}">{both(english, chinese)}</p>'


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """(large number, what it is) side by side."""
    return "".join(["<dl class='tiles'>", *(f"<div><dd>{n}</dd><dt>{what}</dt></div>" for n, what in facts), "</dl>"])


def rows(pairs: Iterable[tuple[str, str]]) -> str:
    """A table of two columns: name, value."""
    lines = (f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in pairs)
    return f'<table class="facts">{"".join(lines)}</table>'


def commands(pairs: Sequence[tuple[str, str]]) -> str:
    """Commands to try, each with what it shows."""
    items = (f"<li><code>{data(command)}</code>{what}</li>" for command, what in pairs)
    return f'<ul class="commands">{"".join(items)}</ul>'


def closing(limit: str, tries: Sequence[tuple[str, str]]) -> str:
    """How each stage's part ends: what its model cannot do, and commands to try, as `commands` takes them."""
    return (
        heading("What it cannot do", "它做不到什么")
        + limit
        + heading("What to do next", "接下来做什么")
        + commands(tries)
    )


def document(title: str, body: str) -> str:
    """The whole page around `body`."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escaped(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<input type="radio" name="language" id="choose-en" class="choice" checked aria-label="English">
<input type="radio" name="language" id="choose-zh" class="choice" aria-label="中文">
<div class="page">
<nav class="languages" aria-label="English / 中文">
<label for="choose-en" lang="en">English</label><label for="choose-zh" lang="zh-Hans">中文</label>
</nav>
{body}
</div>
<script>{SCRIPT}</script>
</body>
</html>
"""

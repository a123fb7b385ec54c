"""How the site reads Markdown: formulas become MathML, diagrams SVG, links lead to where the site has put the file.

Python-Markdown loads this extension inside zensical. A page says in a comment at its end which file it was, and in
which language it is shown: `<!-- page docs/en/roadmap.md en -->`. What cannot be drawn is marked with the class
`unrendered`, which lab/docs_links.py reports.
"""

import html
import posixpath
import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

from lab.docs_pages import address

HOME = re.compile(r"<!-- page (\S+) (en|zh) -->")
LINK = re.compile(r'(<(?:a|img|source)\b[^>]*?\s(?:href|src|srcset)=")(?![a-z]+:|#)([^"#]+)')
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
NUMBER = re.compile(r"\\tag\{(.*?)\}")


class Finish(Postprocessor):
    """The last step, on the HTML of the whole page."""

    def run(self, text: str) -> str:
        """Formulas and links."""
        text = FORMULA.sub(formula, text)
        home = HOME.search(text)
        return HOME.sub("", LINK.sub(lambda link: link[1] + moved(link[2], home[1], home[2]), text)) if home else text


def moved(link: str, page: str, language: str) -> str:
    """A link from a page to a file, as the link from the one address to the other."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return posixpath.relpath(address(target, language), posixpath.dirname(address(page, language)))


def formula(found: re.Match[str]) -> str:
    """TeX to MathML, the number of an equation beside it."""
    from math_core import LatexError, LatexToMathML

    tex, display = html.unescape(found[2]).strip(), found[1] == "div"
    number = NUMBER.search(tex)
    try:
        maths = LatexToMathML().convert_with_local_state(NUMBER.sub("", tex), displaystyle=display)
    except LatexError:
        return unrendered(tex)
    beside = f'<span class="number">({number[1]})</span>' if number else ""
    return f'<div class="formula">{maths}{beside}</div>' if display else maths


def diagram(source: str, language: str, css_class: str, options: Any, md: Markdown, **_: Any) -> str:
    """A block of mermaid, drawn."""
    import mmdr

    try:
        svg = mmdr.render(source).svg()
    except Exception:
        return unrendered(source)
    return f'<div class="diagram">{svg}</div>'


def unrendered(source: str) -> str:
    """What could not be drawn, as it was written."""
    return f'<code class="unrendered">{html.escape(source)}</code>'


class SiteExtension(Extension):
    """The extension that zensical loads."""

    def extendMarkdown(self, md: Markdown) -> None:
        """After everything else, the raw HTML included."""
        md.postprocessors.register(Finish(md), "finish", -1)


def makeExtension(**options: Any) -> SiteExtension:
    """What Python-Markdown calls."""
    return SiteExtension(**options)

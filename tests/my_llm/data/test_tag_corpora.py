"""Tagged sentences: BIO or refused, the official parts as they were published, and Python's names by its parser."""

import dataclasses
import os
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from my_llm.data.catalog import load_tags
from my_llm.data.corpora import conll2002, python_names
from my_llm.data.corpora.tags import Sentences, TaggedSentence, Tagging, assemble, bio_labels
from my_llm.errors import DataError

LABELS = bio_labels("PER", "LOC")


def tagging(words: str, tags: tuple[int, ...], labels: tuple[str, ...] = LABELS) -> Tagging:
    sentence = TaggedSentence(tuple(words.split()), tags)
    return assemble("toy", "en", labels, Sentences([sentence], [sentence], []), "here")


def test_labels_open_with_o() -> None:
    assert LABELS == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def test_bio_is_accepted() -> None:
    corpus = tagging("Ada Lovelace Byron left London City", (1, 2, 1, 0, 3, 4))
    assert corpus.train[0].words[0] == "Ada" and corpus.test == []


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ("in London", (0, 4), "I-LOC follows O, but only goes on"),
        ("London", (4,), "I-LOC follows O"),
        ("Ada London", (1, 4), "I-LOC follows B-PER"),
        ("in London", (0,), "a sentence of 2 words has 1 tags"),
        ("", (), "a sentence of 0 words has 0 tags"),
        ("in London", (0, 5), "a tag is not one of the 5 labels"),
        ("in London", (0, -1), "a tag is not one of the 5 labels"),
    ],
)
def test_what_is_not_bio_is_refused(words: str, tags: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=f"corpus toy: {message}"):
        tagging(words, tags)


@pytest.mark.parametrize("labels", [("B-PER", "I-PER", "O"), ("O", "B-PER"), ("O", "I-PER", "B-PER"), ("PER",), ()])
def test_labels_that_are_not_bio_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="the labels of toy are not BIO"):
        tagging("word", (0,), labels)


def test_the_digest_sees_words_tags_labels_and_split() -> None:
    first = tagging("in London", (0, 3))
    others = [
        tagging("in Paris", (0, 3)),
        tagging("in London", (0, 1)),
        tagging("in London", (0, 3), bio_labels("X", "Y")),
    ]
    moved = assemble("toy", "en", LABELS, Sentences(first.train, [], first.validation), "here")
    assert len({corpus.sha256 for corpus in (first, moved, *others)}) == 5
    assert dataclasses.replace(first, source="there").sha256 == tagging("in London", (0, 3)).sha256


# --- CoNLL-2002 -----------------------------------------------------------------------------------------------------


def test_conll2002_reads_its_columns_and_mends_what_is_broken(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "conll2002.zip", "w") as archive:
        archive.writestr("conll2002/ned.train", "-DOCSTART- -DOCSTART- O\nDe Art O\n\n\n-DOCSTART- x O\n\n")
        archive.writestr("conll2002/ned.testa", "Río NC I-LOC\nde SP I-LOC\nAna NP I-PER\ny CC O".encode())
        archive.writestr("conll2002/ned.testb", "A N B-ORG\r\nB N B-ORG\r\n\r\nC N I-MISC\r\n")
    train, validation, test = conll2002.read_dutch((tmp_path / "conll2002.zip",))
    label = conll2002.LABELS.index
    assert train == [TaggedSentence(("De",), (0,))]
    assert validation == [
        TaggedSentence(("Río", "de", "Ana", "y"), (label("B-LOC"), label("I-LOC"), label("B-PER"), 0))
    ]
    assert test == [
        TaggedSentence(("A", "B"), (label("B-ORG"), label("B-ORG"))),
        TaggedSentence(("C",), (label("B-MISC"),)),
    ]


@pytest.mark.parametrize("line", ["word O", "word NC B-CITY", "a b c O"])
def test_conll2002_refuses_other_lines(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of word, part of speech and tag"):
        conll2002.sentences(f"y CC O\n{line}\n")


@pytest.mark.skipif("MY_LLM_DATA" not in os.environ, reason="needs the folder MY_LLM_DATA")
@pytest.mark.parametrize(
    ("name", "sentences", "words", "entities"),  # as published: Tjong Kim Sang (2002), tables 1 and 2
    [
        ("conll2002", [8323, 1915, 1517], [264715, 52923, 51533], [18798, 4352, 3559]),
        ("conll2002_nl", [15806, 2895, 5195], [202644, 37687, 68875], [13344, 2616, 3941]),
    ],
)
def test_the_real_conll2002(name: str, sentences: list[int], words: list[int], entities: list[int]) -> None:
    corpus = load_tags(name)
    parts = corpus.train, corpus.validation, corpus.test
    assert [len(part) for part in parts] == sentences
    assert [sum(len(sentence.words) for sentence in part) for part in parts] == words
    assert [sum(corpus.labels[tag][0] == "B" for s in part for tag in s.tags) for part in parts] == entities
    assert corpus.language in ("es", "nl") and set(corpus.labels) == {"O", *(
        f"{prefix}-{kind}" for prefix in "BI" for kind in ("PER", "ORG", "LOC", "MISC")
    )}  # fmt: skip


# --- Python's names -------------------------------------------------------------------------------------------------

SOURCE = '''
"""A docstring is too short a line."""
import os.path, sys as system  # a comment
from ..text import word
@wraps(f)
class Reader(io.Base, metaclass=Meta):
    async def read(self, size: int = 1, *rest, **more):
        self.text = open(self.name, "r", newline="").read()
        for key, value in Pairs(self.text): total += value[0].size()
        except_it = f"{sys.argv(x=1)}"
        return self.text if text else lambda text: text
try: x = (
    1)
except (OSError, os.error) as problem: x.y().z = None
'''
EXPECTED = """
import os.path/MODULE , sys/MODULE as system
from ..text/MODULE import word
@ wraps/FUNCTION ( f )
class Reader/CLASS ( io.Base/CLASS , metaclass/ARGUMENT = Meta ) :
async def read/FUNCTION ( self/ARGUMENT , size/ARGUMENT : int = 1 , * rest/ARGUMENT , ** more/ARGUMENT ) :
self.text/VARIABLE = open/FUNCTION ( self . name , "..." , newline/ARGUMENT = "..." ) . read/FUNCTION ( )
for key/VARIABLE , value/VARIABLE in Pairs/CLASS ( self . text ) : total/VARIABLE += value [ 0 ] . size/FUNCTION ( )
return self . text if text else lambda text/ARGUMENT : text
try : x/VARIABLE = ( 1 )
except ( OSError/CLASS , os.error/CLASS ) as problem : x.y/FUNCTION ( ) . z/VARIABLE = None
"""


def shown(sentence: TaggedSentence) -> str:
    """The words of an entity in one, with its kind behind."""
    chunks: list[tuple[str, str]] = []
    for word, tag in zip(*sentence, strict=True):
        label = python_names.LABELS[tag]
        if label[0] == "I":
            word = chunks.pop()[0] + word
        chunks.append((word, label[2:]))
    return " ".join(f"{text}/{kind}" if kind else text for text, kind in chunks)


def test_the_parser_says_what_part_a_name_plays() -> None:
    assert [shown(sentence) for sentence in python_names.tagged_lines(SOURCE)] == EXPECTED.strip().splitlines()


def test_a_line_stands_once_and_other_codes_are_left_out(tmp_path: Path) -> None:
    for number in range(40):
        module = tmp_path / "pathlib" / f"m{number}.py"
        module.parent.mkdir(exist_ok=True)
        module.write_text(f"common = 1\nown{number} = call()\n")
    (tmp_path / "os.py").write_text("raise SystemExit('imported')\nlong = [" + "1, " * 30 + "]\nx, y\n")
    (tmp_path / "glob.py").write_text("café = 1\n", encoding="utf-8")
    parts = python_names.read((tmp_path,))
    lines = [" ".join(sentence.words) for part in parts for sentence in part]
    assert lines.count("common = 1") == 1 and len(lines) == len(set(lines)) == 1 + 40 + 2 and all(parts)
    parts.train.clear()
    assert python_names.read((tmp_path,)).train, "the cache lends out copies"


def test_names_of_this_python_are_many_and_the_word_alone_does_not_tell() -> None:
    corpus = load_tags("python_names")
    assert len(corpus.train) > 8_000 and len(corpus.validation) > 800 and len(corpus.test) > 800
    lines = [sentence.words for part in (corpus.train, corpus.validation, corpus.test) for sentence in part]
    assert len(lines) == len(set(lines)) and all(" " not in word for words in lines for word in words)
    tags_used = {corpus.labels[tag] for sentence in corpus.train for tag in sentence.tags}
    assert tags_used == {*corpus.labels} - {"I-ARGUMENT"}, "an argument is one word"
    seen: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for words, tags in corpus.train:
        for word, tag in zip(words, tags, strict=True):
            seen[word][tag] += 1
    usual = {word: tags.most_common(1)[0][0] for word, tags in seen.items()}
    of_entities = [(word, tag) for s in corpus.test for word, tag in zip(*s, strict=True) if tag]
    right = sum(usual.get(word, 0) == tag for word, tag in of_entities)
    assert 0.05 < right / len(of_entities) < 0.6

"""Byte-level byte-pair encoding: by hand, against the tokenizers library, round trips, damaged states."""

import json
import random
import re
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from my_llm.errors import CheckpointError, ConfigError
from my_llm.text import BOS, EOS, PAD, SPECIALS, UNK, load_vocabulary, merging, save_vocabulary, tokenizer_from_state
from my_llm.text import bpe as module
from my_llm.text.bpe import WORD, BPETokenizer, learn_merges, split
from my_llm.text.merging import ALPHABET, BYTE_IDS, WordIds

BASE = 260  # 4 special tokens and 256 bytes
ENGLISH = "The cat sat on the mat; the cats don't sit there. It's 12,345 o'clock — isn't it?\n" * 3
FRENCH = "L'été, l’homme qu'on aimait s'était tu\u202f: « où êtes-vous\u00a0? » Aujourd'hui, ça va.\n" * 3
CHINESE = "滚滚长江东逝水，浪花淘尽英雄。是非成败转头空：青山依旧在，几度夕阳红。\n白发渔樵江渚上，惯看秋月春风。" * 3
CODE = Path(module.__file__).read_text(encoding="utf-8")
EMOJI = "👩‍👩‍👧‍👦 ❤️🇫🇷🇨🇳 👍🏽👍🏽👍🏽 ¯\\_(ツ)_/¯ ½ ² ① ٣ नमस्ते ไทย é e\u0301 \x1c\x85\u2028\u3000ａＢ９！"
BYTES = random.Random(0).randbytes(20_000).decode("utf-8", "replace") + random.Random(1).randbytes(9_000).decode(
    "latin-1"
)
RUNS = "".join(char * count for char in "aé中👍 \n-9" for count in (1, 2, 3, 5, 64, 65, 200)) + "abab" * 50
TEXTS = {
    "english": ENGLISH,
    "french": FRENCH,
    "chinese": CHINESE,
    "code": CODE,
    "emoji": EMOJI,
    "bytes": BYTES,
    "runs": RUNS,
}
EVERYTHING = list(TEXTS.values())

characters = st.characters(exclude_categories=["Cs"])
anything = st.text(characters, max_size=40)
messy = st.text(
    st.sampled_from("ab é'’中1_,.-(\n\r\t \u00a0\u2028\u0301\u200d\ufe0f\U0001f600\x00\x1c\x85²½ª<>s"), max_size=40
)


def train_library(texts: list[str], vocab_size: int) -> Library:
    """The tokenizers library on the same settings; it does not look for special tokens in a text."""
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.train_from_iterator(texts, trainer)
    bare = Library(library.model)
    bare.pre_tokenizer = library.pre_tokenizer
    return bare


def assert_same_merges(texts: list[str], vocab_size: int) -> tuple[BPETokenizer, Library]:
    """Both are trained; the merges and the id of every symbol are equal."""
    ours, library = BPETokenizer.train(texts, vocab_size), train_library(texts, vocab_size)
    theirs = json.loads(library.to_str())["model"]
    assert ours.merges == [tuple(merge) for merge in theirs["merges"]]
    assert ours.vocabulary.ids == theirs["vocab"]
    return ours, library


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train(EVERYTHING, 1200)


@pytest.fixture(scope="module")
def library(tokenizer) -> Library:
    """The same merges in the tokenizers library, as encode_many uses it."""
    return tokenizer.in_library()


# ---------------------------------------------------------------- by hand


def test_the_worked_example_of_the_docstring():
    merges = learn_merges({"the": 4, "then": 2, "hen": 3}, 1000)
    assert merges == [("h", "e"), ("t", "he"), ("he", "n"), ("the", "n")]
    tokenizer = BPETokenizer(merges)
    assert tokenizer.vocab_size == BASE + 4
    assert tokenizer.encode("hens") == [BASE + 2, BYTE_IDS[ord("s")]]
    assert tokenizer.encode("then") == [BASE + 3] and tokenizer.encode("thens") == [BASE + 3, BYTE_IDS[ord("s")]]


def test_ties_go_to_the_smaller_ids_and_once_is_no_pattern():
    # x y and a b twice each: a < x; then nothing occurs twice
    assert learn_merges({"xy": 2, "ab": 2, "qr": 1}, 1000) == [("a", "b"), ("x", "y")]
    assert learn_merges({"ab": 2, "xy": 2}, BASE + 1) == [("a", "b")]
    assert learn_merges({}, 1000) == []


def test_a_pair_of_equals_is_joined_from_the_left():
    # aaaaa: a a 4 times ×2 → X X a: X X 2, X a 2; X = 260 > a, so X a first (a has the smaller second id) → X Xa
    merges = learn_merges({"aaaaa": 2}, 1000)
    assert merges == [("a", "a"), ("aa", "a"), ("aa", "aaa")]
    assert BPETokenizer(merges[:2]).encode("aaaaaa") == [BASE, BASE, BASE]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't know l'été, d’où.", ["I", " don't", " know", " l'été", ",", " d’où", "."]),
        ("'quoted' rock'n'roll", ["'", "quoted", "'", " rock'n", "'", "roll"]),
        ("x_1 = 3.14  # π", ["x", "_", "1", " =", " 3", ".", "14", " ", " #", " π"]),
        ("if a:\n    b\n", ["if", " a", ":", "\n   ", " b", "\n"]),
        ("你好，世界。", ["你好", "，", "世界", "。"]),
        ("« Où\u202f? »", ["«", " Où", "\u202f", "?", " »"]),
        ("<eos>", ["<", "eos", ">"]),
        ("a" * 65, ["a" * 64, "a"]),
        (" " * 66 + "a", [" " * 64, " ", " a"]),
    ],
)
def test_words_by_hand(text, words):
    assert split(text) == words


def test_the_pattern_is_one_that_python_reads_without_doubt():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        re.compile(WORD.pattern + "(?#not from the cache)")


# ---------------------------------------------------------------- the tokenizers library


@pytest.mark.parametrize("vocab_size", [260, 261, 1500])
@pytest.mark.parametrize("name", TEXTS)
def test_merges_and_ids_are_those_of_the_library(name, vocab_size):
    ours, library = assert_same_merges([TEXTS[name]], vocab_size)
    assert [ours.encode(text) for text in EVERYTHING] == [library.encode(text).ids for text in EVERYTHING]


@settings(max_examples=100)
@given(st.lists(anything | messy | st.text("ab", max_size=30), max_size=6), st.integers(BASE, 400))
def test_merges_of_any_texts_are_those_of_the_library(texts, vocab_size):
    assert_same_merges(texts + texts, vocab_size)


def test_merges_of_a_larger_text_are_those_of_the_library():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(random.__file__).parent.glob("[a-c]*.py")))
    ours, library = assert_same_merges([text], 3000)
    assert ours.encode(text) == library.encode(text).ids
    assert ours.vocab_size == 3000


@settings(max_examples=300)
@given(text=anything | messy | st.text("ab'", max_size=300))
@example(text="".join(map(chr, range(0x3000))))
def test_any_text_is_cut_and_encoded_as_in_the_library(tokenizer, library, text):
    pieces = [text[start:end] for _, (start, end) in library.pre_tokenizer.pre_tokenize_str(text)]
    assert pieces == split(text)
    assert tokenizer.encode(text) == library.encode(text).ids


def test_every_kind_of_character_is_cut_as_in_the_library(library):
    """The first 12,000 characters, those at the ends of every range of the pattern, and some of the others."""
    ends = {ord(char) + step for char in WORD.pattern for step in (-1, 0, 1)}
    codes = {*range(12_000), *ends, *random.Random(0).sample(range(0x110000), 3000)} - {*range(0xD800, 0xE000), -1}
    text = "".join(f"a{chr(code)}1\n" for code in sorted(codes))
    cut = library.pre_tokenizer.pre_tokenize_str
    for line in text.splitlines(keepends=True):
        assert [line[start:end] for _, (start, end) in cut(line)] == split(line)


def test_many_texts_are_the_same_on_both_ways(tokenizer, monkeypatch):
    texts = [*EVERYTHING, "", "<pad><bos> <eos>", "half \ud83d and \udc00", "\ud83d\ude00"]
    one_by_one = [tokenizer.encode(text) for text in texts]
    monkeypatch.setattr(BPETokenizer, "in_library", None)  # few texts go without it
    assert tokenizer.encode_many(texts) == one_by_one and tokenizer.encode_many([]) == []
    monkeypatch.undo()
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(BPETokenizer, "encode", None)  # many go through it alone
    assert tokenizer.encode_many(texts) == one_by_one
    assert tokenizer.encode_many(texts[-4:] * 3000) == one_by_one[-4:] * 3000


# ---------------------------------------------------------------- invariants


@settings(max_examples=300)
@given(text=anything | messy)
def test_any_text_comes_back_exactly(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text == "".join(split(text))
    assert all(len(SPECIALS) <= number < tokenizer.vocab_size for number in ids), "no special token from text"
    assert tokenizer.decode([BOS, *ids, EOS, PAD]) == text


@given(text=anything | messy)
def test_no_pair_is_left_that_could_be_joined(tokenizer, text):
    for word in split(text):
        assert not set(pairwise(tokenizer.encode(word))) & set(tokenizer.words.merges)


@pytest.mark.parametrize("name", TEXTS)
def test_the_word_of_a_token_is_that_token(name):
    tokenizer = BPETokenizer.train([TEXTS[name]], 1000)
    for number in range(BASE, tokenizer.vocab_size):
        word = tokenizer.decode([number])
        assert "�" in word or tokenizer.words[word] == (number,), "half a character, or the token itself"


def test_text_cannot_say_a_special_token(tokenizer):
    text = "<eos><pad> <bos>\n<unk>" * 20
    for known in (tokenizer, BPETokenizer.train([text], 400)):
        assert not set(known.encode(text)) & {PAD, UNK, BOS, EOS}
        assert known.decode(known.encode(text)) == text


def test_half_a_character_is_the_replacement_character():
    tokenizer = BPETokenizer([])
    euro = tokenizer.encode("€")
    assert [tokenizer.vocabulary.symbols[number] for number in euro] == [
        "â",
        "Ĥ",
        "¬",
    ]  # E2 82 AC, as GPT-2 writes them
    assert tokenizer.decode(euro[:2]) == tokenizer.decode([UNK]) == "�"
    assert tokenizer.decode([*euro[1:], *tokenizer.encode("a")]) == "��a"
    assert tokenizer.decode(tokenizer.encode("a\ud800b\udc00")) == "a�b�"
    assert tokenizer.decode(tokenizer.encode("\ud83d\ude00")) == "��"
    assert BPETokenizer.train(["\ud800b"] * 2).merges == BPETokenizer.train(["�b"] * 2).merges


def test_the_words_remembered_are_bounded(monkeypatch, tokenizer):
    monkeypatch.setattr(merging, "REMEMBERED", 5)
    words = WordIds(tokenizer.words.merges)
    ids = [words[word] for word in split(ENGLISH)]
    assert len(words) <= 5
    assert [number for word in ids for number in word] == tokenizer.encode(ENGLISH)


def test_an_endless_word_takes_no_endless_time():
    tokenizer = BPETokenizer.train([RUNS], 1000)
    code = "ab" * 250_000
    assert tokenizer.decode(tokenizer.encode(code)) == code  # quadratic: hours


# ---------------------------------------------------------------- sizes, states, files


@pytest.mark.parametrize("vocab_size", [-1, 259, 2**20 + 1])
def test_a_size_that_cannot_be_is_refused(vocab_size):
    with pytest.raises(ConfigError, match=f"got '{vocab_size}'; valid: 260 to 1048576"):
        BPETokenizer.train(["text"], vocab_size)


def test_a_small_text_stops_early():
    assert BPETokenizer.train([], 9000).vocab_size == BASE
    assert BPETokenizer.train(["abc abc"], 9000).merges == [("a", "b"), ("ab", "c")]
    assert BPETokenizer.train(EVERYTHING, 300).vocab_size == 300


def test_both_files_give_the_tokenizer_back(tokenizer, tmp_path):
    save_vocabulary(tmp_path / "v.pkl", tokenizer.to_state())
    for name in ("v.pkl", "v.json"):
        again = tokenizer_from_state(load_vocabulary(tmp_path / name))
        assert isinstance(again, BPETokenizer) and again.merges == tokenizer.merges
        assert [again.encode(text) for text in EVERYTHING] == [tokenizer.encode(text) for text in EVERYTHING]


GOOD = BPETokenizer([("h", "e"), ("he", "n")]).to_state()
BASIC = [*SPECIALS, *ALPHABET]
DAMAGED = {
    "no merges": {"kind": "bpe", "symbols": GOOD["symbols"]},
    "merges are a string": {**GOOD, "merges": "h e"},
    "a merge is no string": {**GOOD, "merges": [["h", "e"], "he n"]},
    "a merge is missing": {**GOOD, "merges": ["h e"]},
    "a merge too many": {**GOOD, "merges": ["h e", "he n", "n h"]},
    "a merge twice": {**GOOD, "merges": ["h e", "h e"]},
    "another order": {**GOOD, "merges": ["he n", "h e"]},
    "a merge before its part": {**GOOD, "merges": ["he n", "h e"], "symbols": [*BASIC, "hen", "he"]},
    "a merge of three": {**GOOD, "merges": ["h e", "h e n"]},
    "a merge of one": {**GOOD, "merges": ["h e", "hen"]},
    "an empty merge": {**GOOD, "merges": ["h e", ""]},
    "no symbol": {**GOOD, "merges": ["h e", "he 中"], "symbols": [*BASIC, "he", "he中"]},
    "itself": {**GOOD, "merges": ["h e", "hehe "], "symbols": [*BASIC, "he", "hehe"]},
    "a special token": {**GOOD, "merges": ["h e", "<pad> h"], "symbols": [*BASIC, "he", "<pad>h"]},
    "made into a special token": {
        "kind": "bpe",
        "merges": ["< e", "<e o", "<eo s", "<eos >"],
        "symbols": [*BASIC, "<e", "<eo", "<eos", "<eos>"],
    },
    "another symbol": {**GOOD, "symbols": [*BASIC, "he", "hem"]},
    "no bytes": {**GOOD, "symbols": [*SPECIALS, "he", "hen"]},
    "bytes in another order": {**GOOD, "symbols": [*SPECIALS, *reversed(ALPHABET), "he", "hen"]},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_state_is_refused(name):
    with pytest.raises(CheckpointError) as error:
        tokenizer_from_state(DAMAGED[name])
    assert "\n" not in str(error.value)
    assert tokenizer_from_state(GOOD).encode("hen") == [BASE + 1]


def test_nothing_heavy_is_loaded_before_it_is_needed():
    code = "import sys, my_llm.text; sys.exit('tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_library_asks_nobody():
    """It would load the hub's client to fetch a file; ours never does."""
    code = (
        "import sys; from my_llm.text import BPETokenizer; BPETokenizer([]).in_library().encode('a');"
        "sys.exit(any(name in sys.modules for name in ('huggingface_hub', 'httpx', 'requests')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

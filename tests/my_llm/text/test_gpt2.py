"""GPT-2's byte pairs: cut, learnt and numbered as in the tokenizers library, also from GPT-2's own kind of files."""

import json
import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from my_llm.errors import CheckpointError
from my_llm.text import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    BPETokenizer,
    end_of,
    load_vocabulary,
    merging,
    read_gpt2,
    save_vocabulary,
    special_ids,
    tokenizer_from_state,
)
from my_llm.text import gpt2 as module
from my_llm.text.gpt2 import END, GPT2Tokenizer, split
from my_llm.text.merging import ALPHABET, BYTE_IDS, merge, merge_long

TEXTS = [
    "The cat sat on the mat; the cats don't sit there. It's 12,345 o'clock — isn't it? We'll, I'd, we've, I'm, you're\n"
    * 3,
    "L'été, l’homme qu'on aimait: « où êtes-vous\u00a0? » Aujourd'hui, ça va.\r\n\r\n" * 3,
    "滚滚长江东逝水，浪花淘尽英雄。是非成败转头空：青山依旧在。\n一二三〇Ⅷ½²①٣৪ \U00010107\U00012400\U0001d7d8" * 3,
    "👩‍👩‍👧‍👦 ❤️🇫🇷 👍🏽👍🏽 ¯\\_(ツ)_/¯ नमस्ते ไทย e\u0301 \x1c\x85\u2028\u3000ａＢ９！ \U00020000\U00010400x",
    Path(module.__file__).read_text("utf-8").replace("<", "("),  # no special token
    "".join(char * count for char in "aé中👍 \n-9" for count in (1, 2, 3, 65, 400)) + "abab" * 150,
]
known = st.characters(exclude_categories=["Cs", "Cn"])  # what this Python does not know, a newer library may
messy = st.sampled_from(
    "ab é'’中1_,.(\n\r\t \u00a0\u2028\u0301\u200d\ufe0f\U0001f600\x00\x1c\x85²½ªⅧ〇\U00010107\U00020000stremvld"
)
anything = st.text(known | messy, max_size=40)
cut_library = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def train_library(texts: list[str], vocab_size: int, specials: list[str]) -> Library:
    """As GPT-2's tokenizer is trained today; a special token among `specials` is found in text."""
    library = Library(models.BPE())
    library.pre_tokenizer, library.decoder = cut_library, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    return library


@pytest.fixture(scope="module")
def tokenizer() -> GPT2Tokenizer:
    return GPT2Tokenizer.train(TEXTS, 900)


@pytest.fixture(scope="module")
def library(tokenizer) -> Library:
    return tokenizer.in_library()


# ---------------------------------------------------------------- cutting


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 2 o'clock, mon été.\n", ["It", "'s", " 2", " o", "'", "clock", ",", " mon", " été", ".", "\n"]),
        ("We'll don't I'D 'tis", ["We", "'ll", " don", "'t", " I", "'", "D", " '", "tis"]),
        ("x_1  =  ½", ["x", "_", "1", " ", " =", " ", " ½"]),
        ("if a:\n    b\n\n", ["if", " a", ":", "\n   ", " b", "\n\n"]),
        ("你好，世界。", ["你好", "，", "世界", "。"]),
        ("一〇Ⅷ٣", ["一", "〇Ⅷ٣"]),  # 一 is a letter that means 1; 〇 and Ⅷ are numbers
        ("a\x1cb\x85c", ["a", "\x1c", "b", "\x85", "c"]),
    ],
)
def test_words_by_hand(text, words):
    assert split(text) == words


@settings(max_examples=400)
@given(text=anything)
@example(text="".join(map(chr, range(0x300))))
def test_any_text_is_cut_as_in_the_library(text):
    assert [text[start:end] for _, (start, end) in cut_library.pre_tokenize_str(text)] == split(text)
    assert "".join(split(text)) == text


def test_every_kind_of_character_is_cut_as_in_the_library():
    """All white space and numbers, the ends of every range of them, and some of the others."""
    numbers = {code for code in range(0x110000) if unicodedata.category(chr(code)) in ("Nl", "No", "Nd", "Zs")}
    codes = {code + step for code in numbers for step in (-1, 0, 1)} | {*range(0x400)}
    codes |= {*random.Random(0).sample(range(0x110000), 9000)}
    chars = [chr(code) for code in sorted(codes) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    for part in range(0, len(chars), 50):
        text = "".join(f"a{char}1{char}!{char}\t{char}\n" for char in chars[part : part + 50])
        assert [text[start:end] for _, (start, end) in cut_library.pre_tokenize_str(text)] == split(text)


# ---------------------------------------------------------------- learning and encoding


@pytest.mark.parametrize("vocab_size", [260, 261, 900])
def test_merges_and_ids_are_those_of_the_library(vocab_size):
    ours, library = GPT2Tokenizer.train(TEXTS, vocab_size), train_library(TEXTS, vocab_size, list(SPECIALS))
    theirs = json.loads(library.to_str())["model"]
    assert ours.merges == [tuple(pair) for pair in theirs["merges"]] and ours.ids == theirs["vocab"]
    assert [ours.encode(text) for text in TEXTS] == [library.encode(text).ids for text in TEXTS]


@settings(max_examples=60, deadline=None)
@given(st.lists(anything | st.text("ab", max_size=30), max_size=6), st.integers(260, 400))
def test_merges_of_any_texts_are_those_of_the_library(texts, vocab_size):
    theirs = json.loads(train_library(texts * 2, vocab_size, list(SPECIALS)).to_str())["model"]["merges"]
    assert GPT2Tokenizer.train(texts * 2, vocab_size).merges == [tuple(pair) for pair in theirs]


@settings(max_examples=300)
@given(text=anything | st.text("ab'", max_size=900))
def test_any_text_is_encoded_as_in_the_library_and_comes_back(tokenizer, library, text):
    assert tokenizer.encode(text) == library.encode(text).ids
    assert tokenizer.decode([BOS, *tokenizer.encode(text), EOS, PAD]) == text


@given(st.text("abc中 ", max_size=60))
def test_both_ways_of_merging_are_one(tokenizer, text):
    short = [BYTE_IDS[byte] for byte in text.encode()]
    long = list(short)
    merge(short, tokenizer.words.merges)
    merge_long(long, tokenizer.words.merges)
    assert short == long


def test_an_endless_word_takes_no_endless_time(tokenizer):
    code = "".join(random.Random(0).choices("abcdetho", k=200_000))
    assert tokenizer.decode(tokenizer.encode(code)) == code  # quadratic: an hour
    assert code not in tokenizer.words and max(map(len, tokenizer.words)) <= merging.LONG


def test_many_texts_go_through_the_library(tokenizer, monkeypatch):
    one_by_one = [tokenizer.encode(text) for text in TEXTS]
    monkeypatch.setattr("my_llm.text.bpe.LARGE", 0)
    monkeypatch.setattr(GPT2Tokenizer, "encode", None)
    assert tokenizer.encode_many(TEXTS) == one_by_one


# ---------------------------------------------------------------- special tokens


def test_special_tokens_are_made_on_request_only(tokenizer):
    text = f"{END}To be{END}{END} or not <eos>"
    ids, plain = tokenizer.encode(text, special=True), tokenizer.encode
    assert ids == [EOS, *plain("To be"), EOS, EOS, *plain(" or not <eos>")]
    assert tokenizer.decode(ids) == "To be or not <eos>"
    assert not set(plain(text)) & set(special_ids(tokenizer)) and tokenizer.decode(plain(text)) == text
    assert end_of(tokenizer) == EOS and special_ids(tokenizer) == [0, 1, 2, 3]
    assert end_of(BPETokenizer([])) == EOS and special_ids(BPETokenizer([])) == [0, 1, 2, 3]


# ---------------------------------------------------------------- GPT-2's files


def like_gpt2(folder: Path) -> Library:
    """Bytes 0 to 255, merges, and <|endoftext|> last; vocab.json, merges.txt and tokenizer.json."""
    library = train_library(TEXTS, 800, [])
    library.add_special_tokens([AddedToken(END, normalized=False, special=True)])
    library.save(str(folder / "tokenizer.json"))
    library.model.save(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
    assert vocab["!"] == 0 and END not in vocab
    (folder / "vocab.json").write_text(json.dumps({**vocab, END: len(vocab)}), "utf-8")  # as GPT-2's has it
    return library


@pytest.mark.parametrize("files", ["both", "tokenizer.json", "vocab.json and merges.txt"])
def test_gpt2_files_give_gpt2_ids(tmp_path, files):
    library, path = like_gpt2(tmp_path), tmp_path
    if files == "tokenizer.json":
        path = tmp_path / files
    elif files != "both":
        (tmp_path / "tokenizer.json").unlink()
    ours = read_gpt2(path)
    assert ours.vocab_size == library.get_vocab_size() == 801 and ours.end == 800 == end_of(ours)
    assert ours.ids == library.get_vocab() and special_ids(ours) == [800]
    for text in [*TEXTS, f"a{END}b", "<pad>"]:
        assert ours.encode(text, special=True) == library.encode(text).ids
        assert ours.decode(ours.encode(text)) == text
        assert ours.decode(ours.encode(text, special=True)) == library.decode(library.encode(text).ids)
        assert ours.in_library().encode(text).ids == ours.encode(text)
    save_vocabulary(tmp_path / "v.pkl", ours.to_state())
    again = tokenizer_from_state(load_vocabulary(tmp_path / "v.json"))
    assert isinstance(again, GPT2Tokenizer) and again.to_state() == ours.to_state() and again.end == 800
    assert [again.encode(text) for text in TEXTS] == [ours.encode(text) for text in TEXTS]


def test_special_tokens_may_stand_first(tmp_path):
    train_library(TEXTS, 500, [END, "<pad>", "<|user|>"]).save(str(tmp_path / "tokenizer.json"))
    ours, library = read_gpt2(tmp_path), Library.from_file(str(tmp_path / "tokenizer.json"))
    assert special_ids(ours) == [0, 1, 2] and ours.end == 0 and ours.decode([0, 1, 2]) == ""
    assert [ours.encode(text) for text in TEXTS] == [library.encode(text).ids for text in TEXTS]


def test_what_in_library_saves_can_be_read_again(tokenizer, tmp_path):
    tokenizer.in_library().save(str(tmp_path / "tokenizer.json"))
    again = read_gpt2(tmp_path / "tokenizer.json")
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert special_ids(again) == [0, 1, 2, 3] and again.end == EOS


def without(content: dict, *keys: str) -> dict:
    return {key: value for key, value in content.items() if key not in keys}


DAMAGE = {
    "no model": lambda c: without(c, "model"),
    "a list": lambda c: [c],
    "no merges": lambda c: {**c, "model": without(c["model"], "merges")},
    "a merge of three": lambda c: {**c, "model": {**c["model"], "merges": [["a", "b", "c"]]}},
    "a merge before its part": lambda c: {**c, "model": {**c["model"], "merges": c["model"]["merges"][::-1]}},
    "an id is missing": lambda c: {**c, "model": {**c["model"], "vocab": without(c["model"]["vocab"], "!")}},
    "an id is text": lambda c: {**c, "model": {**c["model"], "vocab": {**c["model"]["vocab"], "!": "0"}}},
    "no end": lambda c: {**c, "added_tokens": []},
    "another model": lambda c: {**c, "model": {**c["model"], "type": "WordPiece"}},
    "a prefix": lambda c: {**c, "model": {**c["model"], "continuing_subword_prefix": "##"}},
    "a normalizer": lambda c: {**c, "normalizer": {"type": "NFC"}},
    "a space in front": lambda c: {**c, "pre_tokenizer": {**c["pre_tokenizer"], "add_prefix_space": True}},
    "other words": lambda c: {**c, "pre_tokenizer": {"type": "Whitespace"}},
    "no words": lambda c: {**c, "pre_tokenizer": None},
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_files_of_other_tokenizers_and_damaged_ones_are_one_line(tmp_path, name):
    like_gpt2(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(DAMAGE[name](json.loads(path.read_text("utf-8")))), "utf-8")
    with pytest.raises(CheckpointError, match=r"cannot read GPT-2's tokenizer: ") as error:
        read_gpt2(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 99_999, b"null"])
def test_nonsense_is_one_line(tmp_path, content):
    with pytest.raises(CheckpointError, match="No such file"):
        read_gpt2(tmp_path)
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot read GPT-2's tokenizer"):
            read_gpt2(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    like_gpt2(tmp_path)
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(CheckpointError, match="too large"):
        read_gpt2(tmp_path)


@pytest.mark.parametrize(
    "order", ["abc", [*ALPHABET], [*ALPHABET, END, END], [*ALPHABET[1:], END], [*SPECIALS[:3], *ALPHABET]]
)
def test_an_order_of_other_symbols_is_refused(order):
    state = {**GPT2Tokenizer([]).to_state(), "order": order}
    with pytest.raises(CheckpointError, match="order"):
        tokenizer_from_state(state)
    assert tokenizer_from_state({**state, "order": [*ALPHABET, END]}).encode("!") == [0]

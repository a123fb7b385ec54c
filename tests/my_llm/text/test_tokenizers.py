"""Char and word tokenizers: the Protocol, the round trip, the unknown."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my_llm.errors import CheckpointError, ConfigError
from my_llm.text import (
    BOS,
    EOS,
    PAD,
    TOKENIZERS,
    UNK,
    Tokenizer,
    load_vocabulary,
    save_vocabulary,
    tokenizer_from_state,
)
from my_llm.text.char import CharTokenizer
from my_llm.text.word import WordTokenizer, join, normalise, split

TEXTS = ["To be, or not to be:\nthat is the question.", "L'été « déjà vu » — 3.14 €!", "生存还是毁灭，这是个问题。"]
anything = st.text(st.characters(exclude_categories=()), max_size=30)
messy = st.text(st.sampled_from("ab é中1_,.'\"(-\n\r\t\u00a0\u2028\u0301😀<"), max_size=30)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_tokenizer_fits_the_protocol_and_its_state(kind, tmp_path):
    tokenizer = TOKENIZERS[kind].train(TEXTS)
    assert isinstance(tokenizer, Tokenizer)
    save_vocabulary(tmp_path / "v.pkl", tokenizer.to_state())
    again = tokenizer_from_state(load_vocabulary(tmp_path / "v.pkl"))
    assert type(again) is TOKENIZERS[kind]
    assert again.vocab_size == tokenizer.vocab_size == max(tokenizer.encode("".join(TEXTS))) + 1
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert [again.decode(again.encode(text)) for text in TEXTS] == TEXTS


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=anything | messy)
def test_text_cannot_say_a_special_token(kind, text):
    tokenizer = TOKENIZERS[kind].train(TEXTS)
    assert not {PAD, BOS, EOS} & set(tokenizer.encode(text + "<pad><bos> <eos>"))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_frames_leave_no_trace(kind):
    tokenizer = TOKENIZERS[kind].train(TEXTS)
    assert tokenizer.decode([BOS, *tokenizer.encode(TEXTS[1]), EOS, PAD, PAD]) == TEXTS[1]
    assert tokenizer.decode([]) == "" and tokenizer.encode("") == []


@given(anything)
def test_characters_come_back_exactly(text):
    tokenizer = CharTokenizer.train([text])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text)


def test_an_unknown_character_is_the_replacement_character():
    tokenizer = CharTokenizer.train(["abc"])
    assert tokenizer.encode("aZc") == [4, UNK, 6]
    assert tokenizer.decode(tokenizer.encode("aZc")) == "a\ufffdc"


@settings(max_examples=300)
@given(anything | messy)
def test_words_come_back_with_their_white_space_normalised(text):
    tokenizer = WordTokenizer.train([text])
    once = tokenizer.decode(tokenizer.encode(text))
    assert once == normalise(text) == join(split(text))
    assert "".join(once.split()) == "".join(text.split()), "only white space may differ"
    assert tokenizer.encode(once) == tokenizer.encode(text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello, world - don't!", ["Hello", ", ", "world", " - ", "don", "'", "t", "!"]),
        ("aujourd'hui  3.14\t(a)", ["aujourd", "'", "hui", "3", ".", "14", " (", "a", ")"]),
        (" a \r\n\n b ", ["a", "\n", "\n", "b"]),
        ('"Quoi ?" dit-il.', ['"', "Quoi", " ?", '" ', "dit", "-", "il", "."]),
    ],
)
def test_pieces_by_hand(text, pieces):
    assert split(text) == pieces
    assert join(pieces) == normalise(text)


def test_an_unknown_word_is_marked_and_spaced():
    tokenizer = WordTokenizer.train(["the cat sat. the cat, the mat"], min_count=2)
    assert tokenizer.decode(tokenizer.encode("the dog the cat")) == "the <unk> the cat"


def test_min_count_and_max_size_keep_the_frequent():
    tokenizer = WordTokenizer.train(["c b a b a a"], max_size=6)
    assert tokenizer.to_state()["symbols"][4:] == ["a", "b"]
    assert CharTokenizer.train(["aab"], min_count=2).vocab_size == 5


def test_a_damaged_state_is_refused():
    with pytest.raises(CheckpointError):
        tokenizer_from_state({"kind": "char"})
    with pytest.raises(ConfigError, match="did you mean char"):
        tokenizer_from_state({**CharTokenizer.train("a").to_state(), "kind": "chair"})


def test_text_needs_no_torch():
    code = "import sys, my_llm.text; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

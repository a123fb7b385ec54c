"""Word pieces: learnt as a slow, plain program learns them, encoded as the tokenizers library does."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models

from my_llm.errors import CheckpointError, ConfigError
from my_llm.text import SPECIALS, UNK, WordPieceTokenizer, tokenizer_from_state
from my_llm.text import wordpiece as module
from my_llm.text.word import normalise, split
from my_llm.text.wordpiece import MIN_COUNT, PieceIds, alphabet, characters, learn_pieces

TEXT = (
    "the queen quits the quiet queue, quite quickly; then these three thin things # - ## thaw!\nL'été « vu » 3.14 €\n"
)
TEXTS = [TEXT * 3, "滚滚长江东逝水，浪花淘尽英雄。曹操曹操曹操，刘备曰：曹操至矣。" * 3]
words = st.dictionaries(st.text("abcd", min_size=1, max_size=7), st.integers(1, 9), max_size=9)
anything = st.text(
    st.sampled_from("the quiesn,.#'-\n é中滚滚曹操<") | st.characters(exclude_categories=["Cs"]), max_size=40
)


def plain(counts: dict[str, int], vocab_size: int, min_count: int) -> list[str]:
    """The definition: count everything anew before every join."""
    symbols = alphabet(counts, vocab_size - len(SPECIALS))
    cut = {word: characters(word) for word in counts if set(characters(word)) <= set(symbols)}
    while len(symbols) + len(SPECIALS) < vocab_size:
        single: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in cut.items():
            for part in parts:
                single[part] += counts[word]
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        frequent = [pair for pair, count in pairs.items() if count >= min_count]
        if not frequent:
            if min_count == 2:
                break
            min_count = max(2, min_count // 2)
            continue
        best = min(frequent, key=lambda p: (-pairs[p] / (single[p[0]] * single[p[1]]), *map(symbols.index, p)))
        new = best[0] + best[1].removeprefix("##")
        if new not in symbols:
            symbols.append(new)
        for parts in cut.values():
            place = 0
            while place + 1 < len(parts):
                if (parts[place], parts[place + 1]) == best:
                    parts[place : place + 2] = [new]
                place += 1
    return symbols


def test_the_score_by_hand():
    counts = {"qu": 6, "au": 2, "te": 13, "tes": 7}
    chars = ["##e", "t", "##u", "##s", "q", "a"]  # 20, 20, 8, 7, 6, 2 times
    # qu 6/(6·8), au 2/(2·8): equal, q has the smaller id; now au 2/(2·2); te 20/(20·20), ##es 7/(20·7): equal; now
    # te 13/(20·13), tes 7/(20·7): equal; now tes 7/(7·7)
    assert learn_pieces(counts, 100, 2) == [*chars, "qu", "au", "##es", "te", "tes"]
    assert learn_pieces(counts, 100, 7) == [*chars, "##es", "te", "tes", "qu", "au"], "what is rare waits"


def test_equal_scores_go_to_the_smaller_ids():
    assert learn_pieces({"ab": 2, "cd": 2}, 100, 2) == ["##b", "##d", "a", "c", "ab", "cd"]
    assert learn_pieces({"ab": 2, "cd": 2}, 9, 2) == ["##b", "##d", "a", "c", "ab"]
    assert learn_pieces({"ab": 1}, 100) == ["##b", "a"] and learn_pieces({}, 100) == []


@settings(max_examples=300, deadline=None)
@given(words, st.integers(5, 60), st.sampled_from([2, 3, 8, MIN_COUNT]))
def test_pieces_are_those_of_the_definition(counts, vocab_size, min_count):
    assert learn_pieces(counts, vocab_size, min_count) == plain(counts, vocab_size, min_count)


def test_pieces_of_a_text_are_those_of_the_definition():
    for text in TEXTS:
        assert learn_pieces(Counter(split(text)), 150) == plain(Counter(split(text)), 150, MIN_COUNT)


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer.train(TEXTS, 200)


@pytest.fixture(scope="module")
def library(tokenizer) -> Library:
    return Library(models.WordPiece(vocab=tokenizer.vocabulary.ids, unk_token="<unk>", max_input_chars_per_word=100))


@settings(max_examples=300)
@given(text=anything)
def test_any_text_is_encoded_as_in_the_library(tokenizer, library, text):
    assert tokenizer.encode(text) == library.encode(split(text), is_pretokenized=True).ids


@pytest.mark.parametrize("text", [*TEXTS, "t" + "e" * 99, "t" + "e" * 100, "xqueen", "queenx", "thequeen"])
def test_these_texts_are_encoded_as_in_the_library(tokenizer, library, text):
    assert tokenizer.encode(text) == library.encode(split(text), is_pretokenized=True).ids
    if UNK not in tokenizer.encode(text):
        assert tokenizer.decode(tokenizer.encode(text)) == normalise(text)


def test_a_word_may_have_a_hundred_characters(tokenizer):
    assert UNK not in tokenizer.encode("t" + "e" * 99) and tokenizer.encode("t" + "e" * 100) == [UNK]


def test_greedy_takes_the_longest_beginning_and_gives_up_as_a_whole():
    ids = {"<unk>": UNK, "a": 4, "ab": 5, "##c": 6, "##cd": 7, "##b": 8}
    pieces = PieceIds(ids)
    assert pieces["abcd"] == (5, 7) and pieces["ac"] == (4, 6) and pieces["abb"] == (5, 8)
    assert pieces["abd"] == (UNK,), "a b ## d: the last fits nothing"


@given(text=anything)
def test_known_text_comes_back(text):
    tokenizer = WordPieceTokenizer.train([text])
    if all(len(word) <= 100 for word in split(text)):
        assert tokenizer.decode(tokenizer.encode(text)) == normalise(text)


def test_unknown_words_are_marked_and_a_lost_continuation_is_a_word(tokenizer):
    assert tokenizer.decode(tokenizer.encode("the Ж queen")) == "the <unk> queen"
    ids = tokenizer.vocabulary.ids
    assert tokenizer.decode([ids["##e"], ids["t"], ids["##h"]]) == "e th"


def test_a_vocabulary_that_is_too_small_keeps_the_frequent_characters():
    tokenizer = WordPieceTokenizer.train(["aaab aab b"], 6)
    assert tokenizer.to_state() == {"kind": "wordpiece", "symbols": [*SPECIALS, "##a", "##b"]}
    assert tokenizer.encode("aab") == [UNK]
    with pytest.raises(ConfigError, match="valid: 5 to 1048576"):
        WordPieceTokenizer.train(["a"], 4)


def test_the_words_remembered_are_bounded(monkeypatch, tokenizer):
    monkeypatch.setattr(module, "REMEMBERED", 5)
    pieces = PieceIds(tokenizer.vocabulary.ids)
    assert [number for word in split(TEXT) for number in pieces[word]] == tokenizer.encode(TEXT) and len(pieces) <= 5


def test_a_damaged_state_is_refused(tokenizer):
    for state in ({"kind": "wordpiece"}, {"kind": "wordpiece", "symbols": ["a"]}):
        with pytest.raises(CheckpointError):
            tokenizer_from_state(state)
    assert tokenizer_from_state(tokenizer.to_state()).encode(TEXT) == tokenizer.encode(TEXT)

"""Diversity: every measure by hand, and what must hold for any texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import DataError
from my_llm.language.diversity import distinct_n, diversity, longest_repeat, repetition, self_bleu, units_of
from my_llm.metrics import bleu

WORDS = st.lists(st.sampled_from("ab"), max_size=14)


def test_distinct_by_hand():
    texts = [["a", "b", "a"], ["a", "b"]]
    assert distinct_n(texts, 1) == 2 / 5
    assert distinct_n(texts, 2) == 2 / 3  # ab, ba of ab, ba, ab
    assert distinct_n(texts, 3) == 1
    assert distinct_n(["aba", "ab"], 2) == 2 / 3, "a string is a sequence of characters"
    with pytest.raises(DataError):
        distinct_n(texts, 4)


def test_repetition_by_hand():
    text = ["the", "cat", "the", "cat", "the", "dog"]
    assert repetition(text, 1) == 3 / 6  # the, cat, dog are new
    assert repetition(text, 2) == 2 / 5  # the cat, cat the
    assert repetition(text, 3) == 1 / 4  # the cat the
    assert repetition(text, 4) == 0 and repetition(text, 7) == 0 and repetition([], 1) == 0


def test_the_longest_repeat_by_hand():
    assert longest_repeat("abcXabcYab") == 3 / 10
    assert longest_repeat("aaaa") == 3 / 4, "it may overlap itself"
    assert longest_repeat("abcd") == longest_repeat("") == longest_repeat("a") == 0


@given(WORDS)
def test_the_longest_repeat_is_found(text: list[str]):
    lengths = [
        n for n in range(1, len(text))
        if any(text[i : i + n] == text[j : j + n] for i in range(len(text) - n + 1) for j in range(i))
    ]  # fmt: skip
    assert longest_repeat(text) == max(lengths, default=0) / max(len(text), 1)


def test_self_bleu_by_hand():
    same, other = ["the", "cat", "sat", "on", "the", "mat"], ["no", "word", "of", "it", "is", "here"]
    assert self_bleu([same, same]) == pytest.approx(100)
    assert self_bleu([same, other]) < 10
    joined = [" ".join(text) for text in (same, same, other)]
    by_hand = (100 + 100 + bleu([joined[2]], [[joined[0], joined[1]]])) / 3
    assert self_bleu([same, same, other]) == pytest.approx(by_hand)
    with pytest.raises(DataError):
        self_bleu([same])


def test_units():
    assert units_of("Hello, (my)  world!\nAh", "words") == ["Hello", ",", "(", "my", ")", "world", "!", "Ah"]
    assert units_of("他 是\n人。", "characters") == ["他", "是", "人", "。"]


def test_all_measures_together():
    texts = ["the cat sat on the mat", "the dog sat on the mat"]
    measured = diversity(texts)
    assert list(measured) == [
        *(f"distinct_{n}" for n in (1, 2, 3, 4)), "self_bleu", *(f"repetition_{n}" for n in (1, 2, 3, 4)),
        "longest_repeat",
    ]  # fmt: skip
    assert measured["distinct_1"] == 6 / 12 and measured["repetition_1"] == pytest.approx(1 / 6)
    assert measured["distinct_2"] == 7 / 10 and measured["longest_repeat"] == pytest.approx(1 / 6)
    assert measured["self_bleu"] == pytest.approx(bleu(texts[:1], texts[1:]) / 2 + bleu(texts[1:], texts[:1]) / 2)
    assert "self_bleu" not in diversity(texts[:1])
    assert diversity(["天天向上"], "characters")["repetition_1"] == 1 / 4

"""Subwords become words, and no weight is lost on the way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.data.catalog import Pair, load_pairs
from my_llm.text import BOS, EOS, BPETokenizer
from my_llm.translation.alignment import (
    BEGINNING,
    END,
    Alignment,
    agreement,
    align_words,
    diagonal,
    draw,
    partners,
    words_of,
)

TOKENIZER = BPETokenizer.train(["a red dog, a red cat"] * 3, 270)
BYTES = BPETokenizer([])


def ids_of(text: str, tokenizer: BPETokenizer = BYTES) -> list[int]:
    return [*tokenizer.encode(text), EOS]


def test_a_word_begins_at_a_space():
    words, number = words_of(BYTES, ids_of("ab c"))
    assert words == ["ab", "c", END] and number == [0, 0, 1, 1, 2]  # the space belongs to the word behind it
    assert words_of(BYTES, [EOS]) == ([END], [0])
    assert words_of(BYTES, BYTES.encode("été")) == (["été"], [0] * 5)  # a letter of two bytes is not torn


def test_the_beginning_is_a_word_of_its_own():
    """What the decoder reads: <bos> has no space behind it."""
    words, number = words_of(BYTES, [BOS, *BYTES.encode("ab c")])
    assert words == [BEGINNING, "ab", "c"] and number == [0, 1, 1, 2, 2]
    assert words_of(BYTES, [BOS]) == ([BEGINNING], [0])


@given(st.lists(st.text("abcdé-'", min_size=1, max_size=5), min_size=1, max_size=8))
def test_the_words_of_a_sentence_come_back(words: list[str]):
    for tokenizer in (TOKENIZER, BYTES):
        ids = ids_of(" ".join(words), tokenizer)
        found, number = words_of(tokenizer, ids)
        assert found == [*words, END]
        assert len(number) == len(ids) and sorted(set(number)) == list(range(len(found))) and number == sorted(number)


def test_weights_of_subwords_by_hand():
    """Source "ab c" is a b ␣ c <eos>, target "b" is b <eos>. Columns: a + b and ␣ + c; a row is a word."""
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.25, 0.15], [0, 0, 0, 0, 1.0]])
    found = align_words(weights, ids_of("b"), ids_of("ab c"), BYTES)
    assert (found.target, found.source) == (["b", END], ["ab", "c", END])
    torch.testing.assert_close(found.weights, torch.tensor([[0.3, 0.55, 0.15], [0, 0, 1.0]]))


def test_a_target_word_looks_where_its_subwords_look_on_average():
    """Target "ab": a looks at the first source word with 0.6, b with 0.2: the word with 0.4."""
    weights = torch.tensor([[0.6, 0.2, 0.2, 0], [0.2, 0.4, 0.4, 0], [0, 0, 0, 1.0]])
    found = align_words(weights, ids_of("ab"), ids_of("a b"), BYTES)  # the source: a ␣ b <eos>
    torch.testing.assert_close(found.weights, torch.tensor([[0.4, 0.6, 0], [0, 0, 1.0]]))


@given(st.text("ab ", max_size=9), st.text("ab ", max_size=9))
def test_rows_still_sum_to_one(source: str, target: str):
    target_ids, source_ids = ids_of(target, TOKENIZER), ids_of(source, TOKENIZER)
    weights = torch.rand(len(target_ids), len(source_ids)).softmax(dim=1)
    found = align_words(weights, target_ids, source_ids, TOKENIZER)
    assert found.weights.shape == (len(found.target), len(found.source))
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(len(found.target)))


# --- the drawing ------------------------------------------------------------------------------------------------------


def test_the_drawing_shows_weights_as_shades_and_names_the_best_word():
    weights = torch.tensor([[0.05, 0.25, 0.7], [1.0, 0, 0]])
    lines = draw(Alignment(weights, ["un", "chien"], ["a", "big", "dog"])).splitlines()
    assert lines == ["source: a big dog", "   un │  ░░▓▓│ dog 0.70", "chien │██    │ a 1.00"]


@pytest.mark.parametrize("words", [1, 20, 21, 40, 300])
def test_no_row_is_wider_than_the_terminal_and_what_is_left_out_is_said(words: int):
    source, target = ["internationalisation"] * words, ["anticonstitutionnellement", "b"]
    weights = torch.full((2, words), 1 / words)
    head, *rows = draw(Alignment(weights, target, source)).splitlines()
    assert len(rows) == 2 and max(map(len, rows)) <= 80
    shown = head.split(" … ")[0].split()[1:]
    assert ("more" in head) == (len(shown) < words)
    assert len(shown) == words or head.endswith(f" … and {words - len(shown)} more")


# --- is it right? -----------------------------------------------------------------------------------------------------


def pair_of(source: str) -> Pair:
    """The pair of the corpus with this English."""
    corpus = load_pairs("numbers_en_fr")
    return next(pair for pair in (*corpus.train, *corpus.validation) if pair.source == source)


def test_partners_are_words_between_spaces():
    # one thousand | seven | hundred | fifty-four → mille | sept | cent | cinquante-quatre
    number = pair_of("one thousand seven hundred fifty-four")
    assert partners(number) == [{0, 1}, {2}, {3}, {4}]
    # twenty-eight minutes past three in the morning → trois | heures | vingt-huit | du | matin
    time = pair_of("twenty-eight minutes past three in the morning")
    assert partners(time) == [{3}, {3}, {0}, {4, 5}, {6}]


def test_agreement_and_the_diagonal():
    assert agreement([1, 0, 2], [{0, 1}, {1}, {2}]) == pytest.approx(2 / 3)
    assert diagonal(Pair("a b c d", "x y")) == [1, 3]
    assert diagonal(Pair("a b", "x y z")) == [0, 1, 1]

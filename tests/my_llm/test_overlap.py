"""ROUGE and the F1 of sets of words, against values worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.overlap import rouge_1, rouge_l, shared_words

TEXT = st.text(st.sampled_from("ab c.,"), max_size=30)


def test_rouge_by_hand():
    """The example of Lin 2004, section 3: police killed the gunman."""
    truth = "police killed the gunman"
    assert rouge_l("police kill the gunman", truth) == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", truth) == pytest.approx(2 / 4)
    assert rouge_1("the gunman kill police", truth) == pytest.approx(3 / 4)
    assert rouge_1("The, the! gunman", truth) == pytest.approx(2 * 2 / (3 + 4))  # "the" counts once
    assert rouge_l("gunman the killed police", truth) == pytest.approx(1 / 4)


def test_keywords_have_no_order_and_no_number():
    assert shared_words("b, a, a", "A b") == 1
    assert shared_words("a, c", "a, b, d") == pytest.approx(2 / 5)


@pytest.mark.parametrize("measure", [rouge_1, rouge_l, shared_words])
def test_nothing_in_common_is_0(measure):
    assert measure("", "") == measure("", "a") == measure("a", "") == measure("a", "b") == 0


@given(TEXT, TEXT)
def test_bounds_and_symmetry(said: str, truth: str):
    for measure in (rouge_1, rouge_l, shared_words):
        assert 0 <= measure(said, truth) <= 1 and measure(said, truth) == measure(truth, said)
        assert measure(said, said) in (0, 1)
    assert rouge_l(said, truth) <= rouge_1(said, truth)

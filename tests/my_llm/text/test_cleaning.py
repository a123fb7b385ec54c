"""Cleaning: each step by hand, with its count; cleaning twice changes nothing more."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import ConfigError
from my_llm.text.cleaning import EVERY_STEP, STEPS, clean

messy = st.text(
    st.sampled_from("ab \t\n\r\x85\u2028\u00a0\u3000e\u0301\u0323\u200b\ufeff\x00\ud800\u212b中\u00ad")
    | st.characters(),
    max_size=40,
)
EBOOK = "THE PROJECT GUTENBERG EBOOK HAMLET ***"
BOOK = f"*** START OF {EBOOK}\n\nTo be.\n\n*** END OF {EBOOK}\nx"


@pytest.mark.parametrize(
    ("step", "text", "cleaned", "count"),
    [
        ("unicode", "Ame\u0301lie", "Amélie", 2),
        ("unicode", "5 \u212b", "5 Å", 1),
        ("unicode", "Amélie", "Amélie", 0),
        ("line_ends", "a\r\nb\rc\x85d\u2028e\n", "a\nb\nc\nd\ne\n", 4),
        ("controls", "\ufeffa\x00b\x1b[2J\tc\n\u202ed\ud800", "ab[2J\tc\nd", 5),
        ("controls", "👩‍👩‍👧‍👦 नमस्ते", "👩‍👩‍👧‍👦 नमस्ते", 0),
        ("white_space", "  a  b \t\n\u3000\n\n\n  c ", "  a  b\n\n  c", 6),
        ("gutenberg", f"licence\n{BOOK}", "To be.\n", len(f"licence\n{BOOK}") - 7),
        ("gutenberg", "To be.\n\n", "To be.\n\n", 0),
        ("lines", "a\nb\n\na \n\nc\nb", "a\nb\n\n\nc", 5),
        ("paragraphs", "one\ntwo\n\nthree\n\n\n one\ntwo\n\nfour", "one\ntwo\n\nthree\n\nfour", 11),
        ("paragraphs", "one\n\n\ntwo", "one\n\n\ntwo", 0),
    ],
)
def test_each_step_by_hand(step, text, cleaned, count):
    assert EVERY_STEP[step](text) == (cleaned, count)


def test_the_example_of_the_docstring():
    counts = {"line_ends": 1, "controls": 0, "unicode": 2, "white_space": 2}
    assert clean("Ame\u0301lie  \r\n") == ("Amélie\n", counts)


@given(messy)
def test_a_clean_text_stays_as_it_is(text):
    once, _ = clean(text)
    assert clean(once) == (once, dict.fromkeys(STEPS, 0))
    assert unicodedata.is_normalized("NFC", once) and not set(once) & set("\r\x00\ufeff\ud800")


@given(messy)
def test_a_count_is_zero_where_nothing_changes_and_only_there(text):
    for step in EVERY_STEP.values():
        cleaned, count = step(text)
        assert (count == 0) == (cleaned == text) and count >= 0


@given(st.lists(st.sampled_from(["a", "b ", "c", ""]), max_size=9))
def test_every_line_and_paragraph_is_left_once(parts):
    for step, joint in (("lines", "\n"), ("paragraphs", "\n\n")):
        left = [part.strip() for part in EVERY_STEP[step](joint.join(parts))[0].split(joint) if part.strip()]
        assert left == list(dict.fromkeys(part.strip() for part in parts if part))


def test_long_runs_take_no_long_time():
    started = time.process_time()
    assert clean((" " * 200_000 + "a") * 2)[1]["white_space"] == 0  # quadratic: minutes
    assert time.process_time() - started < 5


def test_an_unknown_step_is_named():
    with pytest.raises(ConfigError, match="did you mean unicode"):
        clean("a", ["unicod"])

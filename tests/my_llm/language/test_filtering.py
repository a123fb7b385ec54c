"""The content filter: what a banned word is, taking back, stop strings however they are cut."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from my_llm.decoding import generate
from my_llm.errors import ConfigError, UserError
from my_llm.language.filtering import Banned, generate_without, until, words_of
from my_llm.language.writer import Writer
from my_llm.sampling import greedy
from my_llm.text import BPETokenizer, CharTokenizer, WordTokenizer

# --- what a banned word is --------------------------------------------------------------------------------------------


def found(words: list[str], text: str, prompt: str = "") -> tuple[str, int] | None:
    """The first banned word and the position of its last character."""
    banned = Banned(words)
    reading, hit = banned.read(banned.after(prompt), text)
    return hit or banned.end(reading)


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["cat"], "the cat sat", ("cat", 6)),
        (["cat"], "the Cat.", ("cat", 6)),
        (["CAT"], "cat", ("CAT", 2)),
        (["cat"], "category, concat, cats, cat5, cat_", None),
        (["cat"], "cat's", ("cat", 2)),
        (["cat"], "concat cat", ("cat", 9)),
        (["bad word"], "a bad \n  word!", ("bad word", 12)),
        (["bad word"], "a bad sword", None),
        (["bad", "bad word"], "a bad word", ("bad", 4)),
        (["ab", "abab c"], "abab ab", ("ab", 6)),
        (["café"], "the cafe\u0301 is", ("café", 8)),  # the accent apart
        (["cafe"], "the cafe\u0301 is", None),
        (["cafe"], "the café is", None),
        (["straße"], "STRASSE", ("straße", 6)),
        (["office"], "an o\ufb03ce", ("office", 6)),  # one character for ffi
        (["cat"], "ｃａｔ", ("cat", 2)),
        (["cat"], "c\u200ba\u00adt sat", ("cat", 4)),  # without width
        (["坏人"], "他是坏人吗", ("坏人", 3)),
        (["坏人"], "他是坏孩子", None),
        (["cat"], "我的cat很好", ("cat", 4)),
        (["#tag"], "a#tag", ("#tag", 4)),
        (["c++"], "in c++ or", ("c++", 5)),
        (["c++"], "c+", None),
    ],
)
def test_a_banned_word_is_found_as_a_reader_finds_it(words: list[str], text: str, expected: tuple[str, int] | None):
    assert found(words, text) == expected


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [
        ("a cat", " sat", None),  # the person's own word
        ("a cat", "", None),
        ("a ca", "t sat", ("cat", 0)),  # the model has finished it
        ("a con", "cat sat", None),
        ("the cat ", "cat", ("cat", 2)),
    ],
)
def test_words_of_the_prompt_are_the_persons_own(prompt: str, text: str, expected: tuple[str, int] | None):
    assert found(["cat"], text, prompt) == expected


LETTERS = st.text(st.sampled_from("ab c"), max_size=30)


@given(LETTERS, st.sets(st.sampled_from(["a", "ab", "ba b", "b c", "cc", "aab"]), min_size=1), st.data())
def test_it_is_what_a_regular_expression_finds_however_the_text_is_cut(text: str, words: set[str], data: Any):
    banned, rest, hit = Banned(words), text, None
    reading = banned.after("")
    while rest and hit is None:
        size = data.draw(st.integers(1, len(rest)))
        start = reading.position
        reading, hit = banned.read(reading, rest[:size])
        assert hit is not None or reading.position == start + size
        rest = rest[size:]
    hit = hit or banned.end(reading)
    pattern = "|".join(rf"(?<!\w){word.replace(' ', ' +')}(?!\w)" for word in words)
    ends = [
        match.end() - 1
        for start in range(len(text))
        for word in words
        if (match := re.compile(rf"(?<!\w){word.replace(' ', ' +')}(?!\w)").match(text, start))
    ]
    assert (hit is None) == (re.search(pattern, text) is None)
    assert hit is None or hit.last == min(ends)


def test_only_what_may_begin_a_word_is_unsafe():
    banned = Banned(["cat", "do it"])
    for text, safe in {"a cab": 5, "a ca": 2, "a cat": 2, "a do": 2, "a do  ": 2, "a do x": 6, "xc": 2}.items():
        reading, hit = banned.read(banned.after(""), text)
        assert hit is None and reading.safe == safe, text


def test_words_come_from_flags_and_files(tmp_path: Path):
    file = tmp_path / "w.txt"
    file.write_bytes("\ufeffcat\r\n\r\n a phrase \r\n坏人\r\n".encode())
    assert words_of(["dog", str(file), "cat", ""]) == ["dog", "cat", "a phrase", "坏人"]
    assert words_of(()) == words_of([""]) == []


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe\x00", b"a\n" * 2**20])
def test_a_file_that_is_no_list_costs_one_line(content: bytes | None, tmp_path: Path):
    if content is not None:
        (tmp_path / "w.txt").write_bytes(content)
    with pytest.raises(UserError) as caught:
        words_of([str(tmp_path / "w.txt")])
    assert "w.txt" in str(caught.value) and "\n" not in str(caught.value)


def test_a_word_that_cannot_be_seen_is_none():
    with pytest.raises(ConfigError, match="no word to ban"):
        words_of(["\u200b "])


# --- writing without them ---------------------------------------------------------------------------------------------

CHARS = CharTokenizer.train(["abcdefghijklmnopqrstuvwxyz .\n"])


def reciting(text: str, tokenizer: Any, second: str = "") -> Any:
    """A model that wants to write the text, or else the second one; it counts the places in its state."""
    wanted, other = (tokenizer.encode(each) for each in (text, second))

    def step(tokens: Tensor, place: int | None) -> tuple[Tensor, int]:
        place = 0 if place is None else place + tokens.shape[1]
        logits = torch.zeros(1, tokenizer.vocab_size)
        logits[:, :4] = -torch.inf
        for value, numbers in ((2.0, other), (4.0, wanted)):
            if place < len(numbers):
                logits[0, numbers[place]] = value
        return logits, place

    return step


def written(step: Any, tokenizer: Any, words: list[str], length: int, prompt: str = "x ") -> tuple[str, Counter[str]]:
    writer = Writer(lambda tokens, state=None: (tokens, state), tokenizer, {}, step=step)  # type: ignore[arg-type]
    banned = Banned(words)
    text = "".join(writer.write(prompt, length=length, temperature=0.0, banned=banned))
    return text, banned.found


def test_the_last_letter_of_a_banned_word_is_chosen_again():
    text, found = written(reciting("the cat sat", CHARS, "the car sat"), CHARS, ["cat"], 11)
    assert text == "the car sat" and found == {"cat": 1}
    text, found = written(reciting("the category", CHARS), CHARS, ["cat"], 12)
    assert text == "the category" and not found, "a part of a word is no word"


def test_at_the_end_of_the_text_a_word_is_whole():
    assert written(reciting("the cat", CHARS, "the cab"), CHARS, ["cat"], 7) == ("the cab", {"cat": 1})
    assert written(reciting("the cat", CHARS, "the cab"), CHARS, ["cat"], 6)[0] == "the ca"


def test_a_word_that_began_in_the_prompt_is_not_finished():
    assert written(reciting("t sat", CHARS, "r sat"), CHARS, ["cat"], 5, prompt="a ca")[0] == "r sat"
    assert written(reciting(" sat", CHARS), CHARS, ["cat"], 4, prompt="a cat") == (" sat", {})


def test_byte_pairs_and_words():
    pairs = BPETokenizer.train(["the bad bad cat sat on the mat. " * 9, "the the bad bad"], 290)
    assert len(pairs.encode(" bad")) == 1
    text, found = written(reciting(" bad cat", pairs, " the cat"), pairs, ["bad"], 2, prompt="the")
    assert text == " the cat" and found == {"bad": 1}
    split = pairs.encode(" bed")
    assert len(split) > 1
    text, _ = written(reciting(" bed.", pairs), pairs, ["bed"], len(split) + 1, prompt="the")
    assert "bed" not in text and text.startswith(" b")
    text, _ = written(reciting("坏人。", BPETokenizer([])), BPETokenizer([]), ["坏人"], 9, prompt="他")
    assert text.startswith("坏") and not text.startswith("坏人")
    words = WordTokenizer.train(["the cat sat on a mat"])
    text, _ = written(reciting("cat sat on", words, "mat on a"), words, ["Cat", "sat on"], 3, prompt="the")
    assert text == " mat sat a"


@given(st.integers(0, 10**6), st.sampled_from([["a"], ["ab", "b a"], ["aa", "b", "ab ab"], ["ba", "bb", "a b b"]]))
def test_no_banned_word_is_ever_written_and_the_rest_is_as_it_was(seed: int, words: list[str]):
    letters = CharTokenizer.train(["ab "])
    table = torch.randn(7, 7, generator=torch.Generator().manual_seed(seed))
    table[:, :4] = -torch.inf
    table[letters.encode("a")[0], letters.encode(" ")[0]] += 2

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, None]:
        return table[tokens[:, -1]], None

    writer = Writer(lambda tokens, state=None: (tokens, state), letters, {}, step=step)  # type: ignore[arg-type]
    banned = Banned(words)
    plain = "".join(writer.write(" ", length=25, seed=seed))
    text = "".join(writer.write(" ", length=25, seed=seed, banned=banned))
    assert len(text) == 25
    for word in words:
        assert not re.search(rf"(?<!\w){word.replace(' ', ' +')}(?!\w)", text)
    assert text == plain or banned.found
    if all(not re.search(rf"(?<!\w){word.replace(' ', ' +')}(?!\w)", plain) for word in words):
        assert text == plain and not banned.found


def test_it_goes_back_until_there_is_a_way():
    """After "a" the model can only say "b", and "ab" is banned: it may not begin with "a"."""
    letters = CharTokenizer.train(["abc"])
    a, b, c = (letters.encode(each)[0] for each in "abc")
    table = torch.full((7, 7), -torch.inf)
    table[c, a], table[c, c] = 5.0, 0.0
    table[a, b] = table[b, c] = 0.0

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, None]:
        return table[tokens[:, -1]], None

    def said(words: list[str], prompt: int, length: int) -> list[int]:
        banned = Banned(words)
        spell = lambda number, left: (letters.decode([number]), None)  # noqa: E731
        stream = generate_without(
            banned, spell, step, torch.tensor([[prompt]]), max_new_tokens=length, choose=greedy, spelling=None,
            reading=banned.after(" "),
        )  # fmt: skip
        return list(stream)

    assert said([], c, 3) == [int(t) for t in generate(step, torch.tensor([[c]]), max_new_tokens=3)] == [a, b, c]
    assert said(["ab"], c, 2) == [c, a], "the a at its end is no word"
    assert said(["ab", "ca"], c, 2) == [c, c]
    with pytest.raises(ConfigError, match="no way on"):
        said(["b"], a, 1)


def test_what_may_be_taken_back_is_held_and_the_rest_comes_at_once():
    calls = []

    def counted(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        calls.append(tokens)
        return recite(tokens, state)

    recite = reciting("a cab sat by", CHARS)
    writer = Writer(lambda tokens, state=None: (tokens, state), CHARS, {}, step=counted)  # type: ignore[arg-type]
    stream = writer.write("x ", length=12, temperature=0.0, banned=Banned(["cat"]))
    arrived = [(piece, len(calls)) for piece in stream]
    # a token is chosen after as many steps as it has places before it; one more step is taken before it comes
    assert [piece for piece, _ in arrived] == list("a cab sat by")
    late = {place for place, (_, steps) in enumerate(arrived) if steps > place + 2}
    assert late == {2, 3}, "only c and a of cab waited"


# --- where a text ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        (["a", "b", "END", "c"], ["END"], "ab"),
        (["a", "bE", "N", "Dc"], ["END"], "ab"),
        (["abEN"], ["END"], "abEN"),
        (["aEEND"], ["END"], "aE"),
        (["a\n", "\nb"], ["\n\n", "b"], "a"),
        (["END"], ["END"], ""),
        (["abc"], ["abc", "b"], "a"),  # "b" is whole first
        (["a中", "文b"], ["中文"], "a"),
        ([], ["x"], ""),
    ],
)
def test_a_text_ends_before_the_stop_string(pieces: list[str], stops: list[str], expected: str):
    assert "".join(until(pieces, stops)) == expected


def before_the_first(text: str, stops: list[str]) -> str:
    """Letter by letter: the first stop string that is whole ends the text."""
    for end in range(len(text) + 1):
        whole = [stop for stop in stops if text[:end].endswith(stop)]
        if whole:
            return text[: end - len(max(whole, key=len))]
    return text


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.data())
def test_however_it_is_cut_and_nothing_is_held_that_need_not_be(text: str, stops: list[str], data: Any):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    expected = before_the_first(text, stops)
    assert "".join(until(pieces, stops)) == expected
    read = shown = ""

    def reading() -> Any:
        nonlocal read
        for piece in pieces:
            read += piece
            yield piece

    for piece in until(reading(), stops):
        shown += piece
        if before_the_first(read, stops) == read:
            held = read.removeprefix(shown)
            assert not held or len(read) == len(text) or any(stop.startswith(held) for stop in stops)


def test_the_model_is_asked_no_more_after_a_stop():
    asked = []

    def endless() -> Any:
        while True:
            asked.append(1)
            yield "ab"

    assert "".join(until(endless(), ["ba"])) == "a" and len(asked) == 2

"""Beam search for a text: against every text, with stop strings, without banned words, and Ctrl-C."""

import itertools
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from my_llm.decoding import beam_search, length_penalty
from my_llm.errors import ConfigError
from my_llm.language.filtering import Banned
from my_llm.language.searching import TextJudge, search
from my_llm.language.writer import Writer
from my_llm.text import EOS, BPETokenizer, CharTokenizer

LETTERS = CharTokenizer.train(["ab .\n"])
KNOWN = "\n .ab"


def writer_of(seed: int) -> tuple[Writer, Tensor]:
    """A model whose next character depends on the last one, and its log-probabilities among characters."""
    table = 2 * torch.randn(9, 9, generator=torch.Generator().manual_seed(seed))

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        return table[tokens[:, -1]], tokens[:, -1:]

    allowed = table.clone()
    allowed[:, :4] = -torch.inf
    return Writer(lambda tokens, state=None: (tokens, state), LETTERS, {}, step=step), allowed.log_softmax(-1)  # type: ignore[arg-type]


def score(text: str, table: Tensor, alpha: float) -> float:
    numbers = LETTERS.encode(f"a{text}")
    return sum(float(table[a, b]) for a, b in itertools.pairwise(numbers)) / length_penalty(len(text), alpha)


@pytest.mark.parametrize("stop", [(), ("b.",), (".", "ab")])
@pytest.mark.parametrize("banned", [[], ["a", "b"], ["ab a"]])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_the_likeliest_text(seed: int, stop: tuple[str, ...], banned: list[str]):
    writer, table = writer_of(seed)

    def ends(text: str) -> bool:
        return any(text.endswith(one) for one in stop)

    def fits(text: str) -> bool:
        whole = len(text) == 4 or ends(text)
        words = "|".join(rf"(?<!\w){word.replace(' ', ' +')}(?!\w)" for word in banned)
        found = any(match.end() > 1 for match in re.finditer(words, f"a{text}")) if banned else False
        return whole and not found and not any(ends(text[:n]) for n in range(1, len(text)))

    texts = ["".join(parts) for n in range(1, 5) for parts in itertools.product(KNOWN, repeat=n)]
    best = max((text for text in texts if fits(text)), key=lambda text: score(text, table, 0.6))
    expected = next((best[: -len(one)] for one in stop if best.endswith(one)), best)
    assert search(writer, "a", length=4, beam_size=700, stop=stop, banned=Banned(banned)) == expected


def test_a_beam_of_one_is_greedy_and_a_wider_one_is_likelier():
    for seed in range(5):
        writer, table = writer_of(seed)
        greedy = "".join(writer.write("a", length=12, temperature=0.0))
        assert search(writer, "a", length=12, beam_size=1) == greedy
        assert score(search(writer, "a", length=12, beam_size=8), table, 0.0) >= score(greedy, table, 0.0)


def test_the_length_penalty_decides_between_long_and_short():
    writer, _ = writer_of(3)
    texts = [search(writer, "a", length=20, beam_size=20, length_penalty=alpha, stop=["."]) for alpha in (0.0, 5.0)]
    assert len(texts[0]) < len(texts[1])


def test_what_was_given_up_is_counted_and_no_way_is_one_line():
    banned = Banned(["a", "b"])
    texts = [search(writer_of(seed)[0], ".", length=6, beam_size=3, banned=banned) for seed in range(4)]
    assert banned.found.total() > 0 and not any(re.search(r"\b[ab]\b", text) for text in texts)
    stuck = Writer(
        lambda tokens, state=None: (tokens, state),  # type: ignore[arg-type]
        LETTERS, {}, step=lambda tokens, state: (torch.eye(9)[LETTERS.encode("a")].log().expand(len(tokens), -1), None),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="no way on without a banned word"):
        search(stuck, ".", length=1, beam_size=3, banned=Banned(["a"]))


def test_characters_of_many_tokens_are_whole():
    pairs = BPETokenizer([])
    wanted = pairs.encode("é!END")

    def step(tokens: Tensor, place: int | None) -> tuple[Tensor, int]:
        place = 0 if place is None else place + 1
        logits = torch.zeros(len(tokens), pairs.vocab_size)
        logits[:, wanted[min(place, 5)]] = 50.0
        return logits, place

    writer = Writer(lambda tokens, state=None: (tokens, state), pairs, {}, step=step)  # type: ignore[arg-type]
    assert search(writer, "a", length=20, beam_size=2, stop=["END"]) == "é!"


def test_a_stop_string_and_a_word_of_many_tokens_are_judged_when_they_are_whole():
    writer, banned = writer_of(0)[0], Banned(["ba"])
    judge = TextJudge(writer, (writer.spelt(4), banned.after("")), ["a.b"], banned)
    for text, verdict in [("a", "goes on"), ("b", "goes on"), ("a.", "goes on"), ("ba", "goes on"), ("a.b", "ends")]:
        assert judge(LETTERS.encode(text)) == verdict
    assert judge(LETTERS.encode("a. ")) == "goes on" and judge(LETTERS.encode("ba.")) == "forbidden"


def test_ctrl_c_stops_the_search():
    writer, _ = writer_of(0)
    asked = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt):
        search(writer, "a", length=50, beam_size=2, stop_if=lambda: next(asked))


@pytest.mark.parametrize("after", [".", "a"])  # what the model would say behind the end, if it were asked
def test_a_banned_word_may_not_be_the_last_one_before_the_end(after: str):
    texts = [LETTERS.encode("ab"), LETTERS.encode("a."), LETTERS.encode(after)]

    def step(tokens: Tensor, read: Tensor | None) -> tuple[Tensor, Tensor]:
        read = tokens if read is None else torch.cat([read, tokens], dim=1)
        logits, place = torch.full((len(read), 9), -9.0), read.shape[1] - 1  # after the space: "ab" or "a.", the end
        for row in range(len(read)):
            if place < 2:
                logits[row, texts[0][place]], logits[row, texts[1][place]] = 3.0, max(1.0, 3.0 - 2 * place)
            else:
                logits[row, EOS if place == 2 else texts[2][0]] = 9.0
        return logits, read

    writer = Writer(lambda tokens, state=None: (tokens, state), LETTERS, {}, step=step)  # type: ignore[arg-type]
    writer.end, writer.forbidden[EOS] = EOS, 0.0
    for banned in (["ab"], []):
        drawn = "".join(writer.write(" ", length=9, temperature=0.0, banned=Banned(banned)))
        assert drawn == search(writer, " ", length=9, beam_size=3, banned=Banned(banned)) == ("a." if banned else "ab")


def test_a_short_text_does_not_end_the_search_while_a_longer_one_may_become_better():
    """At once 0.51 ends; "a" and then the end has 0.49, but over (7/6)² in the exponent."""
    table = torch.tensor([[0.51, 0.49], [1.0, 1e-9]]).log()  # of the end and of a, after nothing and after a

    def step(tokens: Tensor, state: object) -> tuple[Tensor, object]:
        return table[tokens[:, -1]], tokens

    prompt = torch.zeros(1, 1, dtype=torch.long)
    ((best,),) = beam_search(step, prompt, width=1, max_new_tokens=5, stop=0, alpha=2.0)
    assert best.tokens == [1, 0]
    ((best,),) = beam_search(step, prompt, width=1, max_new_tokens=5, stop=0, alpha=0.0)
    assert best.tokens == [0]

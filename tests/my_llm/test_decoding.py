"""Decoding many tokens: beam search against all sentences, streaming, rows that end early."""

import itertools
import math
from functools import partial

import pytest
import torch

from my_llm import decoding
from my_llm.errors import ConfigError
from my_llm.sampling import sample

STOP = 0


def table_model(vocabulary: int, seed: int):
    """A tiny language model: the logits depend on the last two tokens. Forward (B, T) -> (B, T, V)."""
    table = 2 * torch.randn(vocabulary, vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed))

    def forward(tokens):
        before = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], dim=1)
        return table[before, tokens]

    return forward


def cached(forward):
    """The same model with a state of its own: the last token, inside a tuple and a dict."""

    def step(tokens, state):
        last = torch.zeros_like(tokens[:, :1]) if state is None else state[0]["last"]
        both = torch.cat([last, tokens], dim=1)
        return forward(both)[:, -1], ({"last": both[:, -1:]}, "constant")

    return step


def every_sentence(forward, start, vocabulary, longest, alpha):
    """Score all sentences that end in STOP or are cut at `longest`."""
    found = {}
    for length in range(1, longest + 1):
        sentences = [
            said
            for said in itertools.product(range(vocabulary), repeat=length)
            if STOP not in said[:-1] and (said[-1] == STOP or length == longest)
        ]
        tokens = torch.tensor([[start, *said] for said in sentences])
        steps = forward(tokens[:, :-1]).log_softmax(-1).gather(-1, tokens[:, 1:, None])  # (N, length, 1)
        scores = steps.sum(dim=(1, 2)) / decoding.length_penalty(length, alpha)
        found |= dict(zip(sentences, scores.tolist()))
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_that_holds_everything_is_exhaustive_search(seed, alpha):
    forward = table_model(4, seed)
    expected = every_sentence(forward, 1, 4, 4, alpha)  # 1 + 3 + 9 + 27·4 = 121 sentences
    assert len(expected) == 121
    best = decoding.beam_search(
        decoding.recompute(forward), torch.tensor([[1]]), width=121, max_new_tokens=4, stop=STOP, alpha=alpha
    )[0]
    assert [tuple(hypothesis.tokens) for hypothesis in best[:5]] == [said for said, _ in expected[:5]]
    assert [hypothesis.score for hypothesis in best] == pytest.approx([score for _, score in expected], abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_beam_of_one_is_greedy(seed):
    step, prompt = decoding.recompute(table_model(7, seed)), torch.tensor([[1], [2], [3]])
    said = torch.stack(list(decoding.generate(step, prompt, max_new_tokens=11, stop=STOP)), dim=1).tolist()
    beams = decoding.beam_search(step, prompt, width=1, max_new_tokens=11, stop=STOP, alpha=0.0)
    for row, beam in zip(said, beams):
        assert beam[0].tokens == (row[: row.index(STOP) + 1] if STOP in row else row)


@pytest.mark.parametrize("seed", range(4))
def test_batched_is_single_and_cached_is_recomputed(seed):
    forward, prompt = table_model(7, seed), torch.tensor([[3, 1], [2, 2], [5, 6]])
    search = partial(decoding.beam_search, width=3, max_new_tokens=11, stop=STOP)
    together = search(decoding.recompute(forward), prompt)
    apart = [search(decoding.recompute(forward), row[None])[0] for row in prompt]
    with_cache = search(cached(forward), prompt)
    for other in (apart, with_cache):
        assert [[h.tokens for h in beam] for beam in other] == [[h.tokens for h in beam] for beam in together]
    assert all(len(beam) == 3 and beam[0].score >= beam[1].score >= beam[2].score for beam in together)


def test_a_wider_beam_finds_what_greedy_misses():
    # greedy takes A (0.6), after which everything is poor; B (0.4) leads to a sure ending
    table = {(): [0.0, 0.6, 0.4], (1,): [0.4, 0.3, 0.3], (2,): [1.0, 0.0, 0.0]}

    def step(tokens, state):
        said = [()] * len(tokens) if state is None else [tuple(row.tolist()) for row in tokens]
        return torch.tensor([table[row] for row in said]).log(), tokens

    search = partial(decoding.beam_search, step, torch.tensor([[0]]), max_new_tokens=2, stop=STOP, alpha=0.0)
    assert search(width=1)[0][0].tokens == [1, STOP]
    assert search(width=2)[0][0].tokens == [2, STOP]
    assert search(width=2)[0][0].log_probability == pytest.approx(math.log(0.4))


def test_a_finished_hypothesis_takes_no_place_from_the_living():
    # the best beginning ends at once; A and B must both live on, and B leads to the second best sentence
    table = {(): [0.5, 0.3, 0.2], (1,): [0.4, 0.3, 0.3], (2,): [1.0, 0.0, 0.0]}

    def step(tokens, state):
        said = [()] * len(tokens) if state is None else [tuple(row.tolist()) for row in tokens]
        return torch.tensor([table[row] for row in said]).log(), tokens

    best = decoding.beam_search(step, torch.tensor([[0]]), width=2, max_new_tokens=2, stop=STOP, alpha=0.0)[0]
    assert [hypothesis.tokens for hypothesis in best] == [[STOP], [2, STOP]]
    assert [math.exp(hypothesis.score) for hypothesis in best] == pytest.approx([0.5, 0.2])  # A: 0.3 · 0.4 = 0.12


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_hasty_endings_do_not_end_the_search(width, alpha):
    # A goes on to A (0.9), and ends after six; B (0.1) and C (0) end at once: five bad sentences are there before it
    going_on, last = [[0.0, 0.9, 0.1, 0.0], [1.0, 0, 0, 0], [1.0, 0, 0, 0]], [1.0, 0.0, 0.0, 0.0]

    def step(tokens, state):
        length = 0 if state is None else state[0, 0].item() + 1
        rows = [last if length == 6 else going_on[max(token - 1, 0)] for token in tokens[:, -1].tolist()]
        return torch.tensor(rows).log(), torch.full((len(tokens), 1), length)

    found = decoding.beam_search(step, torch.tensor([[1]]), width=width, max_new_tokens=20, stop=STOP, alpha=alpha)[0]
    assert found[0].tokens == [1] * 6 + [STOP] and found[0].log_probability == pytest.approx(6 * math.log(0.9))
    assert found[1].tokens == [2, STOP] if alpha == 0 else len(found) == width
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


def test_length_penalty_by_hand():
    assert decoding.length_penalty(1, 0.6) == 1  # (5 + 1) / 6
    assert decoding.length_penalty(7, 1.0) == 2  # (5 + 7) / 6
    assert decoding.length_penalty(19, 0.5) == 2  # √(24 / 6)


def test_generate_stops_when_all_rows_have_and_streams():
    def step(tokens, state):  # each row counts down from its prompt; after 0 comes 6
        return torch.nn.functional.one_hot((tokens[:, -1] - 1) % 7, 7).float(), state

    stream = decoding.generate(step, torch.tensor([[2], [4]]), max_new_tokens=100, stop=STOP)
    assert next(stream).tolist() == [1, 3], "one token at a time"
    assert [tokens.tolist() for tokens in stream] == [[0, 2], [0, 1], [0, 0]], (
        "a row that has ended goes on saying stop"
    )
    assert len(list(decoding.generate(step, torch.tensor([[2]]), max_new_tokens=5))) == 5, "no stop: all of them"


def test_rows_that_have_ended_are_computed_no_longer():
    sizes = []

    def step(tokens, left):  # the state decides: a row says how many tokens it has left
        sizes.append(len(tokens))
        return torch.nn.functional.one_hot(left[:, 0], 10).float(), left - 1

    search = partial(decoding.generate, step, torch.ones(4, 1, dtype=torch.long), max_new_tokens=20, stop=STOP)
    left = torch.tensor([9, 2, 3, 5])[:, None]
    dropped = torch.stack(list(search(state=left, reorder=decoding.select_rows)), dim=1)
    assert dropped.tolist() == [[*range(n, 0, -1)] + [STOP] * (10 - n) for n in (9, 2, 3, 5)]
    assert sizes == [4, 4, 4, 3, 2, 2, 1, 1, 1, 1]


def test_sentences_that_are_done_are_searched_no_longer():
    calls = []

    def step(tokens, state):  # row r of the state ends after r + 2 tokens, whatever it says
        calls.append(len(tokens))
        rows, length = state
        logits = torch.zeros(len(tokens), 5)
        logits[:, 1] = rows[:, 0].float()
        logits[:, STOP] = torch.where(length[:, 0] > rows[:, 0], 50.0, -50.0)
        return logits, (rows, length + 1)

    state = torch.arange(6)[:, None], torch.zeros(6, 1)
    search = partial(decoding.beam_search, step, width=2, max_new_tokens=12, stop=STOP)
    together = search(torch.ones(6, 1, dtype=torch.long), state=state)
    assert calls[1] == 12 and calls[-1] < 12
    alone = [
        search(torch.ones(1, 1, dtype=torch.long), state=tuple(part[row : row + 1] for part in state))[0]
        for row in range(6)
    ]
    assert [[h.tokens for h in found] for found in together] == [[h.tokens for h in found] for found in alone]


def test_generate_passes_everything_said_to_choose_and_only_the_new_to_step():
    seen, new = [], []

    def step(tokens, state):
        new.append(tokens.tolist())
        return torch.zeros(1, 5), state

    def choose(logits, *, previous):
        seen.append(previous.tolist())
        return torch.tensor([len(seen)])

    list(decoding.generate(step, torch.tensor([[3, 4]]), max_new_tokens=3, choose=choose))
    assert seen == [[[3, 4]], [[3, 4, 1]], [[3, 4, 1, 2]]]
    assert new == [[[3, 4]], [[1]], [[2]]]


def test_recompute_forgets_what_the_context_cannot_hold():
    read = []

    def forward(tokens):
        read.append(tokens[0].tolist())
        return torch.zeros(*tokens.shape, 3)

    list(decoding.generate(decoding.recompute(forward, context=4), torch.tensor([[7, 8, 9]]), max_new_tokens=4))
    assert read == [[7, 8, 9], [7, 8, 9, 0], [8, 9, 0, 0], [9, 0, 0, 0]]


def test_repetition_penalty_breaks_a_loop():
    def step(tokens, state):
        return torch.tensor([[3.0, 2.9, 2.8, 2.7]]), state

    choose = partial(sample, temperature=0.0, repetition_penalty=1.5)
    said = decoding.generate(step, torch.tensor([[0]]), max_new_tokens=3, choose=choose)
    assert [int(token) for token in said] == [1, 2, 3]  # greedy alone would say 0, 0, 0


def test_no_gradient_is_kept():
    weight = torch.ones(3, requires_grad=True)
    scores = []

    def step(tokens, state):
        scores.append(weight * torch.ones(len(tokens), 3))
        return scores[-1], tokens

    list(decoding.generate(step, torch.tensor([[1]]), max_new_tokens=2))
    decoding.beam_search(step, torch.tensor([[1]]), width=2, max_new_tokens=2, stop=STOP)
    assert not any(score.requires_grad for score in scores)
    assert torch.is_grad_enabled()


def test_a_beam_without_width_is_refused():
    with pytest.raises(ConfigError):
        decoding.beam_search(cached(table_model(3, 0)), torch.tensor([[1]]), width=0, max_new_tokens=2, stop=STOP)


@pytest.mark.parametrize("seed", range(4))
def test_a_judge_ends_and_forbids(seed):
    """A beam that holds everything finds every sentence without 2, 3 in it, the best first; 3, 1 ends one, too."""
    forward = table_model(4, seed)

    def judge(said):
        if said[-2:] == [2, 3]:
            return "forbidden"
        return "ends" if said[-1] == STOP or said[-2:] == [3, 1] else "goes on"

    def ended(said):
        return said[-1] == STOP or said[-2:] == (3, 1)

    def allowed(said):
        pairs = list(itertools.pairwise(said))
        return (2, 3) not in pairs and (3, 1) not in pairs[:-1]

    expected = {}
    for length in range(1, 5):  # every sentence of that length that ends there, or was cut at four
        for said in itertools.product(range(4), repeat=length):
            if STOP not in said[:-1] and allowed(said) and (ended(said) or length == 4):
                tokens = torch.tensor([[1, *said]])
                steps = forward(tokens[:, :-1]).log_softmax(-1).gather(-1, tokens[:, 1:, None])
                expected[said] = float(steps.sum()) / decoding.length_penalty(length, 0.6)
    best = decoding.beam_search(
        decoding.recompute(forward), torch.tensor([[1]]), width=150, max_new_tokens=4, stop=judge
    )[0]
    assert {tuple(h.tokens): pytest.approx(h.score, abs=1e-5) for h in best} == expected
    assert [h.score for h in best] == sorted((h.score for h in best), reverse=True)


def test_where_all_is_forbidden_nothing_is_found():
    step = decoding.recompute(table_model(4, 0))
    assert decoding.beam_search(
        step, torch.tensor([[1]]), width=2, max_new_tokens=3, stop=lambda said: "forbidden"
    ) == [[]]

"""One token: filters and penalties by hand and by property, draws against their probabilities."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm import sampling
from my_llm.errors import ConfigError, NotFiniteError

INF = torch.inf
rows = st.lists(st.floats(-20, 20, width=32), min_size=7, max_size=7).map(lambda row: torch.tensor([row]))


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


def kept(logits: torch.Tensor) -> list[int]:
    return (logits[0] > -INF).nonzero()[:, 0].tolist()


# ---------------------------------------------------------------- filters


def test_nucleus_keeps_the_token_that_crosses_p():
    logits = logits_of(0.1, 0.5, 0.3, 0.1)
    assert kept(sampling.top_p_filter(logits, 0.4)) == [1]  # 0.5 crosses 0.4
    assert kept(sampling.top_p_filter(logits, 0.6)) == [1, 2]  # 0.5 does not reach 0.6, 0.5 + 0.3 crosses it
    assert kept(sampling.top_p_filter(logits, 0.85)) == [0, 1, 2]  # of two equals the first
    assert kept(sampling.top_p_filter(logits, 1e-9)) == [1]  # never nothing


@given(rows, st.floats(1e-6, 1))
def test_nucleus_is_the_smallest_set_of_mass_p(logits, p):
    filtered = sampling.top_p_filter(logits, p)
    probabilities = logits.double().softmax(-1)[0]
    nucleus = probabilities[kept(filtered)]
    assert len(nucleus) >= 1
    assert nucleus.sum() >= p - 1e-6
    assert nucleus.sum() - nucleus.min() < p + 1e-6, "without its least likely token it would not reach p"
    assert (filtered[0][kept(filtered)] == logits[0][kept(filtered)]).all(), "what stays keeps its logit"


@given(rows, st.integers(1, 12))
def test_top_k_keeps_exactly_the_k_largest(logits, k):
    stays = kept(sampling.top_k_filter(logits, k))
    assert len(stays) == min(k, 7)
    assert sorted(logits[0][stays].tolist()) == sorted(logits[0].tolist())[-k:]


@given(rows)
def test_k_of_all_and_p_of_one_change_nothing(logits):
    assert torch.equal(sampling.top_k_filter(logits, 7), logits)
    assert torch.equal(sampling.top_p_filter(logits, 1.0), logits)
    draws = [
        sampling.sample(logits, generator=torch.Generator().manual_seed(3), **settings)
        for settings in (
            {},
            {"top_k": 7},
            {"top_p": 1.0},
            {"min_p": 0.0},
            {"presence_penalty": 0.0, "previous": torch.zeros(1, 1).long()},
            {"repetition_penalty": 1.0, "previous": torch.zeros(1, 1).long()},
        )
    ]
    assert len({int(draw) for draw in draws}) == 1


def test_repetition_penalty_by_hand():
    logits = torch.tensor([[2.0, -1.0, 0.5, 3.0]])
    result = sampling.penalise_repetition(logits, torch.tensor([[0, 1, 1]]), 2.0)
    assert result.tolist() == [[1.0, -2.0, 0.5, 3.0]]  # 2 / 2, -1 · 2 (once, though it occurred twice), rest untouched


def test_presence_penalty_by_hand():
    logits = torch.tensor([[2.0, -1.0, 0.5, 3.0]])
    result = sampling.penalise_presence(logits, torch.tensor([[0, 1, 1]]), 1.5)
    assert result.tolist() == [[0.5, -2.5, 0.5, 3.0]]  # once, though 1 occurred twice
    assert sampling.penalise_presence(logits, torch.tensor([[3]]), -1.0).tolist() == [[2.0, -1.0, 0.5, 4.0]]


@given(rows, st.lists(st.integers(0, 6), min_size=1, max_size=9), st.floats(-5, 5))
def test_presence_changes_what_was_seen_and_nothing_else(logits, seen, penalty):
    changed = sampling.penalise_presence(logits, torch.tensor([seen]), penalty)
    for token in range(7):
        expected = logits[0, token] - (penalty if token in seen else 0)
        assert changed[0, token] == pytest.approx(float(expected), abs=1e-5)


@given(rows, st.floats(0, 1), st.floats(0.1, 10))
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(logits, p, temperature):
    filtered = sampling.min_p_filter(logits, p, temperature)
    probabilities = (logits.double() / temperature).softmax(-1)[0]
    stays = kept(filtered)
    assert int(logits[0].argmax()) in stays
    for token in range(7):
        margin = probabilities[token] / probabilities.max() - p
        assert abs(margin) < 1e-5 or (token in stays) == (margin > 0)
    assert (filtered[0][stays] == logits[0][stays]).all(), "what stays keeps its logit"


def test_min_p_by_hand():
    logits = logits_of(0.1, 0.5, 0.3, 0.1)
    assert kept(sampling.min_p_filter(logits, 0.19)) == [0, 1, 2, 3]  # 0.5 · 0.19 = 0.095
    assert kept(sampling.min_p_filter(logits, 0.25)) == [1, 2]  # 0.125
    assert kept(sampling.min_p_filter(logits, 1.0)) == [1]


def test_the_order_of_penalties_and_filters():
    """Each line says what another order would do."""
    logits, previous = torch.tensor([[4.0, 3.0, 2.0]]), torch.tensor([[0]])
    penalised, _ = sampling.filtered(logits, previous=previous, repetition_penalty=2.0, presence_penalty=1.0)
    assert penalised.tolist() == [[1.0, 3.0, 2.0]]  # 4 / 2 - 1; the other way round it were (4 - 1) / 2
    best = sampling.sample(logits, previous=previous, temperature=0.0, presence_penalty=1.5)
    assert best.tolist() == [1], "penalties count at temperature 0, too"
    answer, left = sampling.filtered(logits, previous=previous, presence_penalty=1.5, top_k=2)
    assert kept(answer) == [0, 1] and left == 1, "penalties before top-k: [2.5, 3, 2], else 4 and 3 were kept as 2.5, 3"
    assert kept(sampling.filtered(logits, previous=previous, presence_penalty=2.5, top_k=2)[0]) == [1, 2]
    flat = logits_of(0.4, 0.3, 0.2, 0.1)
    assert kept(sampling.filtered(flat, top_k=2, top_p=0.55)[0]) == [0]  # 4/7 > 0.55; first top_p: 0.4 + 0.3
    assert kept(sampling.filtered(flat, top_p=0.75, min_p=0.4)[0]) == [
        0,
        1,
        2,
    ]  # first min_p: 0.4, 0.3 of 0.9 reach 0.75


@given(
    rows, st.sampled_from([{}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}, {"top_k": 5, "top_p": 0.9, "min_p": 0.1}])
)
def test_shares_are_those_of_what_is_kept(logits, settings):
    for temperature in (0.0, 0.5, 1.3):
        answer, left = sampling.filtered(logits, temperature=temperature, **settings)
        shares = sampling.shares(answer, left)[0]
        assert float(shares.sum()) == pytest.approx(1, abs=1e-5)
        if temperature == 0:
            assert shares[int(sampling.greedy(logits))] == 1
        else:
            plain = (logits[0].double() / temperature).softmax(0) * (answer[0] > -INF)
            torch.testing.assert_close(shares.double(), plain / plain.sum(), atol=1e-5, rtol=1e-4)


# ---------------------------------------------------------------- one token


@given(rows)
def test_one_candidate_left_is_greedy(logits):
    for settings in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
        drawn = sampling.sample(logits, **settings)
        assert logits[0, drawn[0]] == logits.max()
    assert sampling.greedy(logits)[0] == logits[0].argmax()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"temperature": 0.5}, [0.01 / 0.3, 0.04 / 0.3, 0.09 / 0.3, 0.16 / 0.3]),  # p² over 0.01 + 0.04 + 0.09 + 0.16
        ({"top_k": 2}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_p": 0.75}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"top_k": 3, "top_p": 0.7}, [0, 0, 3 / 7, 4 / 7]),  # of the three 4/9 + 3/9 crosses 0.7
        ({"min_p": 0.6}, [0, 0, 3 / 7, 4 / 7]),  # at least 0.24
        ({"min_p": 0.3, "temperature": 0.5}, [0, 0, 9 / 25, 16 / 25]),  # p² at least 0.048: 0.04 is too little
        ({"min_p": 0.3, "temperature": 2.0}, [0.1631, 0.2306, 0.2825, 0.3262]),  # √p at least 0.19: all
        ({"min_p": 0.6, "top_p": 0.95, "temperature": 0.5}, [0, 0, 0, 1]),  # p² at least 0.096: 0.09 is too little
    ],
)
def test_draws_follow_their_probabilities(settings, expected):
    n = 20_000
    logits = logits_of(0.1, 0.2, 0.3, 0.4).expand(n, 4)
    drawn = sampling.sample(logits, generator=torch.Generator().manual_seed(0), **settings)
    counts = torch.bincount(drawn, minlength=4).double()
    wanted = n * torch.tensor(expected, dtype=torch.float64)
    assert (counts[wanted == 0] == 0).all()
    chi_square = ((counts - wanted)[wanted > 0] ** 2 / wanted[wanted > 0]).sum()
    assert chi_square < 16.27  # at most 3 degrees of freedom: exceeded once in a thousand seeds


def test_rows_are_drawn_apart_and_the_seed_decides():
    logits = torch.randn(11, 5, generator=torch.Generator().manual_seed(1))
    logits[3] = torch.tensor([-INF, -INF, 0.0, -INF, -INF])
    draws = [sampling.sample(logits, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert all(draw[3] == 2 for draw in draws)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision(dtype):
    logits = torch.tensor([[1.0, 60000.0, -INF]], dtype=dtype)
    assert sampling.sample(logits, temperature=1e-6, top_p=0.9, top_k=2).tolist() == [1]


@pytest.mark.parametrize("bad", [[-INF, -INF], [math.nan, 0.0], [INF, 0.0]])
def test_a_row_without_a_choice_is_refused(bad):
    logits = torch.tensor([[0.0, 1.0], bad])
    for choose in (sampling.greedy, sampling.sample):
        with pytest.raises(NotFiniteError, match="row 1"):
            choose(logits)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"min_p": math.nan},
        {"presence_penalty": math.nan, "previous": torch.zeros(1, 1).long()},
        {"repetition_penalty": 0.0, "previous": torch.zeros(1, 1).long()},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        sampling.sample(torch.zeros(1, 3), **settings)


@pytest.mark.parametrize("seed", range(5))
def test_the_draw_is_that_of_torch(seed):
    logits = 3 * torch.randn(7, 11, generator=torch.Generator().manual_seed(seed))
    ours = sampling.sample(logits, temperature=0.7, generator=torch.Generator().manual_seed(seed))
    theirs = torch.multinomial((logits / 0.7).softmax(-1), 1, generator=torch.Generator().manual_seed(seed))[:, 0]
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("temperature", [1e-6, 1e-39, 1e-320])  # the last two are 0 in fp32
def test_hardly_any_temperature_is_greedy(temperature):
    assert sampling.sample(torch.tensor([[1.0, 3.0, 2.0]]), temperature=temperature).tolist() == [1]

"""Schedules: the numbers by hand, and the shape for every length."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import ConfigError
from my_llm.schedules import SCHEDULES, not_below


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("constant", [1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),  # 8 steps after the warm-up
        ("cosine", [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]),
        ("step", [1, 1, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 8, 1 / 8]),  # four stairs of 8 / 4 = 2 steps
        ("inverse_sqrt", [math.sqrt(4 / s) for s in range(5, 13)]),  # warm-up 4, steps counted from 1
    ],
)
def test_numbers_by_hand(name, after):
    schedule = SCHEDULES[name](12, 4)
    assert [schedule(index) for index in range(4)] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 4 / 4])
    assert [schedule(index) for index in range(4, 12)] == pytest.approx(after)


def test_middle_and_end():
    assert SCHEDULES["cosine"](100, 0)(50) == pytest.approx(0.5)  # cos(π/2) = 0
    ends = {name: make(100, 10)(1000) for name, make in SCHEDULES.items()}
    assert ends == pytest.approx(
        {"constant": 1, "cosine": 0, "linear": 0, "step": 1 / 8, "inverse_sqrt": math.sqrt(10 / 1001)}
    )


@pytest.mark.parametrize("name", SCHEDULES)
@given(max_steps=st.integers(1, 300), share=st.floats(0, 1))
def test_climbs_to_one_and_never_rises_again(name, max_steps, share):
    warmup = int(share * max_steps)
    schedule = SCHEDULES[name](max_steps, warmup)
    values = [schedule(index) for index in range(max_steps + 5)]
    peak = max(warmup - 1, 0)
    assert values[peak] == pytest.approx(1)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert all(0 < value <= 1 for value in values[:max_steps]), "no step of the run is wasted"


def test_without_warmup_the_first_step_is_at_the_peak():
    assert {name: make(10, 0)(0) for name, make in SCHEDULES.items()} == dict.fromkeys(SCHEDULES, 1)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [-1, 11])
def test_a_warmup_that_does_not_fit_is_refused(name, warmup):
    with pytest.raises(ConfigError, match="warm-up must fit"):
        SCHEDULES[name](10, warmup)


# --- a floor ----------------------------------------------------------------------------------------------------------


def test_the_floor_by_hand():
    """4 steps of warm-up, then 8 from 1 down; a tenth stays: 0.1 + 0.9 · 7/8, …"""
    schedule = not_below(SCHEDULES["linear"](12, 4), 0.1, 4)
    expected = [1 / 4, 2 / 4, 3 / 4, 4 / 4, *(0.1 + 0.9 * (8 - i) / 8 for i in range(8))]
    assert [schedule(index) for index in range(12)] == pytest.approx(expected)
    assert schedule(1000) == pytest.approx(0.1)


@pytest.mark.parametrize("name", SCHEDULES)
@given(max_steps=st.integers(1, 100), share=st.floats(0, 1), floor=st.floats(0, 1))
def test_the_floor_holds_after_the_warmup_and_changes_nothing_before(name, max_steps, share, floor):
    warmup = int(share * max_steps)
    plain = SCHEDULES[name](max_steps, warmup)
    lifted = not_below(plain, floor, warmup)
    for index in range(max_steps + 5):
        if index < warmup:
            assert lifted(index) == plain(index)
        else:
            assert floor <= lifted(index) + 1e-12 and plain(index) <= lifted(index) + 1e-12 <= 1 + 1e-9
    assert [not_below(plain, 0.0, warmup)(index) for index in range(max_steps)] == [plain(i) for i in range(max_steps)]
    assert [not_below(plain, 1.0, warmup)(index) for index in range(warmup, max_steps)] == [1] * (max_steps - warmup)

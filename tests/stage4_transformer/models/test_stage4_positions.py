"""Where a token stands: each answer against its formula, what it depends on, how far it reaches, and what it is for."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from my_llm.errors import ConfigError
from stage4_transformer.models.attention import causal_mask
from stage4_transformer.models.positions import (
    POSITIONS,
    AlibiPositions,
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
    angles,
    rotated,
    sinusoids,
    slopes,
    turns,
)
from stage4_transformer.models.stacks import StackConfig, encoder_of

B, H, T, K = 5, 3, 7, 4
D = H * K
every_kind = pytest.mark.parametrize("kind", POSITIONS)


def close(a: object, b: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# --- contract ---------------------------------------------------------------------------------------------------------


@every_kind
def test_each_uses_one_place_and_leaves_the_others(kind: str):
    torch.manual_seed(0)
    positions = POSITIONS[kind](D, H, 11)
    x, query = torch.randn(B, T, D), torch.randn(B, H, T, K)
    embedded, turned, bias = positions.embed(x, 2), positions.rotate(query, 2), positions.bias(T, T + 2)
    assert embedded.shape == x.shape and turned.shape == query.shape
    assert torch.equal(embedded, x) == (kind not in ("sinusoidal", "learned"))
    assert torch.equal(turned, query) == (kind != "rotary")
    assert (bias is None) == (kind != "alibi")
    assert bias is None or bias.shape == (H, T, T + 2)
    assert set(positions.state_dict()) == ({"table"} if kind == "learned" else set())  # the rest can be computed again


def test_what_cannot_work_is_said():
    with pytest.raises(ConfigError, match="pairs.*width must be even; got '15'"):
        SinusoidalPositions(15, 3, T)
    with pytest.raises(ConfigError, match="pairs.*head's width must be even; got '5'"):
        RotaryPositions(10, 2, T)
    with pytest.raises(ConfigError, match=r"got '8 tokens'; valid: at most 7; next: choose other positions") as caught:
        LearnedPositions(D, H, T).embed(torch.randn(B, 3, D), start=5)
    assert "\n" not in str(caught.value)


# --- parity: formulas written out -------------------------------------------------------------------------------------


def test_sinusoids_by_arithmetic():
    """Width 4: one wave of length 2π, one of 2π · 10000^(2/4) = 2π · 100; from position 2 on."""
    expected = [[math.sin(t), math.cos(t), math.sin(t / 100), math.cos(t / 100)] for t in (2, 3, 4)]
    close(sinusoids(2, 3, 4), torch.tensor(expected), 1e-7)


def test_far_positions_are_as_exact_as_near_ones():
    """An angle of 99,999 radians has no two decimals in fp32."""
    expected = [[math.sin(t), math.cos(t), math.sin(t / 100), math.cos(t / 100)] for t in range(99_990, 100_000)]
    close(sinusoids(99_990, 10, 4), torch.tensor(expected), 1e-7)
    close(turns(100_000, 2)[:, -1, 0], torch.tensor([math.cos(99_999), math.sin(99_999)]), 1e-7)


def test_slopes_and_bias_by_arithmetic():
    assert slopes(8).tolist() == [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8]
    assert slopes(2).tolist() == [2**-4, 2**-8]
    bias = AlibiPositions(D, 2, T).bias(2, 4)
    assert (bias[0] * -(2**4)).tolist() == [[2, 1, 0, 1], [3, 2, 1, 0]]
    assert torch.equal(bias[1] * 2**4, bias[0])


def test_rotations_are_products_of_complex_numbers():
    """(x_i + 𝑖 x_{i + K/2}) e^(𝑖 t θ_i), RoFormer equation 12."""
    x = double(B, H, T, K)
    clock = angles(0, T, K)
    turned = torch.complex(*x.chunk(2, dim=3)) * torch.polar(torch.ones_like(clock), clock)
    close(rotated(x, clock.cos(), clock.sin()), torch.cat([turned.real, turned.imag], dim=3))
    close(RotaryPositions(D, H, T).rotate(x), torch.cat([turned.real, turned.imag], dim=3), 1e-6)


def test_learned_positions_are_rows_of_a_table():
    positions, x = LearnedPositions(D, H, T).double(), double(B, 2, D)
    close(positions.embed(x, 3)[4, 1] - x[4, 1], positions.table[4])


# --- gradient ---------------------------------------------------------------------------------------------------------


@every_kind
def test_gradients_against_finite_differences(kind: str):
    positions = POSITIONS[kind](D, H, T).double()
    x, query = double(2, 3, D).requires_grad_(), double(2, H, 3, K).requires_grad_()

    def told(x: Tensor, query: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        return positions.embed(x, 1), positions.rotate(query, 1)

    assert torch.autograd.gradcheck(told, (x, query, *positions.parameters()))


def test_only_positions_that_were_read_learn():
    positions = LearnedPositions(D, H, T)
    positions.embed(torch.randn(B, 2, D), 3).square().sum().backward()
    assert (positions.table.grad != 0).any(dim=1).tolist() == [False] * 3 + [True] * 2 + [False] * 2


# --- invariants -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 200), st.integers(0, 50))
def test_a_step_further_is_always_the_same_turn(start: int, further: int):
    """sinusoid(t + k) = R_k sinusoid(t), where R_k turns each (sin, cos) by k times the speed of its clock."""
    width = 6
    turn = torch.zeros(width, width, dtype=torch.float64)
    for i in range(0, width, 2):
        angle = further / 10_000 ** (i / width)
        cos, sin = math.cos(angle), math.sin(angle)
        turn[i : i + 2, i : i + 2] = torch.tensor([[cos, sin], [-sin, cos]])
    here, there = sinusoids(start, 5, width).double(), sinusoids(start + further, 5, width).double()
    close(here @ turn.T, there, 1e-6)


@given(st.integers(0, 90), st.integers(0, 9), st.integers(0, 9))
def test_rotary_scores_know_the_distance_only(start: int, t: int, s: int):
    torch.manual_seed(0)
    positions, query, key = RotaryPositions(D, H, 10).double(), double(B, H, 1, K), double(B, H, 1, K)

    def score(t: int, s: int) -> Tensor:
        return positions.rotate(query, t) @ positions.rotate(key, s).mT

    close(score(start + t, start + s), score(t, s), 1e-6)
    close(positions.rotate(query, t).norm(dim=3), query.norm(dim=3), 1e-6)
    if t != s:
        assert ((score(t, s) - score(s, s)).abs() > 1e-3).any()


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_alibi_knows_the_distance_only_and_near_is_better(queries: int, older: int, more: int):
    positions = AlibiPositions(D, H, 3)
    bias = positions.bias(queries, older + queries)
    assert torch.equal(positions.bias(queries, more + older + queries)[:, :, more:], bias)  # later in the text
    assert torch.equal(positions.bias(1, older + queries), bias[:, -1:])
    for t in range(queries):
        assert (bias[:, t, older + t] == 0).all()
        assert (bias[:, t, : older + t + 1].diff(dim=1) > 0).all() and (bias[:, t, older + t :].diff(dim=1) < 0).all()
    assert (bias[0] <= bias[1]).all()  # the first head is the most short-sighted


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pieces_have_the_positions_of_the_whole_and_the_table_grows(kind: str, dtype: torch.dtype):
    """From `max_length` 3 on: the same numbers as if there had been room from the start, to the last bit."""
    torch.manual_seed(0)
    positions, large = POSITIONS[kind](D, H, T if kind == "learned" else 3).to(dtype), POSITIONS[kind](D, H, 40)
    if kind == "learned":
        large.load_state_dict({"table": torch.cat([positions.table.float(), torch.zeros(40 - T, D)])})
    large, x, query = large.to(dtype), torch.randn(B, T, D).to(dtype), torch.randn(B, H, T, K).to(dtype)
    embedded, turned = large.embed(x), large.rotate(query)
    assert embedded.dtype == turned.dtype == dtype
    for start, end in ((0, 2), (2, 4), (4, T)):
        assert torch.equal(positions.embed(x[:, start:end], start), embedded[:, start:end])
        assert torch.equal(positions.rotate(query[:, :, start:end], start), turned[:, :, start:end])
        if kind == "alibi":
            assert positions.bias(end - start, end).dtype == dtype
            assert torch.equal(positions.bias(end - start, end), large.bias(T, T)[:, start:end, :end])


@pytest.mark.parametrize("kind", ["sinusoidal", "rotary"])
def test_a_table_that_grew_in_inference_mode_can_be_learnt_with(kind: str):
    """As when a long sentence is translated in the middle of a training."""
    positions = POSITIONS[kind](D, H, 3)
    with torch.inference_mode():
        positions.embed(torch.randn(B, T, D)), positions.rotate(torch.randn(B, H, T, K))
    x, query = torch.randn(B, T, D, requires_grad=True), torch.randn(B, H, T, K, requires_grad=True)
    (positions.embed(x).square().sum() + positions.rotate(query).square().sum()).backward()
    assert x.grad is not None and query.grad is not None and (x.grad != 0).all() and (query.grad != 0).all()
    assert not any(table.is_inference() for table in positions.buffers())


def test_a_query_in_bf16_is_turned_in_fp32_and_stays_bf16():
    """As in autocast, where weights and tables are fp32: a query in fp32 would make the kernel's work that of fp32."""
    positions, query = RotaryPositions(D, H, T), torch.randn(B, H, T, K).bfloat16()
    turned = positions.rotate(query)
    assert turned.dtype == torch.bfloat16 and torch.equal(turned, positions.rotate(query.float()).bfloat16())


@every_kind
def test_only_without_positions_is_a_sentence_a_set(kind: str):
    torch.manual_seed(0)
    encoder = encoder_of(StackConfig(model=D, heads=H, layers=2, hidden=11, positions=kind)).double()
    x, order = double(B, T, D), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    moved = (encoder(x[:, order])[0] - encoder(x)[0][:, order]).abs().amax(dim=2)
    assert (moved < 1e-12).all() if kind == "none" else (moved > 1e-4).all()


def test_a_causal_mask_tells_an_order_without_positions():
    """Not in one layer, where the last token sees a set; in two it sees what each other one had seen."""
    torch.manual_seed(0)
    x, order, mask = double(B, T, D), torch.tensor([3, 0, 5, 1, 4, 2, 6]), causal_mask(T, T)
    for layers in (1, 2):
        encoder = encoder_of(StackConfig(model=D, heads=H, layers=layers, hidden=11, positions="none")).double()
        moved = (encoder(x[:, order], mask)[0] - encoder(x, mask)[0])[:, -1].abs().amax(dim=1)
        assert (moved < 1e-12).all() if layers == 1 else (moved > 1e-4).all()


# --- it learns --------------------------------------------------------------------------------------------------------


@every_kind
def test_all_but_none_learn_who_stands_beside_a_mark(kind: str):
    """One of eight tokens is marked; without positions the other seven are one like another: loss about 0.5."""
    torch.manual_seed(0)
    encoder = encoder_of(StackConfig(model=16, heads=8, layers=1, hidden=32, positions=kind, max_length=8))
    embedding, head = nn.Embedding(2, 16), nn.Linear(16, 1)
    parts: list[Any] = [encoder, embedding, head]
    optimizer = torch.optim.Adam([parameter for part in parts for parameter in part.parameters()], lr=0.01)
    for _ in range(70):
        away = (torch.arange(8) - torch.randint(0, 8, (32, 1))).abs()  # (B, T) from the mark
        logits = head(encoder(embedding((away == 0).long()))[0])[..., 0]
        loss = binary_cross_entropy_with_logits(logits, (away == 1).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() > 0.4 if kind == "none" else loss.item() < 0.15

"""Attention alone: masks, the formula, the fused kernel, many heads, what a cache keeps, and every gradient."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage4_transformer.models.attention import (
    KeysValues,
    MultiHeadAttention,
    attention,
    causal_mask,
    fused_attention,
    merge_heads,
    padding_mask,
    split_heads,
    window_mask,
)
from stage4_transformer.models.official import gradients, to_official
from stage4_transformer.models.positions import AlibiPositions, RotaryPositions

B, H, T, S, K = 3, 2, 5, 7, 11
D = H * K
LENGTHS = torch.tensor([4, 7, 1])
HOLES = torch.ones(B, 1, T, S, dtype=torch.bool)  # tokens that may look nowhere: the third one of each sentence,
HOLES[:, :, 2] = HOLES[1] = False  # and a whole sentence
MASKS = {
    "none": None,
    "padding": padding_mask(LENGTHS, S),
    "causal": causal_mask(T, S),
    "window": window_mask(T, S, 2),
    "causal window": causal_mask(T, S) & window_mask(T, S, 3),
    "padding causal": padding_mask(LENGTHS, S) & causal_mask(T, S),
    "holes": HOLES,
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
with_and_without_bias = pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
either_precision = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])


def close(a: object, b: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def asked(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """query, key, value: leaves."""
    torch.manual_seed(0)
    shapes = (B, H, T, K), (B, H, S, K), (B, H, S, K)
    query, key, value = (torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes)
    return query, key, value


def a_bias(dtype: torch.dtype = torch.float64) -> Tensor:
    return AlibiPositions(D, H, S).to(dtype).bias(T, S)


def random_heads(heads: int = H) -> MultiHeadAttention:
    torch.manual_seed(0)
    looks = MultiHeadAttention(D, heads).double()
    for parameter in looks.parameters():
        nn.init.normal_(parameter, std=0.4)
    return looks


def plain(*arguments: Any) -> Tensor:
    return attention(*arguments)[0]


# --- contract ---------------------------------------------------------------------------------------------------------


@every_mask
def test_shapes(mask: Tensor | None):
    query, key, value = asked()
    output, weights = attention(query, key, value, mask, a_bias())
    assert output.shape == fused_attention(query, key, value, mask, a_bias()).shape == (B, H, T, K)
    assert weights.shape == (B, H, T, S)
    looks, x = random_heads(), double(B, T, D)
    kept = looks.project(double(B, S, D))
    assert kept.key.shape == kept.value.shape == (B, H, S, K)
    assert looks(x, kept, mask=mask)[0].shape == looks(x)[0].shape == (B, T, D)
    assert looks(x, kept, mask=mask, need_weights=True)[1].shape == (B, H, T, S)


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(Exception, match="Type-check error"):
        attention(*asked(), torch.ones(T, S))


def test_heads_must_share_equally():
    with pytest.raises(ConfigError, match="equally.*width 10, 3 heads"):
        MultiHeadAttention(10, 3)


def test_masks_written_out():
    assert padding_mask(torch.tensor([2, 0, 3]), 3).int().tolist() == [[[[1, 1, 0]]], [[[0, 0, 0]]], [[[1, 1, 1]]]]
    assert causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert window_mask(3, 4, 2).int().tolist() == [[1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9))
def test_masks_as_defined(queries: int, older: int, window: int):
    """Query t is the token at position older + t."""
    keys = older + queries
    causal, near = causal_mask(queries, keys), window_mask(queries, keys, window)
    for t, s in product(range(queries), range(keys)):
        assert causal[t, s] == (s <= older + t) and near[t, s] == (abs(older + t - s) < window)


def test_heads_are_neighbouring_numbers():
    x = torch.arange(2.0 * 3 * 10).view(2, 3, 10)
    split = split_heads(x, 2)
    assert split[1, 0, 2].tolist() == x[1, 2, :5].tolist() and split[1, 1, 2].tolist() == x[1, 2, 5:].tolist()
    assert torch.equal(merge_heads(split), x)


def test_the_start():
    torch.manual_seed(0)
    looks = MultiHeadAttention(64, 4)
    for weight in (*looks.inward.weight.split(64), looks.outward.weight):  # Xavier, of each matrix by itself
        assert math.sqrt(6 / 128) * 0.98 < weight.abs().max() <= math.sqrt(6 / 128)
    assert (looks.inward.bias == 0).all() and (looks.outward.bias == 0).all()


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "padding causal", "holes"])
@with_and_without_bias
def test_the_formula_token_by_token(kind: str, biased: bool):
    (query, key, value), mask = asked(), MASKS[kind]
    bias = a_bias() if biased else torch.zeros(H, T, S)
    output, weights = attention(query, key, value, mask, bias if biased else None)
    seen = (torch.ones(T, S, dtype=torch.bool) if mask is None else mask).expand(B, H, T, S)
    for b, h, t in product(range(B), range(H), range(T)):
        powers = [
            math.exp((query[b, h, t] @ key[b, h, s]).item() / math.sqrt(11) + bias[h, t, s].item())
            if seen[b, h, t, s]
            else 0.0
            for s in range(S)
        ]
        alpha = torch.tensor(powers, dtype=torch.float64) / (sum(powers) or 1)
        close(weights[b, h, t], alpha)
        close(output[b, h, t], alpha @ value[b, h])


def test_weights_by_arithmetic():
    """Four numbers a head: scores 0, 2 log 2 / √4, 2 log 5 / √4, so 1/8, 2/8, 5/8 of 8, 16 and 24."""
    query = torch.tensor([[[[2.0, 0, 0, 0]]]], dtype=torch.float64)
    key = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    key[0, 0, :, 0] = torch.tensor([0, math.log(2), math.log(5)], dtype=torch.float64)
    value = torch.tensor([8.0, 16, 24], dtype=torch.float64)[None, None, :, None].expand(1, 1, 3, 4)
    output, weights = attention(query, key, value)
    close(weights.flatten(), torch.tensor([1 / 8, 2 / 8, 5 / 8], dtype=torch.float64))
    close(output.flatten(), torch.full((4,), 1.0 + 4 + 15, dtype=torch.float64))


@every_mask
@with_and_without_bias
@either_precision
def test_the_fused_kernel_agrees_in_values_and_gradients(mask: Tensor | None, biased: bool, dtype: torch.dtype):
    bias, results = a_bias(dtype) if biased else None, []
    for telling in (plain, fused_attention):
        leaves = asked(dtype)
        output = telling(*leaves, mask, bias)
        results.append((output, torch.autograd.grad((output * torch.linspace(-1, 2, K).to(dtype)).sum(), leaves)))
    close(*results, 1e-12 if dtype == torch.float64 else 1e-5)


# What torch is told: True hides.
OFFICIAL_MASKS = {
    "none": {},
    "padding": {"key_padding_mask": ~padding_mask(LENGTHS, S)[:, 0, 0]},
    "causal": {"attn_mask": ~causal_mask(T, S)},
    "window": {"attn_mask": ~window_mask(T, S, 2)},
    "causal window": {"attn_mask": ~(causal_mask(T, S) & window_mask(T, S, 3))},
    "padding causal": {"attn_mask": ~causal_mask(T, S), "key_padding_mask": ~padding_mask(LENGTHS, S)[:, 0, 0]},
}


@pytest.mark.parametrize("kind", OFFICIAL_MASKS)
@pytest.mark.parametrize("need_weights", [False, True])
def test_torchs_attention_agrees_in_values_and_gradients(kind: str, need_weights: bool):
    ours, x, memory, grad = random_heads(), double(B, T, D), double(B, S, D), double(B, T, D)
    theirs, results = to_official(ours), []
    assert type(theirs) is nn.MultiheadAttention
    for telling in (ours, theirs):
        asking, told = x.clone().requires_grad_(), memory.clone().requires_grad_()
        if telling is ours:
            output, weights, _ = ours(asking, ours.project(told), mask=MASKS[kind], need_weights=need_weights)
        else:
            options = {"need_weights": need_weights, "average_attn_weights": False}
            output, weights = theirs(asking, told, told, **OFFICIAL_MASKS[kind], **options)
        ((output * grad).sum() + (weights[..., 0].square().sum() if need_weights else 0)).backward()
        results.append((output, weights if need_weights else None, asking.grad, told.grad, gradients(telling)))
    assert results[0][-1].keys() == dict(ours.named_parameters()).keys()
    close(*results, 1e-9)


def test_torchs_self_attention_agrees():
    ours, x = random_heads(), double(B, T, D)
    results = []
    for telling, masks in (
        (ours, {"mask": causal_mask(T, T)}),
        (to_official(ours), {"attn_mask": ~causal_mask(T, T), "is_causal": True, "need_weights": False}),
    ):
        asking = x.clone().requires_grad_()
        output = telling(*(asking,) * (1 if telling is ours else 3), **masks)[0]
        output.square().sum().backward()
        results.append((output, asking.grad, gradients(telling)))
    close(*results, 1e-9)


def test_many_heads_are_single_ones_side_by_side():
    """Concat(head_1, …, head_H) W_O, each head with its own rows of the matrices."""
    looks, x = random_heads(), double(B, T, D)
    heads = []
    for h in range(H):
        rows = slice(h * K, (h + 1) * K)
        query, key, value = (
            x @ weight[rows].T + bias[rows]
            for weight, bias in zip(looks.inward.weight.split(D), looks.inward.bias.split(D), strict=True)
        )
        heads.append((query @ key.mT / math.sqrt(K)).softmax(dim=2) @ value)
    close(looks(x)[0], torch.cat(heads, dim=2) @ looks.outward.weight.T + looks.outward.bias)


# --- gradient ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("telling", [plain, fused_attention])
@pytest.mark.parametrize("kind", ["none", "padding", "holes"])
@with_and_without_bias
def test_gradients_against_finite_differences(telling: Any, kind: str, biased: bool):
    """A token that may look nowhere pulls at nothing."""
    leaves = [tensor.detach()[..., :2].requires_grad_() for tensor in asked()]
    assert torch.autograd.gradcheck(lambda *qkv: telling(*qkv, MASKS[kind], a_bias() if biased else None), leaves)


def test_gradients_of_the_weights_against_finite_differences():
    looks, x, memory = random_heads().requires_grad_(), double(2, 3, D), double(2, 4, D)
    mask = padding_mask(torch.tensor([3, 4]), 4)

    def looked(*weights: Tensor) -> tuple[Tensor, Tensor]:  # `weights` are those of looks
        output, alpha, _ = looks(x, looks.project(memory), mask=mask, need_weights=True)
        return output, alpha

    assert torch.autograd.gradcheck(looked, tuple(looks.parameters()), fast_mode=True)


# --- invariants -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("telling", [plain, fused_attention])
@with_and_without_bias
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_who_may_look_nowhere_gets_0_and_no_nan(telling: Any, biased: bool, dtype: torch.dtype):
    query, key, value = asked(dtype)
    output = telling(query, key, value, HOLES, a_bias(dtype) if biased else None)
    nowhere = ~HOLES.expand(B, H, T, S).any(dim=3)
    assert (output[nowhere] == 0).all() and (output[~nowhere] != 0).all()
    (output.float().sum() + output.float().square().sum()).backward()
    for leaf in (query, key, value):
        assert leaf.grad is not None and leaf.grad.isfinite().all() and (leaf.grad[1] == 0).all()
    assert (query.grad[nowhere] == 0).all() and (query.grad[~nowhere] != 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masks_do_not_overflow_in_half_precision(dtype: torch.dtype):
    """Scores of -30,000 are still seen, and what is hidden is not, however large."""
    query, value = torch.full((1, 1, 1, 1), 200.0, dtype=dtype), torch.tensor([[[[3.0], [5.0], [7.0]]]], dtype=dtype)
    key = torch.tensor([[[[-150.0], [150.0], [-155.0]]]], dtype=dtype)
    mask = torch.tensor([[True, False, True]])
    for telling in (plain, fused_attention):
        assert telling(query, key, value, mask).item() == 3


@every_mask
@with_and_without_bias
def test_weights_are_positive_where_one_may_look_and_sum_to_1(mask: Tensor | None, biased: bool):
    _, weights = attention(*asked(), mask, a_bias() if biased else None)
    seen = (torch.ones(T, S, dtype=torch.bool) if mask is None else mask).expand(B, H, T, S)
    assert (weights[seen] > 0).all() and (weights[~seen] == 0).all()
    close(weights.sum(dim=3), seen.any(dim=3).double())


@pytest.mark.parametrize("telling", [plain, fused_attention])
def test_padding_changes_nothing_not_even_a_gradient(telling: Any):
    query, key, value = asked()
    real, results = padding_mask(LENGTHS, S)[:, 0, 0, :, None], []
    for more in (0, 0, 4):  # as it is; other padding; more padding
        noise = [100 * double(B, H, S + more, K) for _ in range(2)]
        for junk, known in zip(noise, (key, value), strict=True):
            junk[:, :, :S] = torch.where(real[:, None], known, junk[:, :, :S] if results else known)
            junk.requires_grad_()
        output = telling(query, *noise, padding_mask(LENGTHS, S + more))
        at = torch.autograd.grad(output.square().sum(), [query, *noise])
        assert (at[1][:, :, S:] == 0).all() and (at[1][2, :, 1:] == 0).all() and (at[2][2, :, 1:] == 0).all()
        results.append((output, at[0], at[1][:, :, :S], at[2][:, :, :S]))
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))  # to the last bit
    close(results[2], results[0])


def test_the_order_of_those_asked_does_not_matter():
    (query, key, value), order = asked(), torch.randperm(S)
    output, weights = attention(query, key, value)
    other, permuted = attention(query, key[:, :, order], value[:, :, order])
    close((other, permuted), (output, weights[..., order]))


def test_nothing_from_ahead_nor_from_outside_the_window():
    looks, x, window = random_heads(), double(B, S, D), 3
    for mask in (causal_mask(S, S), window_mask(S, S, window), causal_mask(S, S) & window_mask(S, S, window)):
        for changed in range(S):
            other = x.clone()
            other[:, changed] += 1
            before, after = looks(x, mask=mask)[0], looks(other, mask=mask)[0]
            blind = ~mask[:, changed]
            assert torch.equal(before[:, blind], after[:, blind])
            assert (before[:, ~blind] != after[:, ~blind]).any(dim=2).all()


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.sampled_from(["none", "rotary", "alibi"]))
def test_keys_and_values_kept_are_keys_and_values_computed(pieces: list[int], kind: str):
    steps, looks = sum(pieces), MultiHeadAttention(12, 3).double()
    positions = {"none": None, "rotary": RotaryPositions(12, 3, 5), "alibi": AlibiPositions(12, 3, 5)}[kind]
    positions = positions.double() if positions else None
    x = double(2, steps, 12)
    whole, _, kept = looks(x, mask=causal_mask(steps, steps), positions=positions)
    past, parts = None, []
    for piece in x.split(pieces, dim=1):
        start = past.key.shape[2] if past else 0
        mask = causal_mask(piece.shape[1], start + piece.shape[1])
        part, _, past = looks(piece, mask=mask, positions=positions, past=past)
        parts.append(part)
    close((torch.cat(parts, dim=1), past), (whole, kept))
    assert type(past) is KeysValues


@every_mask
@pytest.mark.parametrize("past", [False, True])
def test_weights_on_request_change_nothing_else(mask: Tensor | None, past: bool):
    looks, x = random_heads(), double(B, T, D)
    older = looks.project(double(B, S - T, D)) if past else None
    memory = None if past else looks.project(double(B, S, D))
    silent, _, kept = looks(x, memory, mask=mask, past=older)
    told, weights, same = looks(x, memory, mask=mask, past=older, need_weights=True)
    close((told, same), (silent, kept))
    close(looks.outward(merge_heads(weights @ kept.value)), told)


def test_queries_are_independent_and_so_are_sentences():
    looks, x, memory = random_heads(), double(B, T, D), double(B, S, D)
    whole = looks(x, looks.project(memory))[0]
    for b, t in product(range(B), range(T)):
        close(looks(x[b : b + 1, t : t + 1], looks.project(memory[b : b + 1]))[0], whole[b : b + 1, t : t + 1])


def test_mixed_precision_stays_close():
    looks, x = random_heads().float(), torch.randn(B, T, D)
    exact, weights, _ = looks(x, mask=causal_mask(T, T), need_weights=True)
    with torch.autocast("cpu", torch.bfloat16):
        for need_weights in (False, True):
            mixed, about, _ = looks(x, mask=causal_mask(T, T), need_weights=need_weights)
            assert not torch.equal(mixed.float(), exact)  # it really was bf16
            close(mixed.float(), exact, 0.03 * exact.abs().max().item())
        close(about.float(), weights, 0.05)


def test_in_training_the_kernel_computes_in_fp32_on_a_cpu():
    """Its backward in bf16 is slow there; only the answer is rounded to bf16, and autocast keeps out of it."""
    rounded = [tensor.detach().bfloat16() for tensor in asked(torch.float32)]
    exact = fused_attention(*(tensor.float() for tensor in rounded)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        said = fused_attention(*(tensor.requires_grad_() for tensor in rounded))
    assert said.dtype == torch.bfloat16 and torch.equal(said, exact)


def test_large_vectors_do_not_saturate_the_softmax():
    """Scores of K random numbers divided by √K have variance 1: no token takes all, whatever K is."""
    torch.manual_seed(0)
    for width in (4, 400):
        query, key = torch.randn(9, 1, 9, width), torch.randn(9, 1, 9, width)
        assert attention(query, key, key)[1].amax(dim=3).mean() == pytest.approx(0.37, abs=0.06)


# --- it learns --------------------------------------------------------------------------------------------------------


def test_two_heads_learn_to_look_at_two_places():
    """Each token says the content of two others, whose names it holds; one head's mean of both would not do."""
    torch.manual_seed(0)
    looks, out = MultiHeadAttention(32, 2), nn.Linear(32, 8)
    optimizer = torch.optim.Adam([*looks.parameters(), *out.parameters()], lr=0.01)
    rows = torch.arange(64)
    for _ in range(150):
        names = torch.eye(8)[torch.rand(64, 8).argsort(dim=1)[:, :6]]  # (64, 6, 8)
        content = torch.randn(64, 6, 4)
        first, second = torch.rand(64, 6).argsort(dim=1)[:, :2].unbind(1)
        memory = torch.cat([4 * names, content, torch.zeros(64, 6, 20)], dim=2)
        asking = torch.cat([4 * names[rows, first], 4 * names[rows, second], torch.zeros(64, 16)], dim=1)
        said = out(looks(asking[:, None], looks.project(memory))[0][:, 0])
        loss = (said - torch.cat([content[rows, first], content[rows, second]], dim=1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.35  # the mean of both costs 0.5, no look at all 1

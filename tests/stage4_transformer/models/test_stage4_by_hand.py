"""By hand: every backward against finite differences, equal to torch's parts and blocks, and what masks let through."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn
from torch.nn import functional

from stage4_transformer.models.by_hand import (
    Weights,
    around,
    around_backward,
    attention,
    attention_backward,
    decoder_block,
    decoder_block_backward,
    encoder_block,
    encoder_block_backward,
    feed_forward,
    feed_forward_backward,
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
    merge_heads,
    multi_head_attention,
    multi_head_attention_backward,
    part,
    softmax,
    softmax_backward,
    split_heads,
    whole,
)

B, T, S, H, K, F = 5, 7, 11, 2, 3, 13
D = H * K
RNG = np.random.default_rng(0)
REAL = (np.arange(S) < np.array([4, 11, 1, 7, 10])[:, None])[:, None, None]  # (B, 1, 1, S): lengths of the memory
CAUSAL = np.tril(np.ones((T, T), bool))

every_order = pytest.mark.parametrize("order", ["pre", "post"])


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) * 0.7


def draw_linear(outputs: int, inputs: int) -> Weights:
    return {"weight": draw(outputs, inputs), "bias": draw(outputs)}


def draw_attention(model: int = D) -> Weights:
    return whole({"inward": draw_linear(3 * model, model), "outward": draw_linear(model, model)})


def draw_feed_forward(model: int = D, hidden: int = F) -> Weights:
    return whole({"inward": draw_linear(hidden, model), "outward": draw_linear(model, hidden)})


def draw_block(*, decoder: bool = False) -> Weights:
    parts = {"attention": draw_attention(), "feed_forward": draw_feed_forward()}
    parts |= {"cross_attention": draw_attention()} if decoder else {}
    norms = {f"around_{name}.norm": {"weight": 1 + draw(D), "bias": draw(D)} for name in parts}
    return whole(parts | norms)


def slope(function: Callable[[np.ndarray], float], x: np.ndarray, place: tuple[int, ...], step: float = 1e-6) -> float:
    """∂function/∂x at one place, by a central difference; the error is of the order step² = 1e-12."""
    up, down = x.copy(), x.copy()
    up[place] += step
    down[place] -= step
    return (function(up) - function(down)) / (2 * step)


def check(
    values: Weights,
    forward: Callable[[Weights], tuple[np.ndarray, Any]],
    backward: Callable[[np.ndarray, Any], Weights],
    official: Callable[[dict[str, Tensor]], Tensor],
) -> Any:
    """One by hand: its output is torch's, and its gradients are torch's and the slopes of Σ dy · output."""
    y, kept = forward(values)
    dy = draw(*y.shape)
    found = backward(dy, kept)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    output = official(leaves)
    output.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, output.detach(), rtol=0, atol=1e-9)
    assert found.keys() == values.keys()
    for name, value in values.items():
        gradient = leaves[name].grad
        assert gradient is not None
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=1e-9, err_msg=name)
        for place in RNG.permutation(list(np.ndindex(value.shape)))[:40]:  # torch's hold for the others
            expected = slope(lambda v, n=name: float((dy * forward(values | {n: v})[0]).sum()), value, tuple(place))
            np.testing.assert_allclose(found[name][tuple(place)], expected, rtol=0, atol=1e-7, err_msg=name)
    return kept


def named(*names: str) -> Callable[[tuple[Any, ...]], Weights]:
    """What a backward returns as one dictionary: the inputs by these names, then the weights by theirs."""
    return lambda found: {**dict(zip(names, found, strict=False)), **found[len(names)]}


def call(module: nn.Module, leaves: dict[str, Tensor], prefixes: dict[str, str], *args: Tensor, **rest: Any) -> Any:
    """torch's module with our weights in the place of its own; their names begin otherwise."""
    names = [name for name, _ in module.named_parameters()]
    starts = {name: next(start for start in prefixes if name.startswith(start)) for name in names}
    ours = {name: leaves[prefixes[start] + name.removeprefix(start)] for name, start in starts.items()}
    return torch.func.functional_call(module.double(), ours, args, rest)


def forbidden(mask: np.ndarray, queries: int, keys: int) -> Tensor:
    """torch's way to say it: (B·H, T, S), True where one may not look."""
    return ~torch.tensor(np.broadcast_to(mask, (B, H, queries, keys)).reshape(-1, queries, keys))


# --- parts ------------------------------------------------------------------------------------------------------------


def test_parts_and_the_whole():
    weights = {"a.weight": np.ones(2), "a.b.bias": np.ones(3), "ab.weight": np.ones(5)}
    assert part(weights, "a").keys() == {"weight", "b.bias"}
    assert whole({name: part(weights, name) for name in ("a", "ab")}).keys() == weights.keys()


def test_linear():
    check(
        {"x": draw(B, T, D), **draw_linear(F, D)},
        lambda v: linear(v["x"], v),
        lambda dy, kept: named("x")(linear_backward(dy, kept)),
        lambda v: functional.linear(v["x"], v["weight"], v["bias"]),
    )


@pytest.mark.parametrize("mask", [None, CAUSAL[:, None]], ids=["all", "masked"])
def test_softmax(mask: np.ndarray | None):
    def forward(v: Weights) -> tuple[np.ndarray, np.ndarray]:
        alpha = softmax(v["scores"], mask)
        return alpha, alpha

    hidden = torch.zeros(T, 1, T, dtype=torch.bool) if mask is None else ~torch.tensor(mask)
    check(
        {"scores": 3 * draw(T, B, T)},
        forward,
        lambda dalpha, alpha: {"scores": softmax_backward(dalpha, alpha)},
        lambda v: v["scores"].masked_fill(hidden, -torch.inf).softmax(dim=-1),
    )


@given(arrays(float, (T, S), elements=st.floats(-1e4, 1e4)), st.floats(-1e4, 1e4), arrays(bool, (T, S)))
def test_softmax_sums_to_one_and_knows_differences_only(scores: np.ndarray, shift: float, mask: np.ndarray):
    alpha = softmax(scores, mask)
    assert (alpha >= 0).all() and (alpha[~mask] == 0).all()
    np.testing.assert_allclose(alpha.sum(axis=1), mask.any(axis=1), rtol=0, atol=1e-12)  # 1, or 0 without a key
    np.testing.assert_allclose(softmax(scores + shift, mask), alpha, rtol=0, atol=1e-10)
    de = softmax_backward(draw(T, S), alpha)
    np.testing.assert_allclose(de.sum(axis=1), 0, atol=1e-12)  # what one gains, the others lose


def test_the_only_one_gets_all_however_badly_it_matches():
    scores, mask = np.array([[-1e30, 5.0, 1e30]]), np.array([True, False, False])
    assert softmax(scores, mask).tolist() == [[1, 0, 0]]


def test_layer_norm():
    check(
        {"x": 2 + draw(B, T, D), **draw_linear(D, D), "weight": draw(D)},
        lambda v: layer_norm(v["x"], v),
        lambda dy, kept: named("x")(layer_norm_backward(dy, kept)),
        lambda v: functional.layer_norm(v["x"], (D,), v["weight"], v["bias"]),
    )


def test_the_norm_takes_out_what_it_takes_out_of_the_gradient():
    """x moved and stretched is the same; so the gradient has no part along either, and stretched x has less of it."""
    x, dy, line = draw(B, T, D), draw(B, T, D), {"weight": 1 + draw(D), "bias": draw(D)}
    y, kept = layer_norm(x, line, epsilon=0.0)
    moved, kept_moved = layer_norm(5 * x + 3, line, epsilon=0.0)
    np.testing.assert_allclose(moved, y, atol=1e-12)
    dx, _ = layer_norm_backward(dy, kept)
    np.testing.assert_allclose(dx.sum(axis=2), 0, atol=1e-12)
    np.testing.assert_allclose((dx * x).sum(axis=2), 0, atol=1e-12)
    np.testing.assert_allclose(5 * layer_norm_backward(dy, kept_moved)[0], dx, atol=1e-12)


def test_feed_forward():
    def official(v: dict[str, Tensor]) -> Tensor:
        hidden = functional.linear(v["x"], v["inward.weight"], v["inward.bias"]).relu()
        return functional.linear(hidden, v["outward.weight"], v["outward.bias"])

    check(
        {"x": draw(B, T, D), **draw_feed_forward()},
        lambda v: feed_forward(v["x"], v),
        lambda dy, kept: named("x")(feed_forward_backward(dy, kept)),
        official,
    )


# --- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [None, REAL], ids=["all", "padding"])
def test_attention(mask: np.ndarray | None):
    names = ("query", "key", "value")
    kept = check(
        {"query": draw(B, H, T, K), "key": draw(B, H, S, K), "value": draw(B, H, S, K)},
        lambda v: attention(v["query"], v["key"], v["value"], mask),
        lambda dy, kept: dict(zip(names, attention_backward(dy, kept), strict=True)),
        lambda v: functional.scaled_dot_product_attention(
            v["query"], v["key"], v["value"], attn_mask=None if mask is None else torch.tensor(mask)
        ),
    )
    assert kept[-1].shape == (B, H, T, S)


def test_attention_on_three_vectors():
    """K = 4, so the root is 2. Scores 2 log 3, 0 and −∞: halved log 3 and 0, weights ¾, ¼ and 0."""
    query, value = np.zeros((1, 1, 1, 4)), np.zeros((1, 1, 3, 4))
    query[..., 0] = 1
    key = np.zeros((1, 1, 3, 4))
    key[0, 0, :, 0] = 2 * np.log(3), 0, 100
    value[0, 0, :, 0] = 4, 8, 1000
    y, kept = attention(query, key, value, np.array([True, True, False]))
    np.testing.assert_allclose(kept[-1].ravel(), [0.75, 0.25, 0], atol=1e-15)
    np.testing.assert_allclose(y.ravel(), [0.75 * 4 + 0.25 * 8, 0, 0, 0], atol=1e-15)
    _, dkey, dvalue = attention_backward(np.array([[[[1.0, 0, 0, 0]]]]), kept)
    np.testing.assert_allclose(dvalue[0, 0, :, 0], [0.75, 0.25, 0], atol=1e-15)
    gain = 0.75 * (4 - 5) / 2  # α (δα − Σ αδα) / √K, with q = 1; the other loses as much
    np.testing.assert_allclose(dkey[0, 0, :, 0], [gain, -gain, 0], atol=1e-15)


def test_padding_changes_nothing():
    """Not even where its key would match best of all."""
    query, key, value, dy = draw(B, H, T, K), draw(B, H, S, K), draw(B, H, S, K), draw(B, H, T, K)
    real = REAL.swapaxes(2, 3)  # (B, 1, S, 1)
    y, kept = attention(query, key, value, REAL)
    changed, kept_changed = attention(
        query, np.where(real, key, 1e4 * draw(B, H, S, K)), np.where(real, value, 1e4), REAL
    )
    np.testing.assert_array_equal(changed, y)
    (dq, dk, dv), (dq_changed, dk_changed, dv_changed) = (attention_backward(dy, k) for k in (kept, kept_changed))
    for ours, other in ((dq_changed, dq), (dk_changed, dk), (dv_changed, dv)):
        np.testing.assert_allclose(other, ours, rtol=0, atol=1e-12)
    padded = ~np.broadcast_to(real, dk.shape)
    assert (dk[padded] == 0).all() and (dv[padded] == 0).all() and (dk[~padded] != 0).any()


def test_who_may_look_nowhere_gets_nothing_and_gives_nothing():
    query, key, value, dy = draw(B, H, T, K), draw(B, H, S, K), draw(B, H, S, K), draw(B, H, T, K)
    mask = np.ones((T, S), bool)
    mask[2] = False
    y, kept = attention(query, key, value, mask)
    assert (y[:, :, 2] == 0).all() and (kept[-1][:, :, 2] == 0).all() and (y[:, :, 3] != 0).all()
    dquery, dkey, dvalue = attention_backward(dy, kept)
    assert (dquery[:, :, 2] == 0).all() and all(np.isfinite(d).all() for d in (dquery, dkey, dvalue))
    dy[:, :, :2] = dy[:, :, 3:] = 0  # a loss that reads the third answer alone teaches nobody
    assert all((d == 0).all() for d in attention_backward(dy, kept))


def test_heads_are_slices_of_the_features():
    x = draw(B, T, D)
    heads = split_heads(x, H)
    for h in range(H):
        np.testing.assert_array_equal(heads[:, h], x[:, :, h * K : (h + 1) * K])
    np.testing.assert_array_equal(merge_heads(heads), x)


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
def test_multi_head_attention(cross: bool):
    mask, keys = (REAL, S) if cross else (CAUSAL & REAL[..., :T], T)
    module, weights = nn.MultiheadAttention(D, H, batch_first=True), []

    def official(v: dict[str, Tensor]) -> Tensor:
        memory, prefixes = v.get("memory", v["x"]), {"in_proj_": "inward.", "out_proj.": "outward."}
        asked = {"attn_mask": forbidden(mask, T, keys), "average_attn_weights": False}
        y, alpha = call(module, v, prefixes, v["x"], memory, memory, **asked)
        weights.append(alpha.detach())
        return y

    def backward(dy: np.ndarray, kept: Any) -> Weights:
        dx, dmemory, gradients = multi_head_attention_backward(dy, kept)
        return {"x": dx, **gradients} | ({} if dmemory is None else {"memory": dmemory})

    kept = check(
        {"x": draw(B, T, D), **draw_attention()} | ({"memory": draw(B, S, D)} if cross else {}),
        lambda v: multi_head_attention(v["x"], v, H, v.get("memory"), mask),
        backward,
        official,
    )
    np.testing.assert_allclose(kept[3][-1], weights[0], rtol=0, atol=1e-9)


# --- blocks -----------------------------------------------------------------------------------------------------------

SELF = {"self_attn.in_proj_": "attention.inward.", "self_attn.out_proj.": "attention.outward."}
CROSS = {"multihead_attn.in_proj_": "cross_attention.inward.", "multihead_attn.out_proj.": "cross_attention.outward."}
THINK = {"linear1.": "feed_forward.inward.", "linear2.": "feed_forward.outward."}


def around_names(*names: str) -> dict[str, str]:
    """torch counts its norms."""
    return {f"norm{number}.": f"around_{name}.norm." for number, name in enumerate(names, 1)}


@every_order
def test_encoder_block(order: str):
    mask = REAL[..., :T]
    module = nn.TransformerEncoderLayer(D, H, F, dropout=0, batch_first=True, norm_first=order == "pre")
    prefixes = SELF | THINK | around_names("attention", "feed_forward")
    check(
        {"x": draw(B, T, D), **draw_block()},
        lambda v: encoder_block(v["x"], v, H, mask, order),
        lambda dy, kept: named("x")(encoder_block_backward(dy, kept)),
        lambda v: call(module, v, prefixes, v["x"], src_mask=forbidden(mask, T, T)),
    )


@every_order
def test_decoder_block(order: str):
    module = nn.TransformerDecoderLayer(D, H, F, dropout=0, batch_first=True, norm_first=order == "pre")
    prefixes = SELF | CROSS | THINK | around_names("attention", "cross_attention", "feed_forward")
    masks = {"tgt_mask": forbidden(CAUSAL, T, T), "memory_mask": forbidden(REAL, T, S)}
    check(
        {"x": draw(B, T, D), "memory": draw(B, S, D), **draw_block(decoder=True)},
        lambda v: decoder_block(v["x"], v, H, v["memory"], CAUSAL, REAL, order),
        lambda dy, kept: named("x", "memory")(decoder_block_backward(dy, kept)),
        lambda v: call(module, v, prefixes, v["x"], v["memory"], **masks),
    )


@every_order
def test_the_future_and_the_padding_reach_nothing(order: str):
    weights, x, memory = draw_block(decoder=True), draw(B, T, D), draw(B, S, D)
    y, kept = decoder_block(x, weights, H, memory, CAUSAL, REAL, order)
    later, padded = x.copy(), np.where(REAL[:, 0, 0, :, None], memory, 1e3 * draw(B, S, D))
    later[:, 3:] = draw(B, T - 3, D)
    changed, _ = decoder_block(later, weights, H, padded, CAUSAL, REAL, order)
    np.testing.assert_allclose(changed[:, :3], y[:, :3], rtol=0, atol=1e-12)
    assert (changed[:, 3:] != y[:, 3:]).all()
    dy = np.zeros_like(y)
    dy[:, 2] = draw(B, D)  # a loss that reads the third token alone
    dx, dmemory, _ = decoder_block_backward(dy, kept)
    assert (dx[:, 3:] == 0).all() and (dx[:, :3] != 0).all()
    real = REAL[:, 0, 0]
    assert (dmemory[~real] == 0).all() and (dmemory[real] != 0).any(axis=1).all()


@every_order
def test_a_set_goes_in_and_a_set_comes_out(order: str):
    """Without positions and mask nothing says where a token stands; and sentences of a batch do not meet."""
    weights, x, dy, places = draw_block(), draw(B, T, D), draw(B, T, D), RNG.permutation(T)
    y, kept = encoder_block(x, weights, H, None, order)
    moved, kept_moved = encoder_block(x[:, places], weights, H, None, order)
    np.testing.assert_allclose(moved, y[:, places], rtol=0, atol=1e-12)
    dx, gradients = encoder_block_backward(dy, kept)
    dx_moved, gradients_moved = encoder_block_backward(dy[:, places], kept_moved)
    np.testing.assert_allclose(dx_moved, dx[:, places], rtol=0, atol=1e-11)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradients_moved[name], gradient, rtol=0, atol=1e-11)
    for b in range(B):
        alone, _ = encoder_block(x[b : b + 1], weights, H, None, order)
        np.testing.assert_allclose(alone[0], y[b], rtol=0, atol=1e-12)


@every_order
def test_a_sentence_without_a_source_is_finite_and_float32_stays_float32(order: str):
    weights = {name: value.astype(np.float32) for name, value in draw_block(decoder=True).items()}
    x, memory, dy = (1000 * draw(*shape).astype(np.float32) for shape in ((B, T, D), (B, S, D), (B, T, D)))
    mask = REAL & (np.arange(B) != 1)[:, None, None, None]  # the second sentence has nothing to look at
    y, kept = decoder_block(x, weights, H, memory, CAUSAL, mask, order)
    dx, dmemory, gradients = decoder_block_backward(dy, kept)
    for value in (y, dx, dmemory, *gradients.values()):
        assert value.dtype == np.float32 and np.isfinite(value).all()
    assert (dmemory[1] == 0).all() and (dmemory[0] != 0).any()


def test_where_the_norm_stands_decides_what_gets_through():
    """A sublayer that says 0: pre-LN hands x and δy on as they are, post-LN norms x and divides δ by its deviation."""
    x, dy, norm = 100 * draw(B, T, D), draw(B, T, D), {"weight": np.ones(D), "bias": np.zeros(D)}
    silent, none = lambda z, own: (0 * z, ()), lambda d, kept: (0 * d, {})
    weights = whole({"around_nothing.norm": norm})
    y, kept = around(x, weights, "pre", "nothing", silent)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(around_backward(dy, kept, "nothing", none)[0], dy)
    y, kept = around(x, weights, "post", "nothing", silent)
    np.testing.assert_allclose(y, layer_norm(x, norm)[0], atol=1e-12)
    assert np.abs(around_backward(dy, kept, "nothing", none)[0]).max() < 0.2 * np.abs(dy).max()
    with pytest.raises(KeyError):
        around(x, weights, "before", "nothing", silent)


@every_order
def test_a_block_learns_to_say_who_stands_before(order: str):
    """Token t says token t − 1, the first says itself. A token knows its own word and place; the rest it has to ask."""
    generator = np.random.default_rng(1)
    weights = {name: 0.5 * generator.standard_normal(value.shape) for name, value in draw_block().items()}
    weights |= {name: np.ones(D) for name in weights if name.endswith("norm.weight")}
    places, losses = np.broadcast_to(np.eye(3), (32, 3, 3)), []
    for _ in range(400):
        x = np.concatenate((np.eye(3)[generator.integers(3, size=(32, 3))], places), axis=2)  # (B, T, D)
        target = x[:, [0, 0, 1], :3]
        y, kept = encoder_block(x, weights, H, None, order)
        alpha = softmax(y[..., :3])
        losses.append(-np.log((alpha * target).sum(axis=2)).mean())
        dy = np.concatenate((alpha - target, 0 * places), axis=2) / (32 * 3)  # softmax and cross-entropy: stage 1
        _, gradients = encoder_block_backward(dy, kept)
        weights = {name: value - 0.3 * gradients[name] for name, value in weights.items()}
    assert np.mean(losses[-20:]) < 0.1 < 1 < losses[0]  # without asking: (0 + 2 log 3) / 3 = 0.73

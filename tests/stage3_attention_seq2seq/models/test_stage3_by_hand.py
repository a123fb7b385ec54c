"""By hand: every backward against finite differences, and equal to the attentions and decoders from scratch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stage2_rnn_lstm.models import NUMPY_CELLS
from stage3_attention_seq2seq.models.attention import ATTENTIONS
from stage3_attention_seq2seq.models.by_hand import (
    NUMPY_ATTENTIONS,
    NumpyDecoder,
    Weights,
    attend,
    attend_backward,
    bahdanau_step,
    bahdanau_step_backward,
    luong_step,
    luong_step_backward,
    outer,
)
from stage3_attention_seq2seq.models.decoder import BahdanauDecoder, DecoderState, LuongDecoder
from stage3_attention_seq2seq.models.official import to_numpy

B, S, T, D, H, F, K = 3, 5, 4, 2, 7, 11, 13
REAL = np.arange(S) < np.array([4, 5, 1])[:, None]  # (B, S)
RNG = np.random.default_rng(0)

every_score = pytest.mark.parametrize("name", NUMPY_ATTENTIONS)
every_cell = pytest.mark.parametrize("cell", NUMPY_CELLS)


def slope(function: Any, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """∂function/∂x for every number of x, by central differences; the error is of the order step² = 1e-12."""
    result = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        result[place] = (function(up) - function(down)) / (2 * step)
    return result


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) * 0.7


def score_weights(name: str, queries: int = H, keys: int = K) -> Weights:
    return {
        "bahdanau": {"weight_query": draw(F, queries), "weight_key": draw(F, keys), "score": draw(F)},
        "luong_dot": {},
        "luong_general": {"weight": draw(queries, keys)},
    }[name]


def width(name: str) -> int:
    """Of a key: dot needs that of a query."""
    return H if name == "luong_dot" else K


def equal(found: np.ndarray, expected: Tensor | None, tolerance: float = 1e-9) -> None:
    assert expected is not None and found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=0, atol=tolerance)


# --- attention --------------------------------------------------------------------------------------------------------


def test_outer_is_the_sum_of_outer_products():
    rows, columns = draw(2, 3, 5), draw(2, 3, 7)
    expected = sum(np.outer(rows[i, j], columns[i, j]) for i in range(2) for j in range(3))
    np.testing.assert_allclose(outer(rows, columns), expected, atol=1e-12)


@every_score
def test_attention_against_finite_differences(name: str):
    score, keys = NUMPY_ATTENTIONS[name], width(name)
    weights, inputs = score_weights(name, keys=keys), {"query": draw(B, H), "keys": draw(B, S, keys)}
    grad = draw(B, keys)
    context, look = attend(score, weights, inputs["query"], inputs["keys"], REAL)
    dq, dk, gradients = attend_backward(score, weights, look, grad)
    assert context.shape == (B, keys) and look.alpha.shape == (B, S)

    def loss(**changed: np.ndarray) -> float:
        read = inputs | {n: v for n, v in changed.items() if n in inputs}
        used = weights | {n: v for n, v in changed.items() if n in weights}
        return (attend(score, used, read["query"], read["keys"], REAL)[0] * grad).sum()

    assert gradients.keys() == weights.keys()
    for key, found in {"query": dq, "keys": dk, **gradients}.items():
        expected = slope(lambda v, key=key: loss(**{key: v}), (inputs | weights)[key])
        np.testing.assert_allclose(found, expected, atol=1e-8, err_msg=key)
    assert (dk[~REAL] == 0).all() and (look.alpha[~REAL] == 0).all()
    np.testing.assert_allclose(look.alpha.sum(axis=1), 1, atol=1e-12)


@every_score
def test_attention_equals_the_one_from_scratch(name: str):
    score, keys = NUMPY_ATTENTIONS[name], width(name)
    scratch = ATTENTIONS[name](H, keys, F).double()
    for parameter in scratch.parameters():
        nn.init.normal_(parameter)
    weights = {n: p.detach().numpy() for n, p in scratch.named_parameters()}
    real = np.concatenate((REAL, np.zeros((1, S), bool)))  # and a sentence without a token
    query, key, grad = (torch.tensor(draw(B + 1, *shape)) for shape in ((H,), (S, keys), (keys,)))
    context, look = attend(score, weights, query.numpy(), key.numpy(), real)
    dq, dk, gradients = attend_backward(score, weights, look, grad.numpy())
    memory = scratch.remember(key.requires_grad_(), torch.tensor(real), grad)
    expected, alpha = scratch(query.requires_grad_(), memory)
    (expected * grad).sum().backward()
    equal(context, expected)
    equal(look.alpha, alpha)
    equal(dq, query.grad)
    equal(dk, key.grad)
    assert gradients.keys() == weights.keys()
    for n, parameter in scratch.named_parameters():
        equal(gradients[n], parameter.grad)


@every_score
def test_padding_changes_nothing(name: str):
    """Not even where its score would be far above all others."""
    weights, query, keys, grad = score_weights(name, keys=H), draw(B, H), draw(B, S, H), draw(B, H)
    results = []
    for read in (keys, np.where(REAL[:, :, None], keys, 1e4 * draw(B, S, H))):
        context, look = attend(NUMPY_ATTENTIONS[name], weights, query, read, REAL)
        dq, dk, gradients = attend_backward(NUMPY_ATTENTIONS[name], weights, look, grad)
        results.append([context, look.alpha, dq, dk, *gradients.values()])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@every_score
def test_large_scores_do_not_overflow_and_float32_stays_float32(name: str):
    weights = {n: value.astype(np.float32) for n, value in score_weights(name, keys=H).items()}
    query, keys = (1000 * draw(*shape).astype(np.float32) for shape in ((B, H), (B, S, H)))
    context, look = attend(NUMPY_ATTENTIONS[name], weights, query, keys, REAL)
    dq, dk, gradients = attend_backward(NUMPY_ATTENTIONS[name], weights, look, context)
    for value in (context, look.alpha, dq, dk, *gradients.values()):
        assert value.dtype == np.float32 and np.isfinite(value).all()


def test_what_one_token_gains_the_others_lose():
    """Two keys 0 and 1, a query 0: α = (½, ½), c = ½, and δe = α (δα − mean) = (½ (0 − ½), ½ (1 − ½))."""
    keys, query = np.array([[[0.0], [1.0]]]), np.array([[0.0]])
    context, look = attend(NUMPY_ATTENTIONS["luong_dot"], {}, query, keys, np.ones((1, 2), bool))
    assert context.item() == 0.5 and look.alpha.tolist() == [[0.5, 0.5]]
    dq, dk, _ = attend_backward(NUMPY_ATTENTIONS["luong_dot"], {}, look, np.array([[1.0]]))
    assert dq.item() == -0.25 * 0 + 0.25 * 1  # Σ δe_s k_s
    assert dk.ravel().tolist() == [0.5, 0.5]  # α δc, and nothing through the scores: the query is 0


# --- decoders ---------------------------------------------------------------------------------------------------------


def decoder(order: str, cell: str, name: str, hidden: int = H) -> BahdanauDecoder | LuongDecoder:
    """From scratch, with every weight drawn."""
    torch.manual_seed(0)
    kind = {"bahdanau": BahdanauDecoder, "luong": LuongDecoder}[order]
    attention = ATTENTIONS[name](hidden, hidden, 3)
    module = kind(nn.Embedding(17, D), attention, hidden, cell=cell).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.6)
    return module


def run_by_hand(hand: NumpyDecoder, order: str, xs: np.ndarray, state: tuple, fed: np.ndarray, keys: np.ndarray):
    """T steps: features, final state, weights, tapes."""
    features, alphas, tapes = [], [], []
    for x in xs:
        if order == "bahdanau":
            feature, state, tape = bahdanau_step(hand, x, state, keys, REAL)
        else:
            feature, state, tape = luong_step(hand, x, state, fed, keys, REAL)
            fed = feature
        features.append(feature)
        alphas.append(tape.look.alpha)
        tapes.append(tape)
    return np.stack(features), state, np.stack(alphas), tapes


def back_by_hand(hand: NumpyDecoder, order: str, tapes: list, grad: np.ndarray, grad_state: tuple):
    """Through T steps: δx, ∂L/∂(first state), δfed, δkeys, gradients; sums over the steps where they must be."""
    dxs, dkeys, total, dfed = [], 0, {}, np.zeros_like(grad[0])
    for tape, d in zip(tapes[::-1], grad[::-1], strict=True):
        if order == "bahdanau":
            dx, grad_state, dk, gradients = bahdanau_step_backward(hand, tape, d, grad_state)
        else:
            dx, grad_state, dfed, dk, gradients = luong_step_backward(hand, tape, d + dfed, grad_state)
        dxs.append(dx)
        dkeys = dkeys + dk
        total = {n: total.get(n, 0) + value for n, value in gradients.items()}
    return np.stack(dxs[::-1]), grad_state, dfed, dkeys, total


def drawn(cell: str, hidden: int = H) -> tuple[tuple, np.ndarray, np.ndarray, np.ndarray, tuple]:
    """state, fed, keys, and the gradients of features and of the last state."""
    states = [tuple(draw(B, hidden) for _ in range(NUMPY_CELLS[cell].states)) for _ in range(2)]
    return states[0], draw(B, D), draw(B, S, hidden), draw(T, B, D), states[1]


@pytest.mark.parametrize("order", ["bahdanau", "luong"])
@every_cell
@every_score
def test_steps_equal_the_decoder_from_scratch(order: str, cell: str, name: str):
    module = decoder(order, cell, name)
    hand = to_numpy(module, cell, name)
    state, fed, keys, grad, grad_state = drawn(cell)
    tokens = torch.arange(B * T).view(B, T)  # each once, so that the table's gradient is that of x
    xs = module.embedding(tokens).detach().numpy().swapaxes(0, 1)
    features, final, alphas, tapes = run_by_hand(hand, order, xs, state, fed, keys)
    dx, dstate, dfed, dkeys, gradients = back_by_hand(hand, order, tapes, grad, grad_state)

    start = tuple(torch.tensor(part, requires_grad=True) for part in state)
    first, read = torch.tensor(fed, requires_grad=True), torch.tensor(keys, requires_grad=True)
    memory = module.attention.remember(read, torch.tensor(REAL), torch.zeros(B, H).double())
    begin = DecoderState((start,), first if order == "luong" else None)
    expected, last, weights = module(tokens, begin, memory)
    loss = (expected.transpose(0, 1) * torch.tensor(grad)).sum()
    loss = loss + sum((part * torch.tensor(g)).sum() for part, g in zip(last.layers[0], grad_state, strict=True))
    loss.backward()

    equal(features, expected.transpose(0, 1))
    equal(alphas, None if weights is None else weights.transpose(0, 1))
    for found, part in zip((*final, *dstate), (*last.layers[0], *(s.grad for s in start)), strict=True):
        equal(found, part)
    equal(dx.swapaxes(0, 1).reshape(-1, D), module.embedding.weight.grad[: B * T])
    equal(dkeys, read.grad)
    if order == "luong":
        equal(dfed, first.grad)
    others = {n: p for n, p in module.named_parameters() if n not in ("embedding.weight", "initial")}
    assert gradients.keys() == others.keys()
    for n, parameter in others.items():
        equal(gradients[n], parameter.grad)


@pytest.mark.parametrize(
    ("order", "cell", "name"), [("bahdanau", "gru", "bahdanau"), ("luong", "lstm", "luong_general")]
)
def test_steps_against_finite_differences(order: str, cell: str, name: str):
    hand = to_numpy(decoder(order, cell, name, 2), cell, name)
    state, fed, keys, grad, grad_state = drawn(cell, 2)
    xs = draw(T, B, D)

    def loss(weights: Weights | None = None, xs=xs, state=state, fed=fed, keys=keys) -> float:
        used = hand if weights is None else hand._replace(weights=weights)
        features, final, _, _ = run_by_hand(used, order, xs, state, fed, keys)
        return (features * grad).sum() + sum((s * g).sum() for s, g in zip(final, grad_state, strict=True))

    tapes = run_by_hand(hand, order, xs, state, fed, keys)[3]
    dx, dstate, dfed, dkeys, gradients = back_by_hand(hand, order, tapes, grad, grad_state)
    np.testing.assert_allclose(dx, slope(lambda v: loss(xs=v), xs), atol=1e-7)
    np.testing.assert_allclose(dkeys, slope(lambda v: loss(keys=v), keys), atol=1e-7)
    np.testing.assert_allclose(dfed, slope(lambda v: loss(fed=v), fed), atol=1e-7)
    for i, found in enumerate(dstate):
        changed = slope(lambda v, i=i: loss(state=(*state[:i], v, *state[i + 1 :])), state[i])
        np.testing.assert_allclose(found, changed, atol=1e-7)
    for n, found in gradients.items():
        expected = slope(lambda v, n=n: loss(hand.weights | {n: v}), hand.weights[n])
        np.testing.assert_allclose(found, expected, atol=1e-7, err_msg=n)


def test_the_way_to_the_encoder_does_not_grow_with_the_distance():
    """∂L/∂k_s of the last word: through the weights it is the same for the first token as for the last."""
    keys, real = draw(1, 40, H), np.ones((1, 40), bool)
    _, look = attend(NUMPY_ATTENTIONS["luong_dot"], {}, np.zeros((1, H)), keys, real)
    _, dk, _ = attend_backward(NUMPY_ATTENTIONS["luong_dot"], {}, look, np.ones((1, H)))
    np.testing.assert_allclose(dk, 1 / 40, atol=1e-15)

"""By hand: finite differences, equal to gpt.py and to torch's AdamW, no look ahead, and that it learns a text."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn
from torch.nn import functional

from stage5_gpt.models.by_hand import (
    ACTIVATIONS,
    AdamW,
    Weights,
    begin,
    block,
    block_backward,
    cross_entropy,
    feed_forward,
    feed_forward_backward,
    gpt,
    gpt_backward,
    part,
    whole,
    write,
)
from stage5_gpt.models.gpt import GPT, GPTConfig

V, B, T, C, H, L, F = 13, 3, 5, 7, 2, 2, 11
D = 2 * H * 3
RNG = np.random.default_rng(0)
SMALL: dict[str, Any] = {"vocab_size": V, "context": C, "layers": L, "heads": H, "model": D, "hidden": F}
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def random_model(**options: Any) -> GPT:
    """No weight is 0 or 1 as some are at the start: that would hide mistakes."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**(SMALL | options))).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.4)
    return model


def copied(model: nn.Module) -> Weights:
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


def gradient(leaf: Tensor) -> np.ndarray:
    assert leaf.grad is not None
    return leaf.grad.numpy()


def texts(steps: int = T) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, of which some are read twice and some never, and targets, of which some do not count."""
    tokens, targets = RNG.integers(0, V - 2, (2, B, steps))
    targets[1, 2:] = -1
    return tokens, targets


def check_slopes(weights: Weights, gradients: Weights, loss: Any, places: int = 12) -> None:
    """Central differences at places of each weight; their error is of the order 1e-12."""
    assert gradients.keys() == weights.keys()
    for name, value in weights.items():
        assert gradients[name].shape == value.shape
        for place in map(tuple, RNG.permutation(list(np.ndindex(value.shape)))[:places]):
            up, down = value.copy(), value.copy()
            up[place] += 1e-6
            down[place] -= 1e-6
            slope = (loss(weights | {name: up}) - loss(weights | {name: down})) / 2e-6
            np.testing.assert_allclose(gradients[name][place], slope, rtol=0, atol=1e-7, err_msg=f"{name}{place}")


# --- parts ------------------------------------------------------------------------------------------------------------


@every_activation
def test_gelu_is_torchs_and_its_slope_is_one(activation: str):
    z = np.concatenate((RNG.standard_normal(50), [0, -40, 40, -1e3, 1e3]))
    leaf = torch.tensor(z, requires_grad=True)
    value = functional.gelu(leaf, approximate={"gelu": "none", "gelu_tanh": "tanh"}[activation])
    value.sum().backward()
    np.testing.assert_allclose(ACTIVATIONS[activation].value(z), value.detach(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(ACTIVATIONS[activation].slope(z), gradient(leaf), rtol=0, atol=1e-12)


def test_the_two_gelus_are_hard_to_tell_apart_but_two():
    z = np.linspace(-6, 6, 1001)
    apart = np.abs(ACTIVATIONS["gelu"].value(z) - ACTIVATIONS["gelu_tanh"].value(z)).max()
    assert 1e-4 < apart < 1e-3


@every_activation
def test_feed_forward_and_block(activation: str):
    own, x, dy = (
        part(copied(random_model()), "blocks.1"),
        RNG.standard_normal((B, T, D)),
        RNG.standard_normal((B, T, D)),
    )
    thinking = part(own, "feed_forward")
    dx, gradients = feed_forward_backward(dy, feed_forward(x, thinking, activation)[1])
    check_slopes(
        {"x": x, **thinking}, {"x": dx, **gradients}, lambda w: (dy * feed_forward(w["x"], w, activation)[0]).sum()
    )
    dx, gradients = block_backward(dy, block(x, own, H, activation)[1])
    check_slopes({"x": x, **own}, {"x": dx, **gradients}, lambda w: (dy * block(w["x"], w, H, activation)[0]).sum(), 5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_counts_what_is_asked(reduction: str):
    logits, (_, targets) = RNG.standard_normal((B, T, V)), texts()
    leaf = torch.tensor(logits, requires_grad=True)
    expected = functional.cross_entropy(
        leaf.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=-1, reduction=reduction
    )
    expected.backward()
    loss, dlogits = cross_entropy(logits, targets, reduction)
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    np.testing.assert_allclose(dlogits, gradient(leaf), rtol=0, atol=1e-12)
    assert (dlogits[targets == -1] == 0).all() and (targets == -1).any()
    np.testing.assert_allclose(dlogits.sum(axis=2), 0, atol=1e-12)  # what is believed, minus the truth: 1 − 1


# --- the model --------------------------------------------------------------------------------------------------------


@every_activation
@pytest.mark.parametrize("steps", [T, C])
def test_equal_to_gpt_with_its_weights(activation: str, steps: int):
    """Values, losses and gradients of all weights, in float64."""
    model, (tokens, targets) = random_model(activation=activation), texts(steps)
    logits, kept = gpt(tokens, copied(model), H, activation)
    expected, _ = model(torch.tensor(tokens))
    assert logits.shape == (B, steps, V)
    np.testing.assert_allclose(logits, expected.detach(), rtol=0, atol=1e-9)
    loss, dlogits = cross_entropy(logits, targets, "sum")
    theirs = functional.cross_entropy(
        expected.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=-1, reduction="sum"
    )
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), abs=1e-9)
    gradients = gpt_backward(dlogits, kept)
    assert gradients.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(gradients[name], gradient(parameter), rtol=0, atol=1e-9, err_msg=name)
    counted, _ = model(torch.tensor(tokens), targets=torch.tensor(targets))
    assert loss == pytest.approx(counted.item(), rel=1e-6)  # which gpt.py sums in float32


@every_activation
def test_every_gradient_is_a_slope(activation: str):
    weights, (tokens, targets) = copied(random_model(activation=activation)), texts()

    def loss(weights: Weights) -> float:
        return cross_entropy(gpt(tokens, weights, H, activation)[0], targets)[0]

    logits, kept = gpt(tokens, weights, H, activation)
    check_slopes(weights, gpt_backward(cross_entropy(logits, targets)[1], kept), loss, 5)


def test_the_matrix_that_is_read_twice():
    """At the head every token has a gradient, also one that nobody read; positions beyond the text have none."""
    weights, (tokens, targets) = copied(random_model()), texts()
    logits, kept = gpt(tokens, weights, H)
    _, dlogits = cross_entropy(logits, targets)
    gradients = gpt_backward(dlogits, kept)
    unread = np.setdiff1d(np.arange(V), tokens)
    at_the_head = np.einsum("btv,btd->vd", dlogits, kept[3])
    assert len(unread) and (at_the_head != 0).all()
    np.testing.assert_allclose(gradients["embedding.weight"][unread], at_the_head[unread], rtol=0, atol=1e-12)
    assert (np.abs(gradients["embedding.weight"] - at_the_head)[tokens[targets != -1]] > 1e-9).all()
    assert (gradients["positions.table"][T:] == 0).all() and (gradients["positions.table"][:T] != 0).all()


def test_nothing_leaks_from_the_future_and_texts_do_not_meet():
    weights, (tokens, _) = copied(random_model()), texts()
    logits, kept = gpt(tokens, weights, H)
    later = tokens.copy()
    later[:, 3:] = (later[:, 3:] + 1) % V
    changed, _ = gpt(later, weights, H)
    np.testing.assert_array_equal(changed[:, :3], logits[:, :3])
    assert (changed[:, 3:] != logits[:, 3:]).all()
    dlogits = np.zeros_like(logits)
    dlogits[:, 2] = RNG.standard_normal((B, V))  # a loss that reads the third answer alone
    table = gpt_backward(dlogits, kept)["positions.table"]
    assert (table[3:] == 0).all() and (table[:3] != 0).all()
    for b in range(B):
        np.testing.assert_allclose(gpt(tokens[b : b + 1], weights, H)[0][0], logits[b], rtol=0, atol=1e-12)


@every_activation
def test_float32_stays_float32(activation: str):
    weights = {name: value.astype(np.float32) for name, value in copied(random_model()).items()}
    tokens, targets = texts()
    logits, kept = gpt(tokens, weights, H, activation)
    gradients = gpt_backward(cross_entropy(logits, targets)[1], kept)
    optimizer = AdamW(weights, 0.1)
    optimizer.step(gradients)
    assert {value.dtype for value in (logits, *gradients.values(), *weights.values())} == {np.dtype(np.float32)}


# --- AdamW ------------------------------------------------------------------------------------------------------------


def test_adamw_is_torchs_over_many_steps():
    """A learning rate that changes, matrices that decay, and vectors that do not."""
    model, (tokens, targets) = random_model(activation="gelu_tanh"), texts()
    weights, before = copied(model), copied(model)
    ours = AdamW(weights, 0.02, weight_decay=0.3)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.95), eps=1e-8)
    for step in range(7):
        ours.lr = 0.02 / (1 + step)
        for group in theirs.param_groups:
            group["lr"] = ours.lr
        logits, kept = gpt(tokens, weights, H)
        ours.step(gpt_backward(cross_entropy(logits, targets)[1], kept))
        theirs.zero_grad()
        expected, _ = model(torch.tensor(tokens))
        functional.cross_entropy(expected.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=-1).backward()
        theirs.step()
        for name, parameter in model.named_parameters():
            if not name.endswith("inward.bias"):  # of keys: their gradient is 0 but for rounding, and Adam divides it
                np.testing.assert_allclose(weights[name], parameter.detach(), rtol=0, atol=1e-9, err_msg=name)
    assert all((before[name] != value).any() for name, value in weights.items())


@given(arrays(float, (3, 2), elements=st.floats(-10, 10)), st.floats(1e-4, 1), st.floats(0, 0.9))
def test_the_first_step_is_of_one_length_and_decay_has_its_own(start: np.ndarray, lr: float, decay: float):
    """m̂ = g and √v̂ = |g|: the first step is η sign(g); beside it, matrices shrink by 1 − ηλ and vectors do not."""
    g = np.array([[1e-3, -1e-3], [5.0, -5.0], [0.0, 1e3]])
    weights = {"matrix": start, "vector": start[:, 0]}
    AdamW(weights, lr, weight_decay=decay).step({"matrix": g, "vector": g[:, 0]})
    np.testing.assert_allclose(weights["matrix"], start * (1 - lr * decay) - lr * np.sign(g), rtol=0, atol=1e-4)
    np.testing.assert_allclose(weights["vector"], start[:, 0] - lr * np.sign(g[:, 0]), rtol=0, atol=1e-4)


# --- from nothing to a text -------------------------------------------------------------------------------------------


def test_it_begins_as_gpt_does():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=101, context=64, layers=3, heads=2, model=32))
    weights = begin(RNG, 101, 64, 3, 32)
    theirs = copied(model)
    assert {name: value.shape for name, value in weights.items()} == {n: v.shape for n, v in theirs.items()}
    for name, value in weights.items():
        assert value.std() == pytest.approx(theirs[name].std(), rel=0.15, abs=1e-12), name
        assert value.mean() == pytest.approx(theirs[name].mean(), abs=0.003), name
    tokens, targets = RNG.integers(0, 101, (2, 5, 64))
    assert cross_entropy(gpt(tokens, weights, 2)[0], targets)[0] == pytest.approx(np.log(101), abs=0.1)


def test_it_learns_a_text_by_heart():
    """Which token comes next depends on more than the last one: "ab" is followed by c, d, then e."""
    text = "abcabdabe."
    characters = sorted(set(text))
    tokens = np.array([[characters.index(character) for character in text]])
    weights = begin(np.random.default_rng(1), len(characters), len(text), 2, 16)
    optimizer, losses = AdamW(weights, 0.01), []
    for _ in range(150):
        logits, kept = gpt(tokens[:, :-1], weights, H)
        loss, dlogits = cross_entropy(logits, tokens[:, 1:])
        optimizer.step(gpt_backward(dlogits, kept))
        losses.append(loss)
    assert losses[0] > 1.5 and losses[-1] < 0.05
    written = write(tokens[:, :1], weights, H, len(text) - 1)
    assert "".join(characters[token] for token in written[0]) == text


def test_it_writes_on_beyond_its_context():
    model = random_model(activation="gelu_tanh")
    tokens = RNG.integers(0, V, (2, 3))
    written = write(tokens, copied(model), H, 8)
    assert written.shape == (2, 11) and (written[:, :3] == tokens).all()
    for end in range(3, 11):
        logits, _ = model(torch.tensor(written[:, max(0, end - C) : end]))
        assert (logits[:, -1].argmax(dim=1).numpy() == written[:, end]).all()


def test_parts_and_names():
    weights = copied(random_model())
    again = whole({f"blocks.{n}": part(weights, f"blocks.{n}") for n in range(L)})
    assert again.keys() == {name for name in weights if name.startswith("blocks.")}

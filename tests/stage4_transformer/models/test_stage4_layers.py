"""Norms, residuals and the feed-forward network: formulas, torch's own, gradients, and what each of them keeps."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stage4_transformer.models.layers import (
    ACTIVATIONS,
    EPSILON,
    NORMS,
    ORDERS,
    FeedForward,
    LayerNorm,
    PostNorm,
    PreNorm,
    RMSNorm,
    layer_norm,
    rms_norm,
    swiglu,
)

B, T, D, F = 3, 5, 7, 11
every_norm = pytest.mark.parametrize("name", NORMS)
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


def close(a: object, b: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def randomised(module: Any) -> Any:
    torch.manual_seed(0)
    module = module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.7)
    return module


# --- contract ---------------------------------------------------------------------------------------------------------


def test_shapes_and_parameters():
    for kind, names in ((LayerNorm, {"weight", "bias"}), (RMSNorm, {"weight"})):
        assert {name: tuple(p.shape) for name, p in kind(D).named_parameters()} == dict.fromkeys(names, (D,))
        assert kind(D)(torch.randn(B, T, D)).shape == (B, T, D)
    for name, (_, wide) in ACTIVATIONS.items():
        network = FeedForward(D, F, name)
        assert network(torch.randn(B, T, D)).shape == (B, T, D)
        assert network.inward.weight.shape == (wide * F, D) and network.outward.weight.shape == (D, F)
    assert {"pre": PreNorm, "post": PostNorm} == ORDERS


def test_the_start():
    torch.manual_seed(0)
    network = FeedForward(64, 256)
    for layer in (network.inward, network.outward):
        assert (layer.bias == 0).all()
        assert math.sqrt(6 / 320) * 0.98 < layer.weight.abs().max() <= math.sqrt(6 / 320)  # Xavier
    for norm in (LayerNorm(D), RMSNorm(D)):
        assert (norm.weight == 1).all()


# --- parity -----------------------------------------------------------------------------------------------------------


def test_norms_by_arithmetic():
    """1, 3, 8: mean 4, deviations −3, −1, 4, variance 26/3; mean square 74/3."""
    x, one, half = torch.tensor([1.0, 3, 8]).double(), torch.ones(3).double(), torch.full((3,), 0.5).double()
    deviation = math.sqrt(26 / 3 + 1e-5)
    close(layer_norm(x, 2 * one, half), torch.tensor([2 * d / deviation + 0.5 for d in (-3, -1, 4)]).double(), 1e-6)
    root = math.sqrt(74 / 3 + 1e-5)
    close(rms_norm(x, 2 * one), torch.tensor([2 * value / root for value in (1, 3, 8)]).double(), 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_norm
def test_formula_layer_and_torch_agree_in_values_and_gradients(name: str, dtype: torch.dtype):
    ours = randomised(NORMS[name](D)).to(dtype)
    theirs = (nn.LayerNorm if name == "layer" else nn.RMSNorm)(D, eps=EPSILON).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    formula = {"layer": layer_norm, "rms": rms_norm}[name]
    x, grad, results = (3 + 2 * double(B, T, D)).to(dtype), double(B, T, D).to(dtype), []
    for telling in (lambda x: formula(x, *ours.parameters()), ours, theirs):
        leaf = x.clone().requires_grad_()
        weights = list((theirs if telling is theirs else ours).parameters())
        output = telling(leaf)
        results.append((output, torch.autograd.grad((output * grad).sum(), [leaf, *weights])))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    close(results[1], results[0], tolerance)
    close(results[2], results[0], tolerance)


@pytest.mark.parametrize(("name", "kind"), [("relu", nn.ReLU), ("gelu", nn.GELU)])
def test_feed_forward_is_two_linear_layers_around_an_activation(name: str, kind: type[nn.Module]):
    ours, x = randomised(FeedForward(D, F, name)), double(B, T, D)
    theirs = nn.Sequential(ours.inward, kind(), ours.outward)
    results = []
    for telling in (ours, theirs):
        leaf = x.clone().requires_grad_()
        output = telling(leaf)
        results.append((output, torch.autograd.grad(output.square().sum(), [leaf, *ours.parameters()])))
    close(*results)


def test_activations_by_arithmetic():
    x = torch.tensor([-2.0, 0, 1]).double()
    assert ACTIVATIONS["relu"][0](x).tolist() == [0, 0, 1]
    normal = torch.tensor([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x.tolist()]).double()
    close(ACTIVATIONS["gelu"][0](x), x * normal, 1e-7)
    both = torch.tensor([[-2.0, 1, 3, 5]]).double()  # a = −2, 1; b = 3, 5
    swish = [-2 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))]
    close(swiglu(both), torch.tensor([[3 * swish[0], 5 * swish[1]]]).double(), 1e-6)


def test_swiglu_is_three_matrices():
    network, x = randomised(FeedForward(D, F, "swiglu")), double(B, T, D)
    what, gate = network.inward.weight.split(F)
    at, by = network.inward.bias.split(F)
    hidden = nn.functional.silu(x @ what.T + at) * (x @ gate.T + by)
    close(network(x), hidden @ network.outward.weight.T + network.outward.bias)


# --- gradient ---------------------------------------------------------------------------------------------------------


@every_norm
def test_gradients_of_norms_against_finite_differences(name: str):
    norm = randomised(NORMS[name](D))
    assert torch.autograd.gradcheck(lambda x, *_: norm(x), (double(2, 3, D).requires_grad_(), *norm.parameters()))


@every_activation
def test_gradients_of_feed_forward_against_finite_differences(name: str):
    network = randomised(FeedForward(D, F, name))
    leaves = (double(2, 3, D).requires_grad_(), *network.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: network(x), leaves)


# --- invariants -------------------------------------------------------------------------------------------------------


def test_what_norms_set_and_what_they_leave():
    x = 3 + 2 * double(B, T, D)
    normed, sized = LayerNorm(D).double()(x), RMSNorm(D).double()(x)
    close(normed.mean(dim=2), torch.zeros(B, T).double(), 1e-9)
    close(normed.var(dim=2, unbiased=False), torch.ones(B, T).double(), 1e-3)
    close(sized.square().mean(dim=2), torch.ones(B, T).double(), 1e-3)
    for norm in (LayerNorm(D).double(), RMSNorm(D).double()):
        close(norm(9 * x), norm(x), 1e-3)  # the size does not matter
    close(LayerNorm(D).double()(x + 5), normed, 1e-9)  # nor the mean, to LayerNorm
    assert (RMSNorm(D).double()(x + 5) - sized).abs().max() > 0.1


@every_norm
def test_a_token_of_zeros_is_no_division_by_zero(name: str):
    x = torch.zeros(1, 2, D, requires_grad=True)
    NORMS[name](D)(x).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("part", [*NORMS, *ACTIVATIONS])
def test_no_token_sees_another_one(part: str):
    module = randomised(NORMS[part](D) if part in NORMS else FeedForward(D, F, part))
    x = double(B, T, D)
    whole = module(x)
    for t in range(T):
        close(module(x[1:2, t : t + 1]), whole[1:2, t : t + 1])


def test_before_and_after():
    x, sublayer, norm = double(B, T, D), FeedForward(D, F).double(), randomised(LayerNorm(D))
    results = {}
    for name, kind in ORDERS.items():
        around = kind(norm, 0.0)
        results[name] = around.add(x, sublayer(around.read(x)))
    close(results["pre"], x + sublayer(norm(x)))
    close(results["post"], norm(x + sublayer(x)))


def test_pre_norm_leaves_a_way_and_post_norm_has_a_norm_in_it():
    """A sublayer that says nothing: x goes through the one as it is, values and gradient, and not through the other."""
    x = (3 * double(B, T, D)).requires_grad_()
    for kind, untouched in ((PreNorm, True), (PostNorm, False)):
        output = kind(LayerNorm(D).double(), 0.0).add(x, torch.zeros(B, T, D).double())
        (gradient,) = torch.autograd.grad((output * torch.arange(D)).sum(), x)
        assert torch.equal(output, x) == untouched
        assert torch.equal(gradient, torch.arange(D).double().expand(B, T, D)) == untouched


@pytest.mark.parametrize("kind", ORDERS.values())
def test_dropout_acts_on_what_is_said_and_in_training_only(kind: type[PostNorm]):
    torch.manual_seed(0)
    around, x, said = kind(nn.Identity(), 0.5), torch.zeros(B, T, D), torch.ones(B, T, D)
    assert set(around.add(x, said).flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(around.add(said, x), said)  # what flows along is never dropped
    assert torch.equal(around.eval().add(x, said), said)


@every_norm
def test_mixed_precision_stays_close(name: str):
    norm, network, x = NORMS[name](D), FeedForward(D, F), 2 * torch.randn(B, T, D)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(norm(x))
    assert mixed.dtype == torch.bfloat16
    close(mixed.float(), network(norm(x)), 0.1)


# --- it learns --------------------------------------------------------------------------------------------------------


@every_activation
def test_feed_forward_learns_what_no_linear_layer_can(name: str):
    """Exclusive or of two signs."""
    torch.manual_seed(0)
    network, x = FeedForward(2, 16, name), 2 * torch.randint(0, 2, (8, 4, 2)).float() - 1
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(150):
        loss = (network(x)[:, :, 0] - x.prod(dim=2)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05  # the best plane costs 1

"""By hand: every backward against finite differences and against torch, and the whole network against the other two."""

import itertools

import numpy as np
import pytest
import torch

from stage1_mlp.models import by_hand
from stage1_mlp.models.by_hand import ACTIVATIONS, NumpyMLP, softmax_cross_entropy
from stage1_mlp.models.layers import draw_mask
from stage1_mlp.models.losses import cross_entropy
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.official import official_name, to_numpy, to_official
from stage1_mlp.models.optimizers import SGD

B, D, F, C = 7, 5, 3, 11
RNG = np.random.default_rng(0)


def slope(function, x, step=1e-6):
    """∂function/∂x for every number of x, by central differences; the error is of the order step² = 1e-12."""
    result = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        result[place] = (function(up) - function(down)) / (2 * step)
    return result


def test_linear_backward():
    x, weight, bias, grad = (RNG.standard_normal(s) for s in ((B, D), (F, D), (F,), (B, F)))
    dx, dw, db = by_hand.linear_backward(grad, x, weight)
    np.testing.assert_allclose(dx, slope(lambda v: (grad * by_hand.linear(v, weight, bias)).sum(), x), atol=1e-8)
    np.testing.assert_allclose(dw, slope(lambda v: (grad * by_hand.linear(x, v, bias)).sum(), weight), atol=1e-8)
    np.testing.assert_allclose(db, slope(lambda v: (grad * by_hand.linear(x, weight, v)).sum(), bias), atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_slope(name):
    z = np.linspace(-6, 6, 41) + 0.05  # not at 0, where relu has no derivative
    expected = slope(lambda v: ACTIVATIONS[name].value(v).sum(), z)
    np.testing.assert_allclose(ACTIVATIONS[name].slope(z), expected, atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_finite_at_extremes(name):
    z = np.array([-1e4, -800.0, 0.0, 800.0, 1e4])
    assert np.isfinite(ACTIVATIONS[name].value(z)).all() and np.isfinite(ACTIVATIONS[name].slope(z)).all()


def test_batch_norm_backward():
    x, gamma, beta, grad = (RNG.standard_normal(s) for s in ((B, F), (F,), (F,), (B, F)))

    def forward(x, gamma, beta):
        scale = np.sqrt(x.var(axis=0) + 1e-5)
        return *by_hand.batch_norm(x, x.mean(axis=0), scale, gamma, beta), scale

    _, x_hat, scale = forward(x, gamma, beta)
    dx, dgamma, dbeta = by_hand.batch_norm_backward(grad, x_hat, scale, gamma)
    np.testing.assert_allclose(dx, slope(lambda v: (grad * forward(v, gamma, beta)[0]).sum(), x), atol=1e-8)
    np.testing.assert_allclose(dgamma, slope(lambda v: (grad * forward(x, v, beta)[0]).sum(), gamma), atol=1e-8)
    np.testing.assert_allclose(dbeta, slope(lambda v: (grad * forward(x, gamma, v)[0]).sum(), beta), atol=1e-8)


def test_batch_norm_gradient_lost_its_mean_and_its_part_along_the_output():
    x, grad = RNG.standard_normal((B, F)), RNG.standard_normal((B, F))
    scale = x.std(axis=0)  # ε = 0
    _, x_hat = by_hand.batch_norm(x, x.mean(axis=0), scale, np.ones(F), np.zeros(F))
    dx, _, _ = by_hand.batch_norm_backward(grad, x_hat, scale, np.ones(F))
    np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose((dx * x_hat).sum(axis=0), 0, atol=1e-12)


def test_dropout_is_its_own_backward():
    x, grad, mask = RNG.standard_normal((B, F)), RNG.standard_normal((B, F)), RNG.random((B, F)) < 0.7
    expected = slope(lambda v: (grad * by_hand.dropout(v, mask, 0.3)).sum(), x)
    np.testing.assert_allclose(by_hand.dropout(grad, mask, 0.3), expected, atol=1e-8)


def test_softmax_cross_entropy_gradient():
    logits, target = RNG.standard_normal((B, C)), RNG.integers(C, size=B)
    loss, grad = softmax_cross_entropy(logits, target)
    assert loss == pytest.approx(cross_entropy(torch.tensor(logits), torch.tensor(target)).mean().item(), abs=1e-12)
    np.testing.assert_allclose(grad, slope(lambda v: softmax_cross_entropy(v, target)[0], logits), atol=1e-8)
    np.testing.assert_allclose(grad.sum(axis=1), 0, atol=1e-12)  # beliefs sum to 1, so does the truth


def test_softmax_ignores_a_shift_and_extreme_logits():
    logits, target = RNG.standard_normal((B, C)), RNG.integers(C, size=B)
    assert softmax_cross_entropy(logits + 77, target)[0] == pytest.approx(softmax_cross_entropy(logits, target)[0])
    loss, grad = softmax_cross_entropy(np.array([[1e4, -1e4], [1e4, -1e4]]), np.array([0, 1]))
    assert loss == 1e4  # (0 + 20,000) / 2
    assert np.isfinite(grad).all()


CASES = list(itertools.product(ACTIVATIONS, ["none", "batch"], [0.0, 0.4]))


@pytest.mark.parametrize(("activation", "normalization", "dropout"), CASES)
def test_the_three_tellings_agree(activation, normalization, dropout):
    config = MLPConfig(
        D, (11, F), C, activation=activation, normalization=normalization, dropout=dropout, initialization="xavier"
    )
    torch.manual_seed(0)
    scratch = MLP(config).double()
    for name, p in scratch.named_parameters():
        if "gamma" in name or "bias" in name:
            p.data += 0.3 * torch.randn_like(p)
    hand, official = to_numpy(scratch), to_official(scratch)
    optimizers = SGD(scratch.parameters(), 0.1), torch.optim.SGD(official.parameters(), 0.1)
    for step in range(3):
        x, target = torch.randn(B, D, dtype=torch.float64), torch.randint(C, (B,))
        torch.manual_seed(step)
        masks = [draw_mask(torch.empty(B, units), dropout).numpy() for units in config.hidden] if dropout else []
        logits = hand.forward(x.numpy(), masks)
        loss, grad = softmax_cross_entropy(logits, target.numpy())
        ours = hand.backward(grad)
        for model, optimizer in zip((scratch, official), optimizers, strict=True):
            torch.manual_seed(step)
            optimizer.zero_grad()
            output = model(x)
            np.testing.assert_allclose(output.detach().numpy(), logits, rtol=0, atol=1e-9)
            official_loss = torch.nn.functional.cross_entropy(output, target)
            assert official_loss.item() == pytest.approx(loss, abs=1e-9)
            official_loss.backward()
            theirs = {official_name(name): p.grad for name, p in model.named_parameters()}
            assert {official_name(name) for name in ours} == theirs.keys()
            for name, value in ours.items():
                np.testing.assert_allclose(theirs[official_name(name)], value, rtol=0, atol=1e-9, err_msg=name)
            optimizer.step()
        hand.step(ours, 0.1)
    x = torch.randn(B, D, dtype=torch.float64)
    for model in (scratch.eval(), official.eval()):
        expected = model(x).detach().numpy()
        np.testing.assert_allclose(hand.forward(x.numpy(), training=False), expected, rtol=0, atol=1e-9)


def test_whole_network_against_finite_differences():
    torch.manual_seed(0)
    hand = to_numpy(MLP(MLPConfig(D, (F, 2), C, activation="tanh", normalization="batch", dropout=0.3)).double())
    x, target = RNG.standard_normal((B, D)), RNG.integers(C, size=B)
    masks = [RNG.random((B, units)) < 0.7 for units in (F, 2)]
    gradients = hand.backward(softmax_cross_entropy(hand.forward(x, masks), target)[1])
    for name in gradients:

        def loss(value, name=name):
            changed = NumpyMLP(hand.parameters | {name: value}, activation="tanh", dropout_rate=0.3)
            return softmax_cross_entropy(changed.forward(x, masks), target)[0]

        np.testing.assert_allclose(gradients[name], slope(loss, hand.parameters[name]), atol=1e-7, err_msg=name)


def test_learns_xor_by_hand():
    rng = np.random.default_rng(0)
    parameters = {
        "hidden.0.linear.weight": rng.standard_normal((8, 2)),
        "hidden.0.linear.bias": np.zeros(8),
        "output.weight": rng.standard_normal((2, 8)) * 0.3,
        "output.bias": np.zeros(2),
    }
    model = NumpyMLP(parameters, activation="tanh")
    x, target = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])
    for _ in range(300):
        _, grad = softmax_cross_entropy(model.forward(x), target)
        model.step(model.backward(grad), 0.5)
    assert model.forward(x, training=False).argmax(axis=1).tolist() == target.tolist()

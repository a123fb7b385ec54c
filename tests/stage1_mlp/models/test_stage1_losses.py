"""Losses: equal to torch's in value and gradient, one number per example, finite for extreme logits."""

import pytest
import torch
from torch.nn import functional

from stage1_mlp.models.losses import (
    LOSSES,
    binary_cross_entropy_with_logits,
    cross_entropy,
    hinge,
    log_softmax,
    squared_error,
)

B, C = 7, 5


@pytest.fixture
def logits():
    return torch.randn(B, C, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


TARGET = torch.tensor([0, 4, 2, 2, 1, 3, 0])


def assert_same(ours, theirs, x):
    """The same values, and the same gradients when every example has its own weight."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.arange(1, ours.numel() + 1).reshape(ours.shape)
    slopes = [torch.autograd.grad((loss * weights).sum(), x)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy(logits, smoothing):
    theirs = functional.cross_entropy(logits, TARGET, reduction="none", label_smoothing=smoothing)
    assert_same(cross_entropy(logits, TARGET, smoothing), theirs, logits)


def test_cross_entropy_of_a_uniform_guess_is_log_c():
    assert cross_entropy(torch.zeros(1, 8), torch.tensor([3])).item() == pytest.approx(2.0794415)  # ln 8


def test_log_softmax_ignores_a_shift_and_sums_to_one(logits):
    torch.testing.assert_close(log_softmax(logits + 123.0), log_softmax(logits), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_softmax(logits).exp().sum(dim=1), torch.ones(B, dtype=torch.float64))


def test_binary_cross_entropy(logits):
    target = torch.linspace(0, 1, B * C, dtype=torch.float64).reshape(B, C)
    theirs = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    assert_same(binary_cross_entropy_with_logits(logits, target), theirs, logits)


def test_binary_cross_entropy_at_zero_has_slope_one_half():
    x = torch.zeros(1, requires_grad=True)
    binary_cross_entropy_with_logits(x, torch.zeros(1)).sum().backward()
    assert x.grad is not None and x.grad.item() == 0.5


def test_squared_error(logits):
    target = torch.ones(B, C, dtype=torch.float64)
    theirs = functional.mse_loss(logits, target, reduction="none").sum(dim=1)
    assert_same(squared_error(logits, target), theirs, logits)


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_hinge(logits, margin):
    theirs = functional.multi_margin_loss(logits, TARGET, margin=margin, reduction="none")
    assert_same(hinge(logits, TARGET, margin), theirs, logits)


@pytest.mark.parametrize("name", LOSSES)
def test_one_slot_one_loss_per_example(name, logits):
    losses = LOSSES[name](logits, TARGET)
    assert losses.shape == (B,)
    order = torch.tensor([6, 2, 0, 5, 1, 4, 3])
    torch.testing.assert_close(LOSSES[name](logits[order], TARGET[order]), losses[order])


@pytest.mark.parametrize("name", LOSSES)
def test_descent_on_any_loss_finds_the_right_classes(name):
    logits = torch.zeros(B, C, requires_grad=True)
    for _ in range(50):
        (slope,) = torch.autograd.grad(LOSSES[name](logits, TARGET).sum(), logits)
        logits = (logits - 0.3 * slope).detach().requires_grad_()
    assert logits.argmax(dim=1).tolist() == TARGET.tolist()


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_stay_finite(name):
    x = torch.tensor([[1e4, -1e4], [1e4, -1e4], [-1e4, -1e4]], requires_grad=True)
    losses = LOSSES[name](x, torch.tensor([0, 1, 1]))
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert losses.isfinite().all() and slope.isfinite().all()
    assert losses[1] > 1e3

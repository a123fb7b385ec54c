"""Layers: equal to torch's in value, gradient and running statistics; what evaluation mode promises."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from my_llm.errors import ConfigError
from stage1_mlp.models.layers import INITIALIZERS, BatchNorm1d, Dropout, Linear, draw_mask, dropout

B, D, F = 7, 5, 3


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_linear_equals_torch():
    ours, theirs = Linear(D, F).double(), nn.Linear(D, F).double()
    theirs.load_state_dict(ours.state_dict())  # the same names, the same layout
    x = random(2, B, D).requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
    weights = random(2, B, F, seed=1)
    slopes = [torch.autograd.grad((m(x) * weights).sum(), [x, *m.parameters()]) for m in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


def test_batch_norm_equals_torch_in_training_and_evaluation():
    ours, theirs = BatchNorm1d(F).double(), nn.BatchNorm1d(F).double()
    for m, (gain, shift) in ((ours, (ours.gamma, ours.beta)), (theirs, (theirs.weight, theirs.bias))):
        assert m.training
        gain.data.copy_(random(F, seed=2))
        shift.data.copy_(random(F, seed=3))
    for step in range(5):
        x = (3 * random(B, F, seed=step) + 10).requires_grad_()
        results = [(m(x), *torch.autograd.grad((m(x) ** 3).sum(), [x, *m.parameters()])) for m in (ours, theirs)]
        torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.running_variance, theirs.running_var, rtol=0, atol=1e-12)
    x = random(B, F, seed=9)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=1e-12)


def test_batch_norm_output_has_mean_0_and_variance_1():
    y = BatchNorm1d(F).double()(100 + 20 * random(B, F))
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(F, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(y.var(dim=0, correction=0), torch.ones(F, dtype=torch.float64), rtol=1e-6, atol=0)


def test_batch_norm_in_evaluation_does_not_look_at_the_neighbours():
    norm = BatchNorm1d(F).double()
    norm(random(B, F))
    x = random(B, F, seed=1)
    assert not torch.equal(norm(x)[:2], norm(x[:2]))  # in training it does
    norm.eval()
    torch.testing.assert_close(norm(x)[:2], norm(x[:2]), rtol=0, atol=0)


def test_batch_norm_survives_a_constant_feature():
    x = torch.ones(B, F, requires_grad=True)
    y = BatchNorm1d(F)(x)
    (slope,) = torch.autograd.grad((y**2).sum(), x)
    assert y.abs().max() == 0 and slope.isfinite().all()


def test_batch_norm_refuses_to_train_on_one_example():
    with pytest.raises(ConfigError, match="batch of one example"):
        BatchNorm1d(F)(torch.ones(1, F))
    assert BatchNorm1d(F).eval()(torch.ones(1, F)).shape == (1, F)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_is_torchs_for_the_same_seed(dtype):
    x = torch.randn(B, 1001, dtype=dtype)
    torch.manual_seed(5)
    ours = Dropout(0.3)(x)
    torch.manual_seed(5)
    theirs = nn.Dropout(0.3)(x)
    assert torch.equal(ours == 0, theirs == 0)
    torch.testing.assert_close(ours, theirs)


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(0, 0.9), seed=st.integers(0, 1000))
def test_dropout_keeps_the_expected_value(rate, seed):
    torch.manual_seed(seed)
    x = torch.ones(40_000)
    y = dropout(x, draw_mask(x, rate), rate)
    deviation = (rate / (1 - rate) / 40_000) ** 0.5  # of the mean of 40,000 values that are 0 or 1 / (1 − rate)
    assert abs(y.mean().item() - 1) <= 6 * deviation + 1e-5


def test_dropout_does_nothing_in_evaluation_or_at_rate_0():
    x = random(B, F)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_dropout_refuses_an_impossible_rate(rate):
    with pytest.raises(ConfigError, match="dropout rate"):
        Dropout(rate)


@pytest.mark.parametrize(
    ("name", "variance"), [("xavier", 2 / 300), ("he", 2 / 200), ("small", 1e-4), ("large", 1.0), ("zeros", 0.0)]
)
def test_initial_variance(name, variance):
    torch.manual_seed(0)
    weight = INITIALIZERS[name](100, 200)  # 100 outputs, 200 inputs
    assert weight.shape == (100, 200)
    assert weight.var().item() == pytest.approx(variance, rel=0.05)
    assert abs(weight.mean().item()) <= 4 * (variance / weight.numel()) ** 0.5


def test_he_keeps_the_signal_through_20_relu_layers_and_xavier_loses_it():
    torch.manual_seed(0)
    sizes = {}
    for name in ("he", "xavier", "small", "large"):
        x = torch.randn(64, 256)
        for _ in range(20):
            x = torch.relu(x @ INITIALIZERS[name](256, 256).T)
        sizes[name] = x.square().mean().sqrt().item()
    assert 0.2 < sizes["he"] < 5
    assert sizes["xavier"] < 0.01  # about 2 ** −10 of it
    assert sizes["small"] < 1e-12 and sizes["large"] > 1e12

"""Activations: equal to torch's in value and gradient, finite for any input."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stage1_mlp.models.activations import ACTIVATIONS

OFFICIAL = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
}


def value_and_slope(function, numbers, dtype=torch.float64):
    x = torch.tensor(numbers, dtype=dtype, requires_grad=True)
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), slope


def test_the_table_is_complete():
    assert ACTIVATIONS.keys() == OFFICIAL.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(numbers=st.lists(st.floats(-50, 50), min_size=1, max_size=7))
def test_equals_torch(name, numbers):
    ours, theirs = value_and_slope(ACTIVATIONS[name], numbers), value_and_slope(OFFICIAL[name], numbers)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_at_zero_is_torchs(name):
    ours, theirs = value_and_slope(ACTIVATIONS[name], [0.0, -0.0]), value_and_slope(OFFICIAL[name], [0.0, -0.0])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extreme_inputs_stay_finite(name, dtype):
    value, slope = value_and_slope(ACTIVATIONS[name], [-1e4, -800.0, -90.0, 90.0, 800.0, 1e4], dtype)
    assert value.isfinite().all() and slope.isfinite().all()
    assert value.dtype == dtype


def test_the_textbook_sigmoid_is_not_safe():
    _, slope = value_and_slope(lambda x: 1 / (1 + torch.exp(-x)), [-1e4])
    assert slope.isnan().all()  # the reason for the other form


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_keeps_any_shape(name):
    assert ACTIVATIONS[name](torch.zeros(2, 3, 5)).shape == (2, 3, 5)

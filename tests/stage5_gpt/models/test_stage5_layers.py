"""GPT-2's activation against torch's and finite differences, norms, products with and without bias."""

import pytest
import torch
from torch.nn import functional

from stage4_transformer.models import rms_norm
from stage5_gpt.models import ACTIVATIONS, FeedForward, LayerNorm, PlainRMSNorm, gelu_tanh, relu2


def test_gelu_tanh_is_torchs_in_values_and_gradients():
    x = torch.linspace(-8, 8, 999, dtype=torch.float64, requires_grad=True)
    ours, theirs = gelu_tanh(x), functional.gelu(x, approximate="tanh")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    found = [torch.autograd.grad((said * x.detach().cos()).sum(), x, retain_graph=True)[0] for said in (ours, theirs)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-11)
    assert torch.autograd.gradcheck(gelu_tanh, (x[::100].detach().requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_gelu_tanh_far_out(dtype: torch.dtype):
    x = torch.tensor([-1e4, -30.0, 0.0, 30.0, 1e4], dtype=dtype, requires_grad=True)
    said = gelu_tanh(x)
    assert said.tolist() == [0, 0, 0, *x.tolist()[3:]]
    said.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 0, 0.5, 1, 1]


def test_relu2_by_hand():
    assert relu2(torch.tensor([-3.0, 0.0, 2.0])).tolist() == [0, 0, 4]


def test_the_plain_norm_is_stage_4s_with_weights_of_one():
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(PlainRMSNorm()(x), rms_norm(x, torch.ones(5, dtype=torch.float64)))
    assert not list(PlainRMSNorm().parameters())


def test_layer_norm_without_bias():
    norm = LayerNorm(5, bias=False)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 5)
    torch.testing.assert_close(norm(x), functional.layer_norm(x, (5,), norm.weight))
    assert norm.bias is None and len(list(norm.parameters())) == 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward_is_its_formula(activation: str, bias: bool):
    part, x = FeedForward(5, 7, activation, bias).double(), torch.randn(2, 3, 5, dtype=torch.float64)
    function, wide = ACTIVATIONS[activation]
    zero = torch.zeros((), dtype=torch.float64)
    inner = function(x @ part.inward.weight.T + (part.inward.bias if bias else zero))
    torch.testing.assert_close(part(x), inner @ part.outward.weight.T + (part.outward.bias if bias else zero))
    assert part.inward.weight.shape == (7 * wide, 5) and (part.inward.bias is not None) == bias

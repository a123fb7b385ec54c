"""The parts of a GPT that are not attention: what stage 4 has, in the forms that GPT-2 and later models use.

Three things changed between the Transformer of 2017 and GPT-2, and a fourth since: activations without a corner (GELU),
products begun with small weights so that every layer starts close to doing nothing, and biases that later models left
out because nobody missed them. Explained in docs/en/stage5_gpt.md.
"""

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from my_llm.device import linear
from stage4_transformer.models import EPSILON, RMSNorm, swiglu

STD = 0.02  # of every new matrix (Radford et al. 2018, §4.1)
TANH = math.sqrt(2 / math.pi)

# --- activations ------------------------------------------------------------------------------------------------------


def gelu_tanh(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    """GPT-2's GELU, ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks & Gimpel 2016).

    Since ½ (1 + tanh u) = σ(2u), a sigmoid does it: torch's tanh form takes five times as long on a CPU (docs/log.md).
    """
    slow = x.device.type == "cpu" and x.requires_grad
    return cast(Tensor, GeluTanh.apply(x)) if slow else functional.gelu(x, approximate="tanh")


class GeluTanh(torch.autograd.Function):
    """`gelu_tanh` with its derivative; keeps x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * _share(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """With s = σ(2u): s + x s (1 − s) 2u′, and 2u′ = 2 √(2/π) (1 + 3 · 0.044715 x²)."""
        (x,) = ctx.saved_tensors
        s = _share(x)
        slope = torch.addcmul(torch.full_like(x, 2 * TANH), x, x, value=6 * 0.044715 * TANH)
        return grad_outputs[0] * torch.addcmul(s, slope.mul_(x), s - s * s)


def _share(x: Tensor) -> Tensor:
    """σ(2u), u = √(2/π) (x + 0.044715 x³)."""
    return (x * x).mul_(2 * 0.044715 * TANH).add_(2 * TANH).mul_(x).sigmoid_()


def relu2(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    """max(x, 0)²: as good as GELU, and the cheapest of them (So et al. 2021, Primer)."""
    return x.relu().square()


# Name → function, and how many numbers it reads for one that it says.
ACTIVATIONS = {"gelu": (functional.gelu, 1), "gelu_tanh": (gelu_tanh, 1), "relu2": (relu2, 1), "swiglu": (swiglu, 2)}

# --- products ---------------------------------------------------------------------------------------------------------


class Linear(nn.Linear):
    """W x + b at each position alike, or without b; begun with weights of 0.02."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, bias=bias)
        nn.init.normal_(self.weight, std=STD)
        if bias:
            nn.init.zeros_(self.bias)

    def forward(self, input: Float[Tensor, "*B D"]) -> Float[Tensor, "*B F"]:
        """As nn.Linear, by the fastest way of this machine."""
        return linear(input, self.weight, self.bias)


class FeedForward(nn.Module):
    """W₂ activation(W₁ x + b₁) + b₂ at each position alike, as in stage 4.

    Args:
        model: Width D.
        hidden: Width F between the two products.
        activation: A key of ACTIVATIONS; swiglu has three matrices where the others have two.
        bias: Whether the products have one.
    """

    def __init__(self, model: int, hidden: int, activation: str = "gelu", bias: bool = True):
        super().__init__()
        self.activation, wide = ACTIVATIONS[activation]
        self.inward, self.outward = Linear(model, wide * hidden, bias), Linear(hidden, model, bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """No token sees another one."""
        return self.outward(self.activation(self.inward(x)))


# --- norms ------------------------------------------------------------------------------------------------------------


class LayerNorm(nn.Module):
    """Stage 4's, whose bias may be left out."""

    def __init__(self, model: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(model))
        self.bias = nn.Parameter(torch.zeros(model)) if bias else None

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """(x − mean) / deviation, times a weight, plus a bias."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, EPSILON)


class PlainRMSNorm(nn.Module):
    """x / its root mean square, and nothing to learn: what comes next can scale by itself."""

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """A test holds it against stage 4's `rms_norm`."""
        return functional.rms_norm(x, x.shape[-1:], None, EPSILON)


# Name → a new norm for width D, with a bias where it has one at all.
NORMS = {
    "layer": LayerNorm,
    "rms": lambda model, bias: RMSNorm(model),
    "rms_plain": lambda model, bias: PlainRMSNorm(),
}

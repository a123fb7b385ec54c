"""Activations: the bend between two linear layers.

Without a bend, W₂(W₁x) = (W₂W₁)x: two layers are worth one. Each activation here is one formula on tensors, written so
that neither its value nor its gradient overflows, whatever the input (tests go to ±10⁴).

What they cannot do: decide for you. Which one learns best on a task is measured, not derived.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


def relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """max(0, x). Cheap, and its gradient is 1 for every positive input; a unit that is never positive is dead.

    Nair & Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", ICML 2010.
    """
    return torch.where(x > 0, x, 0.0)


def sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """σ(x) = 1 / (1 + e⁻ˣ), between 0 and 1. Its gradient σ(1 − σ) is at most ¼ and dies at both ends.

    The formula as printed has the right value everywhere, but where e⁻ˣ overflows its gradient is 0 · ∞ = NaN.
    Written as exp(−log(1 + e⁻ˣ)), with the logarithm by `logaddexp`, nothing ever overflows.
    """
    return torch.exp(-torch.logaddexp(torch.zeros_like(x), -x))


def tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """tanh(x) = 2σ(2x) − 1: the sigmoid, stretched to lie between −1 and 1, so that its mean is near 0.

    Why zero-centred helps: LeCun et al., "Efficient BackProp", 1998, section 4.4.
    """
    return 2 * sigmoid(2 * x) - 1


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x Φ(x): the input times the probability that a standard normal variable lies below it.

    Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016, section 2; the exact form, not the tanh approximation.
    """
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def silu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x σ(x), also called swish: smooth like GELU, without the error function.

    Elfwing, Uchibe & Doya, "Sigmoid-Weighted Linear Units", 2017, section 2.
    """
    return x * sigmoid(x)


ACTIVATIONS: dict[str, Activation] = {"relu": relu, "sigmoid": sigmoid, "tanh": tanh, "gelu": gelu, "silu": silu}

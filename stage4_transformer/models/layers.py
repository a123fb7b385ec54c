"""What stands around attention: a norm, a residual, and a small network that every token goes through by itself.

Attention only takes means of values. The thinking about what was found is done here, at each position alike: position-
wise feed-forward networks (Vaswani et al. 2017, §3.3). With the paper's F = 4 D they hold 8 D² weights, two thirds of
an encoder layer; attention has 4 D². Residuals (He et al. 2016) leave a way for the gradient past every sublayer, and
norms (Ba et al. 2016) keep what flows along at the same size. Where the norm stands decides whether a deep stack trains
at all: `ORDERS`.

Explained in docs/en/stage4_transformer.md.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from my_llm.device import linear
from my_llm.errors import ConfigError
from my_llm.noise import dropout_mask

EPSILON = 1e-5

# --- products ---------------------------------------------------------------------------------------------------------


class Linear(nn.Linear):
    """W x + b at each position alike, begun with weights that keep a signal's size (Glorot & Bengio 2010)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Float[Tensor, "*B D"]) -> Float[Tensor, "*B F"]:
        """As nn.Linear, by the fastest way of this machine."""
        return linear(input, self.weight, self.bias)


# --- norms ------------------------------------------------------------------------------------------------------------


def layer_norm(x: Float[Tensor, "*B D"], weight: Float[Tensor, "D"], bias: Float[Tensor, "D"]) -> Float[Tensor, "*B D"]:
    """(x − mean) / deviation of a token's own D numbers, times a weight, plus a bias (Ba et al. 2016, equation 4)."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred * (centred.square().mean(dim=-1, keepdim=True) + EPSILON).rsqrt() * weight + bias


def rms_norm(x: Float[Tensor, "*B D"], weight: Float[Tensor, "D"]) -> Float[Tensor, "*B D"]:
    """x / its root mean square, times a weight: the size is set, the mean is left (Zhang & Sennrich 2019)."""
    return x * (x.square().mean(dim=-1, keepdim=True) + EPSILON).rsqrt() * weight


class LayerNorm(nn.Module):
    """`layer_norm` with its weights; torch's kernel walks through memory once where the formula does seven times."""

    def __init__(self, model: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(model)), nn.Parameter(torch.zeros(model))

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """A test holds it against the formula."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, EPSILON)


class RMSNorm(nn.Module):
    """`rms_norm` with its weight."""

    def __init__(self, model: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(model))

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """A test holds it against the formula."""
        return functional.rms_norm(x, self.weight.shape, self.weight, EPSILON)


NORMS: dict[str, type[LayerNorm] | type[RMSNorm]] = {"layer": LayerNorm, "rms": RMSNorm}

# --- residuals --------------------------------------------------------------------------------------------------------


class Dropout(nn.Module):
    """Stage 1's dropout with cheaper random numbers: my_llm/noise.py.

    Raises:
        ConfigError: a rate that is not in [0, 1).
    """

    def __init__(self, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise ConfigError("dropout rate out of range", got=rate, valid="0 <= rate < 1")
        self.rate = rate

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """x, of which a training step leaves a share out."""
        return x * dropout_mask(x, self.rate) if self.training and self.rate else x


class PostNorm(nn.Module):
    """norm(x + sublayer(x)): the paper's order. Every gradient passes through every norm on its way down.

    Args:
        norm: One of NORMS, with its width.
        dropout: Share of what the sublayer says that a training step leaves out.
    """

    def __init__(self, norm: nn.Module, dropout: float):
        super().__init__()
        self.norm, self.dropout = norm, Dropout(dropout)

    def read(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What the sublayer reads."""
        return x

    def add(self, x: Float[Tensor, "B T D"], said: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What goes on, once the sublayer has said something."""
        return self.norm(x + self.dropout(said))


class PreNorm(PostNorm):
    """x + sublayer(norm(x)): nothing stands in the way of x; the stack needs a norm at its end (Xiong et al. 2020)."""

    def read(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.norm(x)

    def add(self, x: Float[Tensor, "B T D"], said: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return x + self.dropout(said)


ORDERS: dict[str, type[PostNorm]] = {"pre": PreNorm, "post": PostNorm}

# --- the feed-forward network -----------------------------------------------------------------------------------------


def swiglu(x: Float[Tensor, "*B F2"]) -> Float[Tensor, "*B F"]:
    """swish(a) · b of the two halves: one half says what, the other how much of it (Shazeer 2020)."""
    a, b = x.chunk(2, dim=-1)
    return functional.silu(a) * b


# Name → function, and how many numbers it reads for one that it says.
ACTIVATIONS = {"relu": (torch.relu, 1), "gelu": (functional.gelu, 1), "swiglu": (swiglu, 2)}


class FeedForward(nn.Module):
    """W₂ activation(W₁ x + b₁) + b₂ at each position alike (Vaswani et al. 2017, equation 2).

    Args:
        model: Width D.
        hidden: Width F between the two products.
        activation: A key of ACTIVATIONS; swiglu has three matrices where the others have two.
    """

    def __init__(self, model: int, hidden: int, activation: str = "relu"):
        super().__init__()
        self.activation, wide = ACTIVATIONS[activation]
        self.inward, self.outward = Linear(model, wide * hidden), Linear(hidden, model)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """No token sees another one."""
        return self.outward(self.activation(self.inward(x)))

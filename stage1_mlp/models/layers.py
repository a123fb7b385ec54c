"""Layers: linear, batch normalisation, dropout, and how to choose the first weights.

The formula of each layer is one pure function; the module beside it owns the parameters and the running statistics.
Weights lie as torch lays them, (outputs, inputs), so that they can be copied to and from the official layers.

What they cannot do: read an input whose size changes from example to example. That is what stage 2 is for.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from my_llm.errors import ConfigError

Initializer = Callable[[int, int], Tensor]


# --- the first weights -------------------------------------------------------------------------------------------
# Let D inputs of variance s feed a unit whose weights have variance v and mean 0: its output has variance D · v · s.
# Through many layers the signal therefore grows or dies like (D v)^depth, unless D v is about 1. The gradient, on its
# way back, sees the outputs F in place of the inputs D.


def xavier(outputs: int, inputs: int) -> Float[Tensor, "outputs inputs"]:
    """Variance 2 / (D + F), between the 1/D that the signal wants and the 1/F that the gradient wants.

    Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010,
    equation 12. Right for activations that look like the identity around 0, such as tanh.
    """
    return torch.randn(outputs, inputs) * (2 / (inputs + outputs)) ** 0.5


def he(outputs: int, inputs: int) -> Float[Tensor, "outputs inputs"]:
    """Variance 2 / D: ReLU silences half of its inputs, so the other half must carry twice the variance.

    He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 10.
    """
    return torch.randn(outputs, inputs) * (2 / inputs) ** 0.5


def small(outputs: int, inputs: int) -> Float[Tensor, "outputs inputs"]:
    """Standard deviation 0.01 whatever the size: in deep networks the signal dies."""
    return torch.randn(outputs, inputs) * 0.01


def large(outputs: int, inputs: int) -> Float[Tensor, "outputs inputs"]:
    """Standard deviation 1 whatever the size: the signal grows √D-fold in each layer, and sigmoids saturate."""
    return torch.randn(outputs, inputs)


def zeros(outputs: int, inputs: int) -> Float[Tensor, "outputs inputs"]:
    """All alike: every unit of a layer computes the same and receives the same gradient for ever."""
    return torch.zeros(outputs, inputs)


INITIALIZERS: dict[str, Initializer] = {"xavier": xavier, "he": he, "small": small, "large": large, "zeros": zeros}


# --- linear ------------------------------------------------------------------------------------------------------


def linear(
    x: Float[Tensor, "*batch D"], weight: Float[Tensor, "F D"], bias: Float[Tensor, "F"]
) -> Float[Tensor, "*batch F"]:
    """x Wᵀ + b."""
    return x @ weight.T + bias


class Linear(nn.Module):
    """F weighted sums of the same D inputs. The bias starts at 0: it has no symmetry to break."""

    def __init__(self, inputs: int, outputs: int, initializer: Initializer = he):
        super().__init__()
        self.weight = nn.Parameter(initializer(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch F"]:
        return linear(x, self.weight, self.bias)


# --- batch normalisation -----------------------------------------------------------------------------------------


def batch_norm(
    x: Float[Tensor, "B F"],
    mean: Float[Tensor, "F"],
    variance: Float[Tensor, "F"],
    gamma: Float[Tensor, "F"],
    beta: Float[Tensor, "F"],
    epsilon: float,
) -> Float[Tensor, "B F"]:
    """γ (x − μ) / √(σ² + ε) + β. Ioffe & Szegedy, "Batch Normalization", ICML 2015, algorithm 1."""
    return gamma * (x - mean) / torch.sqrt(variance + epsilon) + beta


class BatchNorm1d(nn.Module):
    """Gives every feature mean 0 and variance 1 over the batch, then lets γ and β choose another scale and centre.

    In training μ and σ² are those of the batch, and gradients flow through them; the running averages only watch. In
    evaluation the running averages take their place, so that an answer no longer depends on who else is in the batch.

    Args:
        features: Number of features F.
        momentum: Weight of the newest batch in the running averages.
        epsilon: Keeps a constant feature from dividing by 0.

    Raises:
        ConfigError: On a training batch of one example, whose variance is always 0.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, features: int, momentum: float = 0.1, epsilon: float = 1e-5):
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.gamma = nn.Parameter(torch.ones(features))
        self.beta = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_variance", torch.ones(features))

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        if not self.training:
            return batch_norm(x, self.running_mean, self.running_variance, self.gamma, self.beta, self.epsilon)
        if len(x) < 2:
            raise ConfigError(
                "batch normalisation cannot train on a batch of one example",
                got=len(x),
                valid="2 or more",
                next_step="choose a larger batch_size, or normalization none",
            )
        mean, variance = x.mean(dim=0), x.var(dim=0, correction=0)  # (F,)
        self.watch(mean.detach(), variance.detach() * len(x) / (len(x) - 1))
        return batch_norm(x, mean, variance, self.gamma, self.beta, self.epsilon)

    @torch.no_grad()
    def watch(self, mean: Float[Tensor, "F"], variance: Float[Tensor, "F"]) -> None:
        """Moves the running averages; `variance` is the unbiased one, an estimate for the whole population."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_variance.lerp_(variance, self.momentum)


# --- dropout -----------------------------------------------------------------------------------------------------


def draw_mask(like: Float[Tensor, "*shape"], rate: float) -> Bool[Tensor, "*shape"]:
    """True with probability 1 − rate. After the same `torch.manual_seed`, the mask that nn.Dropout draws."""
    return torch.empty_like(like, dtype=torch.bool).bernoulli_(1 - rate)


def dropout(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """x · mask / (1 − rate): what is left is scaled up, so the expected value stays x ("inverted" dropout)."""
    return x * mask / (1 - rate)


class Dropout(nn.Module):
    """Silences each unit with probability `rate` in training, so that no unit can rely on a particular other one.

    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014. In
    evaluation it does nothing: the scaling has already been done in training.

    Raises:
        ConfigError: If `rate` is not in [0, 1).
    """

    def __init__(self, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise ConfigError("dropout rate out of range", got=rate, valid="0 <= rate < 1")
        self.rate = rate

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return dropout(x, draw_mask(x, self.rate), self.rate) if self.training and self.rate else x

"""The multi-layer perceptron by hand: NumPy, forward and backward, with every derivative derived here.

Back-propagation is the chain rule, read from the loss to the input. Each piece of the network answers one question:
given ∂L/∂(my output), what is ∂L/∂(my input), and what is ∂L/∂(my parameters)? Answer it for each piece, walk through
the pieces in reverse, done. Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", 1986.

Every piece is a pair: `piece` computes the output, `piece_backward` takes G = ∂L/∂output and returns ∂L/∂input and
∂L/∂parameters. A gradient has the shape of the thing it belongs to. B examples, D inputs, F hidden units, C classes.

What it cannot do: differentiate a piece that nobody has differentiated. `autograd.py` can.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

# --- linear ------------------------------------------------------------------------------------------------------
#
# (1) Z = X Wᵀ + b, that is z_if = Σ_d x_id w_fd + b_f. So ∂z_if/∂w_fd = x_id, ∂z_if/∂b_f = 1, ∂z_if/∂x_id = w_fd, and
# the chain rule sums over every path from the variable to the loss:
# (2) ∂L/∂w_fd = Σ_i g_if x_id    → Gᵀ X
# (3) ∂L/∂b_f  = Σ_i g_if         → sum of G over the batch
# (4) ∂L/∂x_id = Σ_f g_if w_fd    → G W


def linear(x: Float[ndarray, "B D"], weight: Float[ndarray, "F D"], bias: Float[ndarray, "F"]) -> Float[ndarray, "B F"]:
    """Equation 1."""
    return x @ weight.T + bias


def linear_backward(
    grad: Float[ndarray, "B F"], x: Float[ndarray, "B D"], weight: Float[ndarray, "F D"]
) -> tuple[Float[ndarray, "B D"], Float[ndarray, "F D"], Float[ndarray, "F"]]:
    """∂L/∂x (4), ∂L/∂W (2), ∂L/∂b (3)."""
    return grad @ weight, grad.T @ x, grad.sum(axis=0)


# --- activations -------------------------------------------------------------------------------------------------
#
# (5) A = φ(Z) element by element, so ∂L/∂Z = G ⊙ φ′(Z). What is left is school calculus:
# (6) relu′ = 1 where z > 0, else 0 (at 0 itself there is no derivative; everyone takes 0)
# (7) σ = (1 + e⁻ᶻ)⁻¹, so σ′ = e⁻ᶻ (1 + e⁻ᶻ)⁻² = σ (1 − σ)
# (8) tanh′ = 1 − tanh², from tanh = sinh/cosh and cosh² − sinh² = 1
# (9) gelu = z Φ(z), so gelu′ = Φ(z) + z Φ′(z), with Φ′ the bell curve e^(−z²/2) / √(2π)
# (10) silu = z σ, so silu′ = σ + z σ (1 − σ)

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(z: ndarray) -> ndarray:
    """1 / (1 + e⁻ᶻ) without overflow: exp(−log(1 + e⁻ᶻ))."""
    return np.exp(-np.logaddexp(0, -z))


def normal_cdf(z: ndarray) -> ndarray:
    """Φ(z), the share of a bell curve to the left of z."""
    return 0.5 * (1 + erf(z / math.sqrt(2)))


def normal_density(z: ndarray) -> ndarray:
    """Φ′(z)."""
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


class Activation(NamedTuple):
    """φ and its derivative φ′."""

    value: Callable[[ndarray], ndarray]
    slope: Callable[[ndarray], ndarray]


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "sigmoid": Activation(sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "gelu": Activation(lambda z: z * normal_cdf(z), lambda z: normal_cdf(z) + z * normal_density(z)),
    "silu": Activation(lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z)))),
}

# --- batch normalisation -----------------------------------------------------------------------------------------
#
# For one feature, over the batch i = 1 … B:
# (11) μ = 1/B Σ_i x_i          (12) s = √(1/B Σ_i (x_i − μ)² + ε)
# (13) x̂_i = (x_i − μ) / s      (14) y_i = γ x̂_i + β
# The two parameters are those of a line: (15) ∂L/∂γ = Σ_i g_i x̂_i, (16) ∂L/∂β = Σ_i g_i, and ∂L/∂x̂_i = γ g_i.
#
# An input x_j reaches x̂_i on three roads: directly if i = j, through μ, and through s.
#     ∂μ/∂x_j = 1/B.
#     ∂s²/∂x_j = 2/B (x_j − μ): the part that passes through μ is −2/B Σ_i (x_i − μ) ∂μ/∂x_j = 0.
#     ∂s/∂x_j = 1/(2s) ∂s²/∂x_j = (x_j − μ) / (B s) = x̂_j / B.
#     ∂x̂_i/∂x_j = (δ_ij − 1/B) / s − (x_i − μ) / s² · x̂_j / B = (δ_ij − 1/B − x̂_i x̂_j / B) / s.
# (17) ∂L/∂x_j = Σ_i γ g_i ∂x̂_i/∂x_j = γ/s · (g_j − mean_i(g_i) − x̂_j mean_i(g_i x̂_i)).
#
# Read it: the gradient loses its mean and its part along x̂, because moving or stretching the whole batch would change
# nothing in the output. In evaluation μ and s are constants, and only γ/s · g_j is left.


def batch_norm(
    x: Float[ndarray, "B F"],
    mean: Float[ndarray, "F"],
    scale: Float[ndarray, "F"],
    gamma: Float[ndarray, "F"],
    beta: Float[ndarray, "F"],
) -> tuple[Float[ndarray, "B F"], Float[ndarray, "B F"]]:
    """y (14) and x̂ (13), which the backward pass needs."""
    x_hat = (x - mean) / scale
    return gamma * x_hat + beta, x_hat


def batch_norm_backward(
    grad: Float[ndarray, "B F"],
    x_hat: Float[ndarray, "B F"],
    scale: Float[ndarray, "F"],
    gamma: Float[ndarray, "F"],
) -> tuple[Float[ndarray, "B F"], Float[ndarray, "F"], Float[ndarray, "F"]]:
    """∂L/∂x (17), ∂L/∂γ (15), ∂L/∂β (16)."""
    dx = gamma / scale * (grad - grad.mean(axis=0) - x_hat * (grad * x_hat).mean(axis=0))
    return dx, (grad * x_hat).sum(axis=0), grad.sum(axis=0)


# --- dropout -----------------------------------------------------------------------------------------------------
#
# (18) y = m ⊙ x / (1 − p): a product with a constant, so ∂L/∂x = m ⊙ G / (1 − p) is the same function again.


def dropout(x: Float[ndarray, "B F"], mask: Bool[ndarray, "B F"], rate: float) -> Float[ndarray, "B F"]:
    """Equation 18, and its own backward."""
    return x * mask / (1 - rate)


# --- softmax and cross-entropy -----------------------------------------------------------------------------------
#
# (19) L = 1/B Σ_i (log Σ_k exp(x_ik) − x_it), with t the right class of example i.
# The derivative of log Σ_k exp(x_k) by x_c is exp(x_c) / Σ_k exp(x_k) = p_c, the softmax. Hence
# (20) ∂L/∂x_ic = (p_ic − [c = t]) / B: what the network believes, minus the truth.


def softmax_cross_entropy(logits: Float[ndarray, "B C"], target: Int[ndarray, "B"]) -> tuple[float, ndarray]:
    """The mean loss (19) and its gradient (20). The maximum is taken out first: nothing can overflow."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (B, C)
    rows = np.arange(len(target))
    grad = np.exp(log_p)
    grad[rows, target] -= 1
    return float(-log_p[rows, target].mean()), grad / len(target)


# --- the network -------------------------------------------------------------------------------------------------


class NumpyMLP:
    """The network of `mlp.py`, with the same names: `hidden.0.linear.weight`, …, `output.bias`.

    Args:
        parameters: Arrays by name. They also say how many layers there are and whether they are normalised.
        activation: A key of ACTIVATIONS.
        dropout_rate: p of equation 18.

    Explained in docs/en/stage1_mlp.md.
    """

    epsilon = 1e-5
    momentum = 0.1

    def __init__(self, parameters: dict[str, ndarray], *, activation: str = "relu", dropout_rate: float = 0.0):
        self.parameters = parameters
        self.activation = ACTIVATIONS[activation]
        self.dropout_rate = dropout_rate
        self.depth = sum(name.endswith("linear.weight") for name in parameters)
        self.normalized = "hidden.0.norm.gamma" in parameters

    def forward(
        self, x: Float[ndarray, "B D"], masks: Sequence[Bool[ndarray, "B _"]] = (), training: bool = True
    ) -> Float[ndarray, "B C"]:
        """Logits. Every intermediate value that `backward` needs is kept in `self.memory`.

        Args:
            x: The inputs.
            masks: One dropout mask for each hidden layer, or none.
            training: Normalise by this batch (and update the running averages) or by the running averages.
        """
        weights, self.memory = self.parameters, []
        for i in range(self.depth):
            layer, seen = f"hidden.{i}", {"x": x}
            z = linear(x, weights[f"{layer}.linear.weight"], weights[f"{layer}.linear.bias"])
            if self.normalized:
                mean, seen["scale"] = self.statistics(z, f"{layer}.norm", training)
                gamma, beta = weights[f"{layer}.norm.gamma"], weights[f"{layer}.norm.beta"]
                z, seen["x_hat"] = batch_norm(z, mean, seen["scale"], gamma, beta)
            seen["z"] = z
            x = self.activation.value(z)
            if masks:
                seen["mask"] = masks[i]
                x = dropout(x, masks[i], self.dropout_rate)
            self.memory.append(seen)
        self.last_hidden = x
        return linear(x, weights["output.weight"], weights["output.bias"])

    def statistics(self, z: Float[ndarray, "B F"], norm: str, training: bool) -> tuple[ndarray, ndarray]:
        """μ (11) and s (12), of this batch or of the batches seen so far."""
        mean, variance = self.parameters[f"{norm}.running_mean"], self.parameters[f"{norm}.running_variance"]
        if training:
            old_mean, old_variance, mean, variance = mean, variance, z.mean(axis=0), z.var(axis=0)
            unbiased = variance * len(z) / (len(z) - 1)
            self.parameters[f"{norm}.running_mean"] = old_mean + self.momentum * (mean - old_mean)
            self.parameters[f"{norm}.running_variance"] = old_variance + self.momentum * (unbiased - old_variance)
        return mean, np.sqrt(variance + self.epsilon)

    def backward(self, grad: Float[ndarray, "B C"]) -> dict[str, ndarray]:
        """From ∂L/∂logits to ∂L/∂(every parameter), after a forward pass in training mode: the pieces in reverse."""
        weights, gradients = self.parameters, {}

        def through_linear(grad: ndarray, layer: str, x: ndarray) -> ndarray:
            grad, gradients[f"{layer}.weight"], gradients[f"{layer}.bias"] = linear_backward(
                grad, x, weights[f"{layer}.weight"]
            )
            return grad

        grad = through_linear(grad, "output", self.last_hidden)
        for i, seen in reversed(list(enumerate(self.memory))):
            if "mask" in seen:
                grad = dropout(grad, seen["mask"], self.dropout_rate)
            grad = grad * self.activation.slope(seen["z"])  # (5)
            if self.normalized:
                norm = f"hidden.{i}.norm"
                grad, gradients[f"{norm}.gamma"], gradients[f"{norm}.beta"] = batch_norm_backward(
                    grad, seen["x_hat"], seen["scale"], weights[f"{norm}.gamma"]
                )
            grad = through_linear(grad, f"hidden.{i}.linear", seen["x"])
        return gradients

    def step(self, gradients: dict[str, ndarray], lr: float) -> None:
        """Gradient descent: (21) θ ← θ − η ∂L/∂θ."""
        for name, gradient in gradients.items():
            self.parameters[name] = self.parameters[name] - lr * gradient

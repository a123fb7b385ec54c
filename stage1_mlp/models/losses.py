"""Losses: how wrong is this answer, as one number per example.

Every function returns the loss of each example, (B,), and leaves the sum to the caller: sums and counts can be added
up over batches and machines, means cannot. All are computed from logits, the network's raw outputs, because the safe
formula needs them: log(softmax(x)) in two steps gives log(0), in one step it never does.

What a loss cannot do: be the score. Nobody wants a low cross-entropy for its own sake; it is the smooth stand-in for
the accuracy, which has no gradient.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

ClassLoss = Callable[[Tensor, Tensor], Tensor]


def log_softmax(logits: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
    """log p_c = x_c − log Σ_k exp(x_k), with the maximum taken out first so that no exponential overflows.

    Softmax does not change when a constant is added to all logits, so taking out the maximum is free: the largest
    exponential is then e⁰ = 1, and the sum lies between 1 and C.
    """
    shifted = logits - logits.amax(dim=1, keepdim=True).detach()
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def one_hot(target: Int[Tensor, "B"], logits: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
    """1 in the column of the right class, 0 elsewhere, in the shape and type of `logits`."""
    return torch.zeros_like(logits).scatter(1, target[:, None], 1.0)


def cross_entropy(
    logits: Float[Tensor, "B C"], target: Int[Tensor, "B"], label_smoothing: float = 0.0
) -> Float[Tensor, "B"]:
    """−log p of the right class, in nats: the surprise at the truth. Its gradient is p − y.

    With label smoothing ε the truth is blurred to y = (1 − ε) · one-hot + ε / C, which keeps the logits from growing
    for ever (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, section 7).
    """
    log_p = log_softmax(logits)
    surprise = -log_p.gather(1, target[:, None])[:, 0]  # (B,)
    return (1 - label_smoothing) * surprise - label_smoothing * log_p.mean(dim=1)


def binary_cross_entropy_with_logits(
    logits: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """−t log σ(x) − (1 − t) log(1 − σ(x)), which simplifies to log(1 + eˣ) − t x. Targets t lie between 0 and 1."""
    return torch.logaddexp(torch.zeros_like(logits), logits) - target * logits


def squared_error(outputs: Float[Tensor, "B D"], target: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
    """Σ_d (y_d − t_d)²: the loss of regression, the cross-entropy of a Gaussian with fixed width."""
    return ((outputs - target) ** 2).sum(dim=1)


def hinge(logits: Float[Tensor, "B C"], target: Int[Tensor, "B"], margin: float = 1.0) -> Float[Tensor, "B"]:
    """Σ_{c ≠ t} max(0, margin − x_t + x_c) / C: the right class must win by a margin; after that, nothing more to gain.

    Weston & Watkins, "Support Vector Machines for Multi-Class Pattern Recognition", ESANN 1999. (Crammer & Singer,
    JMLR 2001, keep only the worst rival in place of the sum.)
    """
    shortfall = (margin - logits.gather(1, target[:, None]) + logits).clamp(min=0)  # (B, C)
    return (shortfall * (1 - one_hot(target, logits))).sum(dim=1) / logits.shape[1]


def one_vs_rest(logits: Float[Tensor, "B C"], target: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
    """Classification as C yes-or-no questions: binary cross-entropy of every class, summed."""
    return binary_cross_entropy_with_logits(logits, one_hot(target, logits)).sum(dim=1)


def squared_error_to_one_hot(logits: Float[Tensor, "B C"], target: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
    """Classification as regression to the one-hot vector: punishes even answers that are more than right."""
    return squared_error(logits, one_hot(target, logits))


# One slot: (logits (B, C), class numbers (B,)) -> (B,).
LOSSES: dict[str, ClassLoss] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": one_vs_rest,
    "squared_error": squared_error_to_one_hot,
    "hinge": hinge,
}

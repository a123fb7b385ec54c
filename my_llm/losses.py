"""Cross-entropy of a large vocabulary, without ever holding the logits of all tokens.

A batch of 3,000 tokens and a vocabulary of 4,000 has 12 million logits, and the obvious form walks through memory with
four matrices of that size: logits, log-probabilities, and the derivatives of both. But the gradient of a cross-entropy
is known as soon as the logits are: softmax minus target (stage 1). So a few hundred tokens at a time go all the way,
forward and back, while they are in the processor's cache, and only the gradients of features and weights are kept.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from my_llm.device import filled

ROWS, LOGITS = 256, 2**18  # tokens at a time, or as many as have so many logits


def linear_cross_entropy(
    features: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, "V"],
    targets: Int[Tensor, "N"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """The sum of cross_entropy(linear(features, weight, bias), targets), in nats.

    Args:
        features: What the head reads, one row a token.
        weight: Of the head.
        bias: Of the head.
        targets: The right token of each row; leave out the rows that have none.
        label_smoothing: Probability that the target leaves to all V tokens alike (Szegedy et al. 2016).

    Inside autocast the products are bf16; sums and logarithms stay fp32.
    """
    return LinearCrossEntropy.apply(features, weight, bias, targets, label_smoothing)


class LinearCrossEntropy(torch.autograd.Function):
    """Forward does the work of backward as well; backward only hands it out."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, label_smoothing: float
    ) -> Tensor:
        """With p = softmax(logits) and q the smoothed target: loss −Σ q log p, gradient by the logits p − q."""
        device = features.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
        right, others = 1 - label_smoothing, label_smoothing / len(weight)
        table, total = weight.to(low), bias.new_zeros(())
        gradients = [torch.zeros_like(tensor) for tensor in (features, weight, bias)]
        many = max(ROWS, LOGITS // len(weight))
        for first in range(0, len(features), many):
            rows = slice(first, first + many)
            x, target = filled(features[rows].to(low)), targets[rows, None]
            logits = (x @ table.t())[: len(target)].to(bias.dtype) + bias  # (R, V)
            log_sum = logits.logsumexp(dim=1, keepdim=True)
            total += (log_sum - right * logits.gather(1, target)).sum() - others * logits.sum()
            d = logits.sub_(log_sum).exp_().sub_(others)  # p − q but for the right token
            d.scatter_add_(1, target, d.new_full(target.shape, -right))
            gradients[2] += d.sum(dim=0)
            d = filled(d.to(low))
            gradients[0][rows] = (d @ table)[: len(target)]
            gradients[1] += d.t() @ x
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Whatever the loss is multiplied with."""
        return (*(gradient * grad_outputs[0] for gradient in ctx.saved_tensors), None, None)

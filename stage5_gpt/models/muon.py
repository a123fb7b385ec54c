"""Muon: a step for a whole matrix, not for each of its numbers.

Adam divides every number of a gradient by its own usual size. But a weight matrix acts as a whole: it stretches some
directions and shrinks others, and the gradient of one is dominated by a few directions, so that the rest hardly learns.
Muon (Jordan et al. 2024) takes the momentum M = U S Vᵀ and steps along U Vᵀ: all directions alike. It is the steepest
descent if the length of a step is measured by how far it can move an output (Bernstein & Newhouse 2024).

The singular values are not computed, only brought close to 1, by a polynomial of odd powers that pulls them there; it
needs products alone, and bf16 is enough for them. Embeddings, the head and vectors are no maps from a space to another:
they keep AdamW (stage 1). What it costs: some products more at each step, which matter only where batches are small.

Explained in docs/en/stage5_gpt.md.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x³, x⁵: five rounds bring all of (0.01, 1) into (0.7, 1.2)
ROUNDS = 5


def orthogonalized(matrices: Float[Tensor, "N M K"], rounds: int = ROUNDS) -> Float[Tensor, "N M K"]:
    """U Vᵀ of every matrix U S Vᵀ, roughly: singular values between 0.7 and 1.2 (Newton–Schulz, quintic)."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(rounds):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for the groups that have `orthogonal` set, AdamW for the others.

    In a group with `rows` set, tables of which a batch meets few rows, a row learns when it is met, and its averages
    and its clock stand still in between: that costs the rows that were met, not the whole table.

    Args:
        groups: Dicts with "params", and whatever differs from the defaults.
        lr: Of AdamW; a group of matrices has its own, about 20 times as large.
        betas: Of AdamW.
        momentum: Of Muon, in Nesterov's form.
        weight_decay: By how much lr times this shrinks weights at each step.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
    ):
        defaults = {"lr": lr, "betas": betas, "momentum": momentum, "weight_decay": weight_decay, "eps": eps}
        super().__init__(groups, {**defaults, "orthogonal": False, "rows": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            learning = [weight for weight in group["params"] if weight.grad is not None]
            for weight in learning if group["weight_decay"] else ():
                weight.mul_(1 - group["lr"] * group["weight_decay"])
            if group["orthogonal"]:
                self._whole(group, learning)
            else:
                self._apart(group, learning)

    def _whole(self, group: dict[str, Any], weights: list[Any]) -> None:
        """Momentum, its directions made equal, and a step of lr · √max(1, rows / columns)."""
        alike: defaultdict[torch.Size, list[tuple[Any, Tensor]]] = defaultdict(list)
        for weight in weights:
            momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
            momentum.lerp_(weight.grad, 1 - group["momentum"])
            alike[weight.shape].append((weight, torch.lerp(weight.grad, momentum, group["momentum"])))
        for (rows, columns), pairs in alike.items():  # matrices of one shape in one product
            steps = orthogonalized(torch.stack([ahead for _, ahead in pairs]))
            for (weight, _), step in zip(pairs, steps, strict=True):
                weight.sub_(step, alpha=group["lr"] * max(1, rows / columns) ** 0.5)

    def _apart(self, group: dict[str, Any], weights: list[Any]) -> None:
        """AdamW (Loshchilov & Hutter 2019), as in stage 1; in a group of `rows`, each row by itself."""
        for weight in weights:
            state = self.state[weight]
            if not state:
                clock = weight.new_zeros(len(weight), 1) if group["rows"] else weight.new_zeros(())
                state.update(steps=clock, mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
            parts = weight, weight.grad, state["steps"], state["mean"], state["square"]
            if not group["rows"]:
                _adamw(group, *parts)
                continue
            met = weight.grad.any(dim=1).nonzero()[:, 0]
            rows = [part[met] for part in parts]
            _adamw(group, *rows)
            for part, row in zip(parts, rows, strict=True):
                part[met] = row


def _adamw(
    group: dict[str, Any], weight: Tensor, gradient: Tensor, steps: Tensor, mean: Tensor, square: Tensor
) -> None:
    """One step, in place."""
    slow, slower = group["betas"]
    steps += 1
    mean.lerp_(gradient, 1 - slow)
    square.lerp_(gradient.square(), 1 - slower)
    size = (square / (1 - slower**steps)).sqrt_().add_(group["eps"])
    weight.sub_(mean / (1 - slow**steps) / size, alpha=group["lr"])

"""Optimisers: what to do with a gradient.

Each algorithm is one pure rule, in the letters of its paper: θ parameters, g gradient, t the step counted from 1. A
rule takes the old parameters and the old memory and returns the new ones. One class around all of them does the
bookkeeping that torch expects, so that `zero_grad`, `state_dict` and `param_groups[0]["lr"]` work as with torch's own.

What they cannot do: make a bad gradient good. They differ in speed and in how much the choice of `lr` matters.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

Array = Float[Tensor, "*shape"]
Memory = Sequence[Tensor]
Rule = Callable[..., tuple[Tensor, Memory]]
BLOCK = 65_536  # numbers updated at a time


def sgd(theta: Array, g: Array, memory: Memory, t: int, *, lr: float) -> tuple[Array, Memory]:
    """θ ← θ − η g. Robbins & Monro, "A Stochastic Approximation Method", 1951."""
    return theta - lr * g, memory


def momentum(theta: Array, g: Array, memory: Memory, t: int, *, lr: float, mu: float) -> tuple[Array, Memory]:
    """A ball that keeps rolling: v ← μ v + g; θ ← θ − η v. Polyak, 1964."""
    (v,) = memory
    v = mu * v + g
    return theta - lr * v, (v,)


def nesterov(theta: Array, g: Array, memory: Memory, t: int, *, lr: float, mu: float) -> tuple[Array, Memory]:
    """Momentum that looks one step ahead: θ ← θ − η (g + μ v).

    Nesterov, 1983, in the form of Sutskever et al., "On the importance of initialization and momentum in deep
    learning", ICML 2013, section 2, rewritten so that θ is the point where the gradient was taken.
    """
    (v,) = memory
    v = mu * v + g
    return theta - lr * (g + mu * v), (v,)


def adagrad(theta: Array, g: Array, memory: Memory, t: int, *, lr: float, epsilon: float) -> tuple[Array, Memory]:
    """A step size for each parameter, which shrinks as its squared gradients add up: rare features keep large steps.

    Duchi, Hazan & Singer, JMLR 12, 2011, figure 1 with a diagonal matrix.
    """
    (total,) = memory
    total = total + g**2
    return theta - lr * g / (total.sqrt() + epsilon), (total,)


def rmsprop(
    theta: Array, g: Array, memory: Memory, t: int, *, lr: float, alpha: float, epsilon: float
) -> tuple[Array, Memory]:
    """Adagrad that forgets: a moving average in place of the sum. Tieleman & Hinton, Coursera lecture 6.5, 2012."""
    (v,) = memory
    v = alpha * v + (1 - alpha) * g**2
    return theta - lr * g / (v.sqrt() + epsilon), (v,)


def adam(
    theta: Array, g: Array, memory: Memory, t: int, *, lr: float, beta1: float, beta2: float, epsilon: float
) -> tuple[Array, Memory]:
    """Momentum divided by RMS, both freed from their start at 0. Kingma & Ba, ICLR 2015, algorithm 1."""
    m, v = memory
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return theta - lr * m_hat / (v_hat.sqrt() + epsilon), (m, v)


class RuleOptimizer(torch.optim.Optimizer):
    """Applies one rule to every parameter. A subclass names its rule and how many tensors the rule remembers.

    Args:
        params: Parameters, or torch's list of groups, each of which may override a setting.
        settings: The rule's keyword arguments, `lr` among them.
        weight_decay: λ of the L2 penalty ½ λ θ², whose gradient λ θ is added to g.
    """

    rule: ClassVar[Rule]
    memories: ClassVar[int] = 1

    def __init__(self, params: Iterable[Any], settings: dict[str, float], weight_decay: float):
        self.setting_names = tuple(settings)
        super().__init__(params, {**settings, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.grad is not None:
                    self.update(theta, theta.grad, group)
        return loss

    def update(self, theta: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        """Applies the rule to one parameter in place, block by block.

        Every number is treated alone, so the blocks change no result. But what the rule computes in between then
        stays in the processor's cache, which on large tables is three times as fast.
        """
        state = self.state[theta]
        if not state:
            state.update(t=0, memory=tuple(torch.zeros_like(theta) for _ in range(self.memories)))
        state["t"] += 1
        settings = {name: group[name] for name in self.setting_names}
        rows = max(1, BLOCK * len(torch.atleast_1d(theta)) // max(1, theta.numel()))
        whole = (theta, g, *state["memory"])
        for block in zip(*(torch.atleast_1d(tensor).split(rows) for tensor in whole), strict=True):
            theta, g, *memory = block
            g = self.decay(theta, g, group)
            new_theta, new_memory = self.rule(theta, g, memory, state["t"], **settings)
            for old, new in zip((theta, *memory), (new_theta, *new_memory), strict=True):
                old.copy_(new)

    def decay(self, theta: Tensor, g: Tensor, group: dict[str, Any]) -> Tensor:
        """The gradient of loss + penalty."""
        return g + group["weight_decay"] * theta if group["weight_decay"] else g


class SGD(RuleOptimizer):
    """Plain stochastic gradient descent."""

    rule, memories = staticmethod(sgd), 0

    def __init__(self, params: Iterable[Any], lr: float = 0.1, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr}, weight_decay)


class Momentum(RuleOptimizer):
    """SGD with Polyak's momentum; μ = 0.9 averages over about ten steps, and makes each ten times as long."""

    rule = staticmethod(momentum)

    def __init__(self, params: Iterable[Any], lr: float = 0.01, mu: float = 0.9, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "mu": mu}, weight_decay)


class Nesterov(Momentum):
    """SGD with Nesterov's momentum."""

    rule = staticmethod(nesterov)


class Adagrad(RuleOptimizer):
    """Adagrad."""

    rule = staticmethod(adagrad)

    def __init__(self, params: Iterable[Any], lr: float = 0.01, epsilon: float = 1e-10, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "epsilon": epsilon}, weight_decay)


class RMSProp(RuleOptimizer):
    """RMSProp."""

    rule = staticmethod(rmsprop)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.001,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "alpha": alpha, "epsilon": epsilon}, weight_decay)


class Adam(RuleOptimizer):
    """Adam. Its L2 penalty passes through the division by √v, which weakens it exactly where gradients are large."""

    rule, memories = staticmethod(adam), 2

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "beta1": betas[0], "beta2": betas[1], "epsilon": epsilon}, weight_decay)


class AdamW(Adam):
    """Adam that shrinks the weights beside the rule: θ ← (1 − η λ) θ, the same for every weight.

    Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, lr, betas, epsilon, weight_decay)

    def decay(self, theta: Tensor, g: Tensor, group: dict[str, Any]) -> Tensor:
        """Shrinks θ and leaves the gradient as it is."""
        theta.mul_(1 - group["lr"] * group["weight_decay"])
        return g


# One slot: (params, lr=…, weight_decay=…) -> optimiser.
OPTIMIZERS: dict[str, Callable[..., RuleOptimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
}

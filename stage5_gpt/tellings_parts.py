"""A block, the whole model, the loss and a step of learning, told by all; and two ways of the same: cache, and Muon.

Each case takes a problem of its own, as the tellings of a step change the weights. Explained in docs/en/stage5_gpt.md.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from stage5_gpt.models import Muon, by_hand
from stage5_gpt.tellings import Answer, Problem, Telling, Tellings, Told, numpy_weights, voices

FIRST = "blocks.0."
RATE, DECAY, BETAS = 1e-3, 0.1, (0.9, 0.95)

# --- what is told -----------------------------------------------------------------------------------------------------


def block(p: Problem) -> Tellings:
    """The first block, forward and back."""
    weights, heads = by_hand.part(numpy_weights(p.model), FIRST.removesuffix(".")), p.model.config.heads

    def hand() -> Answer:
        output, kept = by_hand.block(p.x.detach().numpy(), weights, heads, "gelu_tanh")
        dx, gradients = by_hand.block_backward(p.grad_x.numpy(), kept)
        return Answer({"": output}, {"x": dx, **gradients})

    def tell(told: Told) -> Answer:
        output, weights = told.block(p.x), told.weights(FIRST)
        dx, *found = torch.autograd.grad(output, (p.x, *weights.values()), p.grad_x)
        own = told.renamed(zip(weights, found, strict=True))
        return Answer({"": output}, {"x": dx, **{name.removeprefix(FIRST): g for name, g in own.items()}})

    return {"by hand": hand, **{name: lambda told=told: tell(told) for name, told in voices(p).items()}}


def model(p: Problem) -> Tellings:
    """From tokens to logits, and back to every weight."""
    weights, heads = numpy_weights(p.model), p.model.config.heads

    def hand() -> Answer:
        logits, kept = by_hand.gpt(p.tokens.numpy(), weights, heads)
        return Answer({"": logits}, by_hand.gpt_backward(p.grad_logits.numpy(), kept))

    def tell(told: Told) -> Answer:
        logits = told.logits(p.tokens)
        return Answer({"": logits}, told.gradients(logits, p.grad_logits))

    return {"by hand": hand, **{name: lambda told=told: tell(told) for name, told in voices(p).items()}}


def loss(p: Problem) -> Tellings:
    """From tokens to the mean loss of what is asked for, and back."""
    weights, heads = numpy_weights(p.model), p.model.config.heads

    def tell(told: Told) -> Answer:
        value = told.loss(p.tokens, p.targets)
        return Answer({"": value}, told.gradients(value))

    def hand() -> Answer:
        value, gradients = loss_by_hand(p, weights, heads)
        return Answer({"": np.array(value)}, gradients)

    return {"by hand": hand, **{name: lambda told=told: tell(told) for name, told in voices(p).items()}}


def loss_by_hand(p: Problem, weights: by_hand.Weights, heads: int) -> tuple[float, by_hand.Weights]:
    """The loss and ∂L/∂weights."""
    logits, kept = by_hand.gpt(p.tokens.numpy(), weights, heads)
    value, dlogits = by_hand.cross_entropy(logits, p.targets.numpy())
    return value, by_hand.gpt_backward(dlogits, kept)


def adamw(p: Problem) -> Tellings:
    """A step of learning: the weights after it, and the gradients that led to them. Each telling learns by itself."""
    weights, heads = numpy_weights(p.model), p.model.config.heads
    optimizer = by_hand.AdamW(weights, RATE, BETAS, weight_decay=DECAY)

    def hand() -> Answer:
        _, gradients = loss_by_hand(p, weights, heads)
        optimizer.step(gradients)
        return Answer(dict(weights), gradients)

    return {"by hand": hand, **{name: learner(p, name, told) for name, told in voices(p).items()}}


def learner(p: Problem, name: str, told: Told) -> Telling:
    """Steps of our AdamW from scratch, and of torch's for the others; vectors never shrink."""
    weights = told.weights()
    matrices, vectors = ([weight for weight in weights.values() if (weight.ndim > 1) == big] for big in (True, False))
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": DECAY}]
    groups += [{"params": vectors, "weight_decay": 0.0}]
    optimizer = (Muon if name == "from scratch" else torch.optim.AdamW)(groups, lr=RATE, betas=BETAS)

    def tell() -> Answer:
        optimizer.zero_grad()
        told.loss(p.tokens, p.targets).backward()
        optimizer.step()
        gradients = told.renamed((name, weight.grad) for name, weight in weights.items() if weight.grad is not None)
        return Answer(told.renamed(weights.items()), gradients)

    return tell


CASES: dict[str, Callable[[Problem], Tellings]] = {"block": block, "model": model, "loss": loss, "AdamW step": adamw}

# --- two ways of the same ---------------------------------------------------------------------------------------------


def writing(p: Problem) -> Tellings:
    """Logits after each token, as one writes: with a cache each is read once, without one all are read anew."""

    @torch.inference_mode()
    def tell(cached: bool) -> Answer:
        cache, said = p.model.new_cache(len(p.tokens)), []
        for step in range(p.tokens.shape[1]):
            if cached:
                logits, cache = p.model(p.tokens[:, step : step + 1], cache)
            else:
                logits, _ = p.model(p.tokens[:, : step + 1])
            said.append(logits[:, -1])
        return Answer({"": torch.stack(said, dim=1)}, {})

    return {"cached": lambda: tell(True), "uncached": lambda: tell(False)}


def muon(p: Problem) -> Tellings:
    """A step of Muon for the matrices of the blocks, ours and torch's; both compute in bf16 inside."""
    start = [weight.detach().float() for weight in p.model.blocks.parameters() if weight.ndim > 1]
    gradients = [torch.randn_like(weight) for weight in start]
    ours, theirs = ([nn.Parameter(weight.clone()) for weight in start] for _ in range(2))
    optimizers = {
        "ours": (ours, Muon([{"params": ours, "orthogonal": True, "lr": 0.02}])),
        "torch's": (theirs, torch.optim.Muon(theirs, lr=0.02, weight_decay=0.0)),
    }

    def tell(weights: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> Answer:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        return Answer({str(i): weight.detach().clone() for i, weight in enumerate(weights)}, {})

    return {name: lambda own=own: tell(*own) for name, own in optimizers.items()}

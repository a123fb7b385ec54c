"""One form for all tellings of a GPT, so that they can be subtracted and timed: our two, torch's, and transformers'.

All begin with copies of the same weights and read the same texts. A `Telling` is called without arguments and returns
an `Answer` that goes by our names, whatever the others call a weight and however they turn it. The telling of a step
learns: each call takes one more. compare.py subtracts answers, costs.py measures what they take. What is told stands in
tellings_parts.py. Explained in docs/en/stage5_gpt.md.
"""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stage4_transformer.models import causal_mask
from stage5_gpt.models import GPT, NOT_ASKED, GPTConfig, by_hand
from stage5_gpt.models.huggingface import names, to_transformers, turned
from stage5_gpt.models.official import our_name, to_official


class Answer(NamedTuple):
    """What came out, and the gradients of inputs and weights: arrays by hand, tensors otherwise, by name."""

    values: dict[str, Any]
    gradients: dict[str, Any]


Telling = Callable[[], Answer]
Tellings = dict[str, Telling]


class Size(NamedTuple):
    """How large the problem is; the default has lengths without a common divisor, so that no axis is mistaken."""

    batch: int = 5
    steps: int = 7
    context: int = 11
    model: int = 12
    heads: int = 3
    hidden: int = 17
    layers: int = 2
    vocabulary: int = 19


SMALL = Size()


class Problem(NamedTuple):
    """The GPT whose weights all get, what all read, and ∂L/∂output."""

    model: GPT
    tokens: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]  # some are not asked for
    x: Float[Tensor, "B T D"]  # for a block alone
    grad_x: Float[Tensor, "B T D"]
    grad_logits: Float[Tensor, "B T V"]


def problem(size: Size = SMALL, seed: int = 0, dtype: torch.dtype = torch.float64) -> Problem:
    """GPT-2's form, with weights of which none is 0 or 1, as a new bias or norm would be."""
    torch.manual_seed(seed)
    shape = {name: getattr(size, name) for name in ("context", "model", "heads", "hidden", "layers")}
    model = GPT(GPTConfig(vocab_size=size.vocabulary, activation="gelu_tanh", **shape)).to(dtype)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    tokens, targets = torch.randint(size.vocabulary, (2, size.batch, size.steps))
    targets[0, ::2] = NOT_ASKED
    x, grad_x = torch.randn(2, size.batch, size.steps, size.model, dtype=dtype)
    grad_logits = torch.randn(size.batch, size.steps, size.vocabulary, dtype=dtype)
    return Problem(model, tokens, targets, x.requires_grad_(), grad_x, grad_logits)


# --- in tensors -------------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """A telling in tensors: its weights, and what can be asked of it."""

    module: nn.Module
    block: Callable[[Tensor], Tensor]  # the first one
    logits: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]  # of tokens and targets; a mean
    ours: Callable[[str, Tensor], tuple[str, Tensor]]  # a weight or its gradient as we have it

    def weights(self, prefix: str = "") -> dict[str, Tensor]:
        """Those whose names, as we have them, begin so; by their names."""
        every = self.module.named_parameters()
        return {name: weight for name, weight in every if self.ours(name, weight)[0].startswith(prefix)}

    def gradients(self, output: Tensor, grad: Tensor | None = None, prefix: str = "") -> dict[str, Tensor]:
        """Autograd's, by our names."""
        weights = self.weights(prefix)
        return self.renamed(zip(weights, torch.autograd.grad(output, list(weights.values()), grad), strict=True))

    def renamed(self, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """By our names, and in our shapes."""
        return dict(self.ours(name, tensor) for name, tensor in tensors)


def mean_loss(logits: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy of torch, of the targets that are asked for."""
    return lambda tokens, targets: cross_entropy(
        logits(tokens).flatten(0, 1), targets.flatten(), ignore_index=NOT_ASKED
    )


def scratch(p: Problem) -> Told:
    """models/gpt.py, which never holds all logits when it computes its loss."""
    model, count = p.model, int((p.targets != NOT_ASKED).sum())
    return Told(
        model,
        lambda x: model.blocks[0](x, model.positions),
        lambda tokens: model(tokens)[0],
        lambda tokens, targets: model(tokens, targets=targets)[0] / count,
        lambda name, tensor: (name, tensor),
    )


def official(p: Problem) -> Told:
    """models/official.py."""
    model = to_official(p.model)
    future = ~causal_mask(p.tokens.shape[1], p.tokens.shape[1])
    block = model.stack.layers[0]
    return Told(
        model,
        lambda x: block(x, future, is_causal=True),
        model,
        mean_loss(model),
        lambda name, tensor: (our_name(name), tensor),
    )


def transformers(p: Problem) -> Told:
    """GPT2LMHeadModel, whose matrices are turned."""
    model = to_transformers(p.model)
    ours = {theirs: name for name, theirs in names(p.model.config.layers).items()}

    def logits(tokens: Tensor) -> Tensor:
        return model(tokens, use_cache=False).logits

    block: Any = model.transformer.h[0]
    return Told(model, block, logits, mean_loss(logits), lambda name, t: (ours[name], turned(ours[name], t)))


def voices(p: Problem) -> dict[str, Told]:
    """All tellings in tensors; official is the last one."""
    others = {"transformers": transformers} if find_spec("transformers") else {}
    return {name: tell(p) for name, tell in {"from scratch": scratch, **others, "official": official}.items()}


def numpy_weights(model: nn.Module) -> by_hand.Weights:
    """A copy of the weights, by their names."""
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


# --- what compare.py prints -------------------------------------------------------------------------------------------


def differences(ours: Answer, theirs: Answer) -> list[float]:
    """Largest |difference| of the values, and of the gradients."""
    return [farthest(one, other) for one, other in zip(ours, theirs, strict=True)]


def farthest(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The largest |difference|, over all names, which are the same, and the same shapes; NaN if there is one."""
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    arrays = [[as_array(side[name]) for side in (ours, theirs)] for name in ours]
    assert all(one.shape == other.shape for one, other in arrays)
    return float(np.max([np.abs(one - other).max() for one, other in arrays]))


def as_array(value: Tensor | ndarray) -> ndarray:
    """As NumPy has it."""
    return value.detach().numpy() if isinstance(value, Tensor) else value

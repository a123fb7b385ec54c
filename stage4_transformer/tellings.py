"""One form for all tellings, by hand, from scratch and official, so that they can be subtracted and timed.

A `Telling` is called without arguments, goes forward and back once, and returns an `Answer`, whose gradients go by our
names. compare.py subtracts answers, costs.py measures what they take. What is told stands in tellings_parts.py and
tellings_translator.py. Explained in docs/en/stage4_transformer.md.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor, nn

from stage4_transformer.models import by_hand, causal_mask, padding_mask
from stage4_transformer.models.official import our_name


class Answer(NamedTuple):
    """What came out, and the gradients of inputs and weights by name: arrays by hand, tensors otherwise."""

    output: Any
    gradients: dict[str, Any]


Telling = Callable[[], Answer]
Tellings = dict[str, Telling]
Module = TypeVar("Module", bound=nn.Module)


class Size(NamedTuple):
    """How large the problem is; the default has lengths without a common divisor, so that no axis is mistaken."""

    batch: int = 5
    target: int = 7
    source: int = 11
    model: int = 12
    heads: int = 3
    hidden: int = 17
    layers: int = 2
    vocabulary: int = 19


SMALL = Size()


class Problem(NamedTuple):
    """What all tellings read: tokens that ask, tokens that are asked and how many of them are real, and ∂L/∂output."""

    size: Size
    x: Float[Tensor, "B T D"]
    memory: Float[Tensor, "B S D"]
    lengths: Int[Tensor, "B"]
    grad: Float[Tensor, "B T D"]  # of what becomes of x
    grad_memory: Float[Tensor, "B S D"]  # of what becomes of the memory

    @property
    def causal(self) -> Bool[Tensor, "T T"]:
        """No token of the target looks ahead."""
        return causal_mask(self.size.target, self.size.target)

    @property
    def padding(self) -> Bool[Tensor, "B 1 1 S"]:
        """Nobody looks behind the end of a source."""
        return padding_mask(self.lengths, self.size.source)


def problem(size: Size = SMALL, seed: int = 0, dtype: torch.dtype = torch.float64) -> Problem:
    """Random tokens; the first source is as long as can be, the others are padded."""
    torch.manual_seed(seed)
    lengths = torch.randint(1, size.source + 1, (size.batch,))
    lengths[0] = size.source
    shapes = [(size.batch, steps, size.model) for steps in 2 * (size.target, size.source)]
    x, memory, *grads = (torch.randn(shape, dtype=dtype) for shape in shapes)
    return Problem(size, x.requires_grad_(), memory.requires_grad_(), lengths, *grads)


# --- one form for all -------------------------------------------------------------------------------------------------


def shaken(module: Module, like: Tensor) -> Module:
    """In the precision of `like`, and with weights of which none is 0 or 1, as a new bias or norm would be."""
    module = module.to(like.dtype)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module


def numpy_weights(module: nn.Module) -> by_hand.Weights:
    """A copy of the weights, by their names."""
    return {name: value.detach().numpy().copy() for name, value in module.named_parameters()}


def with_torch(call: Callable[[], Tensor], leaves: dict[str, Tensor], grad: Tensor) -> Telling:
    """Forward, and autograd's backward."""

    def tell() -> Answer:
        output = call()
        return Answer(output, dict(zip(leaves, torch.autograd.grad(output, tuple(leaves.values()), grad), strict=True)))

    return tell


def in_numpy(
    forward: Callable[[], tuple[ndarray, Any]], backward: Callable[..., Any], names: Iterable[str], grad: Tensor
) -> Telling:
    """Forward, and the backward that goes with it; it returns the gradients of the named inputs, then the weights'."""

    def tell() -> Answer:
        output, kept = forward()
        *of_inputs, of_weights = backward(grad.numpy(), kept)
        return Answer(output, {**dict(zip(names, of_inputs, strict=False)), **of_weights})

    return tell


def weights_of(module: nn.Module, name: Callable[[str], str] = our_name) -> dict[str, Tensor]:
    """The parameters of either telling by our names."""
    return {name(theirs): value for theirs, value in module.named_parameters()}


def copied(ours: nn.Module, theirs: Module, name: Callable[[str], str] = our_name) -> Module:
    """torch's module with our weights."""
    source, theirs = dict(ours.named_parameters()), theirs.to(next(ours.parameters()))
    for key, value in weights_of(theirs, name).items():
        value.data.copy_(source[key].detach())
    return theirs


def three(
    inputs: dict[str, Tensor],
    grad: Tensor,
    hand: tuple[Callable[..., Any], Callable[..., Any]],
    ours: tuple[nn.Module, Callable[[], Tensor]],
    theirs: tuple[nn.Module, Callable[[], Tensor]],
    name: Callable[[str], str] = our_name,
) -> Tellings:
    """Forward and backward in NumPy; our module and torch's, each with what is asked of it."""
    arrays, weights = [x.detach().numpy() for x in inputs.values()], numpy_weights(ours[0])
    return {
        "by hand": in_numpy(lambda: hand[0](*arrays, weights), hand[1], inputs, grad),
        "from scratch": with_torch(ours[1], inputs | weights_of(ours[0]), grad),
        "official": with_torch(theirs[1], inputs | weights_of(theirs[0], name), grad),
    }


# --- what compare.py prints -------------------------------------------------------------------------------------------


def differences(ours: Answer, theirs: Answer) -> list[float]:
    """Largest |difference| of the outputs, and of the gradients."""
    return [farthest({"": ours.output}, {"": theirs.output}), farthest(ours.gradients, theirs.gradients)]


def farthest(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The largest |difference|, over all names, which are the same, and the same shapes; NaN if there is one."""
    assert ours.keys() == theirs.keys()
    arrays = [[as_array(side[name]) for side in (ours, theirs)] for name in ours]
    assert all(one.shape == other.shape for one, other in arrays)
    return float(np.max([np.abs(one - other).max() for one, other in arrays]))


def as_array(value: Tensor | ndarray) -> ndarray:
    """As NumPy has it."""
    return value.detach().numpy() if isinstance(value, Tensor) else value

"""Fair comparisons: models of different kinds with about equally many numbers to learn."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

import torch
from torch import nn

from my_llm.evaluation import parameters_of

__all__ = ["parameters_of", "size_of", "width_for"]


def size_of(make: Callable[[], nn.Module]) -> int:
    """How many numbers such a model would learn; on torch's device "meta" it has shapes, and nothing is drawn."""
    with torch.device("meta"):
        return parameters_of(make())


def width_for(parameters: int, make: Callable[[int], nn.Module], widths: Sequence[int]) -> int:
    """The width at which the model has nearest to so many parameters.

    Args:
        make: Width → a new model; the wider, the larger.
        widths: To choose from, rising.
    """

    def size(width: int) -> int:
        return size_of(lambda: make(width))

    above = bisect_left(widths, parameters, key=size)
    return min(widths[max(above - 1, 0) : above + 1], key=lambda width: abs(size(width) - parameters))

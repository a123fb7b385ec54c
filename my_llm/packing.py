"""A model that will learn no more: its matrices in the form and the order in which they will be read, made once.

Under autocast every product converts its matrix to bf16, and on a CPU oneDNN then sorts it into the blocks that the
processor multiplies. That is nothing beside a product of many rows. But a model that writes multiplies one row at a
time: then the time of a product is that of reading its matrix, and to prepare it takes as long again. In fp32, too, a
large matrix is read faster in that order: at 0.8 of the memory's speed on an AMD EPYC, where torch's product has 0.6.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from my_llm.device import filled, sorts_matrices

ROWS = 16  # that a matrix is sorted for: good for one, too, where what is sorted for one is read more slowly
LARGE = 2**19  # numbers in a matrix that a core's own cache does not hold: in fp32 smaller ones are left as they are


def settle(model: nn.Module, precision: Literal["fp32", "bf16"]) -> None:
    """Prepare a model for use in this precision; its matrices must not change any more, and in bf16 are rounded."""
    rounded, device = precision == "bf16", next(model.parameters()).device
    if rounded:
        for weight in model.parameters():
            weight.data = weight.data.to(torch.bfloat16 if weight.ndim > 1 else weight.dtype)
    if sorts_matrices(precision, device):
        for part in model.modules():
            if isinstance(part, nn.Linear) and (rounded or part.weight.numel() >= LARGE):
                pack(part)


def pack(part: nn.Linear) -> None:
    """From now on it multiplies with a copy of its matrix, sorted for a few rows at a time."""
    matrix, dtype = torch.ops.mkldnn._reorder_linear_weight(part.weight.detach(), ROWS), part.weight.dtype
    product = torch.ops.mkldnn._linear_pointwise
    bias = None if part.bias is None else part.bias.detach().to(dtype)

    def forward(input: Tensor) -> Tensor:
        x = input.to(dtype)
        if x.numel() == x.shape[-1]:
            return product(x, matrix, bias, "none", [], "")
        rows = x.flatten(0, -2)
        said = product(filled(rows), matrix, bias, "none", [], "")
        return said[: len(rows)].unflatten(0, x.shape[:-1])

    part.forward = forward

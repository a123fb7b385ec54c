"""A model that will learn no more: its matrices in the form and the order in which they will be read, made once.

Under autocast every product converts its matrix to bf16, and on a CPU oneDNN then sorts it into the blocks that the
processor multiplies. That is nothing beside a product of many rows. But a model that writes multiplies one row at a
time: then the time of a product is that of reading its matrix, and to prepare it takes as long again.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from my_llm.device import filled


def settle(model: nn.Module, precision: Literal["fp32", "bf16"]) -> None:
    """Prepare a model for use in this precision; in bf16 its matrices are rounded, and it cannot learn any more."""
    if precision == "fp32":
        return
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16 if weight.ndim > 1 else weight.dtype)
    device = next(model.parameters()).device
    if device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        for part in model.modules():
            if isinstance(part, nn.Linear):
                pack(part)


def pack(part: nn.Linear) -> None:
    """From now on it multiplies with a copy of its matrix, sorted for rows that come one by one."""
    matrix = torch.ops.mkldnn._reorder_linear_weight(part.weight.detach(), 1)
    bias = None if part.bias is None else part.bias.detach().bfloat16()

    def forward(input: Tensor) -> Tensor:
        x = input.to(torch.bfloat16)
        if x.numel() == x.shape[-1]:
            return torch.ops.mkldnn._linear_pointwise(x, matrix, bias, "none", [], "")
        rows = x.flatten(0, -2)
        said = torch.ops.mkldnn._linear_pointwise(filled(rows), matrix, bias, "none", [], "")
        return said[: len(rows)].unflatten(0, x.shape[:-1])

    part.forward = forward

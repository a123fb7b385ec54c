"""The same multi-layer perceptron out of torch.nn, and the way weights travel between the three tellings.

By hand, from scratch and official use the same names for the same numbers, but for the few that torch calls otherwise;
`RENAMED` is the whole difference. So "proved equal" means: copy the weights, compare values, gradients and losses.
"""

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from stage1_mlp.models.by_hand import NumpyMLP
from stage1_mlp.models.mlp import MLP, MLPConfig

OFFICIAL_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
RENAMED = {"norm.gamma": "norm.weight", "norm.beta": "norm.bias", "norm.running_variance": "norm.running_var"}


class OfficialMLP(nn.Module):
    """`mlp.MLP`, written with nn.Linear, nn.BatchNorm1d, nn.Dropout and torch's activations."""

    def __init__(self, config: MLPConfig):
        super().__init__()
        sizes = (config.inputs, *config.hidden)
        self.hidden = nn.Sequential(*(official_block(config, inputs, outputs) for inputs, outputs in pairwise(sizes)))
        self.output = nn.Linear(sizes[-1], config.outputs)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        return self.output(self.hidden(x))


def official_block(config: MLPConfig, inputs: int, outputs: int) -> nn.Sequential:
    """One hidden layer, with the names of `mlp.Block`."""
    return nn.Sequential(
        OrderedDict(
            linear=nn.Linear(inputs, outputs),
            norm=nn.BatchNorm1d(outputs) if config.normalization == "batch" else nn.Identity(),
            activation=OFFICIAL_ACTIVATIONS[config.activation](),
            dropout=nn.Dropout(config.dropout),
        )
    )


def official_name(name: str) -> str:
    """`hidden.0.norm.gamma` → `hidden.0.norm.weight`."""
    for ours, theirs in RENAMED.items():
        name = name.replace(ours, theirs)
    return name


def to_numpy(model: MLP) -> NumpyMLP:
    """The network by hand with a copy of the weights (and running statistics) of the one from scratch."""
    arrays = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    return NumpyMLP(arrays, activation=model.config.activation, dropout_rate=model.config.dropout)


def to_official(model: MLP) -> OfficialMLP:
    """The official network with a copy of the weights of the one from scratch, in the same mode and precision."""
    official = OfficialMLP(model.config).to(model.output.weight.dtype)
    copy_weights(model.state_dict(), official)
    return official.train(model.training)


@torch.no_grad()
def copy_weights(source: dict[str, Tensor] | dict[str, ndarray], target: MLP | OfficialMLP) -> None:
    """Writes numbers, by our names, into a model from scratch or an official one.

    Args:
        source: `MLP.state_dict()` or `NumpyMLP.parameters`.
        target: The model to fill; shapes must match.
    """
    state = target.state_dict()
    for name, value in source.items():
        state[official_name(name) if isinstance(target, OfficialMLP) else name].copy_(
            torch.as_tensor(np.asarray(value))
        )


def gradients(model: MLP | OfficialMLP) -> dict[str, Tensor]:
    """∂L/∂parameter after `backward()`, by torch's names; `official_name` translates ours."""
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}

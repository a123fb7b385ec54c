"""The multi-layer perceptron: linear, bend, linear, bend, …, linear.

One hidden layer of enough units approximates any continuous function (Cybenko, 1989; Hornik, 1991); that such weights
exist does not say that training finds them. Rumelhart, Hinton & Williams, "Learning representations by
back-propagating errors", Nature 323, 1986, showed that it often does.

What it cannot do: take inputs of different lengths, or know that input 3 comes before input 4. Shuffle the columns
and train again: the score is the same. That is why stage 2 exists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from my_llm.errors import ConfigError, choose
from stage1_mlp.models.activations import ACTIVATIONS, Activation
from stage1_mlp.models.layers import INITIALIZERS, BatchNorm1d, Dropout, Initializer, Linear

Normalization = Callable[[int], nn.Module]  # from the number of features

NORMALIZATIONS: dict[str, Normalization] = {"none": lambda features: nn.Identity(), "batch": BatchNorm1d}


@dataclass(frozen=True)
class MLPConfig:
    """The shape of a network: `inputs` → `hidden[0]` → … → `hidden[-1]` → `outputs`.

    With `hidden=()` it is a linear classifier. The names are keys of ACTIVATIONS, NORMALIZATIONS and INITIALIZERS.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str = "relu"
    normalization: str = "none"
    dropout: float = 0.0
    initialization: str = "he"

    def __post_init__(self) -> None:
        if min(self.inputs, *self.hidden, self.outputs) < 1:
            raise ConfigError("every layer needs a unit", got=(self.inputs, *self.hidden, self.outputs), valid=">= 1")


class Block(nn.Module):
    """One hidden layer: linear, normalisation, activation, dropout, in this order."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        activation: Activation,
        normalization: Normalization,
        dropout: float,
        initializer: Initializer,
    ):
        super().__init__()
        self.linear = Linear(inputs, outputs, initializer)
        self.norm = normalization(outputs)
        self.activation = activation
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        return self.dropout(self.activation(self.norm(self.linear(x))))


class MLP(nn.Module):
    """Maps (B, inputs) to (B, outputs) logits. `hidden` is the list of blocks, `output` the last linear layer.

    Raises:
        ConfigError: If the activation, normalisation or initialisation has no row in its table.

    Explained in docs/en/stage1_mlp.md.
    """

    def __init__(self, config: MLPConfig):
        super().__init__()
        self.config = config
        initializer = choose(config.initialization, INITIALIZERS, "initialization")
        sizes = (config.inputs, *config.hidden)
        self.hidden = nn.ModuleList(
            Block(
                inputs,
                outputs,
                activation=choose(config.activation, ACTIVATIONS, "activation"),
                normalization=choose(config.normalization, NORMALIZATIONS, "normalization"),
                dropout=config.dropout,
                initializer=initializer,
            )
            for inputs, outputs in pairwise(sizes)
        )
        self.output = Linear(sizes[-1], config.outputs, initializer)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        for block in self.hidden:
            x = block(x)
        return self.output(x)

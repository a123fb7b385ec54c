"""The text classifier: an MLP whose first layer reads a bag of n-grams.

The input of that layer has V ≈ 30,000 numbers, of which a text sets a hundred. x Wᵀ would multiply by zeros all day;
adding up the rows of Wᵀ that belong to the n-grams of the text gives the same sum. That is called an embedding bag, and
the rows are embeddings: after training, n-grams that speak for the same class have similar rows.

    hidden = activation(Σ weight_n · table[n] + bias),  logits = the rest of the MLP

Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017 (fastText): the same sum, without a bend.
Iyyer et al., "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", ACL 2015: the same sum,
with hidden layers above it.

What it cannot do: read in order, or understand a word that no training text held. Stage 2 reads in order.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from my_llm.errors import ConfigError, choose
from stage1_mlp.models.activations import ACTIVATIONS
from stage1_mlp.models.layers import INITIALIZERS, Dropout
from stage1_mlp.models.mlp import MLP, MLPConfig


@dataclass(frozen=True)
class TextClassifierConfig:
    """The shape of a classifier: `features` → `hidden[0]` → … → `hidden[-1]` → `classes`."""

    features: int
    classes: int
    hidden: tuple[int, ...] = (16,)
    activation: str = "relu"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not self.hidden or min(self.features, self.classes, *self.hidden) < 1:
            raise ConfigError(
                "every layer needs a unit, and the embedding is the first hidden layer",
                got=(self.features, *self.hidden, self.classes),
                valid="at least one hidden layer, all sizes >= 1",
            )


def weighted_bag(
    table: Float[Tensor, "V F"], ids: Int[Tensor, "N"], offsets: Int[Tensor, "B"], weights: Float[Tensor, "N"]
) -> Float[Tensor, "B F"]:
    """Σ weights[n] · table[ids[n]] over the bag of each text; an empty bag sums to 0.

    This is X · table, where X (B, V) holds the weights and otherwise zeros.
    """
    return embedding_bag(ids, table, offsets, mode="sum", per_sample_weights=weights.to(table.dtype))


class TextClassifier(nn.Module):
    """Maps B bags of n-grams (see stage1_mlp/data.py) to logits.

    Raises:
        ConfigError: If the activation has no row in its table or the dropout rate is not in [0, 1).

    Explained in docs/en/stage1_mlp.md.
    """

    def __init__(self, config: TextClassifierConfig):
        super().__init__()
        self.config = config
        width, *deeper = config.hidden
        # The table is the first weight matrix, transposed. "he" would ask for a deviation of √(2 / V), which is 0.01
        # at V = 20,000: "small" is that, and does not depend on how many n-grams happened to be kept.
        self.table = nn.Parameter(INITIALIZERS["small"](config.features, width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.activation = choose(config.activation, ACTIVATIONS, "activation")
        self.dropout = Dropout(config.dropout)
        self.mlp = MLP(
            MLPConfig(width, tuple(deeper), config.classes, activation=config.activation, dropout=config.dropout)
        )

    def forward(
        self, ids: Int[Tensor, "N"], offsets: Int[Tensor, "B"], weights: Float[Tensor, "N"]
    ) -> Float[Tensor, "B C"]:
        """Logits of B texts.

        Args:
            ids: The n-grams of all texts, end to end.
            offsets: Where in `ids` each text begins.
            weights: The weight of each n-gram.
        """
        hidden = self.activation(weighted_bag(self.table, ids, offsets, weights) + self.bias)
        return self.mlp(self.dropout(hidden))

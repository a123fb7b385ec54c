"""An embedding for each run of tokens, not for each token alone: what a first layer would have to find out, looked up.

"q" is followed by "u" whatever came before; "the" by a space. Counting such runs is what stage 2's n-grams did, and in
the first minutes of a training a GPT does little else. So let it look them up: beside the embedding of a token, add one
of the pair that it ends, and one of the triple. There are V² pairs and V³ triples; a hash deals them to a table of
fixed size, and those that share a row share an embedding (Bojanowski et al. 2017, fastText; for language models Huang
et al. 2025, "Over-Tokenized Transformer"). A look-up costs no product: parameters grow, operations do not.

What it cannot do: help where runs are rare, as with large vocabularies and short trainings. Explained in
docs/en/stage5_gpt.md.
"""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

PRIME = 1_000_003


def hashed(tokens: Int[Tensor, "B T"], length: int, rows: int) -> Int[Tensor, "B _"]:
    """A row for each run of `length` tokens, of which there are T − length + 1.

    Equal runs get equal rows, everywhere and always.
    """
    steps = tokens.shape[1] - length + 1
    number = torch.zeros_like(tokens[:, :steps])
    for first in range(length):
        number = number * PRIME + tokens[:, first : first + steps] + 1
    return (number ^ (number >> 15)) % rows


class NgramEmbedding(nn.Module):
    """Embeddings of the runs of 2 … `longest` tokens that end at each token, summed; in the beginning all are zero.

    Args:
        model: Width D.
        longest: Tokens of the longest runs.
        rows: Of the table for each length.
    """

    def __init__(self, model: int, longest: int, rows: int):
        super().__init__()
        tables = [nn.Embedding(rows, model) for _ in range(2, longest + 1)]
        for table in tables:
            nn.init.zeros_(table.weight)
        self.tables = nn.ModuleList(tables)

    @property
    def memory(self) -> int:
        """How many tokens before the first one it has to know."""
        return len(self.tables)

    def forward(self, tokens: Int[Tensor, "B T"], before: Int[Tensor, "B M"]) -> Float[Tensor, "B T D"] | float:
        """What is added to the embeddings of `tokens`; `before`: those in front of them, zeros where there are none."""
        read, found = torch.cat([before, tokens], dim=1), 0.0
        for length, table in enumerate(cast("list[nn.Embedding]", list(self.tables)), 2):
            rows = hashed(read[:, self.memory + 1 - length :], length, table.num_embeddings)
            found = found + table(rows)
        return found

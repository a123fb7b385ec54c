"""The encoder: read the source in both directions, and leave a vector for each token and one for the whole.

Each output has seen the sentence from both sides, and most of all the token that stands there: a good thing to look at
(Bahdanau et al. 2015, §3.2). The final states of the two directions have each read everything: a summary, which was all
that a decoder got before attention (Cho et al. 2014; Sutskever et al. 2014).

Explained in docs/en/stage3_attention_seq2seq.md.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stage2_rnn_lstm.models import Recurrent


def embedding_table(vocab_size: int, width: int) -> nn.Embedding:
    """Vectors of length about 1 (variance 1/D): as output weights (Press & Wolf 2017) they begin with small logits."""
    table = nn.Embedding(vocab_size, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    return table


class Encoder(nn.Module):
    """Embedding and bidirectional recurrent layers.

    Args:
        vocab_size: Number of source tokens V.
        embedding: Width D of their embedding.
        hidden: Width E of each layer and direction.
        cell: A key of stage 2's CELLS.
        layers: How many, one upon the other.
        dropout: Share of the embeddings and of what each layer says that a training step leaves out.
    """

    def __init__(self, vocab_size: int, embedding: int, hidden: int, *, cell: str, layers: int, dropout: float):
        super().__init__()
        self.embedding = embedding_table(vocab_size, embedding)
        self.recurrent = Recurrent(embedding, hidden, cell=cell, layers=layers, dropout=dropout, bidirectional=True)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"]
    ) -> tuple[Float[Tensor, "B S O"], Float[Tensor, "B O"]]:
        """An output for each token, 0 at padding, and the final states of the last layer side by side; O = 2E."""
        x = self.dropout(self.embedding(source.t()))  # (S, B, D)
        outputs, states = self.recurrent(x, lengths=lengths)  # (S, B, 2E)
        final = torch.cat([states[-2][0], states[-1][0]], dim=1)  # (B, 2E)
        return self.dropout(outputs).transpose(0, 1), self.dropout(final)

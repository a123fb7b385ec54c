"""A sequence classifier: read the words in order, in both directions, and say one thing about the whole.

Stage 1's classifier adds up what each word pair says. This one reads: the state after a word depends on every word
before it, so that "not a good film, but a moving one" can end differently from "a good film, but not a moving one".

    h_1 … h_T = BiLSTM(embedding of each word),   logits = W (1/T) Σ_t h_t + b

The mean over time gives every word a short way to the answer, and every word's state its share of the gradient; the
last state alone would have to carry everything to the end of a text of hundreds of words.

What it cannot do: start from what the language is like. It learns every word from the labels alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from my_llm.text import PAD, UNK
from stage2_rnn_lstm.models.recurrent import Recurrent


@dataclass(frozen=True)
class SequenceClassifierConfig:
    """Sizes: `hidden` units in each direction, `vocab_size` words, `classes` answers."""

    vocab_size: int
    classes: int
    cell: str = "lstm"
    embedding: int = 100
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.5
    word_dropout: float = 0.3


def mean_over_time(outputs: Float[Tensor, "T B H"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B H"]:
    """The mean of each unit over the real steps of each sequence; lengths are 1 or more."""
    real = torch.arange(len(outputs), device=outputs.device)[:, None] < lengths  # (T, B)
    return (outputs * real[:, :, None]).sum(dim=0) / lengths[:, None]


def forget_words(tokens: Int[Tensor, "*shape"], rate: float) -> Int[Tensor, "*shape"]:
    """Each word becomes <unk> with this probability, so that <unk> is learnt and no word is relied upon alone.

    Iyyer et al., "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", ACL 2015, section 3.
    """
    forgotten = torch.rand(tokens.shape, device=tokens.device) < rate
    return tokens.masked_fill(forgotten & (tokens != PAD), UNK)


class SequenceClassifier(nn.Module):
    """Embedding, bidirectional recurrent layers, mean over time, one logit per class.

    Raises:
        ConfigError: a rate that is not in [0, 1).

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(self, config: SequenceClassifierConfig):
        super().__init__()
        for rate in (config.dropout, config.word_dropout):
            if not 0 <= rate < 1:
                raise ConfigError("dropout rate out of range", got=rate, valid="0 <= rate < 1")
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding)
        self.recurrent = Recurrent(
            config.embedding,
            config.hidden,
            cell=config.cell,
            layers=config.layers,
            dropout=config.dropout,
            bidirectional=True,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.hidden, config.classes)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B C"]:
        """Logits of B texts.

        Args:
            tokens: Words, padded to the longest text.
            lengths: Number of words of each text, 1 … T.
        """
        words = forget_words(tokens, self.config.word_dropout) if self.training else tokens
        x = self.dropout(self.embedding(words.t()))  # (T, B, E)
        outputs, _ = self.recurrent(x, lengths=lengths)  # (T, B, 2H)
        return self.head(self.dropout(mean_over_time(outputs, lengths)))

"""A tagger: one label for every word, such as "here begins the name of a person".

    word      ┬ embedding of the word                    what it is
              └ last states of a BiLSTM over its letters  how it is written: capitals, endings, digits
    sentence    BiLSTM over the words                     what stands around it
    tags        one score per tag and word, and a conditional random field over the sequence (crf.py)

Half of the names in a new text were never seen in training. The letters speak for those: "Rodríguez" begins with a
capital and ends like a surname. Lample et al., "Neural Architectures for Named Entity Recognition", NAACL 2016.

What it cannot do: know the world. Published taggers gain several points of F1 from word vectors that were trained on
billions of words; this one has read the training sentences and nothing else.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from my_llm.text import PAD
from stage2_rnn_lstm.models.classifier import forget_words
from stage2_rnn_lstm.models.recurrent import Recurrent


@dataclass(frozen=True)
class TaggerConfig:
    """Sizes: vocabularies of words and characters, tags, `hidden` units in each direction."""

    words: int
    characters: int
    tags: int
    cell: str = "lstm"
    embedding: int = 100
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.5
    word_dropout: float = 0.3
    character_width: int = 25


class Spelling(nn.Module):
    """What the letters of a word say: the two final states of a BiLSTM over them."""

    def __init__(self, characters: int, width: int, cell: str):
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.recurrent = Recurrent(width, width, cell=cell, bidirectional=True)

    def forward(self, characters: Int[Tensor, "B T W"]) -> Float[Tensor, "B T K"]:
        """Read every different word once: most words of a batch come several times. K is twice the width."""
        distinct, number = characters.flatten(0, 1).unique(dim=0, return_inverse=True)  # (U, W), (B·T,)
        lengths = (distinct != PAD).sum(dim=1).clamp(min=1)
        _, (forward, backward) = self.recurrent(self.embedding(distinct.t()), lengths=lengths)
        read = torch.cat([forward[0], backward[0]], dim=1)  # (U, K)
        return read[number].unflatten(0, characters.shape[:2])


class Tagger(nn.Module):
    """Scores for every tag of every word, and for every pair of neighbouring tags.

    Raises:
        ConfigError: a rate that is not in [0, 1).

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(self, config: TaggerConfig):
        super().__init__()
        for rate in (config.dropout, config.word_dropout):
            if not 0 <= rate < 1:
                raise ConfigError("dropout rate out of range", got=rate, valid="0 <= rate < 1")
        self.config = config
        self.embedding = nn.Embedding(config.words, config.embedding)
        self.spelling = Spelling(config.characters, config.character_width, config.cell)
        self.recurrent = Recurrent(
            config.embedding + 2 * config.character_width,
            config.hidden,
            cell=config.cell,
            layers=config.layers,
            dropout=config.dropout,
            bidirectional=True,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.hidden, config.tags)
        nn.init.normal_(self.embedding.weight, std=0.1)  # a rare word starts quiet: its letters speak for it
        self.transitions = nn.Parameter(torch.zeros(config.tags + 1, config.tags + 1))

    def forward(
        self, words: Int[Tensor, "B T"], characters: Int[Tensor, "B T W"], lengths: Int[Tensor, "B"]
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "C+1 C+1"]]:
        """Emissions and transitions, as crf.py takes them.

        Args:
            words: Word numbers, padded to the longest sentence.
            characters: The letters of each word, padded to the longest word.
            lengths: Number of words of each sentence, 1 … T.
        """
        known = forget_words(words, self.config.word_dropout) if self.training else words
        x = torch.cat([self.embedding(known), self.spelling(characters)], dim=2).transpose(0, 1)  # (T, B, E + K)
        outputs, _ = self.recurrent(self.dropout(x), lengths=lengths)  # (T, B, 2H)
        return self.head(self.dropout(outputs)).transpose(0, 1), self.transitions

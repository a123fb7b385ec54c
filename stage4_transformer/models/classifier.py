"""A classifier that reads with attention: every word looks at every other one, then all of them are averaged.

Stage 1 added up what each word pair says; stage 2 read from both ends. Here a word meets any other in one step. What it
cannot do: know anything of the language beforehand. It learns every word from the labels alone, and with few of them it
has more ways to learn the texts by heart than the other two. Explained in docs/en/stage4_transformer.md.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage2_rnn_lstm.models import forget_words, mean_over_time
from stage4_transformer.models.attention import padding_mask
from stage4_transformer.models.layers import Dropout
from stage4_transformer.models.stacks import StackConfig, encoder_of


@dataclass(frozen=True, kw_only=True)
class TransformerClassifierConfig(StackConfig):
    """A stack, V = `vocab_size` words, `classes` answers; `word_dropout`: share of words that training forgets."""

    vocab_size: int
    classes: int
    word_dropout: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_size < 1 or self.classes < 1:
            raise ConfigError("vocab_size and classes must be at least 1", got=self)
        if not 0 <= self.word_dropout < 1:
            raise ConfigError("dropout rate out of range", got=self.word_dropout, valid="0 <= rate < 1")


class TransformerClassifier(nn.Module):
    """Embedding, encoder, mean over the words, one logit per class.

    Explained in docs/en/stage4_transformer.md.
    """

    def __init__(self, config: TransformerClassifierConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.model)
        nn.init.normal_(self.embedding.weight, std=config.model**-0.5)
        self.encoder = encoder_of(config)
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(config.model, config.classes)

    def forward(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B C"]:
        """Logits of B texts.

        Args:
            tokens: Words, padded to the longest text.
            lengths: Number of words of each text, 1 … T.
        """
        words = forget_words(tokens, self.config.word_dropout) if self.training else tokens
        x = self.embedding(words) * self.config.model**0.5  # (B, T, D)
        outputs, _, _ = self.encoder(x, padding_mask(lengths, tokens.shape[1]))
        return self.head(self.dropout(mean_over_time(outputs.transpose(0, 1), lengths)))

"""A recurrent language model: read a token, update the state, say what comes next; again (Mikolov et al. 2010).

Its context has no fixed length: whatever the state can keep. Stage 1's language model sees a window of tokens and
nothing before it.

What it cannot do: look back. Everything that was read has to pass through one state of fixed size.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage2_rnn_lstm.models.recurrent import Recurrent, States


@dataclass(frozen=True)
class LanguageModelConfig:
    """Sizes; `tied` uses the embedding as output weights as well (Press & Wolf 2017).

    More `members` than one are an Ensemble of such networks.
    """

    vocab_size: int
    cell: str = "lstm"
    embedding: int = 64
    hidden: int = 512
    layers: int = 1
    dropout: float = 0.0
    tied: bool = False
    members: int = 1


class LanguageModel(nn.Module):
    """Embedding, recurrent layers, one logit per token of the vocabulary.

    Raises:
        ConfigError: tied weights with an embedding that is not as wide as the hidden state.

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(self, config: LanguageModelConfig):
        super().__init__()
        if config.tied and config.embedding != config.hidden:
            raise ConfigError(
                "--tied shares one matrix, so embedding and hidden state must be equally wide",
                got=f"embedding {config.embedding}, hidden {config.hidden}",
            )
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding)
        self.recurrent = Recurrent(
            config.embedding, config.hidden, cell=config.cell, layers=config.layers, dropout=config.dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.vocab_size)
        nn.init.normal_(self.embedding.weight, std=config.embedding**-0.5 if config.tied else 1.0)
        nn.init.zeros_(self.head.bias)
        if config.tied:
            self.head.weight = self.embedding.weight
        else:
            nn.init.zeros_(self.head.weight)  # the first guess is: every token is equally likely

    def forward(self, tokens: Int[Tensor, "B T"], state: States | None = None) -> tuple[Float[Tensor, "B T V"], States]:
        """Logits for the token after each position, and the state after the last one."""
        x = self.dropout(self.embedding(tokens.t()))  # (T, B, E)
        outputs, final = self.recurrent(x, state)  # (T, B, H)
        return self.head(self.dropout(outputs)).transpose(0, 1), final  # (B, T, V)

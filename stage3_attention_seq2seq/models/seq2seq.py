"""Sequence to sequence: an encoder reads, a decoder writes, and the slot between them is the attention.

Sutskever, Vinyals & Le, "Sequence to Sequence Learning with Neural Networks", NIPS 2014, and Cho et al., "Learning
Phrase Representations using RNN Encoder–Decoder for Statistical Machine Translation", EMNLP 2014, had one vector
between the two. Attention is a second way from the source to each word of the target, one step long however long the
sentence is.

    p(y | x) = Π_t p(y_t | y_1 … y_{t−1}, x)

`forward` says the logits of all target tokens at once, for training; `encode` and `step` are what decoding wants.
Explained in docs/en/stage3_attention_seq2seq.md.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.decoding import select_rows
from my_llm.errors import ConfigError, choose
from my_llm.losses import linear_cross_entropy
from my_llm.text import PAD
from stage2_rnn_lstm.models import CELLS
from stage3_attention_seq2seq.models.attention import ATTENTIONS, Memory
from stage3_attention_seq2seq.models.decoder import DECODERS, DecoderState
from stage3_attention_seq2seq.models.encoder import Encoder, embedding_table


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Sizes and variants.

    `hidden` units in each layer, and in each direction of the encoder; `tied` uses the target embedding as output
    weights as well, `shared` one embedding for both languages, which then have one vocabulary (Press & Wolf 2017).
    """

    source_vocab: int
    target_vocab: int
    attention: str = "bahdanau"
    cell: str = "gru"
    embedding: int = 256
    hidden: int = 512
    layers: int = 1
    dropout: float = 0.0
    input_feeding: bool = True
    tied: bool = True
    shared: bool = False

    def __post_init__(self) -> None:
        choose(self.attention, ATTENTIONS, "attention")
        choose(self.cell, CELLS, "cell")
        if min(self.source_vocab, self.target_vocab, self.embedding, self.hidden, self.layers) < 1:
            raise ConfigError("every size of the translator must be at least 1", got=self)
        if not 0 <= self.dropout < 1:
            raise ConfigError("dropout rate out of range", got=self.dropout, valid="0 <= rate < 1")
        if self.shared and self.source_vocab != self.target_vocab:
            raise ConfigError(
                "a shared embedding needs one vocabulary for both languages",
                got=f"{self.source_vocab} source and {self.target_vocab} target tokens",
            )


class Seq2SeqState(NamedTuple):
    """A translation under way, batch first."""

    memory: Memory
    decoder: DecoderState
    weights: Float[Tensor, "B S"] | None  # of the last step: where the decoder looked


class Seq2Seq(nn.Module):
    """Encoder, bridge, decoder with its attention, head.

    The bridge, Linear(2E → H) without bias, brings what the encoder says to the width of the decoder's state, for all
    attentions, so that they differ in nothing else; "luong_dot" could not do without.

    Explained in docs/en/stage3_attention_seq2seq.md.
    """

    def __init__(self, config: Seq2SeqConfig):
        super().__init__()
        self.config = config
        shape = {"cell": config.cell, "layers": config.layers, "dropout": config.dropout}
        self.encoder = Encoder(config.source_vocab, config.embedding, config.hidden, **shape)
        self.bridge = nn.Linear(2 * config.hidden, config.hidden, bias=False)
        nn.init.xavier_uniform_(self.bridge.weight)
        shared = self.encoder.embedding if config.shared else embedding_table(config.target_vocab, config.embedding)
        attention = ATTENTIONS[config.attention](config.hidden, config.hidden, config.hidden)
        self.decoder = DECODERS[config.attention](
            shared, attention, config.hidden, input_feeding=config.input_feeding, **shape
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.embedding, config.target_vocab)
        nn.init.zeros_(self.head.bias)
        if config.tied:
            self.head.weight = self.decoder.embedding.weight
        else:
            nn.init.zeros_(self.head.weight)  # the first guess is: every token is equally likely

    def forward(
        self,
        source: Int[Tensor, "B S"],
        lengths: Int[Tensor, "B"],
        target_in: Int[Tensor, "B T"],
        target_out: Int[Tensor, "B T"] | None = None,
        label_smoothing: float = 0.0,
    ) -> tuple[Float[Tensor, "B T V"] | Float[Tensor, ""], Float[Tensor, "B T S"] | None]:
        """Teacher forcing: the logits after each of the given target tokens, or the loss.

        Args:
            source: Tokens, padded to the longest sentence.
            lengths: Number of real tokens of each, 1 … S.
            target_in: BOS and the right translation, padded; what is predicted at padding has no meaning.
            target_out: The right translation and EOS, padded.
            label_smoothing: See my_llm.losses.linear_cross_entropy.

        Returns:
            Logits, or with `target_out` the cross-entropy summed over its tokens, for which nobody has to hold all
            logits; and the attention weights, None without attention.
        """
        state = self.encode(source, lengths)
        features, _, weights = self.decoder(target_in, state.decoder, state.memory)
        features = self.dropout(features)
        if target_out is None:
            return self.head(features), weights
        said, asked = features[target_out != PAD], target_out[target_out != PAD]  # (N, D), (N,)
        return linear_cross_entropy(said, self.head.weight, self.head.bias, asked, label_smoothing), weights

    def encode(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"]) -> Seq2SeqState:
        """Read the source: the state from which `step` begins."""
        outputs, final = self.encoder(source, lengths)  # (B, S, 2E), (B, 2E)
        real = torch.arange(source.shape[1], device=source.device) < lengths[:, None]  # (B, S)
        memory = self.decoder.attention.remember(self.bridge(outputs), real, self.bridge(final))
        return Seq2SeqState(memory, self.decoder.start(memory), None)

    def step(self, tokens: Int[Tensor, "B T"], state: Seq2SeqState) -> tuple[Float[Tensor, "B V"], Seq2SeqState]:
        """Read the newest target tokens: the logits of the next one, as my_llm.decoding wants them."""
        features, decoder, weights = self.decoder(tokens, state.decoder, state.memory)
        last = None if weights is None else weights[:, -1]
        return self.head(self.dropout(features[:, -1])), Seq2SeqState(state.memory, decoder, last)

    def reorder(self, state: Seq2SeqState, rows: Int[Tensor, "N"]) -> Seq2SeqState:
        """`select_rows` for beam search, where a hypothesis is only ever overtaken by others of its own sentence.

        They have the same memory: once it is there for each hypothesis, it can stay.
        """
        memory = state.memory if len(rows) == len(state.memory.real) else select_rows(state.memory, rows)
        return Seq2SeqState(memory, select_rows(state.decoder, rows), select_rows(state.weights, rows))

    def look(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"], target_in: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T S"] | None:
        """Where it looks while it says the target; None without attention."""
        return self(source, lengths, target_in)[1]

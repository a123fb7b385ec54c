"""The Transformer: an encoder that reads, a decoder that writes, and nothing recurrent in between.

Vaswani et al., "Attention Is All You Need", NIPS 2017. Stage 3's translator had to finish one state before it could
begin the next; here all tokens of a sentence go through a layer at once, and any two of them are one step apart. What
it costs: T² scores a layer, and that the order of the words has to be told (positions.py).

`forward` says the logits of all target tokens at once, for training; `encode` and `step` are what decoding wants, with
keys and values cached; `look` says where every head of every layer looked. Explained in docs/en/stage4_transformer.md.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.decoding import select_rows
from my_llm.errors import ConfigError
from my_llm.losses import linear_cross_entropy
from my_llm.text import PAD
from stage4_transformer.models.attention import KeysValues, padding_mask
from stage4_transformer.models.stacks import Source, StackConfig, Weights, decoder_of, encoder_of


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(StackConfig):
    """Both stacks, and V = `vocab_size` tokens of both languages together."""

    vocab_size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_size < 1:
            raise ConfigError("every size of the Transformer must be at least 1", got=self)


class TransformerState(NamedTuple):
    """A translation under way, batch first."""

    sources: tuple[Source, ...]  # of each layer, the same at each step
    past: tuple[KeysValues, ...] | None  # of each layer: what was said so far


class Maps(NamedTuple):
    """Where every token looked, in each of L layers and H heads."""

    encoder: Float[Tensor, "L B H S S"]
    decoder: Float[Tensor, "L B H T T"]
    cross: Float[Tensor, "L B H T S"]


def reorder(state: TransformerState, rows: Int[Tensor, "N"]) -> TransformerState:
    """`select_rows` for beam search, where a hypothesis is only ever overtaken by others of its own sentence.

    They have the same source: once it is there for each hypothesis, it can stay.
    """
    same = len(rows) == len(state.sources[0].memory.key)
    return TransformerState(state.sources if same else select_rows(state.sources, rows), select_rows(state.past, rows))


class Transformer(nn.Module):
    """Embedding, encoder, decoder, and the embedding once more as output weights.

    Explained in docs/en/stage4_transformer.md.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.model)
        nn.init.normal_(self.embedding.weight, std=config.model**-0.5)
        self.encoder, self.decoder = encoder_of(config), decoder_of(config)
        self.head = nn.Linear(config.model, config.vocab_size)
        self.head.weight = self.embedding.weight
        nn.init.zeros_(self.head.bias)

    def embed(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Vectors of length about √D: as large as the waves of the positions, and small as output weights (§3.4)."""
        return self.embedding(tokens) * self.config.model**0.5

    def read(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"], need_weights: bool = False
    ) -> tuple[tuple[Source, ...], list[Weights]]:
        """What each layer of the decoder will see of the source, and where the encoder's layers looked."""
        mask = padding_mask(lengths, source.shape[1])
        outputs, _, maps = self.encoder(self.embed(source), mask, need_weights=need_weights)
        return self.decoder.sources(outputs, mask), maps

    def forward(
        self,
        source: Int[Tensor, "B S"],
        lengths: Int[Tensor, "B"],
        target_in: Int[Tensor, "B T"],
        target_out: Int[Tensor, "B T"] | None = None,
        label_smoothing: float = 0.0,
    ) -> Float[Tensor, "B T V"] | Float[Tensor, ""]:
        """Teacher forcing: the logits after each of the given target tokens, or the loss.

        Args:
            source: Tokens, padded to the longest sentence.
            lengths: Number of real tokens of each, 1 … S.
            target_in: BOS and the right translation, padded; what is predicted at padding has no meaning.
            target_out: The right translation and EOS, padded.
            label_smoothing: See my_llm.losses.linear_cross_entropy.

        Returns:
            Logits, or with `target_out` the cross-entropy summed over its tokens, for which nobody has to hold all
            logits.
        """
        sources, _ = self.read(source, lengths)
        features, *_ = self.decoder(self.embed(target_in), sources)
        if target_out is None:
            return self.head(features)
        said, asked = features[target_out != PAD], target_out[target_out != PAD]  # (N, D), (N,)
        return linear_cross_entropy(said, self.head.weight, self.head.bias, asked, label_smoothing)

    def encode(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"]) -> TransformerState:
        """Read the source: the state from which `step` begins."""
        return TransformerState(self.read(source, lengths)[0], None)

    def step(
        self, tokens: Int[Tensor, "B T"], state: TransformerState
    ) -> tuple[Float[Tensor, "B V"], TransformerState]:
        """Read the newest target tokens: the logits of the next one, as my_llm.decoding wants them."""
        features, past, _, _ = self.decoder(self.embed(tokens), state.sources, state.past)
        return self.head(features[:, -1]), TransformerState(state.sources, past)

    def reorder(self, state: TransformerState, rows: Int[Tensor, "N"]) -> TransformerState:
        """The given rows of the state: what beam search asks of a translator."""
        return reorder(state, rows)

    def look(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"], target_in: Int[Tensor, "B T"]) -> Maps:
        """Where every token looked, in every layer and head."""
        sources, encoder = self.read(source, lengths, need_weights=True)
        _, _, decoder, cross = self.decoder(self.embed(target_in), sources, need_weights=True)
        return Maps(
            *(torch.stack([weights for weights in maps if weights is not None]) for maps in (encoder, decoder, cross))
        )

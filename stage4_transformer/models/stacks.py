"""Encoder and decoder: the same layer again and again.

An encoder layer looks at its own sequence, then thinks. A decoder layer looks at what was said so far, looks at the
source, then thinks. That is all (Vaswani et al. 2017, figure 1). With a causal mask the encoder's layer is what GPT is
made of.

`past` and `memory` are keys and values that need not be computed again: of the tokens before, and of the source. With
them, writing a token costs one token, not all of them. Explained in docs/en/stage4_transformer.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from jaxtyping import Bool, Float
from torch import Tensor, nn

from my_llm.errors import ConfigError, choose
from stage4_transformer.models.attention import KeysValues, MultiHeadAttention, causal_mask
from stage4_transformer.models.layers import ACTIVATIONS, NORMS, ORDERS, Dropout, FeedForward
from stage4_transformer.models.positions import POSITIONS, Positions

Mask = Bool[Tensor, "..."] | None  # broadcast to (B, H, T, S); True where one may look
Weights = Float[Tensor, "B H T _"] | None  # over all that were asked: of the own sequence, or of the source
Past = tuple[KeysValues, ...] | None  # of each layer


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Sizes and variants of a stack: D = `model`, H = `heads`, F = `hidden`, L = `layers`."""

    model: int = 256
    heads: int = 4
    layers: int = 3
    hidden: int = 1024
    dropout: float = 0.0
    positions: str = "sinusoidal"
    order: str = "pre"
    norm: str = "layer"
    activation: str = "relu"
    max_length: int = 256

    def __post_init__(self) -> None:
        choose(self.positions, POSITIONS, "positions")
        choose(self.order, ORDERS, "order")
        choose(self.norm, NORMS, "norm")
        choose(self.activation, ACTIVATIONS, "activation")
        if min(self.model, self.heads, self.layers, self.hidden, self.max_length) < 1:
            raise ConfigError("every size of the Transformer must be at least 1", got=self)
        if not 0 <= self.dropout < 1:
            raise ConfigError("dropout rate out of range", got=self.dropout, valid="0 <= rate < 1")


class Source(NamedTuple):
    """What a decoder layer sees of the source: keys, values, and which of them are real. Batch first."""

    memory: KeysValues
    mask: Bool[Tensor, "B 1 1 S"] | None


def length_of(past: Past) -> int:
    """How many tokens came before."""
    return past[0].key.shape[2] if past else 0


class Layer(nn.Module):
    """What the layers of both stacks have: self-attention and feed-forward, each in its residual.

    Args:
        model: Width D.
        heads: Number H of heads.
        hidden: Width F of the feed-forward network.
        dropout: Of every residual.
        order: A key of ORDERS: where the norm stands.
        norm: A key of NORMS.
        activation: A key of ACTIVATIONS.
    """

    def __init__(
        self,
        model: int,
        heads: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        order: str = "pre",
        norm: str = "layer",
        activation: str = "relu",
    ):
        super().__init__()
        self.attention = MultiHeadAttention(model, heads)
        self.feed_forward = FeedForward(model, hidden, activation)
        self.around_attention = ORDERS[order](NORMS[norm](model), dropout)
        self.around_feed_forward = ORDERS[order](NORMS[norm](model), dropout)

    def look(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask,
        positions: Positions,
        past: KeysValues | None = None,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T D"], KeysValues, Weights]:
        """Every token looks at its own sequence: the tokens, the keys and values to keep, and the weights if wanted."""
        said, weights, kept = self.attention(
            self.around_attention.read(x), mask=mask, positions=positions, past=past, need_weights=need_weights
        )
        return self.around_attention.add(x, said), kept, weights

    def think(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Every token goes through the feed-forward network."""
        return self.around_feed_forward.add(x, self.feed_forward(self.around_feed_forward.read(x)))


class EncoderLayer(Layer):
    """Look, then think."""

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask,
        positions: Positions,
        past: KeysValues | None = None,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T D"], KeysValues, Weights]:
        """As `look` has it."""
        x, kept, weights = self.look(x, mask, positions, past, need_weights)
        return self.think(x), kept, weights


class DecoderLayer(Layer):
    """Look at what was said, ask the source, then think. Arguments as in Layer."""

    def __init__(
        self,
        model: int,
        heads: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        order: str = "pre",
        norm: str = "layer",
        activation: str = "relu",
    ):
        super().__init__(model, heads, hidden, dropout=dropout, order=order, norm=norm, activation=activation)
        self.cross_attention = MultiHeadAttention(model, heads)
        self.around_cross_attention = ORDERS[order](NORMS[norm](model), dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask,
        positions: Positions,
        source: Source,
        past: KeysValues | None = None,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T D"], KeysValues, Weights, Weights]:
        """The tokens, the keys and values of the target to keep, and where each looked in target and source."""
        x, kept, own = self.look(x, mask, positions, past, need_weights)
        asked = self.around_cross_attention.read(x)
        said, cross, _ = self.cross_attention(asked, source.memory, mask=source.mask, need_weights=need_weights)
        return self.think(self.around_cross_attention.add(x, said)), kept, own, cross


class Encoder(nn.Module):
    """Positions, layers, and a last norm. With a causal mask, and the `past`, a decoder without a source.

    Args:
        layers: One upon the other.
        positions: One of POSITIONS.
        norm: Of what the last layer says, where its residual has none (pre-norm); nn.Identity() otherwise.
        dropout: Share of the embeddings that a training step leaves out.
    """

    def __init__(self, layers: Sequence[EncoderLayer], positions: Positions, norm: nn.Module, dropout: float = 0.0):
        super().__init__()
        self.layers, self.positions, self.norm = nn.ModuleList(layers), positions, norm
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "B T D"], mask: Mask = None, past: Past = None, need_weights: bool = False
    ) -> tuple[Float[Tensor, "B T D"], tuple[KeysValues, ...], list[Weights]]:
        """The tokens, what to pass as `past` with those that come next, and each layer's weights."""
        x = self.dropout(self.positions.embed(x, length_of(past)))
        kept, maps = [], []
        for layer, before in zip(self.layers, past or [None] * len(self.layers), strict=True):
            x, new, weights = layer(x, mask, self.positions, before, need_weights)
            kept.append(new)
            maps.append(weights)
        return self.norm(x), tuple(kept), maps


class Decoder(nn.Module):
    """The same of decoder layers, which look at a source. Arguments as in Encoder."""

    def __init__(self, layers: Sequence[DecoderLayer], positions: Positions, norm: nn.Module, dropout: float = 0.0):
        super().__init__()
        self.layers, self.positions, self.norm = nn.ModuleList(layers), positions, norm
        self.dropout = Dropout(dropout)

    def sources(self, memory: Float[Tensor, "B S D"], mask: Mask) -> tuple[Source, ...]:
        """Each layer's keys and values of the encoder's outputs, once a sentence."""
        layers = cast("list[DecoderLayer]", list(self.layers))
        return tuple(Source(layer.cross_attention.project(memory), mask) for layer in layers)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        sources: tuple[Source, ...],
        past: Past = None,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T D"], tuple[KeysValues, ...], list[Weights], list[Weights]]:
        """The tokens, what to pass as `past` next time, and each layer's weights over target and source."""
        start, steps = length_of(past), x.shape[1]
        x = self.dropout(self.positions.embed(x, start))
        # A single token is the last one: it sees all.
        mask = causal_mask(steps, start + steps, x.device) if steps > 1 else None
        kept, own, cross = [], [], []
        for layer, source, before in zip(self.layers, sources, past or [None] * len(self.layers), strict=True):
            x, new, *weights = layer(x, mask, self.positions, source, before, need_weights)
            kept.append(new)
            own.append(weights[0])
            cross.append(weights[1])
        return self.norm(x), tuple(kept), own, cross


def layer_shape(config: StackConfig) -> dict[str, Any]:
    """The arguments of a layer."""
    names = ("model", "heads", "hidden", "dropout", "order", "norm", "activation")
    return {name: getattr(config, name) for name in names}


def surroundings(config: StackConfig) -> tuple[Positions, nn.Module, float]:
    """Positions, last norm and dropout of a stack."""
    positions = POSITIONS[config.positions](config.model, config.heads, config.max_length)
    return positions, NORMS[config.norm](config.model) if config.order == "pre" else nn.Identity(), config.dropout


def encoder_of(config: StackConfig) -> Encoder:
    """A new encoder."""
    return Encoder([EncoderLayer(**layer_shape(config)) for _ in range(config.layers)], *surroundings(config))


def decoder_of(config: StackConfig) -> Decoder:
    """A new decoder."""
    return Decoder([DecoderLayer(**layer_shape(config)) for _ in range(config.layers)], *surroundings(config))

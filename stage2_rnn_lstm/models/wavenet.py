"""Memory without recurrence: a stack of convolutions, each of which looks twice as far back as the one below.

van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016, section 2, here on tokens in place of samples
of sound. An RNN must finish one step before it begins the next. Here nothing waits: every layer is a function of the
layer below at two places, now and `dilation` steps ago, so all positions of a text are computed at once. Dilations of
1, 2, 4, … reach 2^layers steps back with only `layers` layers; several such blocks reach further and bend more.

What it cannot do: remember anything older than its receptive field, which is exact and fixed when it is built. An LSTM
has no such limit on paper, and in practice a softer one. And it must keep one vector for each layer and each step of
its reach to write token by token (`state`), where an LSTM keeps one or two in all.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage1_mlp.models import INITIALIZERS, Dropout, Linear

XAVIER = INITIALIZERS["xavier"]
State = tuple[Tensor, ...]  # for each layer its last inputs, as many as its dilation: (B, dilation, D)


@dataclass(frozen=True)
class WaveNetConfig:
    """V tokens; `blocks` times a stack of `layers` layers with dilations 1, 2, 4, …; D = `channels` numbers a place."""

    vocab_size: int
    channels: int = 128
    layers: int = 6
    blocks: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if min(self.vocab_size, self.channels, self.layers, self.blocks) < 1:
            raise ConfigError("every size of the WaveNet must be at least 1", got=self)

    @property
    def dilations(self) -> tuple[int, ...]:
        """One for each layer, the first layer first."""
        return tuple(2**layer for layer in range(self.layers)) * self.blocks


# --- the formulas --------------------------------------------------------------------------------------------------


def two_places(x: Float[Tensor, "B S_and_T D"], dilation: int) -> Float[Tensor, "B T 2*D"]:
    """x_{t − S} and x_t side by side, S = dilation; nothing for the first S of x, which have no partner."""
    return torch.cat([x[:, :-dilation], x[:, dilation:]], dim=-1)


def gate(a: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F//2"]:
    """tanh(a_f) ⊙ σ(a_g), the output gate of an LSTM without the LSTM (equation 2)."""
    content, openness = a.chunk(2, dim=-1)
    return content.tanh() * openness.sigmoid()


# --- layers --------------------------------------------------------------------------------------------------------


class CausalConvolution(nn.Module):
    """y_t = W_0 x_{t − S} + W_1 x_t + b: kernel size 2, dilation S, and never a look ahead.

    A convolution is a linear layer that reads a few places and is used at all of them: a shift and one product.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int):
        super().__init__()
        self.dilation = dilation
        self.linear = Linear(2 * inputs, outputs, XAVIER)  # weight: W_0 and W_1 side by side (F, 2 D)

    def forward(
        self, x: Float[Tensor, "B T D"], past: Float[Tensor, "B S D"]
    ) -> tuple[Float[Tensor, "B T F"], Float[Tensor, "B S D"]]:
        """The outputs, and the last S inputs, which are the `past` of what comes after x."""
        x = torch.cat([past, x], dim=1)  # (B, S + T, D)
        return self.linear(two_places(x, self.dilation)), x[:, -self.dilation :]


class ResidualLayer(nn.Module):
    """Convolution, gate, and two ways out: a change to x for the layer above, and a skip straight to the head.

    Figure 4 of the paper. Its two 1×1 convolutions are one product here, which makes both halves side by side; the
    first half of the last layer has nobody to read it.
    """

    def __init__(self, channels: int, dilation: int, dropout: float):
        super().__init__()
        self.convolution = CausalConvolution(channels, 2 * channels, dilation)
        self.dropout = Dropout(dropout)
        self.mix = Linear(channels, 2 * channels, XAVIER)

    def forward(
        self, x: Float[Tensor, "B T D"], past: Float[Tensor, "B S D"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"], Float[Tensor, "B S D"]]:
        """x changed, the skip, and the past of what comes after x."""
        a, queue = self.convolution(x, past)
        change, skip = self.mix(self.dropout(gate(a))).chunk(2, dim=-1)
        return x + change, skip, queue


# --- the model -----------------------------------------------------------------------------------------------------


class WaveNet(nn.Module):
    """Logits of the next token at every position, from the last `receptive_field` tokens, that position's included.

    With a state, a text may come in pieces of any length, down to one token, at the cost of that piece alone: the
    queues hold all that later outputs need of the past (Paine et al., "Fast Wavenet Generation Algorithm", 2016).

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(self, config: WaveNetConfig):
        super().__init__()
        self.config = config
        self.receptive_field = 1 + sum(config.dilations)
        channels = config.channels
        self.embedding = nn.Parameter(torch.randn(config.vocab_size, channels))
        self.layers = nn.ModuleList(ResidualLayer(channels, dilation, config.dropout) for dilation in config.dilations)
        self.hidden = Linear(channels, channels)
        self.output = Linear(channels, config.vocab_size, XAVIER)

    def forward(self, tokens: Int[Tensor, "B T"], state: State | None = None) -> tuple[Float[Tensor, "B T V"], State]:
        """Logits (B, T, V) and the state after `tokens`; without a state, the text begins here."""
        x = self.embedding[tokens]  # (B, T, D)
        skips = torch.zeros_like(x)
        queues = []
        for layer, past in zip(self.layers, self.beginning(x) if state is None else state, strict=True):
            x, skip, queue = layer(x, past)
            skips = skips + skip
            queues.append(queue)
        skips = skips / len(queues) ** 0.5  # a sum of so many has a variance of so many
        return self.output(self.hidden(skips.relu()).relu()), tuple(queues)

    def beginning(self, x: Float[Tensor, "B T D"]) -> State:
        """The state before a text: zeros, as any convolution pads."""
        return tuple(x.new_zeros(len(x), dilation, x.shape[2]) for dilation in self.config.dilations)

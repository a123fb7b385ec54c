"""The decoder: a language model of the target that looks at the source. Two orders of events.

    Bahdanau 2015   look, then step: the query is the state before the step, the cell reads the context.
    Luong 2015      step, then look: the query is the new state; context and state together make the attentional state
                    h̃, from which the word is said and which the cell reads at the next step ("input feeding").

Both return features of the width of the target embedding: the head that makes logits of them can be the embedding
itself (Press & Wolf 2017). Teacher forcing: in training the tokens read are the right ones, all known beforehand. What
depends on them alone is computed for all steps in one product; the loop holds only what needs the step before.

What it cannot do: train in parallel over time. That is what stage 4 is for.
Explained in docs/en/stage3_attention_seq2seq.md.
"""

from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from my_llm.errors import ConfigError
from stage2_rnn_lstm.models import Recurrent, RNNLayer
from stage3_attention_seq2seq.models.attention import Attention, Memory, xavier

States = tuple[tuple[Tensor, ...], ...]  # of each layer (h,) or (h, c), each (B, H)


class DecoderState(NamedTuple):
    """All that one step hands to the next; batch first."""

    layers: States
    fed: Float[Tensor, "B D"] | None  # the attentional state, where the cell will read it


Said = tuple[Tensor, DecoderState, Tensor | None]  # features (B, T, D), the state after them, weights (B, T, S)


def maxout(x: Float[Tensor, "*shape F"]) -> Float[Tensor, "*shape F//2"]:
    """The larger one of each pair of neighbours. Goodfellow et al., "Maxout Networks", ICML 2013."""
    return x.unflatten(-1, (-1, 2)).amax(dim=-1)


def over_time(weights: list[Tensor | None]) -> Float[Tensor, "B T S"] | None:
    """The weights of all steps, if there are any."""
    there = [each for each in weights if each is not None]
    return torch.stack(there, dim=1) if there else None


class Decoder(nn.Module):
    """What both orders of events have in common: the embedding, the layers, their start, and one step of them.

    Args:
        embedding: The target's table, (V, D).
        attention: The slot; keys and summary are as wide as a query.
        hidden: Width H of each layer, and so of a query.
        fed: Width of what the lowest cell reads beside the embedding.
        cell: A key of stage 2's CELLS.
        layers: How many, one upon the other.
        dropout: Share of the embeddings, and of the values between two layers, that a training step leaves out.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        attention: Attention,
        hidden: int,
        *,
        fed: int,
        cell: str,
        layers: int,
        dropout: float,
    ):
        super().__init__()
        self.embedding, self.attention = embedding, attention
        self.recurrent = Recurrent(embedding.embedding_dim + fed, hidden, cell=cell, layers=layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.initial = xavier(layers * self.layers[0].memories * hidden, hidden)

    @property
    def layers(self) -> list[RNNLayer]:
        """The recurrent layers, the lowest first."""
        return cast("list[RNNLayer]", list(self.recurrent.layers))

    def start(self, memory: Memory) -> DecoderState:
        """s_0 = tanh(W_s summary), of each layer (Bahdanau 2015, A.2.2)."""
        states = linear(memory.summary, self.initial).to(self.initial.dtype).tanh()
        parts = iter(states.split(self.layers[0].hidden, dim=1))
        return DecoderState(tuple(tuple(next(parts) for _ in range(layer.memories)) for layer in self.layers), None)

    def project(self, x: Float[Tensor, "T B D"]) -> tuple[Float[Tensor, "T B G"], Float[Tensor, "F G"]]:
        """The embeddings' share of the lowest cell's gates, all steps at once; and the weights of what is fed to it."""
        lowest = self.layers[0]
        weight, fed = lowest.weight_ih.tensor_split([x.shape[2]], dim=1)
        return linear(x, weight, lowest.bias).to(lowest.bias.dtype), fed.t()

    def advance(self, a: Float[Tensor, "B G"], states: States) -> States:
        """One step of all layers."""
        after: States = ()
        for layer, state in zip(self.layers, states, strict=True):
            if after:
                a = layer.project(self.recurrent.dropout(after[-1][0])[None])[0]
            after = (*after, layer.step(a, state))
        return after

    def forward(self, tokens: Int[Tensor, "B T"], state: DecoderState, memory: Memory) -> Said:
        """Read the given tokens; here the two orders differ."""
        raise NotImplementedError


class BahdanauDecoder(Decoder):
    """Look, then step (Bahdanau 2015, A.2.2).

        c_i = attention(s_{i−1}),    s_i = cell([E y_{i−1}; c_i], s_{i−1})
        t_i = maxout(U_o s_{i−1} + V_o E y_{i−1} + C_o c_i)

    t_i are the features: a "deep output" (Pascanu et al. 2014) with one hidden layer, which sees the token just read
    itself. It takes the state before the step, as the appendix has it; so all t_i are computed after the loop.

    Raises:
        ConfigError: without input feeding: this cell always reads the context.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        attention: Attention,
        hidden: int,
        *,
        cell: str = "gru",
        layers: int = 1,
        dropout: float = 0.0,
        input_feeding: bool = True,
    ):
        if not input_feeding:
            raise ConfigError(
                "the cell of Bahdanau's decoder always reads the context: it has no version without input feeding",
                next_step="choose another attention, or leave input feeding on",
            )
        super().__init__(embedding, attention, hidden, fed=hidden, cell=cell, layers=layers, dropout=dropout)
        self.readout = xavier(2 * embedding.embedding_dim, 2 * hidden + embedding.embedding_dim)

    def forward(self, tokens: Int[Tensor, "B T"], state: DecoderState, memory: Memory) -> Said:
        """Features (B, T, D), the state after the last token, weights (B, T, S)."""
        x = self.dropout(self.embedding(tokens.t()))  # (T, B, D)
        a, fed = self.project(x)
        states, befores, contexts, weights = state.layers, [], [], []
        for a_t in a.unbind(0):
            befores.append(states[-1][0])
            context, alpha = self.attention(befores[-1], memory)
            states = self.advance(a_t + context @ fed, states)
            contexts.append(context)
            weights.append(alpha)
        read = torch.cat([torch.stack(befores), x, torch.stack(contexts)], dim=2)  # (T, B, H + D + H)
        features = maxout(linear(read, self.readout)).transpose(0, 1)  # (B, T, D)
        return features, DecoderState(states, None), over_time(weights)


class LuongDecoder(Decoder):
    """Step, then look (Luong 2015, §3).

        h_t = cell([E y_{t−1}; h̃_{t−1}], h_{t−1}),    c_t = attention(h_t),    h̃_t = tanh(W_c [c_t; h_t])     (eq. 5)

    h̃_t are the features, and the cell reads them at the next step: so it knows what has been looked at (§3.3).
    Without that no step waits for an earlier look, and all looks are one product.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        attention: Attention,
        hidden: int,
        *,
        cell: str = "gru",
        layers: int = 1,
        dropout: float = 0.0,
        input_feeding: bool = True,
    ):
        fed = embedding.embedding_dim if input_feeding else 0
        super().__init__(embedding, attention, hidden, fed=fed, cell=cell, layers=layers, dropout=dropout)
        self.fed = fed
        self.combine = xavier(embedding.embedding_dim, 2 * hidden)

    def start(self, memory: Memory) -> DecoderState:
        """As in Bahdanau's; h̃_0 = 0."""
        layers = super().start(memory).layers
        return DecoderState(layers, layers[0][0].new_zeros(len(memory.summary), self.fed) if self.fed else None)

    def look(self, h: Float[Tensor, "B *T H"], memory: Memory) -> tuple[Float[Tensor, "B *T D"], Tensor | None]:
        """h̃ and the weights."""
        context, weights = self.attention(h, memory)
        return linear(torch.cat([context, h], dim=-1), self.combine).tanh(), weights

    def forward(self, tokens: Int[Tensor, "B T"], state: DecoderState, memory: Memory) -> Said:
        """Features (B, T, D), the state after the last token, weights (B, T, S)."""
        x = self.dropout(self.embedding(tokens.t()))  # (T, B, D)
        states, attentional = state
        if attentional is None:
            h, states = self.recurrent(x, states)  # (T, B, H)
            features, alpha = self.look(h.transpose(0, 1), memory)
            return features, DecoderState(states, None), alpha
        a, fed = self.project(x)
        features, weights = [], []
        for a_t in a.unbind(0):
            states = self.advance(a_t + attentional @ fed, states)
            attentional, alpha = self.look(states[-1][0], memory)
            features.append(attentional)
            weights.append(alpha)
        return torch.stack(features, dim=1), DecoderState(states, attentional), over_time(weights)


# By the attention that it suits; one slot: (embedding, attention, hidden, cell, layers, dropout, input_feeding).
DECODERS: dict[str, type[BahdanauDecoder] | type[LuongDecoder]] = {
    "none": LuongDecoder,
    "bahdanau": BahdanauDecoder,
    "luong_dot": LuongDecoder,
    "luong_general": LuongDecoder,
    "luong": LuongDecoder,
    "luong_concat": LuongDecoder,
    "local": LuongDecoder,
}

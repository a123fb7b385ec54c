"""Attention without a recurrent network: every token asks all others, and all of them at once.

Stage 3's decoder asked the source one question a step. Here each token of a sequence is projected to a query, a key and
a value; the query is compared with all keys, and the answer is the mean of the values, weighted by the match:

    attention(Q, K, V) = softmax(Q Kᵀ / √K) V          (Vaswani et al., "Attention Is All You Need", 2017, equation 1)

It is Luong's dot score with two differences. What is compared (keys) and what is handed over (values) are two things.
And the scores are divided by √K: the dot product of two random vectors of K numbers has variance K, and a softmax of
large scores gives one token everything, and hardly any gradient to anyone.

What it cannot do: know where a token stands. A set goes in, and a set comes out; see positions.py. And it compares
every pair of tokens: T² scores for T tokens. Explained in docs/en/stage4_transformer.md.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from my_llm.device import attention_dtype, linear
from my_llm.errors import ConfigError
from stage3_attention_seq2seq.models import masked_softmax
from stage4_transformer.models.layers import Linear
from stage4_transformer.models.positions import Positions

# --- masks: True where one may look -----------------------------------------------------------------------------------


def padding_mask(lengths: Int[Tensor, "B"], steps: int) -> Bool[Tensor, "B 1 1 S"]:
    """Nobody looks at what stands behind the end of a sequence."""
    return (torch.arange(steps, device=lengths.device) < lengths[:, None])[:, None, None]


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Bool[Tensor, "T S"]:
    """Nobody looks ahead; the queries are the last of the positions, so the last one sees all keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def window_mask(queries: int, keys: int, window: int, device: torch.device | None = None) -> Bool[Tensor, "T S"]:
    """Nobody looks `window` or more positions away (Beltagy et al. 2020, Longformer); & causal_mask: nor ahead."""
    positions = torch.arange(keys, device=device)
    return (positions[keys - queries :, None] - positions).abs() < window


# --- the formula ------------------------------------------------------------------------------------------------------


def attention(
    query: Float[Tensor, "B H T K"],
    key: Float[Tensor, "B H S K"],
    value: Float[Tensor, "B H S K"],
    mask: Bool[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "B H T K"], Float[Tensor, "B H T S"]]:
    """Equation 1, written out.

    Args:
        query: What each of T tokens asks.
        key: What each of S tokens answers to.
        value: What each of them hands over.
        mask: Broadcast to (B, H, T, S); True where one may look. Who may look nowhere gets 0.
        bias: Broadcast to (B, H, T, S); added to the scores.

    Returns:
        The mean of the values, and the weights: each row sums to 1, or to 0.
    """
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])  # (B, H, T, S)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(dim=-1) if mask is None else masked_softmax(scores, mask)
    return weights @ value, weights


def fused_attention(
    query: Float[Tensor, "B H T K"],
    key: Float[Tensor, "B H S K"],
    value: Float[Tensor, "B H S K"],
    mask: Bool[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, "B H T K"]:
    """The same by torch's kernel, which never holds all weights (blockwise.py tells how), and so returns none."""
    dtype = attention_dtype(query)
    if bias is not None:
        mask = bias.to(dtype) if mask is None else torch.where(mask, bias, -torch.inf).to(dtype)
    with torch.autocast(query.device.type, enabled=False):  # it would bring everything back to bf16
        said = scaled_dot_product_attention(query.to(dtype), key.to(dtype), value.to(dtype), attn_mask=mask)
    return said.to(query.dtype)


# --- many heads -------------------------------------------------------------------------------------------------------


def split_heads(x: Float[Tensor, "B T D"], heads: int) -> Float[Tensor, "B H T K"]:
    """D = H·K numbers of a token as H vectors of K."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "B H T K"]) -> Float[Tensor, "B T D"]:
    """The way back."""
    return x.transpose(1, 2).flatten(2)


class KeysValues(NamedTuple):
    """What a sequence offers to those who look at it. It stays the same however often they do: a cache."""

    key: Float[Tensor, "B H S K"]
    value: Float[Tensor, "B H S K"]


class MultiHeadAttention(nn.Module):
    """H looks at once, each in a space of its own of D/H numbers (Vaswani et al. 2017, §3.2.2).

    One head can look at one place, or at the mean of several; with H of them a token can ask for its verb and its
    article at the same time. All together cost what one of full width would.

    Args:
        model: Width D.
        heads: Number H; divides D.

    Explained in docs/en/stage4_transformer.md.
    """

    def __init__(self, model: int, heads: int):
        super().__init__()
        if model % heads:
            raise ConfigError("the heads share the model's width equally", got=f"width {model}, {heads} heads")
        self.model, self.heads = model, heads
        self.inward = Linear(model, 3 * model)  # W_Q, W_K and W_V one upon the other: one product for all
        self.outward = Linear(model, model)
        for weight in self.inward.weight.data.split(model):
            nn.init.xavier_uniform_(weight)

    def project(self, memory: Float[Tensor, "B S D"]) -> KeysValues:
        """Keys and values of another sequence, such as the encoder's outputs, once for all looks at it."""
        weight, bias = self.inward.weight[self.model :], self.inward.bias[self.model :]
        key, value = linear(memory, weight, bias).chunk(2, dim=2)
        return KeysValues(split_heads(key, self.heads), split_heads(value, self.heads))

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: KeysValues | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        positions: Positions | None = None,
        past: KeysValues | None = None,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B H T S"] | None, KeysValues]:
        """Look.

        Args:
            x: The tokens that ask.
            memory: Whom they ask, from `project`; None: each other (self-attention).
            mask: Broadcast to (B, H, T, S); True where one may look.
            positions: Of self-attention.
            past: Of self-attention: keys and values of the tokens before x, which are then asked as well.
            need_weights: Also say where every token looked; otherwise the fused kernel does the work.

        Returns:
            What each token got, the weights or None, and the keys and values that were asked.
        """
        bias = None
        if memory is None:
            both, value = self.inward(x).split([2 * self.model, self.model], dim=2)
            both, value = split_heads(both, 2 * self.heads), split_heads(value, self.heads)  # (B, 2H, T, K)
            start = 0 if past is None else past.key.shape[2]
            if positions is not None:
                both = positions.rotate(both, start)  # queries and keys alike
                bias = positions.bias(x.shape[1], start + x.shape[1])
            query, key = both.chunk(2, dim=1)
            if past is not None:
                key, value = torch.cat([past.key, key], dim=2), torch.cat([past.value, value], dim=2)
            memory = KeysValues(key, value)
        else:
            query = split_heads(linear(x, self.inward.weight[: self.model], self.inward.bias[: self.model]), self.heads)
        if need_weights:
            said, weights = attention(query, *memory, mask, bias)
        else:
            said, weights = fused_attention(query, *memory, mask, bias), None
        return self.outward(merge_heads(said)), weights, memory

"""Attention told again, for a model that writes: causal, with a cache of keys and values that is filled in place.

Stage 4 kept the keys and values of what was said by gluing the new ones to the old: a copy of everything, each token.
Here the room for a whole context is taken once, a token writes its row into it, and looks at the rows so far. Two parts
that came later fit into the same place:

    grouped queries     several query heads share the keys and values of one group: the cache shrinks by H / G
                        (Ainslie et al. 2023, GQA; with one group Shazeer 2019, MQA)
    norms of queries and keys   their length is 1 whatever the weights do, so scores cannot explode
                        (Henry et al. 2020; Dehghani et al. 2023)

Explained in docs/en/stage5_gpt.md.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from my_llm.device import attention_dtype
from my_llm.errors import ConfigError
from stage4_transformer.models import KeysValues, Positions, causal_mask, merge_heads, split_heads
from stage5_gpt.models.layers import Linear, PlainRMSNorm

SHORT = 256  # up to so many tokens, written-out products in bf16 are faster on a CPU than the kernel with backward


class Cache(NamedTuple):
    """Keys and values of what was read, in room for a whole context. Writing goes in place: an old Cache is no copy."""

    layers: tuple[KeysValues, ...]  # (B, G, context, K) each
    length: int  # tokens that are in it
    last: Int[Tensor, "B M"]  # the newest of them, for the embeddings of n-grams

    def grown(self, tokens: Int[Tensor, "B T"]) -> "Cache":
        """The same room, with these tokens in it, too."""
        last = torch.cat([self.last, tokens], dim=1)[:, tokens.shape[1] :]
        return Cache(self.layers, self.length + tokens.shape[1], last)


def written_out(
    query: Float[Tensor, "B H T K"], key: Float[Tensor, "B H T K"], value: Float[Tensor, "B H T K"]
) -> Float[Tensor, "B H T K"]:
    """softmax(QKᵀ/√K, of the past only) V in three products, all T² weights held."""
    steps, scale = query.shape[2], query.shape[3] ** -0.5
    future = query.new_full((steps, steps), -torch.inf).triu(1)
    q, k, v = (part.flatten(0, 1) for part in (query, key, value))  # (B·H, T, K)
    weights = torch.baddbmm(future, q, k.mT, alpha=scale).softmax(dim=-1)
    return torch.bmm(weights, v).view_as(query)


class CausalSelfAttention(nn.Module):
    """Every token asks those before it, and itself.

    Args:
        model: Width D.
        heads: Number H of query heads; divides D.
        groups: Number G of heads of keys and values; divides H.
        bias: Whether the products have one.
        query_key_norm: Set queries and keys to one length before they are compared.
    """

    def __init__(self, model: int, heads: int, groups: int, *, bias: bool = True, query_key_norm: bool = False):
        super().__init__()
        if model % heads or heads % groups:
            raise ConfigError(
                "heads share the width equally, and groups the heads",
                got=f"width {model}, {heads} heads, {groups} groups",
            )
        self.heads, self.groups = heads, groups
        self.inward = Linear(model, (heads + 2 * groups) * (model // heads), bias)  # queries, keys, values
        self.outward = Linear(model, model, bias)
        self.query_key_norm = PlainRMSNorm() if query_key_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        positions: Positions,
        room: KeysValues | None = None,
        start: int = 0,
    ) -> Float[Tensor, "B T D"]:
        """Look back.

        Args:
            x: The newest tokens.
            positions: Turn queries and keys, or say what distance costs; stage 4's slot.
            room: Keys and values of all tokens so far, written to in place; None: x is all there is.
            start: How many tokens came before x.
        """
        steps = x.shape[1]
        said = split_heads(self.inward(x), self.heads + 2 * self.groups)  # (B, H + 2G, T, K)
        both, value = said.split([self.heads + self.groups, self.groups], dim=1)
        query, key = positions.rotate(self.query_key_norm(both), start).split([self.heads, self.groups], dim=1)
        if room is not None:
            for old, new in zip(room, (key, value), strict=True):
                old[:, :, start : start + steps] = new
            key, value = (part[:, :, : start + steps] for part in room)
        return self.outward(merge_heads(self.look(query, key, value, positions.bias(steps, start + steps))))

    def look(
        self,
        query: Float[Tensor, "B H T K"],
        key: Float[Tensor, "B G S K"],
        value: Float[Tensor, "B G S K"],
        bias: Float[Tensor, "H T S"] | None,
    ) -> Float[Tensor, "B H T K"]:
        """torch's kernel. It is told to look back, not given a matrix that says so, wherever it knows how."""
        steps, seen, dtype = query.shape[2], key.shape[2], attention_dtype(query)
        if dtype != query.dtype and steps == seen <= SHORT and bias is None and self.groups == self.heads:
            return written_out(query, key, value)
        mask = None
        if bias is not None or 1 < steps < seen:  # a single token is the last one: it sees all
            mask = causal_mask(steps, seen, query.device)
            mask = mask if bias is None else torch.where(mask, bias, -torch.inf).to(dtype)
        with torch.autocast(query.device.type, enabled=False):
            said = scaled_dot_product_attention(
                query.to(dtype), key.to(dtype), value.to(dtype), attn_mask=mask,
                is_causal=mask is None and steps > 1, enable_gqa=self.groups < self.heads,
            )  # fmt: skip
        return said.to(query.dtype)

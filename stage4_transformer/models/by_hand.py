"""The Transformer by hand: NumPy, forward and backward of each part and of whole blocks, every derivative written out.

A block holds little that is new: stage 1's linear layers and ReLU, and stage 3's weighted mean with dot products for
scores. Four short derivations are left, of the softmax, of attention, of the norm and of the residual; the rest is
bookkeeping. Vaswani et al., "Attention Is All You Need", 2017; the norm first: Xiong et al., "On Layer Normalization in
the Transformer Architecture", 2020.

Every part is a pair, as in stage 1: `part` returns its output and what it kept, `part_backward` takes the gradient of
that output and what was kept, and returns the gradients of the inputs and, last, of the weights, by their names. The
names are those of attention.py, layers.py and stacks.py.

B sentences, T queries, S keys, D the model's width, H heads, K = D/H the width of a head, F hidden units; δ is ∂L/∂. A
mask is True where one may look. What it cannot do: dropout, positions, RMSNorm, GELU and SwiGLU. stacks.py can.

Explained in docs/en/stage4_transformer.md.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

Weights = dict[str, ndarray]
Kept = tuple[Any, ...]  # what the way back needs
Tokens = Float[ndarray, "B T D"]
Memory = Float[ndarray, "B S D"]  # tokens that are asked by others
Mask = Bool[ndarray, "..."] | None  # broadcast to (B, H, T, S); None: all may look everywhere


def part(weights: Weights, name: str) -> Weights:
    """The weights of one part, by its own names: those that begin with its name and a dot, without that."""
    return {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}


def whole(parts: dict[str, Weights]) -> Weights:
    """The other way round: the weights of all parts together."""
    return {f"{name}.{key}": value for name, weights in parts.items() for key, value in weights.items()}


# --- linear -----------------------------------------------------------------------------------------------------------
#
# Y = X Wᵀ + b and its gradients are stage 1's. Every token of every sentence is a row: sums run over all B·T of them.


def linear(x: Tokens, weights: Weights) -> tuple[Float[ndarray, "B T F"], Kept]:
    """A layer with `weight` (F, D) and `bias` (F,)."""
    return x @ weights["weight"].T + weights["bias"], (x, weights["weight"])


def linear_backward(dy: Float[ndarray, "B T F"], kept: Kept) -> tuple[Tokens, Weights]:
    """δx = δy W, ∂L/∂W = Σ δyᵀ x, ∂L/∂b = Σ δy."""
    x, weight = kept
    rows = dy.reshape(-1, dy.shape[2])  # (B·T, F)
    return dy @ weight, {"weight": rows.T @ x.reshape(-1, x.shape[2]), "bias": rows.sum(axis=0)}


# --- softmax ----------------------------------------------------------------------------------------------------------
#
# α_s = exp(e_s) / Σ_j exp(e_j). Raising e_j raises the numerator of α_j, and the denominator of all:
#     ∂α_s/∂e_j = α_s ([s = j] − α_j)
#     δe_j = Σ_s δα_s ∂α_s/∂e_j = α_j (δα_j − Σ_s α_s δα_s): what one gains, the others lose.
# The mask needs nothing of its own on the way back: where it says no, α is 0, and so is δe.


def softmax(scores: Float[ndarray, "*N S"], mask: Mask = None) -> Float[ndarray, "*N S"]:
    """Weights over the last axis, which are also all that its backward needs. Who may look nowhere gets 0, not NaN."""
    real = np.True_ if mask is None else mask
    scores = np.where(real, scores, np.finfo(scores.dtype).min)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True)) * real  # the largest is exp(0): no overflow
    return powers / np.maximum(powers.sum(axis=-1, keepdims=True), np.finfo(scores.dtype).tiny)


def softmax_backward(dalpha: Float[ndarray, "*N S"], alpha: Float[ndarray, "*N S"]) -> Float[ndarray, "*N S"]:
    """δe, from what one gains and the others lose."""
    return alpha * (dalpha - (alpha * dalpha).sum(axis=-1, keepdims=True))


# --- the norm ---------------------------------------------------------------------------------------------------------
#
# For one token, over its features d = 1 … D:  x̂_d = (x_d − μ) / s,  s = √(mean (x − μ)² + ε),  y_d = γ_d x̂_d + β_d.
# This is stage 1's batch norm with the axes exchanged, and x_j reaches x̂_d on the same three roads, directly, through μ
# and through s:
#     ∂x̂_d/∂x_j = ([d = j] − 1/D − x̂_d x̂_j / D) / s
# But γ now differs along the axis that is averaged, so it belongs inside the means. With δx̂_d = γ_d δy_d
#     δx_j = Σ_d δx̂_d ∂x̂_d/∂x_j = (δx̂_j − mean(δx̂) − x̂_j mean(δx̂ x̂)) / s
# The gradient loses its mean and its part along x̂, which the norm takes out of x too. And it is divided by s: the
# larger what came in, the smaller what goes back.


def layer_norm(x: Tokens, weights: Weights, epsilon: float = 1e-5) -> tuple[Tokens, Kept]:
    """Each token gets mean 0 and variance 1, then γ and β: `weight` and `bias`, both (D,)."""
    s = np.sqrt(x.var(axis=2, keepdims=True) + epsilon)  # (B, T, 1)
    x_hat = (x - x.mean(axis=2, keepdims=True)) / s
    return x_hat * weights["weight"] + weights["bias"], (x_hat, s, weights["weight"])


def layer_norm_backward(dy: Tokens, kept: Kept) -> tuple[Tokens, Weights]:
    """δx as above; ∂L/∂γ = Σ δy x̂ and ∂L/∂β = Σ δy, as in any line."""
    x_hat, s, gamma = kept
    dx_hat = dy * gamma
    along = (dx_hat * x_hat).mean(axis=2, keepdims=True)
    dx = (dx_hat - dx_hat.mean(axis=2, keepdims=True) - x_hat * along) / s
    return dx, {"weight": (dy * x_hat).sum(axis=(0, 1)), "bias": dy.sum(axis=(0, 1))}


# --- attention --------------------------------------------------------------------------------------------------------
#
# E = Q Kᵀ / √K, A = softmax(E), Y = A V (equation 1 of the paper): two matrix products and a softmax between them. From
# a product C = M N, that is c_ij = Σ_k m_ik n_kj, come δM = δC Nᵀ and δN = Mᵀ δC. So, from the end:
#     δA = δY Vᵀ      δV = Aᵀ δY      δE by the softmax      δQ = δE K / √K      δK = δEᵀ Q / √K


def attention(
    query: Float[ndarray, "B H T K"],
    key: Float[ndarray, "B H S K"],
    value: Float[ndarray, "B H S K"],
    mask: Mask = None,
) -> tuple[Float[ndarray, "B H T K"], Kept]:
    """The mean of the values, weighted by how well key and query match. Kept last: the weights (B, H, T, S)."""
    alpha = softmax(query @ key.mT / math.sqrt(query.shape[3]), mask)
    return alpha @ value, (query, key, value, alpha)


def attention_backward(dy: Float[ndarray, "B H T K"], kept: Kept) -> tuple[ndarray, ndarray, ndarray]:
    """δquery, δkey, δvalue."""
    query, key, value, alpha = kept
    dscores = softmax_backward(dy @ value.mT, alpha) / math.sqrt(query.shape[3])  # δA, δE, and the root
    return dscores @ key, dscores.mT @ query, alpha.mT @ dy


# --- many heads -------------------------------------------------------------------------------------------------------
#
# H attentions side by side, each on K of the D features. Cutting and joining only move numbers, so each is the other's
# backward. W_Q, W_K and W_V lie one upon the other in `inward`, and so do their gradients. A memory is read twice, for
# its keys and for its values, both in one product; in self-attention x is the memory too: all its gradients add up.


def split_heads(x: Tokens, heads: int) -> Float[ndarray, "B H T K"]:
    """D = H·K features as H heads; the backward of `merge_heads`."""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def merge_heads(x: Float[ndarray, "B H T K"]) -> Float[ndarray, "B T D"]:
    """Heads as features again; the backward of `split_heads`."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def multi_head_attention(
    x: Tokens, weights: Weights, heads: int, memory: Memory | None = None, mask: Mask = None
) -> tuple[Tokens, Kept]:
    """x asks, the memory answers; without a memory x asks itself. Weights: `inward` (3D, D) and `outward` (D, D)."""
    weight, bias, model = weights["inward.weight"], weights["inward.bias"], x.shape[2]
    query, of_query = linear(x, {"weight": weight[:model], "bias": bias[:model]})
    both, of_memory = linear(x if memory is None else memory, {"weight": weight[model:], "bias": bias[model:]})
    key, value = np.split(both, 2, axis=2)
    found, of_heads = attention(split_heads(query, heads), split_heads(key, heads), split_heads(value, heads), mask)
    y, of_outward = linear(merge_heads(found), part(weights, "outward"))
    return y, (memory is None, of_query, of_memory, of_heads, of_outward)


def multi_head_attention_backward(dy: Tokens, kept: Kept) -> tuple[ndarray, ndarray | None, Weights]:
    """δx, δmemory (None where x asked itself), ∂L/∂weights: the forward pass, from the last line to the first."""
    itself, of_query, of_memory, of_heads, of_outward = kept
    dmerged, outward = linear_backward(dy, of_outward)
    dquery, dkey, dvalue = map(merge_heads, attention_backward(split_heads(dmerged, of_heads[0].shape[1]), of_heads))
    dmemory, below = linear_backward(np.concatenate((dkey, dvalue), axis=2), of_memory)
    dx, above = linear_backward(dquery, of_query)
    inward = {name: np.concatenate((above[name], below[name])) for name in above}
    gradients = whole({"inward": inward, "outward": outward})
    return (dx + dmemory, None, gradients) if itself else (dx, dmemory, gradients)


# --- feed-forward -----------------------------------------------------------------------------------------------------
#
# Y = relu(Z) W₂ᵀ + b₂, Z = X W₁ᵀ + b₁ (equation 2 of the paper): stage 1's network, and relu′ = [z > 0]. Every token
# goes through it alone.


def feed_forward(x: Tokens, weights: Weights) -> tuple[Tokens, Kept]:
    """Weights: `inward` (F, D) and `outward` (D, F)."""
    z, of_inward = linear(x, part(weights, "inward"))
    y, of_outward = linear(np.maximum(z, 0), part(weights, "outward"))
    return y, (of_inward, z > 0, of_outward)


def feed_forward_backward(dy: Tokens, kept: Kept) -> tuple[Tokens, Weights]:
    """δx and ∂L/∂weights."""
    of_inward, positive, of_outward = kept
    dhidden, outward = linear_backward(dy, of_outward)
    dx, inward = linear_backward(dhidden * positive, of_inward)
    return dx, whole({"inward": inward, "outward": outward})


# --- residuals --------------------------------------------------------------------------------------------------------
#
# x has two readers, the sublayer f and the sum. With the norm n and its backward n′
#     pre:   y = x + f(n(x))      δx = δy + n′(f′(δy))      δy itself reaches x, and so the embeddings, past all blocks
#     post:  y = n(x + f(x))      δz = n′(δy), δx = δz + f′(δz)      nothing gets past a norm, and there are many


def around(
    x: Tokens, weights: Weights, order: str, name: str, sublayer: Callable[..., Any], *given: Any
) -> tuple[Tokens, Kept]:
    """A sublayer by its name in the weights, with norm and residual; order is "pre" or "post"."""
    pre = {"pre": True, "post": False}[order]
    norm, own = part(weights, f"around_{name}.norm"), part(weights, name)
    read, of_norm = layer_norm(x, norm) if pre else (x, ())
    said, of_sublayer = sublayer(read, own, *given)
    y = x + said
    if not pre:
        y, of_norm = layer_norm(y, norm)
    return y, (pre, of_norm, of_sublayer)


def around_backward(dy: Tokens, kept: Kept, name: str, sublayer_backward: Callable[..., Any]) -> tuple[Any, ...]:
    """δx, then whatever else the sublayer's backward returns."""
    pre, of_norm, of_sublayer = kept
    norm: Weights = {}
    if not pre:
        dy, norm = layer_norm_backward(dy, of_norm)  # δz
    dread, *others, own = sublayer_backward(dy, of_sublayer)
    if pre:
        dread, norm = layer_norm_backward(dread, of_norm)
    return dy + dread, *others, whole({name: own, f"around_{name}.norm": norm})


# --- blocks -----------------------------------------------------------------------------------------------------------


def encoder_block(x: Tokens, weights: Weights, heads: int, mask: Mask, order: str = "pre") -> tuple[Tokens, Kept]:
    """Look at each other, then think. The weights of stacks.EncoderLayer; with a causal mask a block of GPT."""
    x, looked = around(x, weights, order, "attention", multi_head_attention, heads, None, mask)
    x, thought = around(x, weights, order, "feed_forward", feed_forward)
    return x, (looked, thought)


def encoder_block_backward(dy: Tokens, kept: Kept) -> tuple[Tokens, Weights]:
    """δx, ∂L/∂weights: the same sublayers, from the last to the first."""
    looked, thought = kept
    dx, of_thought = around_backward(dy, thought, "feed_forward", feed_forward_backward)
    dx, _, of_look = around_backward(dx, looked, "attention", multi_head_attention_backward)
    return dx, of_look | of_thought


def decoder_block(
    x: Tokens, weights: Weights, heads: int, memory: Memory, mask: Mask, memory_mask: Mask, order: str = "pre"
) -> tuple[Tokens, Kept]:
    """Look at what was said, look at the source, then think. The weights of stacks.DecoderLayer."""
    x, looked = around(x, weights, order, "attention", multi_head_attention, heads, None, mask)
    x, read = around(x, weights, order, "cross_attention", multi_head_attention, heads, memory, memory_mask)
    x, thought = around(x, weights, order, "feed_forward", feed_forward)
    return x, (looked, read, thought)


def decoder_block_backward(dy: Tokens, kept: Kept) -> tuple[Tokens, Memory, Weights]:
    """δx, δmemory, ∂L/∂weights. All blocks read one memory: the encoder gets the sum of their δmemory."""
    looked, read, thought = kept
    dx, of_thought = around_backward(dy, thought, "feed_forward", feed_forward_backward)
    dx, dmemory, of_read = around_backward(dx, read, "cross_attention", multi_head_attention_backward)
    dx, _, of_look = around_backward(dx, looked, "attention", multi_head_attention_backward)
    return dx, dmemory, of_look | of_read | of_thought

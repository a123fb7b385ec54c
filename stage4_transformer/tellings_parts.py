"""Attention, the parts of a block, and blocks: each told by hand, from scratch and officially.

The three get the same weights, tokens and masks. Explained in docs/en/stage4_transformer.md.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from stage4_transformer.models import (
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    NoPositions,
    Source,
    StackConfig,
    attention,
    blockwise_attention,
    by_hand,
    layer_norm,
    split_heads,
)
from stage4_transformer.models.official import (
    hidden_future,
    hidden_padding,
    official_decoder,
    official_encoder,
    our_name,
    to_official,
)
from stage4_transformer.tellings import Problem, Size, Tellings, copied, in_numpy, shaken, three, with_torch

# --- attention --------------------------------------------------------------------------------------------------------


def heads_of(p: Problem, causal: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Query, key and value of each head, and ∂L/∂output."""
    asked = p.x if causal else p.memory
    parts = {"query": p.x, "key": asked, "value": asked.flip(2)}
    leaves = {name: split_heads(x.detach(), p.size.heads).clone().requires_grad_() for name, x in parts.items()}
    return leaves, split_heads(p.grad, p.size.heads)


def the_formula(p: Problem, causal: bool) -> Tellings:
    """Equation 1: in NumPy, in torch, and as torch's kernel."""
    leaves, grad = heads_of(p, causal)
    mask = p.causal if causal else p.padding
    arrays = [x.detach().numpy() for x in leaves.values()]
    return {
        "by hand": in_numpy(
            lambda: by_hand.attention(*arrays, mask=mask.numpy()),
            lambda dy, kept: (*by_hand.attention_backward(dy, kept), {}),
            leaves,
            grad,
        ),
        "from scratch": with_torch(lambda: attention(*leaves.values(), mask=mask)[0], leaves, grad),
        "official": with_torch(lambda: kernel(leaves, p, causal), leaves, grad),
    }


def in_blocks(p: Problem, causal: bool) -> Tellings:
    """The same without the matrix of all weights; blocks so small that here, too, there are several."""
    (leaves, grad), mask = heads_of(p, causal), {"causal": causal, "lengths": None if causal else p.lengths}
    return {
        "from scratch": with_torch(lambda: blockwise_attention(*leaves.values(), **mask, block=2), leaves, grad),
        "official": with_torch(lambda: kernel(leaves, p, causal), leaves, grad),
    }


def three_ways(p: Problem) -> Tellings:
    """Causal attention that holds all weights, some at a time, and as torch's kernel."""
    leaves, grad = heads_of(p, causal=True)
    return {
        "plain": with_torch(lambda: attention(*leaves.values(), mask=p.causal)[0], leaves, grad),
        "blockwise": with_torch(lambda: blockwise_attention(*leaves.values(), causal=True), leaves, grad),
        "fused": with_torch(lambda: kernel(leaves, p, causal=True), leaves, grad),
    }


def kernel(leaves: dict[str, Tensor], p: Problem, causal: bool) -> Tensor:
    """torch's own."""
    return scaled_dot_product_attention(*leaves.values(), attn_mask=None if causal else p.padding, is_causal=causal)


# --- parts and blocks -------------------------------------------------------------------------------------------------


def self_attention(p: Problem) -> Tellings:
    """Every token asks those before it."""
    ours = shaken(MultiHeadAttention(p.size.model, p.size.heads), p.x)
    theirs, hidden = to_official(ours), hidden_future(p.size.target, p.x.device)
    ask = partial(theirs, p.x, p.x, p.x, attn_mask=hidden, is_causal=True, need_weights=False)
    return three(
        {"x": p.x},
        p.grad,
        (
            lambda x, weights: by_hand.multi_head_attention(x, weights, p.size.heads, None, p.causal.numpy()),
            by_hand.multi_head_attention_backward,
        ),
        (ours, lambda: ours(p.x, mask=p.causal)[0]),
        (theirs, lambda: ask()[0]),
    )


def cross_attention(p: Problem) -> Tellings:
    """Every token asks the source."""
    ours = shaken(MultiHeadAttention(p.size.model, p.size.heads), p.x)
    theirs, hidden = to_official(ours), hidden_padding(p.lengths, p.size.source)
    ask = partial(theirs, p.x, p.memory, p.memory, key_padding_mask=hidden, need_weights=False)
    return three(
        {"x": p.x, "memory": p.memory},
        p.grad,
        (
            lambda x, memory, w: by_hand.multi_head_attention(x, w, p.size.heads, memory, p.padding.numpy()),
            by_hand.multi_head_attention_backward,
        ),
        (ours, lambda: ours(p.x, ours.project(p.memory), mask=p.padding)[0]),
        (theirs, lambda: ask()[0]),
    )


def feed_forward(p: Problem) -> Tellings:
    """Every token for itself."""
    model, hidden = p.size.model, p.size.hidden
    layers = {"inward": nn.Linear(model, hidden), "relu": nn.ReLU(), "outward": nn.Linear(hidden, model)}
    ours = shaken(FeedForward(model, hidden), p.x)
    theirs = copied(ours, nn.Sequential(OrderedDict(layers)))
    hand = by_hand.feed_forward, by_hand.feed_forward_backward
    return three({"x": p.x}, p.grad, hand, (ours, lambda: ours(p.x)), (theirs, lambda: theirs(p.x)))


def norm(p: Problem) -> Tellings:
    """The formula of LayerNorm, written out."""
    ours = shaken(LayerNorm(p.size.model), p.x)
    theirs = copied(ours, nn.LayerNorm(p.size.model))
    hand = by_hand.layer_norm, by_hand.layer_norm_backward
    formula = partial(layer_norm, p.x, ours.weight, ours.bias)
    return three({"x": p.x}, p.grad, hand, (ours, formula), (theirs, lambda: theirs(p.x)))


def stack_config(size: Size, order: str) -> dict[str, Any]:
    """The shape of a stack."""
    names = ("model", "heads", "hidden", "layers")
    return {name: getattr(size, name) for name in names} | {"order": order}


def encoder_block(p: Problem, order: str) -> Tellings:
    """Padded tokens look at each other, then think."""
    size, config = p.size, StackConfig(**stack_config(p.size, order))
    ours = shaken(EncoderLayer(size.model, size.heads, size.hidden, order=order), p.x)
    theirs = copied(ours, official_encoder(config).layers[0])
    hidden, nowhere = hidden_padding(p.lengths, size.source), NoPositions(size.model, size.heads, 1)
    return three(
        {"x": p.memory},
        p.grad_memory,
        (
            lambda x, weights: by_hand.encoder_block(x, weights, size.heads, p.padding.numpy(), order),
            by_hand.encoder_block_backward,
        ),
        (ours, lambda: ours(p.memory, p.padding, nowhere)[0]),
        (theirs, lambda: theirs(p.memory, src_key_padding_mask=hidden)),
    )


def decoder_block(p: Problem, order: str) -> Tellings:
    """Look at what was said, ask the source, think."""
    size, config = p.size, StackConfig(**stack_config(p.size, order))
    ours = shaken(DecoderLayer(size.model, size.heads, size.hidden, order=order), p.x)
    theirs = copied(ours, official_decoder(config).layers[0], name_in_decoder)
    padding, future = hidden_padding(p.lengths, size.source), hidden_future(size.target, p.x.device)
    nowhere = NoPositions(size.model, size.heads, 1)
    masks = {"tgt_mask": future, "memory_key_padding_mask": padding, "tgt_is_causal": True}
    return three(
        {"x": p.x, "memory": p.memory},
        p.grad,
        (
            lambda x, memory, weights: by_hand.decoder_block(
                x, weights, size.heads, memory, p.causal.numpy(), p.padding.numpy(), order
            ),
            by_hand.decoder_block_backward,
        ),
        (ours, lambda: ours(p.x, p.causal, nowhere, Source(ours.cross_attention.project(p.memory), p.padding))[0]),
        (theirs, lambda: theirs(p.x, p.memory, **masks)),
        name_in_decoder,
    )


def name_in_decoder(name: str) -> str:
    """`our_name` of a part of a decoder layer, whose second norm is another one than an encoder layer's."""
    return our_name(f"decoder.{name}").removeprefix("decoder.")


CASES: dict[str, Callable[[Problem], Tellings]] = {
    "attention, causal": partial(the_formula, causal=True),
    "attention, padding": partial(the_formula, causal=False),
    "blockwise, causal": partial(in_blocks, causal=True),
    "blockwise, padding": partial(in_blocks, causal=False),
    "self-attention": self_attention,
    "cross-attention": cross_attention,
    "feed-forward": feed_forward,
    "LayerNorm": norm,
    **{f"encoder block, {order}": partial(encoder_block, order=order) for order in ("pre", "post")},
    **{f"decoder block, {order}": partial(decoder_block, order=order) for order in ("pre", "post")},
}

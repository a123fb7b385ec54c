"""Three attentions beside each other, for bench_stage4.py: time and memory, plain, by torch's kernel, blockwise."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lab.bench import Row, take_turns
from stage2_rnn_lstm.costs import peak_memory
from stage4_transformer.models import attention, causal_mask
from stage4_transformer.models.blockwise import blockwise_attention

LENGTHS, BATCH, HEADS, HEAD = (512, 1024, 2048, 4096), 4, 8, 64

Look = Callable[[Tensor, Tensor, Tensor], Tensor]
ATTENTIONS: dict[str, Look] = {
    "plain": lambda query, key, value: attention(query, key, value, causal_mask(query.shape[2], key.shape[2]))[0],
    "fused": partial(scaled_dot_product_attention, is_causal=True),
    "blockwise": partial(blockwise_attention, causal=True),
}


def attentions(rounds: int) -> list[Row]:
    """Milliseconds of each attention, forward alone and with backward, and by how much memory grows with backward."""
    rows: list[Row] = []
    for steps in LENGTHS:
        torch.manual_seed(0)
        leaves = [torch.randn(BATCH, HEADS, steps, HEAD, requires_grad=True) for _ in range(3)]
        grad = torch.randn_like(leaves[0])
        turns = max(rounds * LENGTHS[0] // (2 * steps), 3)
        back = {name: partial(with_backward, look, leaves, grad) for name, look in ATTENTIONS.items()}
        ways = {
            "forward": {name: partial(forward, look, leaves) for name, look in ATTENTIONS.items()},
            "with_backward": back,
        }
        seconds = {way: take_turns(calls, turns, warm_up=1) for way, calls in ways.items()}
        for name, call in back.items():
            row: Row = {"case": f"{name}, {steps:,} tokens"}
            for way, taken in seconds.items():
                median, fused = statistics.median(taken[name]), statistics.median(taken["fused"])
                row |= {f"{way}_ms": round(1000 * median, 2), f"{way}_speed": round(fused / median, 3)}
            grown = peak_memory(call)
            rows.append(row | {"memory_mib": None if grown is None else round(grown, 1)})
    return rows


@torch.no_grad()
def forward(look: Look, leaves: Sequence[Tensor]) -> None:
    """As where nothing is learnt."""
    look(*leaves)


def with_backward(look: Look, leaves: Sequence[Tensor], grad: Tensor) -> None:
    """As in a training."""
    torch.autograd.grad(look(*leaves), leaves, grad)

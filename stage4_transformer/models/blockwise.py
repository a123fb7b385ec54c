"""FlashAttention in plain PyTorch: attention, exact, without ever holding the T × S matrix of its weights.

Softmax seems to need a whole row of scores at once, for its sum. It does not. Read the keys block by block and keep,
for each query, the largest score so far m, the sum l of exp(score − m) so far, and the output so far; where a block
brings a larger score, all that came before shrinks by exp(m_old − m_new):

    m_new = max(m, max_s S_s),    P_s = exp(S_s − m_new),    S = QKᵀ/√K                      (Dao 2022, algorithm 1;
    l ← l exp(m − m_new) + Σ_s P_s,    O ← O exp(m − m_new) + P V,    at the end O / l        Dao 2023, algorithm 1)

The way back needs the weights again. It does not keep them either: from the logarithm of the sum, L = m + log l, a
block of weights is exp(S − L), one product away; and the sum in softmax's derivative, over all keys, turns out to be
one over the K entries of the output, so it is known beforehand (Dao 2022, §B.2; Dao 2023, algorithm 2):

    D = Σ_k dO_k O_k,    dS = P ∘ (dO Vᵀ − D),    dQ = dS K/√K,    dK = dSᵀ Q/√K,    dV = Pᵀ dO

More arithmetic, but faster: a block of scores stays in the processor's cache, a matrix of T × S has to travel. Dao et
al., "FlashAttention", NeurIPS 2022; Dao, "FlashAttention-2", arXiv 2023; the running softmax: Milakov & Gimelshein,
"Online normalizer calculation for softmax", 2018.

What it cannot do: show the weights, drop some of them out, take a mask of any shape, be differentiated twice; and be
fast on a GPU, which wants all this in one kernel. Explained in docs/en/stage4_transformer.md.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from my_llm.errors import ConfigError

WIDER = 8  # a block has so many times more keys than queries: softmax runs along the keys
SCORES = 2**19  # and so many heads as make 2 MB of scores in fp32: they stay in the cache of a few cores
LOWEST = {x: math.log(torch.finfo(x).tiny) / 2 for x in (torch.float32, torch.float64)}  # exp of it: nothing beside 1


# --- which blocks there are -------------------------------------------------------------------------------------------


class Blocks(NamedTuple):
    """How B × H × T × S scores are cut into blocks. What lies wholly in the future or in the padding is in none."""

    batch: int
    heads: int
    queries: int
    keys: int
    real: list[int]  # keys of each sentence that are no padding
    causal: bool
    rows: int  # queries of a block
    columns: int  # keys of a block
    together: int  # heads of a block

    def groups(self) -> Iterator[tuple[int, slice]]:
        """A sentence, and some heads of it."""
        for b in range(self.batch):
            for h in range(0, self.heads, self.together):
                yield b, slice(h, min(h + self.together, self.heads))

    def down(self, b: int, *of_queries: Tensor) -> Iterator[tuple[Any, ...]]:
        """The blocks of what belongs to the queries, (N, T, ·) → (N, I, ·), as views; only queries that see a key.

        In front of them: how many keys the first query sees, and how many the last one.
        """
        seen = self.keys - self.queries if self.causal else self.keys
        for views in zip(*(x.split(self.rows, dim=1) for x in of_queries)):
            before, seen = seen, seen + views[0].shape[1]
            if (last := min(seen, self.real[b])) > 0:
                yield before + 1, last, *views

    def along(self, seen: int, *of_keys: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The blocks of what belongs to the keys, (N, S, K) → (N, J, K), as views; only the first `seen` keys."""
        return zip(*(x[:, :seen].split(self.columns, dim=1) for x in of_keys))

    def desk(self, like: Tensor, papers: int) -> tuple[Tensor, Tensor]:
        """Room for blocks of scores, and two triangles: 1 and 0 where column <= row, 0 and very little elsewhere."""
        past = like.new_ones(self.rows, self.rows).tril()
        room = like.new_empty(papers, self.together, self.rows, self.columns)
        return room, torch.stack([past, (1 - past) * torch.finfo(like.dtype).min / 2])


# --- one block --------------------------------------------------------------------------------------------------------


def product(a: Tensor, b: Tensor, paper: Tensor) -> Tensor:
    """a bᵀ, head by head: (N, I, K), (N, J, K) → (N, I, J), written over the last block, as that is in the cache."""
    shape = (len(a), a.shape[1], b.shape[1])
    return torch.bmm(a, b.mT, out=paper if paper.shape == shape else paper.flatten()[: math.prod(shape)].view(shape))


def corner(scores: Tensor, triangles: Tensor, seen: int) -> tuple[Tensor, Tensor] | None:
    """Where some rows see less than others, and the triangles over it; row 0 sees `seen` columns, row 1 one more."""
    (_, rows, columns), first = scores.shape, max(seen - 1, 0)
    if seen >= columns:
        return None
    return scores[..., first:], triangles[:, :rows, first + 1 - seen : columns + 1 - seen]


def exp_(x: Tensor) -> Tensor:
    """exp in place, for x <= 0. Never too small for the usual format (denormal): that would take 100 times longer."""
    return x.clamp_(LOWEST[x.dtype], 0).exp_()


class BlockwiseAttention(torch.autograd.Function):
    """(query, key, value, their blocks) → output. Products write in place: autocast would make bf16 of the others."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        """Dao 2023, algorithm 1."""
        dtype, scale = torch.promote_types(query.dtype, torch.float32), query.shape[3] ** -0.5
        output, log_sum = torch.zeros_like(query), query.new_zeros(*query.shape[:3], 1, dtype=dtype)
        (paper,), triangles = blocks.desk(log_sum, 1)
        for b, heads in blocks.groups():
            queries, v = query[b, heads].to(dtype), value[b, heads].to(dtype)  # (N, T, K), (N, S, K)
            k = (key[b, heads].to(dtype) * scale).mT.contiguous().mT  # lies as the products will read it, many times
            for seen, end, q, out, log_l in blocks.down(b, queries, output[b, heads], log_sum[b, heads]):
                m = l = o = q  # the first block sets them
                for j, (k_j, v_j) in enumerate(blocks.along(end, k, v)):
                    s = product(q, k_j, paper)  # (N, I, J)
                    if edge := corner(s, triangles, seen):
                        edge[0].add_(edge[1][1])
                    m_new = torch.maximum(m, s.amax(2, keepdim=True)) if j else s.amax(2, keepdim=True)  # (N, I, 1)
                    p = exp_(s.sub_(m_new))
                    if edge:
                        edge[0].mul_(edge[1][0])
                    if j:
                        shrink = m.sub_(m_new).exp_()
                        l = torch.addcmul(p.sum(2, keepdim=True), l, shrink)
                        o.mul_(shrink).baddbmm_(p, v_j)
                    else:
                        l, o = p.sum(2, keepdim=True), torch.bmm(p, v_j, out=torch.empty_like(q))
                    m, seen = m_new, seen - s.shape[2]
                torch.div(o, l.clamp_(min=torch.finfo(dtype).tiny), out=out)  # l is 0 where a query sees nothing
                torch.add(m, l.log_(), out=log_l)
        ctx.save_for_backward(query, key, value, output, log_sum)
        ctx.blocks = blocks
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Dao 2023, algorithm 2."""
        query, key, value, output, log_sum = ctx.saved_tensors
        blocks, dtype, scale = ctx.blocks, log_sum.dtype, query.shape[3] ** -0.5
        (paper, second), triangles = blocks.desk(log_sum, 2)
        d_query, d_key, d_value = (torch.zeros_like(x, dtype=dtype) for x in (query, key, value))
        for b, heads in blocks.groups():
            k, v = key[b, heads].to(dtype) * scale, value[b, heads].to(dtype)  # (N, S, K)
            dk, dv = d_key[b, heads], d_value[b, heads]
            of_queries = (
                x[b, heads].to(dtype) for x in (query, output, log_sum, d_query, grad_outputs[0])
            )  # (N, T, ·)
            for seen, end, q, o, log_l, dq, do in blocks.down(b, *of_queries):
                d = (do * o).sum(2, keepdim=True)  # (N, I, 1)
                for k_j, v_j, dk_j, dv_j in blocks.along(end, k, v, dk, dv):
                    p = exp_(product(q, k_j, paper).sub_(log_l))  # (N, I, J)
                    if edge := corner(p, triangles, seen):
                        edge[0].mul_(edge[1][0])
                    dv_j.baddbmm_(p.mT, do)
                    ds = product(do, v_j, second).sub_(d).mul_(p)
                    dq.baddbmm_(ds, k_j)
                    dk_j.baddbmm_(ds.mT, q)
                    seen -= p.shape[2]
            dk.mul_(scale)
        return d_query.to(query.dtype), d_key.to(key.dtype), d_value.to(value.dtype), None


def blockwise_attention(
    query: Float[Tensor, "B H T K"],
    key: Float[Tensor, "B H S K"],
    value: Float[Tensor, "B H S K"],
    *,
    causal: bool = False,
    lengths: Int[Tensor, "B"] | None = None,
    block: int = 128,
) -> Float[Tensor, "B H T K"]:
    """softmax(QKᵀ/√K) V with O(T + S) memory, forward and backward.

    Args:
        query, key, value: Strides as they come; the output has the query's. Formats below fp32 are computed in fp32.
        causal: The queries are the last T of S positions: query t sees no key after t + S − T.
        lengths: Real keys of each sentence; those after them are padding, and cost nothing.
        block: Queries of a block.

    Returns:
        The output; 0 for a query that may look nowhere.

    Raises:
        ConfigError: `block` is less than 1.
    """
    if block < 1:
        raise ConfigError("A block needs at least one query", got=block, valid="1 and more")
    (batch, heads, steps, _), length = query.shape, key.shape[2]
    real = [length] * batch if lengths is None else lengths.tolist()
    rows, columns = max(1, min(block, steps)), max(1, min(WIDER * block, length))
    together = min(heads, max(1, SCORES // (rows * columns)))
    blocks = Blocks(batch, heads, steps, length, real, causal, rows, columns, together)
    return BlockwiseAttention.apply(query, key, value, blocks)  # pyright: ignore[reportReturnType]

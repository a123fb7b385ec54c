"""Attention: look back at the source, at each step of the translation somewhere else.

Without it, everything that a sentence says must pass through one vector of fixed size. With it the decoder asks a
question, the query, at each step; every source token has a key; a score says how well they match. A softmax makes
weights of the scores, and the context is the mean of the keys with these weights:

    α_s = exp(score(q, k_s)) / Σ_j exp(score(q, k_j)),    c = Σ_s α_s k_s     (Bahdanau 2015 eq. 5–6, Luong 2015 eq. 7)

The whole is differentiable, so nobody has to say which word belongs to which: the weights are learned from translations
alone. Bahdanau, Cho & Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015;
Luong, Pham & Manning, "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015.

What it cannot do: be cheap, as every step looks at every token; and tell the order of the keys, except through what the
encoder wrote into them. Explained in docs/en/stage3_attention_seq2seq.md.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear


class Memory(NamedTuple):
    """What the encoder left for the decoder, computed once a sentence. The batch is first: decoding may select rows."""

    keys: Float[Tensor, "B S K"]
    projected: Float[Tensor, "B S F"] | None  # the keys' share of the scores, where it has weights of its own
    real: Bool[Tensor, "B S"]  # True where a token stands, False at padding
    summary: Float[Tensor, "B K"]  # the whole sentence in one vector


# --- the formulas -----------------------------------------------------------------------------------------------------


def masked_softmax(scores: Float[Tensor, "*B T S"], real: Bool[Tensor, "*#B #T S"]) -> Float[Tensor, "*B T S"]:
    """A softmax over the real tokens; the others get 0, and so does a row that has none."""
    lowest = torch.finfo(scores.dtype).min  # -inf would make NaN of a row without a token: (-inf) - (-inf)
    return torch.where(real, scores, lowest).softmax(dim=-1) * real


def additive_scores(
    query: Float[Tensor, "B T F"], keys: Float[Tensor, "B S F"], score: Float[Tensor, "F"]
) -> Float[Tensor, "B T S"]:
    """vᵀ tanh(q + k), a network with one hidden layer (Bahdanau 2015, A.1.2)."""
    return (query[:, :, None] + keys[:, None]).tanh_() @ score  # (B, T, S, F) → (B, T, S)


def multiplicative_scores(query: Float[Tensor, "B T K"], keys: Float[Tensor, "B S K"]) -> Float[Tensor, "B T S"]:
    """qᵀ k (Luong 2015, §3.1)."""
    return query @ keys.transpose(1, 2)


def distance(position: Float[Tensor, "B T"], steps: int) -> Float[Tensor, "B T S"]:
    """s − p for s = 0 … S − 1."""
    return torch.arange(steps, device=position.device, dtype=position.dtype) - position[:, :, None]


# --- the slot ---------------------------------------------------------------------------------------------------------


def xavier(*shape: int) -> nn.Parameter:
    """Weights that keep a signal's size (stage 1): early scores are small, and the first glance is at everything."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(*shape)))


class Attention(nn.Module):
    """The slot: `remember` once a sentence, then the call as often as there are steps. The kinds differ in `weigh`.

    Args:
        queries: Width H of a query.
        keys: Width K of a key.
        hidden: Width F of the score's hidden layer, where it has one.
    """

    def __init__(self, queries: int, keys: int, hidden: int):
        super().__init__()

    def project(self, keys: Float[Tensor, "B S K"]) -> Float[Tensor, "B S F"] | None:
        """The keys' share of the scores, which is the same at each step."""
        return None

    def remember(
        self, keys: Float[Tensor, "B S K"], real: Bool[Tensor, "B S"], summary: Float[Tensor, "B K"]
    ) -> Memory:
        """All that can be computed before the first query."""
        return Memory(keys, self.project(keys), real, summary)

    def weigh(self, query: Float[Tensor, "B T H"], memory: Memory) -> Float[Tensor, "B T S"]:
        """The weights α."""
        raise NotImplementedError

    def forward(
        self, query: Float[Tensor, "B *T H"], memory: Memory
    ) -> tuple[Float[Tensor, "B *T K"], Float[Tensor, "B *T S"] | None]:
        """Look.

        Args:
            query: (B, H) for one step, or (B, T, H) for many at once.
            memory: What `remember` returned.

        Returns:
            The context (B, K) or (B, T, K), and the weights (B, S) or (B, T, S): 0 at padding, a sum of 1 elsewhere
            (local: less).
        """
        many = query.dim() == 3
        weights = self.weigh(query if many else query[:, None], memory)
        context = weights @ memory.keys  # (B, T, K)
        return (context, weights) if many else (context[:, 0], weights[:, 0])


class DotAttention(Attention):
    """score = qᵀ k: no weights at all, encoder and decoder must find a common language, H = K. Luong 2015, §3.1."""

    def weigh(self, query: Float[Tensor, "B T H"], memory: Memory) -> Float[Tensor, "B T S"]:
        return masked_softmax(multiplicative_scores(query, memory.keys), memory.real[:, None])


class GeneralAttention(Attention):
    """score = qᵀ W k: the weights translate between the two. Luong 2015, §3.1."""

    def __init__(self, queries: int, keys: int, hidden: int):
        super().__init__(queries, keys, hidden)
        self.weight = xavier(queries, keys)

    def project(self, keys: Float[Tensor, "B S K"]) -> Float[Tensor, "B S H"]:
        """W k."""
        return linear(keys, self.weight)

    def weigh(self, query: Float[Tensor, "B T H"], memory: Memory) -> Float[Tensor, "B T S"]:
        assert memory.projected is not None
        return masked_softmax(multiplicative_scores(query, memory.projected), memory.real[:, None])


class AdditiveAttention(Attention):
    """score = vᵀ tanh(W_q q + W_k k). Bahdanau 2015, A.1.2; W_k k is computed once a sentence, as it says there."""

    def __init__(self, queries: int, keys: int, hidden: int):
        super().__init__(queries, keys, hidden)
        self.weight_query = xavier(hidden, queries)
        self.weight_key = xavier(hidden, keys)
        self.score = nn.Parameter(xavier(1, hidden).data[0])

    def project(self, keys: Float[Tensor, "B S K"]) -> Float[Tensor, "B S F"]:
        """W_k k."""
        return linear(keys, self.weight_key)

    def weigh(self, query: Float[Tensor, "B T H"], memory: Memory) -> Float[Tensor, "B T S"]:
        assert memory.projected is not None
        scores = additive_scores(linear(query, self.weight_query), memory.projected, self.score)
        return masked_softmax(scores, memory.real[:, None])


class ConcatAttention(AdditiveAttention):
    """score = vᵀ tanh(W [q; k]). Luong 2015, §3.1.

    W [q; k] = W_q q + W_k k, where W_q are the first columns of W: this is the additive score under another name. What
    differs from Bahdanau is the decoder around it, whose query is the state after the step.
    """


class LocalAttention(GeneralAttention):
    """Guess where to look, and look nowhere else: Luong 2015, §3.2, local-p.

        p = S · sigmoid(v_pᵀ tanh(W_p q))                                      (eq. 9)
        α_s = softmax_s(qᵀ W k_s) · exp(−(s − p)² / 2σ²),  σ = window / 2      (eq. 10), for |s − p| <= window, else 0

    S is the number of real tokens, s counts from 0. A choice of tokens has no gradient; the Gaussian is what tells p
    which way to move. Its price: the weights sum to less than 1.
    """

    window = 5  # tokens on each side; the paper's 10 would cover most short sentences from end to end

    def __init__(self, queries: int, keys: int, hidden: int):
        super().__init__(queries, keys, hidden)
        self.weight_position = xavier(hidden, queries)
        self.position = nn.Parameter(xavier(1, hidden).data[0])

    def centre(self, query: Float[Tensor, "B T H"], real: Bool[Tensor, "B S"]) -> Float[Tensor, "B T"]:
        """p (equation 9)."""
        guess = linear(query, self.weight_position).tanh() @ self.position  # (B, T)
        return real.sum(dim=1, keepdim=True) * guess.to(self.position.dtype).sigmoid()  # bf16 cannot count beyond 256

    def weigh(self, query: Float[Tensor, "B T H"], memory: Memory) -> Float[Tensor, "B T S"]:
        assert memory.projected is not None
        away = distance(self.centre(query, memory.real), memory.real.shape[1])  # (B, T, S)
        near = memory.real[:, None] & (away.abs() <= self.window)
        weights = masked_softmax(multiplicative_scores(query, memory.projected), near)
        return weights * torch.exp(-2 * (away / self.window).square())  # (10): 2σ² = window² / 2


class FixedContext(Attention):
    """No attention: the context is the summary of the sentence, at each step the same. Cho et al. 2014, §2.2."""

    def forward(self, query: Float[Tensor, "B *T H"], memory: Memory) -> tuple[Float[Tensor, "B *T K"], None]:
        """The summary, as often as there are queries; there are no weights."""
        if query.dim() == 2:
            return memory.summary, None
        return memory.summary[:, None].expand(-1, query.shape[1], -1), None


# One slot: (queries, keys, hidden) → attention.
ATTENTIONS: dict[str, type[Attention]] = {
    "none": FixedContext,
    "bahdanau": AdditiveAttention,
    "luong_dot": DotAttention,
    "luong_general": GeneralAttention,
    "luong": GeneralAttention,
    "luong_concat": ConcatAttention,
    "local": LocalAttention,
}

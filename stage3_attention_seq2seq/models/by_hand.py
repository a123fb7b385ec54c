"""Attention by hand: NumPy, forward and backward with every derivative written out, and one decoder step of each order.

A score says how well a query matches a key, a softmax makes weights of the scores, the context is the weighted mean of
the keys. Backward, the context has two ways to the encoder: through the keys that were averaged, and through the scores
that chose among them. Both are one step long, from any word of the translation to any word of the source: that is why
attention trains where a single vector does not.

B sentences, S source tokens, K width of a key, H of a query and of the state, F of the additive score's hidden layer, D
of the embedding. δ is ∂L/∂. The cells are stage 2's. What it cannot do: dropout, several layers. decoder.py can.

Explained in docs/en/stage3_attention_seq2seq.md.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from stage2_rnn_lstm.models import NUMPY_CELLS

State = tuple[ndarray, ...]  # (h,) or (h, c), each (B, H)
Weights = dict[str, ndarray]  # by the names that attention.py and decoder.py give them

# --- scores -----------------------------------------------------------------------------------------------------------
#
# (1) dot       e_s = q · k_s               (2) δq = Σ_s δe_s k_s     (3) δk_s = δe_s q
# (4) general   e_s = q · p_s, p_s = W k_s  so (2) and (3) hold with p in place of k, and a linear layer lies behind:
#               (5) δk_s = Wᵀ δp_s          (6) ∂L/∂W = Σ_s δp_s k_sᵀ
# (7) additive  e_s = v · t_s, t_s = tanh(u_s), u_s = W_q q + W_k k_s
#               (8) ∂L/∂v = Σ_s δe_s t_s    (9) δu_s = δe_s v (1 − t_s²)
#               q is in every u_s, so first the sum over s, then the layer: (10) δq = W_qᵀ Σ_s δu_s
#               (11) ∂L/∂W_q = (Σ_s δu_s) qᵀ    (12) δk_s = W_kᵀ δu_s    (13) ∂L/∂W_k = Σ_s δu_s k_sᵀ
# All sums over weights run over the sentences of the batch as well.


def outer(rows: Float[ndarray, "*N F"], columns: Float[ndarray, "*N D"]) -> Float[ndarray, "F D"]:
    """Σ rows_nᵀ columns_n: the gradient of a linear layer's weights, as one product."""
    return rows.reshape(-1, rows.shape[-1]).T @ columns.reshape(-1, columns.shape[-1])


def dot(query: Float[ndarray, "B K"], keys: Float[ndarray, "B S K"], weights: Weights) -> tuple[ndarray, ndarray]:
    """Equation 1: the scores (B, S), and what backward will need."""
    return (keys @ query[:, :, None])[:, :, 0], keys


def dot_backward(
    de: Float[ndarray, "B S"], query: ndarray, keys: ndarray, kept: ndarray, weights: Weights
) -> tuple[ndarray, ndarray, Weights]:
    """Equations 2 and 3: δq, δk and no weights."""
    return (de[:, None] @ keys)[:, 0], de[:, :, None] * query[:, None], {}


def general(query: Float[ndarray, "B H"], keys: Float[ndarray, "B S K"], weights: Weights) -> tuple[ndarray, ndarray]:
    """Equation 4."""
    return dot(query, keys @ weights["weight"].T, weights)


def general_backward(
    de: Float[ndarray, "B S"], query: ndarray, keys: ndarray, kept: ndarray, weights: Weights
) -> tuple[ndarray, ndarray, Weights]:
    """Equations 2, 3, 5 and 6."""
    dq, dp, _ = dot_backward(de, query, kept, kept, weights)
    return dq, dp @ weights["weight"], {"weight": outer(dp, keys)}


def additive(query: Float[ndarray, "B H"], keys: Float[ndarray, "B S K"], weights: Weights) -> tuple[ndarray, ndarray]:
    """Equation 7."""
    t = np.tanh((query @ weights["weight_query"].T)[:, None] + keys @ weights["weight_key"].T)  # (B, S, F)
    return t @ weights["score"], t


def additive_backward(
    de: Float[ndarray, "B S"], query: ndarray, keys: ndarray, kept: ndarray, weights: Weights
) -> tuple[ndarray, ndarray, Weights]:
    """Equations 8 to 13."""
    du = de[:, :, None] * weights["score"] * (1 - kept * kept)  # (9), (B, S, F)
    total = du.sum(axis=1)  # (B, F)
    gradients = {
        "weight_query": outer(total, query),  # (11)
        "weight_key": outer(du, keys),  # (13)
        "score": (de[:, :, None] * kept).sum(axis=(0, 1)),  # (8)
    }
    return total @ weights["weight_query"], du @ weights["weight_key"], gradients  # (10), (12)


class Score(NamedTuple):
    """A score and its backward."""

    forward: Callable[[ndarray, ndarray, Weights], tuple[ndarray, ndarray]]
    backward: Callable[[ndarray, ndarray, ndarray, ndarray, Weights], tuple[ndarray, ndarray, Weights]]


NUMPY_ATTENTIONS = {
    "bahdanau": Score(additive, additive_backward),
    "luong_dot": Score(dot, dot_backward),
    "luong_general": Score(general, general_backward),
}

# --- weights and context ----------------------------------------------------------------------------------------------
#
# (14) α_s = exp(e_s) / Σ_j exp(e_j) over the real tokens, 0 at padding    (15) c = Σ_s α_s k_s
# (16) δα_s = δc · k_s                     (17) δk_s = α_s δc, the first way to the encoder
# (18) δe_s = α_s (δα_s − Σ_j α_j δα_j)    what a token gains, the others lose; then (2)–(13), the second way
# The mask needs nothing of its own on the way back: where α is 0, (17) and (18) are 0.


class Look(NamedTuple):
    """What the way back needs."""

    query: Float[ndarray, "B H"]
    keys: Float[ndarray, "B S K"]
    alpha: Float[ndarray, "B S"]
    kept: ndarray


def attend(
    score: Score,
    weights: Weights,
    query: Float[ndarray, "B H"],
    keys: Float[ndarray, "B S K"],
    real: Bool[ndarray, "B S"],
) -> tuple[Float[ndarray, "B K"], Look]:
    """Equations 14 and 15: the context, and the tape, which has the weights α. A row without a token gives 0."""
    scores, kept = score.forward(query, keys, weights)
    scores = np.where(real, scores, np.finfo(scores.dtype).min)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True)) * real  # the largest is exp(0): no overflow
    alpha = powers / np.maximum(powers.sum(axis=1, keepdims=True), np.finfo(scores.dtype).tiny)
    return (alpha[:, None] @ keys)[:, 0], Look(query, keys, alpha, kept)


def attend_backward(
    score: Score, weights: Weights, look: Look, dc: Float[ndarray, "B K"]
) -> tuple[Float[ndarray, "B H"], Float[ndarray, "B S K"], Weights]:
    """From δc to δq, δk and ∂L/∂weights."""
    dalpha = (look.keys @ dc[:, :, None])[:, :, 0]  # (16)
    de = look.alpha * (dalpha - (look.alpha * dalpha).sum(axis=1, keepdims=True))  # (18)
    dq, dk, gradients = score.backward(de, look.query, look.keys, look.kept, weights)
    return dq, dk + look.alpha[:, :, None] * dc[:, None], gradients  # (17)


# --- one step of a decoder --------------------------------------------------------------------------------------------

LOOK, CELL = "attention.", "recurrent.layers.0."  # how the names of their weights begin


class NumpyDecoder(NamedTuple):
    """Keys of NUMPY_CELLS and NUMPY_ATTENTIONS, and the weights of a decoder of one layer."""

    cell: str
    attention: str
    weights: Weights

    def part(self, prefix: str) -> Weights:
        """The weights whose names begin so, without that."""
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}

    def look(self, query: ndarray, keys: ndarray, real: ndarray) -> tuple[ndarray, Look]:
        """`attend` with this decoder's score."""
        return attend(NUMPY_ATTENTIONS[self.attention], self.part(LOOK), query, keys, real)

    def look_backward(self, look: Look, dc: ndarray) -> tuple[ndarray, ndarray, Weights]:
        """`attend_backward`; the gradients have the decoder's names."""
        dq, dk, gradients = attend_backward(NUMPY_ATTENTIONS[self.attention], self.part(LOOK), look, dc)
        return dq, dk, {LOOK + name: value for name, value in gradients.items()}

    def read(self, x: ndarray, state: State) -> tuple[State, State]:
        """Stage 2's step on x; the new state, and what the cell kept."""
        weights = self.part(CELL)
        return NUMPY_CELLS[self.cell].step(x @ weights["weight_ih"].T + weights["bias"], state, weights)

    def read_backward(self, x: ndarray, state: State, kept: State, dstate: State) -> tuple[ndarray, State, Weights]:
        """From ∂L/∂(new state) to δx, ∂L/∂(state before) and ∂L/∂weights (stage 2)."""
        weights = self.part(CELL)
        da, du, direct = NUMPY_CELLS[self.cell].step_backward(dstate, state, kept)
        gradients = {"weight_ih": outer(da, x), "weight_hh": outer(du, state[0]), "bias": da.sum(axis=0)}
        if "bias_hh" in weights:
            gradients["bias_hh"] = du[:, -len(weights["bias_hh"]) :].sum(axis=0)
        before = (du @ weights["weight_hh"] + direct[0], *direct[1:])
        return da @ weights["weight_ih"], before, {CELL + name: value for name, value in gradients.items()}


class Tape(NamedTuple):
    """What the way back through a step needs."""

    x: ndarray  # what the cell read
    state: State  # before the step
    kept: State  # by the cell
    look: Look
    joined: ndarray  # what the features were made of
    bent: ndarray  # the features, before or after their bend


# Bahdanau: c = attend(s); s′ = cell([x; c], s); (19) t̃ = R [s; x; c]; (20) t_j = max(t̃_2j, t̃_2j+1)
# (21) δt̃: each δt_j goes to the larger of the two. s has three readers, c and x have two: gradients are sums.


def bahdanau_step(
    decoder: NumpyDecoder,
    x: Float[ndarray, "B D"],
    state: State,
    keys: Float[ndarray, "B S H"],
    real: Bool[ndarray, "B S"],
) -> tuple[Float[ndarray, "B D"], State, Tape]:
    """Look, then step: features (the embedding's width), the new state, the tape."""
    context, look = decoder.look(state[0], keys, real)
    both = np.concatenate((x, context), axis=1)
    after, kept = decoder.read(both, state)
    joined = np.concatenate((state[0], x, context), axis=1)
    pairs = (joined @ decoder.weights["readout"].T).reshape(len(x), -1, 2)  # (19)
    return pairs.max(axis=2), after, Tape(both, state, kept, look, joined, pairs)  # (20)


def bahdanau_step_backward(
    decoder: NumpyDecoder, tape: Tape, dt: Float[ndarray, "B D"], dstate: State
) -> tuple[ndarray, State, ndarray, Weights]:
    """From ∂L/∂features and ∂L/∂(new state) to δx, ∂L/∂(state before), δkeys and ∂L/∂weights."""
    first = tape.bent[:, :, 0] >= tape.bent[:, :, 1]
    dpairs = np.stack((dt * first, dt * ~first), axis=2).reshape(len(dt), -1)  # (21)
    hidden, width = tape.state[0].shape[1], dt.shape[1]
    dh, dx, dc = np.split(dpairs @ decoder.weights["readout"], (hidden, hidden + width), axis=1)
    dboth, before, of_cell = decoder.read_backward(tape.x, tape.state, tape.kept, dstate)
    dq, dk, of_look = decoder.look_backward(tape.look, dc + dboth[:, width:])
    gradients = {"readout": outer(dpairs, tape.joined), **of_cell, **of_look}
    return dx + dboth[:, :width], (before[0] + dh + dq, *before[1:]), dk, gradients


# Luong: s′ = cell([x; h̃₋], s); c = attend(s′); (22) h̃ = tanh(W [c; s′]), so (23) δ(W [c; s′]) = δh̃ (1 − h̃²).
# s′ has three readers: h̃, the query, and the next step.


def luong_step(
    decoder: NumpyDecoder,
    x: Float[ndarray, "B D"],
    state: State,
    fed: Float[ndarray, "B D"],
    keys: Float[ndarray, "B S H"],
    real: Bool[ndarray, "B S"],
) -> tuple[Float[ndarray, "B D"], State, Tape]:
    """Step, then look; `fed` is h̃ of the step before: h̃, the new state, the tape."""
    both = np.concatenate((x, fed), axis=1)
    after, kept = decoder.read(both, state)
    context, look = decoder.look(after[0], keys, real)
    joined = np.concatenate((context, after[0]), axis=1)
    attentional = np.tanh(joined @ decoder.weights["combine"].T)  # (22)
    return attentional, after, Tape(both, state, kept, look, joined, attentional)


def luong_step_backward(
    decoder: NumpyDecoder, tape: Tape, dattentional: Float[ndarray, "B D"], dstate: State
) -> tuple[ndarray, State, ndarray, ndarray, Weights]:
    """From δh̃ (the word's and the next step's) and ∂L/∂(new state) to δx, ∂L/∂(state before), δfed, δkeys, …"""
    bent = dattentional * (1 - tape.bent * tape.bent)  # (23)
    dc, dh = np.split(bent @ decoder.weights["combine"], (tape.look.keys.shape[2],), axis=1)
    dq, dk, of_look = decoder.look_backward(tape.look, dc)
    dboth, before, of_cell = decoder.read_backward(tape.x, tape.state, tape.kept, (dstate[0] + dh + dq, *dstate[1:]))
    dx, dfed = np.split(dboth, (dattentional.shape[1],), axis=1)
    return dx, before, dfed, dk, {"combine": outer(bent, tape.joined), **of_cell, **of_look}

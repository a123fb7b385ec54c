"""Recurrent layers by hand: NumPy, forward and back-propagation through time, with every derivative written out.

A recurrent layer applies one step T times, each time with the *same* weights. Unrolled, it is a network of T layers, so
back-propagation (stage 1) works as it is: walk the steps in reverse. Two things are new. A state is used twice, by the
output of its step and by the next step: its gradient is the sum of both. And a weight is used T times: its gradient is
the sum over all steps. Werbos, "Backpropagation through time: what it does and how to do it", 1990.

Every cell is a pair, as in stage 1: `step` computes the next state, `step_backward` takes the gradient of that state
and returns the gradients of what the step was given. `through_time` and `stack` repeat that over steps and layers and
are the same for all cells. T steps, B sequences, D inputs, H hidden units, G = 1, 3 or 4 times H.

What it cannot do: padding, dropout between layers. recurrent.py can.

Explained in docs/en/stage2_rnn_lstm.md.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

State = tuple[ndarray, ...]  # each (B, H): (h,), or (h, c) for the LSTM
Weights = dict[str, ndarray]  # weight_ih (G, D), weight_hh (G, H), bias (G,), and bias_hh (H,) for the GRU

# --- what every cell has in common -------------------------------------------------------------------------------
#
# What a step takes from its input does not depend on the steps before. So it is computed for all steps in one product:
#  (1) a = W_ih x + b                             for all T at once
#  (2) u = W_hh h₋                                one product a step; h₋ is h of the step before
# With δa = ∂L/∂a and δu = ∂L/∂u, which each cell provides below, stage 1's rules of a linear layer give
#  (3) δx  = δa W_ih                              for all T at once
#  (4) δh₋ = δu W_hh + (what h₋ reaches without W_hh)
#  (5) ∂L/∂W_ih = Σ_t δa_tᵀ x_t    (6) ∂L/∂W_hh = Σ_t δu_tᵀ h_{t−1}    (7) ∂L/∂b = Σ_t δa_t
# A sum over steps and sequences of outer products is one matrix product over all T·B rows: (5) and (6) cost one each.
#
# The slopes, from the values that the forward pass kept (stage 1):
#  (8) tanh′ = 1 − tanh²      (9) σ′ = σ (1 − σ)      (10) σ(z) = (1 + tanh(z/2)) / 2, which cannot overflow


def sigmoid(z: ndarray) -> ndarray:
    """Equation 10."""
    return 0.5 + 0.5 * np.tanh(0.5 * z)


# --- the vanilla RNN (Elman 1990) --------------------------------------------------------------------------------
#
# (11) h = tanh(a + u)        so by (8)  (12) δa = δu = δh (1 − h²), and h₋ reaches nothing but u.


def rnn_step(a: ndarray, state: State, weights: Weights) -> tuple[State, State]:
    """Equation 11: the new state, and what backward will need."""
    h = np.tanh(a + state[0] @ weights["weight_hh"].T)
    return (h,), (h,)


def rnn_step_backward(grad: State, before: State, kept: State) -> tuple[ndarray, ndarray, State]:
    """δa, δu (12), and what reaches the state before without W_hh: nothing."""
    (dh,), (h,) = grad, kept
    da = dh * (1 - h * h)
    return da, da, (np.zeros_like(dh),)


# --- the LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000) -------------------------------------
#
# (13) i, f, o = σ(a + u)     (14) g = tanh(a + u)          four blocks of a and u, in this order
# (15) c = f c₋ + i g         (16) h = o tanh(c)
# c has two readers, h and the next step, whose part arrives as δc; by (16) and (8)
# (17) δc ← δc + δh o (1 − tanh²(c))
# Then (15) and (16) are products, so each factor's gradient is δ times the other factor, times the slope (9), (8):
# (18) δa_i = δc g i(1 − i)     (19) δa_f = δc c₋ f(1 − f)     (20) δa_o = δh tanh(c) o(1 − o)
# (21) δa_g = δc i (1 − g²)     (22) δc₋  = δc f               and δu = δa
# (22) is the whole point of the LSTM: from c to c₋ there is no matrix and no tanh, only f, and f can be near 1.


def lstm_step(a: ndarray, state: State, weights: Weights) -> tuple[State, State]:
    """Equations 13–16: the new state (h, c), and what backward will need."""
    h, c = state
    z = a + h @ weights["weight_hh"].T  # (B, 4H): one product for the four gates
    units = h.shape[1]
    i, f, o = np.split(sigmoid(z[:, : 3 * units]), 3, axis=1)
    g = np.tanh(z[:, 3 * units :])
    c = f * c + i * g
    tanh_c = np.tanh(c)
    return (o * tanh_c, c), (i, f, o, g, tanh_c)


def lstm_step_backward(grad: State, before: State, kept: State) -> tuple[ndarray, ndarray, State]:
    """δa, δu (18–21), and what reaches the state before without W_hh (22)."""
    (dh, dc), (_, c_before), (i, f, o, g, tanh_c) = grad, before, kept
    dc = dc + dh * o * (1 - tanh_c * tanh_c)  # (17)
    da = np.concatenate(
        (
            dc * g * i * (1 - i),  # (18)
            dc * c_before * f * (1 - f),  # (19)
            dh * tanh_c * o * (1 - o),  # (20)
            dc * i * (1 - g * g),  # (21)
        ),
        axis=1,
    )
    return da, da, (np.zeros_like(dh), dc * f)


# --- the GRU (Cho et al. 2014, with the reset gate after the product) --------------------------------------------
#
# (23) r, z = σ(a + u)        (24) m = u_n + b_hh       (25) n = tanh(a_n + r m)      (26) h = (1 − z) n + z h₋
# (27) δa_n = δh (1 − z)(1 − n²)     (28) δa_z = δh (h₋ − n) z(1 − z)     (29) δa_r = δa_n m r(1 − r)
# (30) δu = δa, but δu_n = δm = δa_n r, and so ∂L/∂b_hh = Σ_t δu_n
# (31) h₋ reaches h without W_hh too: δh z.


def gru_step(a: ndarray, state: State, weights: Weights) -> tuple[State, State]:
    """Equations 23–26: the new state, and what backward will need."""
    (h,) = state
    u, units = h @ weights["weight_hh"].T, h.shape[1]
    r, z = np.split(sigmoid(a[:, : 2 * units] + u[:, : 2 * units]), 2, axis=1)
    m = u[:, 2 * units :] + weights["bias_hh"]
    n = np.tanh(a[:, 2 * units :] + r * m)
    return ((1 - z) * n + z * h,), (r, z, m, n)


def gru_step_backward(grad: State, before: State, kept: State) -> tuple[ndarray, ndarray, State]:
    """δa (27–29), δu (30), and what reaches the state before without W_hh (31)."""
    (dh,), (h_before,), (r, z, m, n) = grad, before, kept
    da_n = dh * (1 - z) * (1 - n * n)  # (27)
    da_z = dh * (h_before - n) * z * (1 - z)  # (28)
    da_r = da_n * m * r * (1 - r)  # (29)
    return np.concatenate((da_r, da_z, da_n), axis=1), np.concatenate((da_r, da_z, da_n * r), axis=1), (dh * z,)


class Cell(NamedTuple):
    """A step and its backward, and of how many arrays its state consists."""

    step: Callable[[ndarray, State, Weights], tuple[State, State]]
    step_backward: Callable[[State, State, State], tuple[ndarray, ndarray, State]]
    states: int


NUMPY_CELLS = {
    "rnn": Cell(rnn_step, rnn_step_backward, 1),
    "lstm": Cell(lstm_step, lstm_step_backward, 2),
    "gru": Cell(gru_step, gru_step_backward, 1),
}

# --- through time ------------------------------------------------------------------------------------------------


class Tape(NamedTuple):
    """What the way back needs: the input, and of every step the state before it and what the cell kept."""

    x: Float[ndarray, "T B D"]
    before: list[State]
    kept: list[State]


def through_time(
    cell: Cell, weights: Weights, x: Float[ndarray, "T B D"], state: State
) -> tuple[Float[ndarray, "T B H"], State, Tape]:
    """One layer over a whole sequence: the outputs h_1 … h_T, the last state, and the tape."""
    a = x @ weights["weight_ih"].T + weights["bias"]  # (1), (T, B, G)
    tape, outputs = Tape(x, [], []), []
    for a_t in a:
        tape.before.append(state)
        state, kept = cell.step(a_t, state, weights)
        tape.kept.append(kept)
        outputs.append(state[0])
    return np.stack(outputs), state, tape


def through_time_backward(
    cell: Cell, weights: Weights, tape: Tape, grad: Float[ndarray, "T B H"], grad_state: State
) -> tuple[Float[ndarray, "T B D"], State, Weights]:
    """From ∂L/∂outputs and ∂L/∂(last state) to ∂L/∂x, ∂L/∂(initial state) and ∂L/∂weights, by their names."""
    das, dus = [], []
    for dh, before, kept in zip(grad[::-1], tape.before[::-1], tape.kept[::-1], strict=True):
        dh = dh + grad_state[0]  # two readers: the output and the next step
        da, du, direct = cell.step_backward((dh, *grad_state[1:]), before, kept)
        grad_state = (du @ weights["weight_hh"] + direct[0], *direct[1:])  # (4)
        das.append(da)
        dus.append(du)
    da = np.concatenate(das[::-1])  # (T·B, G)
    du = da if dus[0] is das[0] else np.concatenate(dus[::-1])
    h_before = np.concatenate([state[0] for state in tape.before])  # (T·B, H)
    gradients = {
        "weight_ih": da.T @ tape.x.reshape(len(da), -1),  # (5)
        "weight_hh": du.T @ h_before,  # (6)
        "bias": da.sum(axis=0),  # (7)
    }
    if "bias_hh" in weights:
        gradients["bias_hh"] = du[:, -len(weights["bias_hh"]) :].sum(axis=0)  # (30)
    return (da @ weights["weight_ih"]).reshape(tape.x.shape), grad_state, gradients  # (3)


# --- layers upon layers ------------------------------------------------------------------------------------------
#
# A level is one layer, or two of which the second reads the steps in reverse. What comes in is read by both, so its
# gradient is the sum; their outputs stand side by side, so each gets its half of the gradient.

ORDERS = (slice(None), slice(None, None, -1))  # first to last, last to first


def stack(
    cell: Cell, levels: Sequence[Sequence[Weights]], x: Float[ndarray, "T B D"], state: Sequence[State] | None = None
) -> tuple[Float[ndarray, "T B O"], list[State], list[Tape]]:
    """Each level reads the outputs of the one below. The states are one for each layer, in the order of reading."""
    final, tapes = [], []
    for level in levels:
        outputs = []
        for order, weights in zip(ORDERS, level, strict=False):
            zeros = np.zeros((x.shape[1], weights["weight_hh"].shape[1]), x.dtype)
            start = (zeros,) * cell.states if state is None else state[len(final)]
            output, last, tape = through_time(cell, weights, x[order], start)
            outputs.append(output[order])
            final.append(last)
            tapes.append(tape)
        x = np.concatenate(outputs, axis=2)
    return x, final, tapes


def stack_backward(
    cell: Cell,
    levels: Sequence[Sequence[Weights]],
    tapes: Sequence[Tape],
    grad: Float[ndarray, "T B O"],
    grad_state: Sequence[State] | None = None,
) -> tuple[Float[ndarray, "T B D"], list[State], list[Weights]]:
    """∂L/∂x, and for each layer ∂L/∂(initial state) and ∂L/∂weights. No `grad_state`: nobody read the last states."""
    grad_initial, gradients, number = [], [], len(tapes)
    for level in reversed(levels):
        number -= len(level)
        halves, results = np.split(grad, len(level), axis=2), []
        for i, (order, weights) in enumerate(zip(ORDERS, level, strict=False)):
            tape = tapes[number + i]
            last = tuple(map(np.zeros_like, tape.before[0])) if grad_state is None else grad_state[number + i]
            dx, *rest = through_time_backward(cell, weights, tape, halves[i][order], last)
            results.append((dx[order], *rest))
        dxs, initial, dws = zip(*results, strict=True)
        grad, grad_initial, gradients = np.sum(dxs, axis=0), [*initial, *grad_initial], [*dws, *gradients]
    return grad, grad_initial, gradients

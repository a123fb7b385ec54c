"""Recurrent cells: a network that reads one token at a time and keeps what it has understood in a state.

An MLP sees a fixed number of inputs and forgets them. A recurrent cell computes h_t = f(x_t, h_{t-1}) with the same
weights at every step: sequences of any length, a memory of fixed size, and a loop that cannot be run in parallel.

    RNN    Elman 1990: one tanh. Its gradient shrinks or explodes with every step.
    LSTM   Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000: the memory c is *added to*, so its
           gradient survives as long as the forget gate stays open.
    GRU    Cho et al. 2014: two gates in place of three, and no separate memory.

A step gets `a` = W_ih x_t + b, the part that does not depend on the past: the layers compute it for all steps in one
product, and the gates of a step lie side by side, so that a step is one product as well. Three LSTM gates are sigmoids
and the candidate is a tanh; the order here is input, forget, output, candidate.

Layout: time first, x (T, B, D), as the loop walks over time. Explained in docs/en/stage2_rnn_lstm.md.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stage2_rnn_lstm.models.through_time import LSTMThroughTime

State = tuple[Tensor, ...]  # (h,) or (h, c), each (B, H); over time each (T, B, H)


# --- one step ---------------------------------------------------------------------------------------------------------


def rnn_step(a: Float[Tensor, "B H"], state: State, weight_hh: Float[Tensor, "H H"]) -> State:
    """h' = tanh(a + W_hh h)."""
    (h,) = state
    return (torch.tanh(a + h @ weight_hh.t()),)


def lstm_step(a: Float[Tensor, "B G"], state: State, weight_hh: Float[Tensor, "G H"]) -> State:
    """Forget a part of the memory, write a part of the candidate, show a part of the result; G = 4H."""
    h, c = state
    gates, candidate = torch.addmm(a, h, weight_hh.t()).to(c.dtype).tensor_split([3 * h.shape[1]], dim=1)
    i, f, o = gates.sigmoid().chunk(3, dim=1)
    c = f * c + i * candidate.tanh()
    return o * c.tanh(), c


def gru_step(
    a: Float[Tensor, "B G"], state: State, weight_hh: Float[Tensor, "G H"], bias_hh: Float[Tensor, "H"]
) -> State:
    """Mix the old state with a candidate that sees as much of the past as the reset gate lets through; G = 3H."""
    (h,) = state
    split = [2 * h.shape[1]]  # tensor_split, as the gradients of two slices would be two padded matrices
    gates, candidate = a.tensor_split(split, dim=1)
    recurrent_gates, recurrent_candidate = (h @ weight_hh.t()).tensor_split(split, dim=1)
    r, z = (gates + recurrent_gates).sigmoid().chunk(2, dim=1)
    n = torch.tanh(candidate + r * (recurrent_candidate + bias_hh))
    return (n + z * (h - n),)


# --- all steps --------------------------------------------------------------------------------------------------------


class RNNLayer(nn.Module):
    """tanh RNN over a sequence."""

    gates, memories = 1, 1

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        self.weight_ih = nn.Parameter(torch.empty(self.gates * hidden, inputs))
        self.weight_hh = nn.Parameter(torch.empty(self.gates * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(self.gates * hidden))
        nn.init.xavier_uniform_(self.weight_ih)
        for block in self.weight_hh.data.chunk(self.gates):
            nn.init.orthogonal_(block)  # keeps the length of h, so that at first nothing explodes or vanishes

    def initial_state(self, x: Float[Tensor, "T B D"]) -> State:
        """The state before the first token: zeros."""
        return tuple(self.bias.new_zeros(x.shape[1], self.hidden) for _ in range(self.memories))

    def project(self, x: Float[Tensor, "T B D"]) -> Float[Tensor, "T B G"]:
        """The input's share of all gates, all steps in one product; fp32 even where autocast makes products bf16."""
        return nn.functional.linear(x, self.weight_ih, self.bias).to(self.bias.dtype)

    def step(self, a: Tensor, state: State) -> State:
        """One step; GRU and LSTM differ here."""
        return rnn_step(a, state, self.weight_hh)

    def forward(self, x: Float[Tensor, "T B D"], state: State | None = None) -> tuple[Float[Tensor, "T B H"], State]:
        """Read the sequence.

        Args:
            x: Inputs, time first.
            state: Where to start, (B, H) each; None: zeros.

        Returns:
            The outputs h_1 … h_T, and all states over time, (T, B, H) each; the first of them is the outputs.
        """
        state = self.initial_state(x) if state is None else state
        states = []
        for a in self.project(x).unbind(0):
            state = self.step(a, state)
            states.append(state)
        over_time = tuple(torch.stack(memory) for memory in zip(*states, strict=True))
        return over_time[0], over_time


class LSTMLayer(RNNLayer):
    """LSTM over a sequence.

    The forget gate's bias starts at 1: a new network remembers, and has a gradient to learn what to forget from
    (Gers et al. 2000; Jozefowicz et al. 2015, §3.2).
    """

    gates, memories = 4, 2

    def __init__(self, inputs: int, hidden: int, forget_bias: float = 1.0):
        super().__init__(inputs, hidden)
        nn.init.constant_(self.bias.data[hidden : 2 * hidden], forget_bias)

    def step(self, a: Tensor, state: State) -> State:
        """One step of `lstm_step`."""
        return lstm_step(a, state, self.weight_hh)

    def forward(self, x: Float[Tensor, "T B D"], state: State | None = None) -> tuple[Float[Tensor, "T B H"], State]:
        """Read the sequence: a single step as it is written above, many steps by `LSTMThroughTime`."""
        if len(x) == 1:
            return super().forward(x, state)
        h, c = self.initial_state(x) if state is None else state
        states = LSTMThroughTime.apply(x.to(self.bias.dtype), h, c, self.weight_ih, self.weight_hh, self.bias)
        return states[0], states


class GRULayer(RNNLayer):
    """GRU over a sequence, in the form of torch and cuDNN: the reset gate acts after the product."""

    gates, memories = 3, 1

    def __init__(self, inputs: int, hidden: int):
        super().__init__(inputs, hidden)
        self.bias_hh = nn.Parameter(torch.zeros(hidden))

    def step(self, a: Tensor, state: State) -> State:
        """One step of `gru_step`."""
        return gru_step(a, state, self.weight_hh, self.bias_hh)


# One slot: (inputs, hidden) → layer.
CELLS: dict[str, type[RNNLayer]] = {"rnn": RNNLayer, "lstm": LSTMLayer, "gru": GRULayer}

"""Layers of recurrent cells: stacked, with dropout between them, in both directions, for sequences of unequal length.

A second layer reads the outputs of the first (Graves 2013). A second direction reads the sentence from its end, so that
every output has seen both sides (Schuster & Paliwal 1997); a language model cannot use it, because the future is what
it predicts.

Sentences of a batch are padded to the longest. Padding changes nothing: outputs there are 0, the final state is that of
the last real step, and the backward direction starts at the last real token. Explained in docs/en/stage2_rnn_lstm.md.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stage2_rnn_lstm.models.cells import CELLS, State

States = tuple[State, ...]  # one State per layer and direction: layer 0 forward, layer 0 backward, layer 1 forward, …


class Recurrent(nn.Module):
    """Layers of one kind of cell.

    Args:
        inputs: Width D of the input.
        hidden: Width H of each layer and direction.
        cell: A key of CELLS.
        layers: How many, one upon the other.
        dropout: Share of the values between two layers that a training step leaves out; time steps are not connected
            by it (Zaremba et al. 2014).
        bidirectional: Add a layer that reads from the end, beside each.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        cell: str = "lstm",
        layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ):
        super().__init__()
        self.directions = 2 if bidirectional else 1
        widths = [inputs] + [hidden * self.directions] * (layers - 1)
        self.layers = nn.ModuleList(CELLS[cell](width, hidden) for width in widths for _ in range(self.directions))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "T B D"],
        state: States | None = None,
        lengths: Int[Tensor, "B"] | None = None,
    ) -> tuple[Float[Tensor, "T B O"], States]:
        """Read a batch of sequences.

        Args:
            x: Inputs, time first.
            state: Where to start; None: zeros.
            lengths: Number of real steps of each sequence, 1 … T; None: all are whole.

        Returns:
            Outputs of the last layer, O = H or 2H, and the final state of every layer and direction.
        """
        final: list[State] = []
        backwards = reversed_steps(x, lengths) if self.directions == 2 else None
        for first in range(0, len(self.layers), self.directions):
            x = self.dropout(x) if first else x
            outputs = []
            for number in range(first, first + self.directions):
                order = backwards if number > first else None
                start = None if state is None else state[number]
                output, states = self.layers[number](x if order is None else take(x, order), start)
                final.append(tuple(last_step(memory, lengths) for memory in states))
                outputs.append(output if order is None else take(output, order))  # reversing twice changes nothing
            x = torch.cat(outputs, dim=2) if len(outputs) > 1 else outputs[0]
            x = x if lengths is None else x * real_steps(x, lengths)
        return x, tuple(final)


def detached(state: Any, device: torch.device | None = None) -> Any:
    """A copy of nested tuples of tensors without their history: where back-propagation through time is truncated."""
    if isinstance(state, Tensor):
        return state.detach().to(device, copy=True)  # the last step only; a view would keep all steps alive
    return tuple(detached(part, device) for part in state)


def real_steps(x: Float[Tensor, "T B D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "T B 1"]:
    """1 at real steps, 0 at padding."""
    return (torch.arange(len(x), device=x.device)[:, None] < lengths).to(x.dtype)[:, :, None]


def reversed_steps(x: Float[Tensor, "T B D"], lengths: Int[Tensor, "B"] | None) -> Int[Tensor, "T B"]:
    """Which step stands where when every sequence is turned around and its padding stays at the end."""
    steps = torch.arange(len(x), device=x.device)[:, None]  # (T, 1)
    ends = torch.full((x.shape[1],), len(x), device=x.device) if lengths is None else lengths
    return torch.where(steps < ends, ends - 1 - steps, steps)


def take(x: Float[Tensor, "T B D"], order: Int[Tensor, "T B"]) -> Float[Tensor, "T B D"]:
    """x with the steps of every sequence in the given order."""
    return x.gather(0, order[:, :, None].expand_as(x))


def last_step(memory: Float[Tensor, "T B H"], lengths: Int[Tensor, "B"] | None) -> Float[Tensor, "B H"]:
    """The state after the last real step of each sequence."""
    return memory[-1] if lengths is None else memory[lengths - 1, torch.arange(memory.shape[1], device=memory.device)]

"""The recurrent language model by hand: a table of embeddings, the layers of by_hand.py, logits, and a training step.

Everything that training needs, in NumPy: forward, loss, backward, clipping, gradient descent. The state at the end of
one window of text is the start of the next, but no gradient goes back there: truncated back-propagation through time
(Williams & Peng 1990). The numbers of the equations go on where by_hand.py stops.

Explained in docs/en/stage2_rnn_lstm.md.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from stage1_mlp.models import softmax_cross_entropy
from stage2_rnn_lstm.models.by_hand import NUMPY_CELLS, State, Weights, stack, stack_backward

# (32) x_t = E[token_t], a row of a table: ∂L/∂E[v] = Σ δx_t over all places where token v was read.
# (33) logits_t = W h_t + b, softmax and cross-entropy: stage 1.
# (34) g ← g · min(1, limit / ‖g‖) over all gradients together: it keeps its direction (Pascanu et al. 2013).


class NumpyLanguageModel:
    """The model of language_model.py without dropout, with the same names: `recurrent.layers.0.weight_ih`, ….

    Args:
        parameters: Arrays by name. They also say how many layers there are.
        cell: A key of NUMPY_CELLS.

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(self, parameters: Weights, *, cell: str = "lstm"):
        self.parameters, self.cell = parameters, NUMPY_CELLS[cell]
        self.depth = sum(name.endswith("weight_ih") for name in parameters)

    def levels(self) -> list[list[Weights]]:
        """The weights of each layer, by the names that its step uses."""
        prefixes = [f"recurrent.layers.{number}." for number in range(self.depth)]
        named = self.parameters.items()
        return [[{n.removeprefix(p): value for n, value in named if n.startswith(p)}] for p in prefixes]

    def forward(
        self, tokens: Int[ndarray, "B T"], state: Sequence[State] | None = None
    ) -> tuple[Float[ndarray, "B T V"], list[State]]:
        """Logits for the token after each position, and the state after the last. Keeps what `backward` needs."""
        x = self.parameters["embedding.weight"][tokens.T]  # (32), (T, B, E)
        outputs, state, tapes = stack(self.cell, self.levels(), x, state)
        self.memory = tokens, outputs, tapes
        return (outputs @ self.parameters["head.weight"].T + self.parameters["head.bias"]).swapaxes(0, 1), state  # (33)

    def backward(self, grad: Float[ndarray, "B T V"]) -> Weights:
        """From ∂L/∂logits to ∂L/∂(every parameter). What was read before this window is a constant: truncated BPTT."""
        tokens, outputs, tapes = self.memory
        grad = grad.swapaxes(0, 1)  # (T, B, V)
        rows = grad.reshape(-1, grad.shape[2])
        gradients = {"head.weight": rows.T @ outputs.reshape(len(rows), -1), "head.bias": rows.sum(axis=0)}
        dx, _, layers = stack_backward(self.cell, self.levels(), tapes, grad @ self.parameters["head.weight"])
        for number, layer in enumerate(layers):
            gradients |= {f"recurrent.layers.{number}.{name}": value for name, value in layer.items()}
        gradients["embedding.weight"] = np.zeros_like(self.parameters["embedding.weight"])
        np.add.at(gradients["embedding.weight"], tokens.T, dx)  # (32)
        return gradients

    def step(self, gradients: Weights, lr: float) -> None:
        """Gradient descent."""
        for name, gradient in gradients.items():
            self.parameters[name] = self.parameters[name] - lr * gradient


def token_cross_entropy(logits: Float[ndarray, "B T V"], targets: Int[ndarray, "B T"]) -> tuple[float, ndarray]:
    """Mean cross-entropy in nats per token, and ∂L/∂logits (B, T, V) (33)."""
    value, grad = softmax_cross_entropy(logits.reshape(-1, logits.shape[2]), targets.reshape(-1))
    return value, grad.reshape(logits.shape)


def clip(gradients: Weights, limit: float) -> tuple[Weights, float]:
    """Equation 34: the gradients, shortened where they are too long, and their length ‖g‖ before."""
    norm = math.sqrt(sum((g * g).sum() for g in gradients.values()))
    return {name: g * (limit / norm) if norm > limit else g for name, g in gradients.items()}, norm

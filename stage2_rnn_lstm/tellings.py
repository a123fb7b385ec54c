"""The three tellings of recurrent layers and language models, brought to one form that compare.py can subtract.

By hand, from scratch and official start with the same weights, read the same sequences and draw the same dropout masks,
in float64. An `Outcome` says, by name, what came out and what every gradient is. By hand knows neither dropout nor
padding, so those cases have two tellings. Explained in docs/en/stage2_rnn_lstm.md.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from stage2_rnn_lstm.models import (
    NUMPY_CELLS,
    LanguageModel,
    LanguageModelConfig,
    NumpyLanguageModel,
    OfficialLanguageModel,
    Recurrent,
    clip,
    detached,
    language_model_gradients,
    official,
    official_forward,
    official_gradients,
    stack,
    stack_backward,
    still_second_biases,
    to_levels,
    to_numpy,
    to_official,
    token_cross_entropy,
)

T, B, D, H = 13, 5, 7, 11  # steps, sequences, inputs, hidden units
LEARNING_RATE, CLIP = 1.0, 0.2  # gradients are about 0.1 to 0.6 long: some are shortened, some are not
SENTENCE = (
    "a cell reads one character after the other, keeps a state, and says what comes next; then it reads that, too. "
)

States = tuple[tuple[Tensor, ...], ...]


class Outcome(NamedTuple):
    """What one telling gives: values and gradients by name, and in nats the loss of every training step."""

    values: dict[str, ndarray]
    gradients: dict[str, ndarray]
    losses: list[float]


class Case(NamedTuple):
    """Options of the layers, whether they start from a given state, whether the sequences differ in length."""

    options: dict[str, Any]
    state: bool = False
    lengths: bool = False

    @property
    def by_hand(self) -> bool:
        """Whether it is told by hand."""
        return not self.lengths and "dropout" not in self.options


CASES = {
    "one layer": Case({}),
    "two layers": Case({"layers": 2}),
    "two directions": Case({"layers": 2, "bidirectional": True}),
    "initial state": Case({"layers": 2, "bidirectional": True}, state=True),
    "dropout": Case({"layers": 3, "dropout": 0.3}),
    "lengths": Case({"layers": 2, "bidirectional": True}, state=True, lengths=True),
}

# --- layers -----------------------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """What the layers read. The loss is the sum of outputs and last states, each number times one of `grad…`."""

    x: Tensor
    state: States | None
    lengths: Tensor | None
    grad: Tensor
    grad_state: States


def layers(cell: str, case: Case, seed: int) -> dict[str, Outcome]:
    """The tellings of some layers: values and gradients."""
    torch.manual_seed(seed)
    scratch = Recurrent(D, H, cell=cell, **case.options).double()
    for p in scratch.parameters():
        p.data += 0.1 * torch.randn_like(p)  # so that no bias is 0
    x = torch.randn(T, B, D, dtype=torch.float64)
    with torch.no_grad():
        outputs, final = scratch(x)
    state, grad_state = (tuple(tuple(torch.randn_like(m) for m in layer) for layer in final) for _ in range(2))
    lengths = torch.randint(1, T + 1, (B,)) if case.lengths else None
    problem = Problem(x, state if case.state else None, lengths, torch.randn_like(outputs), grad_state)
    theirs = official(scratch)
    found = {"by hand": layers_by_hand(scratch, cell, problem)} if case.by_hand else {}
    torch.manual_seed(seed)  # the same dropout masks for both
    found["from scratch"] = layers_with_torch(scratch, lambda: gradients_of(scratch), problem)
    torch.manual_seed(seed)
    found["official"] = layers_with_torch(
        partial(official_forward, theirs), lambda: official_gradients(theirs), problem
    )
    return found


def layers_with_torch(
    forward: Callable[..., tuple[Tensor, States]], gradients: Callable[[], dict[str, Tensor]], problem: Problem
) -> Outcome:
    """Forward and autograd's backward."""
    x = problem.x.clone().requires_grad_()
    state = problem.state and tuple(tuple(m.clone().requires_grad_() for m in layer) for layer in problem.state)
    outputs, final = forward(x, state, problem.lengths)
    tensors, grads = flat("final", final), flat("final", problem.grad_state)
    torch.autograd.backward([outputs, *tensors.values()], [problem.grad, *grads.values()])
    initial = {name: memory.grad for name, memory in flat("initial", state or ()).items()}
    return Outcome(arrays({"outputs": outputs, **tensors}), arrays({"x": x.grad, **initial, **gradients()}), [])


def layers_by_hand(scratch: Recurrent, cell: str, problem: Problem) -> Outcome:
    """Forward and backward in NumPy."""
    levels, state = to_levels(scratch), None if problem.state is None else to_arrays(problem.state)
    outputs, final, tapes = stack(NUMPY_CELLS[cell], levels, problem.x.numpy(), state)
    dx, initial, gradients = stack_backward(
        NUMPY_CELLS[cell], levels, tapes, problem.grad.numpy(), to_arrays(problem.grad_state)
    )
    by_name = {f"layers.{i}.{name}": value for i, layer in enumerate(gradients) for name, value in layer.items()}
    return Outcome(
        {"outputs": outputs, **flat("final", final)},
        {"x": dx, **flat("initial", initial if problem.state else ()), **by_name},
        [],
    )


def to_arrays(state: States) -> list[tuple[ndarray, ...]]:
    """A state by hand."""
    return [tuple(memory.numpy() for memory in layer) for layer in state]


def flat(name: str, state: Iterable[Iterable[Any]]) -> dict[str, Any]:
    """{"final.0.1": …}: the memories of a state by layer and number."""
    return {f"{name}.{i}.{j}": memory for i, layer in enumerate(state) for j, memory in enumerate(layer)}


def arrays(tensors: dict[str, Any]) -> dict[str, ndarray]:
    """A copy of each as an array."""
    return {name: value.detach().numpy().copy() for name, value in tensors.items()}


def gradients_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """∂L/∂parameters after `backward()`."""
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


# --- language models --------------------------------------------------------------------------------------------------


def language_models(cell: str, seed: int, steps: int) -> dict[str, Outcome]:
    """The three language models, trained on the same windows of a text, with the state carried from one to the next."""
    torch.manual_seed(seed)
    characters, text = sorted(set(SENTENCE)), SENTENCE * (steps * T // len(SENTENCE) + 2)
    tokens = torch.tensor([characters.index(character) for character in text])
    streams = torch.stack([tokens[17 * b : 17 * b + steps * T + 1] for b in range(B)])
    windows = [(streams[:, i : i + T], streams[:, i + 1 : i + T + 1]) for i in range(0, steps * T, T)]
    scratch = LanguageModel(LanguageModelConfig(len(characters), cell, embedding=D, hidden=H, layers=2)).double()
    torch.nn.init.normal_(scratch.head.weight, std=0.1)  # zeros would hide the first gradients of all other weights
    hand, theirs = to_numpy(scratch), to_official(scratch)
    still_second_biases(theirs.recurrent)
    return {
        "by hand": train_by_hand(hand, windows),
        "from scratch": train_with_torch(scratch, windows),
        "official": train_with_torch(theirs, windows),
    }


def train_by_hand(model: NumpyLanguageModel, windows: list[tuple[Tensor, Tensor]]) -> Outcome:
    """Truncated back-propagation, clipping and gradient descent; values and gradients are those of the first step."""
    state, first, losses = None, None, []
    for inputs, targets in windows:
        logits, state = model.forward(inputs.numpy(), state)
        loss, grad = token_cross_entropy(logits, targets.numpy())
        gradients = model.backward(grad)
        first = first or ({"logits": logits}, gradients)
        model.step(clip(gradients, CLIP)[0], LEARNING_RATE)
        losses.append(loss)
    return Outcome(*(first or ({}, {})), losses)


def train_with_torch(model: LanguageModel | OfficialLanguageModel, windows: list[tuple[Tensor, Tensor]]) -> Outcome:
    """The same with torch's loss, autograd and optimiser."""
    optimizer, state, first, losses = torch.optim.SGD(model.parameters(), LEARNING_RATE), None, None, []
    for inputs, targets in windows:
        optimizer.zero_grad()
        logits, state = model(inputs, state and detached(state))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        gradients = language_model_gradients(model)
        first = first or (arrays({"logits": logits}), arrays(gradients))
        norm = torch.nn.utils.get_total_norm(gradients.values())
        for p in model.parameters():
            if norm > CLIP and p.grad is not None:
                p.grad *= CLIP / norm
        optimizer.step()
        losses.append(loss.item())
    return Outcome(*(first or ({}, {})), losses)


# --- what compare.py prints -------------------------------------------------------------------------------------------


def differences(ours: Outcome, theirs: Outcome) -> list[float]:
    """Largest |difference| of the values, of the gradients and, if there was a training, of any step's loss."""
    found = [farthest(ours.values, theirs.values), farthest(ours.gradients, theirs.gradients)]
    if theirs.losses:
        found.append(float(np.abs(np.subtract(ours.losses, theirs.losses)).max()))
    return found


def farthest(ours: dict[str, ndarray], theirs: dict[str, ndarray]) -> float:
    """The largest |difference|, over arrays of the same names and shapes; NaN if there is one."""
    assert ours.keys() == theirs.keys()
    assert all(ours[name].shape == theirs[name].shape for name in ours)
    return float(np.max([np.abs(ours[name] - theirs[name]).max() for name in ours]))

"""By hand = from scratch = official: the same network told three times, compared number by number.

    python compare.py

Each line is one kind of network. The three tellings start with the same weights, see the same batches, draw the same
dropout masks, and take the same steps of gradient descent in float64. Printed is the largest difference of the first
two to torch.nn: of the logits and of the gradients at the first step, and of the loss over all steps. float64 carries
16 digits, so 1e-16 to 1e-13 is rounding; anything above 1e-9 would be a mistake, and the exit code says so.

Explained in docs/en/stage1_mlp.md.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from my_llm.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from stage1_mlp.models import MLP, MLPConfig, NumpyMLP

TOLERANCE = 1e-9
LEARNING_RATE = 0.1
INPUTS, HIDDEN, CLASSES, BATCH = 20, (48, 32), 7, 64
CASES: dict[str, dict[str, Any]] = {
    "relu": {"activation": "relu"},
    "sigmoid": {"activation": "sigmoid"},
    "tanh": {"activation": "tanh"},
    "gelu": {"activation": "gelu"},
    "silu": {"activation": "silu"},
    "relu, batch norm": {"activation": "relu", "normalization": "batch"},
    "relu, dropout": {"activation": "relu", "dropout": 0.3},
    "tanh, both": {"activation": "tanh", "normalization": "batch", "dropout": 0.3},
}


@dataclass(frozen=True)
class CompareConfig:
    """By hand = from scratch = official: values, gradients, training loss and speed, as a table."""

    config: Path | None = None
    """TOML file with values for these flags; flags on the command line win"""
    seed: int = 0
    """seed of weights, data and dropout masks"""
    max_steps: int = 200
    """steps of gradient descent to follow"""
    threads: int = 1
    """CPU threads; 0: one per core"""


class Outcome(NamedTuple):
    """What one step of one telling gives: (B, C) logits, the loss in nats, and gradients by torch's names."""

    logits: "np.ndarray"
    loss: float
    gradients: "dict[str, np.ndarray]"


Step = Callable[["Tensor", "Tensor"], Outcome]


def by_hand(model: "NumpyMLP", config: "MLPConfig") -> Step:
    """A training step in NumPy. Only the dropout masks come from torch, so that they are the same for all."""
    import torch

    from stage1_mlp.models import draw_mask, official_name, softmax_cross_entropy

    def step(x: "Tensor", target: "Tensor") -> Outcome:
        like = [torch.empty(len(x), units, dtype=x.dtype) for units in config.hidden]
        masks = [draw_mask(layer, config.dropout).numpy() for layer in like] if config.dropout else []
        logits = model.forward(x.numpy(), masks)
        loss, grad = softmax_cross_entropy(logits, target.numpy())
        gradients = model.backward(grad)
        model.step(gradients, LEARNING_RATE)
        return Outcome(logits, loss, {official_name(name): value for name, value in gradients.items()})

    return step


def with_torch(model: "nn.Module", loss_fn: "Callable[[Tensor, Tensor], Tensor]", optimizer: Any) -> Step:
    """A training step with torch's autograd, for the model from scratch and for the official one."""
    from stage1_mlp.models import official_name

    def step(x: "Tensor", target: "Tensor") -> Outcome:
        optimizer.zero_grad()
        logits = model(x)
        loss = loss_fn(logits, target)
        loss.backward()
        optimizer.step()
        gradients = {official_name(name): p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
        return Outcome(logits.detach().numpy(), float(loss.detach()), gradients)

    return step


def tellings(scratch: "MLP") -> dict[str, Step]:
    """The three, with copies of the weights of `scratch`, each with its own gradient descent."""
    import torch

    from stage1_mlp.models import SGD, cross_entropy, to_numpy, to_official

    hand, official = to_numpy(scratch), to_official(scratch)
    return {
        "by hand": by_hand(hand, scratch.config),
        "from scratch": with_torch(
            scratch,
            lambda logits, target: cross_entropy(logits, target).mean(),
            SGD(scratch.parameters(), LEARNING_RATE),
        ),
        "official": with_torch(
            official, torch.nn.functional.cross_entropy, torch.optim.SGD(official.parameters(), LEARNING_RATE)
        ),
    }


class Comparison(NamedTuple):
    """One line of the table: largest differences to the official telling, and microseconds a step for all three."""

    differences: dict[str, tuple[float, float, float]]
    microseconds: dict[str, float]


def compare(case: dict[str, Any], seed: int, steps: int) -> Comparison:
    """Trains the three tellings of one network side by side."""
    import torch

    from stage1_mlp.models import MLP, MLPConfig

    torch.manual_seed(seed)
    rule = torch.randn(INPUTS, CLASSES, dtype=torch.float64)  # the right class is the largest of x · rule
    scratch = MLP(MLPConfig(INPUTS, HIDDEN, CLASSES, **case)).double()
    outcomes: dict[str, list[Outcome]] = {}
    microseconds = {}
    for name, step in tellings(scratch).items():
        outcomes[name], times = [], []
        for index in range(steps):
            torch.manual_seed(seed + 1 + index)  # the same batch and the same masks for all three
            x = torch.randn(BATCH, INPUTS, dtype=torch.float64)
            started = time.perf_counter()
            outcome = step(x, (x @ rule).argmax(dim=1))
            times.append(time.perf_counter() - started)
            outcomes[name].append(outcome if index == 0 else outcome._replace(gradients={}))
        microseconds[name] = sorted(times)[len(times) // 2] * 1e6
    official = outcomes.pop("official")
    return Comparison({name: differences(ours, official) for name, ours in outcomes.items()}, microseconds)


def differences(ours: list[Outcome], theirs: list[Outcome]) -> tuple[float, float, float]:
    """Largest |difference| of the first logits, of the first gradients, and of any step's loss."""
    first, other = ours[0], theirs[0]
    assert first.gradients.keys() == other.gradients.keys()
    values = abs(first.logits - other.logits).max()
    gradients = max(abs(first.gradients[name] - other.gradients[name]).max() for name in other.gradients)
    loss = max(abs(a.loss - b.loss) for a, b in zip(ours, theirs, strict=True))
    return float(values), float(gradients), loss


def run(config: CompareConfig) -> int:
    """Prints the table; 0 if everything agrees, else 1."""
    from my_llm.device import set_threads

    if config.max_steps < 1:
        raise ConfigError("nothing to compare", got=config.max_steps, valid="--max_steps 1 or more")
    set_threads(config.threads)
    print(f"largest difference to torch.nn; float64, {config.max_steps} steps of gradient descent")
    print(f"{'':18}{'by hand':^28}{'from scratch':^28}")
    print(f"{'network':18}" + f"{'values':>9}{'gradient':>10}{'loss':>9}" * 2)
    table = {}
    for name, case in CASES.items():
        table[name] = compare(case, config.seed, config.max_steps)
        cells = (f"{v:9.0e}{g:10.0e}{loss:9.0e}" for v, g, loss in table[name].differences.values())
        print(f"{name:18}" + "".join(cells), flush=True)
    print(f"\nmicroseconds a step (median)\n{'network':18}{'by hand':>14}{'from scratch':>14}{'official':>14}")
    for name, row in table.items():
        print(f"{name:18}" + "".join(f"{value:14,.0f}" for value in row.microseconds.values()))
    numbers = [number for row in table.values() for case in row.differences.values() for number in case]
    agree = all(number < TOLERANCE for number in numbers)  # false for NaN
    verdict = "by hand = from scratch = official" if agree else "THE THREE DISAGREE"
    print(f"\n{verdict}: largest difference {max(numbers):.0e}, limit {TOLERANCE:.0e}")
    return 0 if agree else 1


if __name__ == "__main__":
    from my_llm.cli import main

    main(CompareConfig, run)

"""Machine learning as three steps, on one page of code: the whole method, with no text or class in the way."""

import math
import time

import torch
from torch import Tensor, nn

from stage1_mlp.models.layers import Linear
from stage1_mlp.models.losses import squared_error
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.optimizers import Adam
from stage1_mlp.studies.common import StudyConfig, finish, lines, mean_and_spread, seeds_of, steps_of
from stage1_mlp.studies.drawing import COLORS, save, sheet

NOISE = 0.2


class Powers(nn.Module):
    """(B, 1) → x, x², x³ as (B, 3): a linear layer on top of it is a cubic."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x**2, x**3], dim=1)


def wave(x: Tensor) -> Tensor:
    """The truth, which the learner never sees; it sees forty noisy points of it."""
    return torch.sin(2 * math.pi * x) + 0.5 * x


def three_steps(config: StudyConfig) -> None:
    """Choose a set of functions, say what good means, search the set for the best: which set finds the wave?"""
    started = time.perf_counter()
    # Step 1: sets of functions. Each setting of the weights is one function of the set.
    function_sets = {
        "lines": lambda: Linear(1, 1),
        "cubics": lambda: nn.Sequential(Powers(), Linear(3, 1)),
        "MLPs": lambda: MLP(MLPConfig(1, (32,), 1, activation="tanh")),
    }
    grid = torch.linspace(-1, 1, 200)[:, None]
    rows, fits, searches = [], {}, {}
    for name, draw_a_function in function_sets.items():
        train_losses, test_losses = [], []
        for seed in seeds_of(config):
            torch.manual_seed(seed)
            x = torch.rand(40, 1) * 2 - 1
            y = wave(x) + NOISE * torch.randn(40, 1)
            function = draw_a_function()
            optimizer, history = Adam(function.parameters(), 0.01), []
            for _ in range(steps_of(config, 2000)):
                loss = squared_error(function(x), y).mean()  # step 2: goodness, one number for one function
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()  # step 3: search; go a little towards the better functions of the set
                history.append(loss.item())
            with torch.no_grad():
                fits[name] = (x, y, function(grid))
                test_losses.append(squared_error(function(grid), wave(grid)).mean().item())
            train_losses.append(history[-1])
            searches[name] = (range(1, len(history) + 1), history)
        weights = sum(weight.numel() for weight in draw_a_function().parameters())
        train_scores = mean_and_spread("train_loss", train_losses, 3)
        rows.append({"case": name, "weights": weights, **train_scores, **mean_and_spread("test_loss", test_losses, 3)})
    draw_three_steps(grid, fits, searches)
    report_three_steps(config, rows, started)


def draw_three_steps(grid: Tensor, fits: dict[str, tuple[Tensor, Tensor, Tensor]], searches: dict) -> None:
    """Left: the points, the truth and the best function of each set. Right: the search."""
    figure, (left, right) = sheet(2, width=4.6, title="A set of functions, a measure of goodness, a search")
    x, y, _ = next(reversed(fits.values()))
    left.plot(grid, wave(grid), color="#999999", linewidth=5, alpha=0.5, label="the truth")
    for color, (name, (_, _, best)) in zip(COLORS, fits.items()):
        left.plot(grid, best, color=color, linewidth=1.8, label=f"best of the {name}")
    left.plot(x, y, "k.", label="what is known")
    left.set(xlabel="x", ylabel="y", ylim=(-1.9, 2.6))
    left.legend(frameon=False, ncols=2, fontsize=8, loc="upper center")
    lines(right, searches, title="", xlabel="step of the search", ylabel="goodness: mean squared error")
    right.set(xscale="log")
    right.axhline(NOISE**2, color="black", linewidth=1, linestyle=":", label="the noise")
    right.legend(frameon=False)
    save(figure, "three_steps")


def report_three_steps(config: StudyConfig, rows: list[dict], started: float) -> None:
    """The table, and the sentence that it supports."""
    line, cubic, mlp = rows
    finish(
        config,
        "three_steps",
        title=f"Mean squared error on 40 points with noise {NOISE}² and against the truth",
        columns=dict.fromkeys(["weights", "train_loss", "train_loss_sd", "test_loss", "test_loss_sd"], ""),
        rows=rows,
        seen=f"with the same goodness and the same search the best line is off by {line['test_loss']:.3f}, the best "
        f"cubic by {cubic['test_loss']:.3f}, the best MLP by {mlp['test_loss']:.3f}: the set decides what can be found",
        started=started,
    )

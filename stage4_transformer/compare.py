"""By hand = from scratch = official: the same Transformer told three times, compared number by number.

    python compare.py
    python compare.py --batch_size 32 --model 512 --longest 4096 --threads 2

The first table: attention, the parts of a block, blocks, and whole translators. Printed is the largest difference to
torch.nn, of outputs and of the gradients of all inputs and weights; and of the loss of every step of a training. A
dash: there is no such telling. float64 carries 16 digits, so 1e-16 to 1e-12 is rounding; anything above 1e-9 would be a
mistake, and the exit code says so.

The other tables: time of forward and backward in float32. Two take turns; a speed is the median of the time of torch's
divided by ours. Explained in docs/en/stage4_transformer.md.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from my_llm.errors import ConfigError

if TYPE_CHECKING:
    from stage4_transformer.tellings import Tellings

TOLERANCE = 1e-9
TELLINGS = ("by hand", "from scratch", "official")
TIMED = (
    "attention, causal", "self-attention", "cross-attention", "feed-forward", "LayerNorm", "encoder block, pre",
    "decoder block, pre",
)  # fmt: skip
ORDERS = ("pre", "post")
HEAD, SHORTEST = 64, 128  # width of a head, and tokens of the first line, in the last table


@dataclass(frozen=True)
class CompareConfig:
    """By hand = from scratch = official: values, gradients, training, speed, as tables."""

    config: Path | None = None
    """TOML file with values for these flags; flags on the command line win"""
    seed: int = 0
    """seed of weights and data"""
    max_steps: int = 100
    """training steps of the translators"""
    batch_size: int = 8
    """for the speed: sentences"""
    length: int = 32
    """for the speed: tokens of a source, and of a target"""
    model: int = 128
    """for the speed: width of the model; the feed-forward network is 4 times wider"""
    heads: int = 4
    """for the speed: heads"""
    longest: int = 1024
    """for the speed of attention without the matrix of its weights: tokens, up to so many"""
    repeats: int = 5
    """for the speed: turns of each telling"""
    threads: int = 1
    """CPU threads; 0: one per core"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "seed": (0, 2**63 - 1),
        "max_steps": (1, 10_000),
        "batch_size": (1, 4096),
        "length": (1, 4096),
        "model": (1, 4096),
        "heads": (1, 256),
        "longest": (1, 16_384),
        "repeats": (1, 1000),
        "threads": (0, 1024),
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def run(config: CompareConfig) -> int:
    """Prints the tables; 0 if everything agrees, else 1.

    Raises:
        ConfigError: a width that the heads cannot share.
    """
    if config.model % config.heads:
        got = f"width {config.model}, {config.heads} heads"
        raise ConfigError("the heads share the model's width equally", got=got)
    if config.threads:  # NumPy looks at this when it is imported
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(config.threads)))
    from my_llm.device import set_threads

    set_threads(config.threads)
    largest = print_differences(config)
    print_costs(config)
    print_attention_costs(config)
    agree = largest < TOLERANCE  # false for NaN
    verdict = "by hand = from scratch = official" if agree else "THE THREE DISAGREE"
    print(f"\n{verdict}: largest difference {largest:.0e}, limit {TOLERANCE:.0e}")
    return 0 if agree else 1


def print_differences(config: CompareConfig) -> float:
    """The first table; returns its largest number, NaN if there is one."""
    import numpy as np

    from stage4_transformer.tellings import differences, problem
    from stage4_transformer.tellings_parts import CASES
    from stage4_transformer.tellings_translator import translators

    print(f"largest difference to torch.nn; float64; loss: {config.max_steps} training steps")
    print(f"{'':22}{'by hand':^28}{'from scratch':^28}")
    print(f"{'':22}" + f"{'values':>9}{'gradient':>10}{'loss':>9}" * 2)
    numbers, given = [], problem(seed=config.seed)
    rows = {name: (lambda case=case: (case(given), {})) for name, case in CASES.items()}
    rows |= {f"translator, {order}": lambda order=order: translators(order, seed=config.seed) for order in ORDERS}
    for name, row in rows.items():
        tellings, trainings = row()
        answers = {telling: tell() for telling, tell in tellings.items()}
        losses = {telling: np.array(train(config.max_steps)) for telling, train in trainings.items()}
        line = f"{name:22}"
        for telling in TELLINGS[:2]:
            found = differences(answers[telling], answers["official"]) if telling in answers else []
            found += [float(np.abs(losses[telling] - losses["official"]).max())] if losses else []
            numbers += found
            cells = [f"{number:.0e}" for number in found] + ["–"] * (3 - len(found))
            line += f"{cells[0]:>9}{cells[1]:>10}{cells[2]:>9}"
        print(line, flush=True)
    return float(np.max(numbers))


def print_costs(config: CompareConfig) -> None:
    """The second table: milliseconds, and speed relative to torch.nn."""
    import torch

    from stage4_transformer.tellings import Size, problem
    from stage4_transformer.tellings_parts import CASES
    from stage4_transformer.tellings_translator import translators

    steps, model = config.length, config.model
    size = Size(config.batch_size, steps, steps, model, config.heads, 4 * model, vocabulary=1000)
    given = problem(size, config.seed, torch.float32)
    print(
        f"\nforward and backward, float32: batch {config.batch_size} × {steps} tokens, width {model}, "
        f"{config.heads} heads"
        f"\n{'':22}{'by hand':^18}{'from scratch':^18}{'official':^10}"
        f"\n{'':22}" + f"{'ms':>9}{'speed':>9}" * 2 + f"{'ms':>10}"
    )
    for name in TIMED:
        print_race(f"{name:22}", CASES[name](given), config.repeats)
    print_race(f"{'translator, pre':22}", translators("pre", size, config.seed, torch.float32)[0], config.repeats)


def print_attention_costs(config: CompareConfig) -> None:
    """The third table: attention as the formula has it, in blocks, and by torch's kernel."""
    import torch

    from stage4_transformer.tellings import Size, problem
    from stage4_transformer.tellings_parts import three_ways

    print(
        f"\ncausal attention, forward and backward, float32: {config.heads} heads of {HEAD}"
        f"\n{'':22}{'plain':^18}{'blockwise':^18}{'fused':^10}"
        f"\n{'tokens':22}" + f"{'ms':>9}{'speed':>9}" * 2 + f"{'ms':>10}"
    )
    steps = min(SHORTEST, config.longest)
    while steps <= config.longest:
        size = Size(1, steps, steps, config.heads * HEAD, config.heads)
        print_race(f"{steps:<22,}", three_ways(problem(size, config.seed, torch.float32)), config.repeats)
        steps *= 2


def print_race(name: str, tellings: "Tellings", repeats: int) -> None:
    """One line: milliseconds of each telling, and the speeds of all but the last."""
    from my_llm.costs import race

    *others, last = race(tellings, repeats).values()
    cells = [f"{cost.seconds * 1e3:9.2f}{cost.speed:9.2f}" for cost in others]
    print(f"{name}{''.join(cells)}{last.seconds * 1e3:10.2f}", flush=True)


if __name__ == "__main__":
    from my_llm.cli import main

    main(CompareConfig, run)

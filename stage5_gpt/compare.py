"""By hand = from scratch = transformers = official: the same GPT told four times, compared number by number.

    python compare.py
    python compare.py --batch_size 8 --model 512 --length 256 --threads 2

The first table: a block, the whole model, the loss, and steps of AdamW. Printed is the largest difference to torch.nn,
of values and of the gradients of all inputs and weights; the values of a step are the weights after it. float64 carries
16 digits, so 1e-16 to 1e-12 is rounding; anything above 1e-9 would be a mistake, and the exit code says so.

The second table: two ways of the same. A cache changes the time of writing, not one logit; our Muon is torch's, up to
the three digits of bf16, in which both compute. The third: time of each row of the first, in float32. Two take turns; a
speed is the median of the time of torch's divided by ours.

Without transformers (the extra `export`) its columns are dashes. Explained in docs/en/stage5_gpt.md.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from stage5_gpt.tellings import Answer, Size, Telling

TOLERANCE = 1e-9
ROUGHLY = 1e-3  # of Muon: bf16, times a step of 0.02
TELLINGS = ("by hand", "from scratch", "transformers")  # each beside the official one
STEPPING = "AdamW step"


@dataclass(frozen=True)
class CompareConfig:
    """By hand = from scratch = transformers = official: values, gradients, steps, speed, as tables."""

    config: Path | None = None
    """TOML file with values for these flags; flags on the command line win"""
    seed: int = 0
    """seed of weights and data"""
    max_steps: int = 20
    """steps of AdamW, and of Muon, after which weights are compared"""
    batch_size: int = 4
    """for the speed: texts"""
    length: int = 64
    """for the speed: tokens of a text"""
    model: int = 128
    """for the speed: width of the model; the feed-forward network is 4 times wider"""
    heads: int = 4
    """for the speed: heads"""
    layers: int = 4
    """for the speed: blocks"""
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
        "layers": (1, 100),
        "repeats": (1, 1000),
        "threads": (0, 1024),
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def run(config: CompareConfig) -> int:
    """Prints the tables; 0 if everything agrees, else 1.

    Raises:
        ConfigError: a width that the heads cannot share.
    """
    if config.threads:  # NumPy looks at this when it is imported
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(config.threads)))
    import numpy as np

    from my_llm.device import set_threads
    from stage5_gpt.tellings import problem

    set_threads(config.threads)
    problem(size_of(config))  # a width that does not fit is told here, not between two tables
    largest = print_differences(config)
    cache, muon = print_two_ways(config)
    print_costs(config)
    largest = float(np.max([largest, cache]))  # NaN stays
    agree = largest < TOLERANCE and muon < ROUGHLY  # false for NaN
    verdict = "by hand = from scratch = official" if agree else "THE TELLINGS DISAGREE"
    print(f"\n{verdict}: largest difference {largest:.0e}, limit {TOLERANCE:.0e}")
    return 0 if agree else 1


def size_of(config: CompareConfig) -> "Size":
    """Of what is timed."""
    from stage5_gpt.tellings import Size

    c = config
    return Size(c.batch_size, c.length, c.length, c.model, c.heads, 4 * c.model, c.layers, vocabulary=1000)


def print_differences(config: CompareConfig) -> float:
    """The first table; returns its largest number, NaN if there is one."""
    import numpy as np

    from stage5_gpt.models.huggingface import INSTALL
    from stage5_gpt.tellings import differences, problem
    from stage5_gpt.tellings_parts import CASES

    print(f"largest difference to torch.nn; float64; AdamW: after {config.max_steps} steps")
    print(f"{'':16}" + "".join(f"{name:^20}" for name in TELLINGS))
    print(f"{'':16}" + f"{'values':>9}{'gradient':>11}" * len(TELLINGS))
    numbers, told = [], set()
    for name, case in CASES.items():
        steps = config.max_steps if name == STEPPING else 1
        answers = {telling: last_of(tell, steps) for telling, tell in case(problem(seed=config.seed)).items()}
        line, told = f"{name:16}", answers.keys()
        for telling in TELLINGS:
            found = differences(answers[telling], answers["official"]) if telling in told else []
            numbers += found
            cells = [f"{number:.0e}" for number in found] or ["–", "–"]
            line += f"{cells[0]:>9}{cells[1]:>11}"
        print(line, flush=True)
    if TELLINGS[-1] not in told:
        print(f"transformers is not installed: {INSTALL}")
    return float(np.max(numbers))


def print_two_ways(config: CompareConfig) -> tuple[float, float]:
    """The second table: writing with and without a cache, Muon and torch's; returns their differences."""
    import torch

    from my_llm.costs import race
    from stage5_gpt.tellings import farthest, problem
    from stage5_gpt.tellings_parts import muon, writing

    size, found = size_of(config), []
    print(f"\n{'the same by two ways':28}{'difference':>12}{'first, ms':>12}{'second, ms':>12}{'speed':>12}")
    for name, case, steps in (("cached = uncached", writing, 1), ("Muon = torch.optim.Muon", muon, config.max_steps)):
        one, other = (last_of(tell, steps) for tell in case(problem(seed=config.seed)).values())
        found.append(farthest(one.values, other.values))
        first, last = race(case(problem(size, config.seed, torch.float32)), config.repeats).values()
        times = f"{first.seconds * 1e3:12.2f}{last.seconds * 1e3:12.2f}{first.speed:12.2f}"
        print(f"{name:28}{found[-1]:12.0e}{times}", flush=True)
    return found[0], found[1]


def print_costs(config: CompareConfig) -> None:
    """The third table: milliseconds, and speed relative to torch.nn."""
    import torch

    from my_llm.costs import race
    from stage5_gpt.tellings import problem
    from stage5_gpt.tellings_parts import CASES

    c = config
    print(
        f"\nfloat32: batch {c.batch_size} × {c.length} tokens, width {c.model}, {c.heads} heads, {c.layers} blocks"
        f"\n{'':14}" + "".join(f"{name:^18}" for name in TELLINGS) + f"{'official':>10}"
        f"\n{'':14}" + f"{'ms':>9}{'speed':>9}" * len(TELLINGS) + f"{'ms':>10}"
    )
    for name, case in CASES.items():
        costs = race(case(problem(size_of(config), config.seed, torch.float32)), config.repeats)
        pairs = [costs.get(telling) for telling in TELLINGS]
        cells = [f"{cost.seconds * 1e3:9.2f}{cost.speed:9.2f}" if cost else f"{'–':>9}" * 2 for cost in pairs]
        print(f"{name:14}{''.join(cells)}{costs['official'].seconds * 1e3:10.2f}", flush=True)


def last_of(tell: "Telling", steps: int) -> "Answer":
    """What it says the last of so many times."""
    for _ in range(steps - 1):
        tell()
    return tell()


if __name__ == "__main__":
    from my_llm.cli import main

    main(CompareConfig, run)

"""By hand = from scratch = official: the same recurrent networks told three times, compared number by number.

    python compare.py
    python compare.py --batch_size 64 --length 128 --hidden 512 --threads 2

The first table: one cell with one option a line. Printed is the largest difference to torch.nn, of outputs and last
states, and of the gradients of all weights, of the input and of the initial state. The lines of language models also
compare the loss of every step of a training. A dash: there is no such telling. float64 carries 16 digits, so 1e-16 to
1e-13 is rounding; anything above 1e-9 would be a mistake, and the exit code says so.

The second table: time and memory of forward and backward of two layers in float32. The three take turns; a speed is the
median time of torch.nn divided by the median of ours. Explained in docs/en/stage2_rnn_lstm.md.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

TOLERANCE = 1e-9
TELLINGS = ("by hand", "from scratch", "official")


@dataclass(frozen=True)
class CompareConfig:
    """By hand = from scratch = official: values, gradients, training loss, speed and memory, as tables."""

    config: Path | None = None
    """TOML file with values for these flags; flags on the command line win"""
    seed: int = 0
    """seed of weights, data and dropout masks"""
    max_steps: int = 50
    """training steps of the language models"""
    batch_size: int = 32
    """for the speed: sequences"""
    length: int = 64
    """for the speed: steps of a sequence"""
    hidden: int = 256
    """for the speed: inputs, and units of each of the two layers"""
    repeats: int = 5
    """for the speed: turns of each telling"""
    threads: int = 1
    """CPU threads; 0: one per core"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "seed": (0, 2**63 - 1),
        "max_steps": (1, 10_000),
        "batch_size": (1, 4096),
        "length": (1, 4096),
        "hidden": (1, 4096),
        "repeats": (1, 1000),
        "threads": (0, 1024),
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def run(config: CompareConfig) -> int:
    """Prints the tables; 0 if everything agrees, else 1."""
    if config.threads:  # NumPy looks at this when it is imported
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(config.threads)))
    from my_llm.device import set_threads

    set_threads(config.threads)
    largest = print_differences(config)
    print_costs(config)
    agree = largest < TOLERANCE  # false for NaN
    verdict = "by hand = from scratch = official" if agree else "THE THREE DISAGREE"
    print(f"\n{verdict}: largest difference {largest:.0e}, limit {TOLERANCE:.0e}")
    return 0 if agree else 1


def print_differences(config: CompareConfig) -> float:
    """The first table; returns its largest number, NaN if there is one."""
    import numpy as np

    from stage2_rnn_lstm.models import NUMPY_CELLS
    from stage2_rnn_lstm.tellings import CASES, differences, language_models, layers

    print(f"largest difference to torch.nn; float64; language models: {config.max_steps} training steps")
    print(f"{'':22}{'by hand':^28}{'from scratch':^28}")
    print(f"{'':22}" + f"{'values':>9}{'gradient':>10}{'loss':>9}" * 2)
    numbers = []
    for cell in NUMPY_CELLS:
        rows = {option: layers(cell, case, config.seed) for option, case in CASES.items()}
        rows["language model"] = language_models(cell, config.seed, config.max_steps)
        for option, outcomes in rows.items():
            line = f"{cell + ', ' + option:22}"
            for telling in TELLINGS[:2]:
                found = differences(outcomes[telling], outcomes["official"]) if telling in outcomes else []
                numbers += found
                cells = [f"{number:.0e}" for number in found] + ["–"] * (3 - len(found))
                line += f"{cells[0]:>9}{cells[1]:>10}{cells[2]:>9}"
            print(line, flush=True)
    return float(np.max(numbers))


def print_costs(config: CompareConfig) -> None:
    """The second table: milliseconds, speed relative to torch.nn, MiB."""
    from stage2_rnn_lstm.costs import race
    from stage2_rnn_lstm.models import NUMPY_CELLS

    size = {name: getattr(config, name) for name in ("batch_size", "length", "hidden", "repeats", "seed")}
    sizes = f"2 layers of {config.hidden}, batch {config.batch_size} × {config.length} steps"
    print(
        f"\nforward and backward, float32: {sizes}"
        "\nspeed: time of torch.nn divided by ours, the median over neighbouring turns"
        f"\n{'':6}{'by hand':^25}{'from scratch':^25}{'official':^17}"
        f"\n{'':6}" + f"{'ms':>8}{'speed':>8}{'MiB':>7}  " * 2 + f"{'ms':>8}{'MiB':>7}"
    )
    for cell in NUMPY_CELLS:
        line = f"{cell:6}"
        for name, cost in race(cell, **size).items():
            speed = "" if name == "official" else f"{cost.speed:8.2f}"
            memory = "–" if cost.mebibytes is None else f"{cost.mebibytes:.0f}"
            line += f"{cost.seconds * 1e3:8.1f}{speed}{memory:>7}  "
        print(line.rstrip(), flush=True)


if __name__ == "__main__":
    from my_llm.cli import main

    main(CompareConfig, run)

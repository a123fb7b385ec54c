"""By hand = from scratch = official: the same translators told three times, compared number by number.

    python compare.py
    python compare.py --batch_size 64 --length 30 --hidden 512 --threads 2

The first table: one attention, cell or option a line. Printed is the largest difference to torch.nn, of logits and
attention weights, and of the gradients of all weights; and of the loss of every step of a short training. A dash: there
is no such telling; by hand there are bridge, attention, decoder and head, and no training. float64 carries 16 digits,
so 1e-16 to 1e-13 is rounding; anything above 1e-9 would be a mistake, and the exit code says so.

The second table: time of forward and backward of a decoder in float32. Two take turns; a speed is the median of the
time of torch.nn divided by ours. Explained in docs/en/stage3_attention_seq2seq.md.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

TOLERANCE = 1e-9
TELLINGS = ("by hand", "from scratch", "official")


@dataclass(frozen=True)
class CompareConfig:
    """By hand = from scratch = official: values, gradients, training loss and speed, as tables."""

    config: Path | None = None
    """TOML file with values for these flags; flags on the command line win"""
    seed: int = 0
    """seed of weights and data"""
    max_steps: int = 20
    """training steps of the translators"""
    batch_size: int = 32
    """for the speed: sentences"""
    length: int = 20
    """for the speed: tokens of a source, and of a target"""
    hidden: int = 256
    """for the speed: width of embedding, keys and state"""
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

    from stage3_attention_seq2seq.tellings import CASES, differences, translators

    print(f"largest difference to torch.nn; float64; loss: {config.max_steps} training steps")
    print(f"{'':22}{'by hand':^19}{'from scratch':^28}")
    print(f"{'':22}{'values':>9}{'gradient':>10}{'values':>9}{'gradient':>10}{'loss':>9}")
    numbers = []
    for case, options in CASES.items():
        outcomes = translators(options, config.seed, config.max_steps)
        line = f"{case:22}"
        for telling, widths in zip(TELLINGS, ((9, 10), (9, 10, 9))):
            found = differences(outcomes[telling], outcomes["official"]) if telling in outcomes else []
            numbers += found
            cells = [f"{number:.0e}" for number in found] or ["–"] * len(widths)
            line += "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        print(line, flush=True)
    return float(np.max(numbers))


def print_costs(config: CompareConfig) -> None:
    """The second table: milliseconds, and speed relative to torch.nn."""
    from stage3_attention_seq2seq.costs import race
    from stage3_attention_seq2seq.models import NUMPY_ATTENTIONS

    size = {name: getattr(config, name) for name in ("batch_size", "length", "hidden", "repeats", "seed")}
    print(
        f"\nforward and backward of a GRU decoder of {config.hidden}, float32: "
        f"batch {config.batch_size} × {config.length} tokens"
        f"\n{'':15}{'by hand':^18}{'from scratch':^18}{'official':^10}"
        f"\n{'':15}" + f"{'ms':>9}{'speed':>9}" * 2 + f"{'ms':>10}"
    )
    for attention in NUMPY_ATTENTIONS:
        line = f"{attention:15}"
        for name, cost in race(attention, **size).items():
            speed = "" if name == "official" else f"{cost.speed:9.2f}"
            line += f"{cost.seconds * 1e3:9.1f}{speed}"
        print(line.rstrip(), flush=True)


if __name__ == "__main__":
    from my_llm.cli import main

    main(CompareConfig, run)

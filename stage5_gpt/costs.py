"""What several tellings cost, side by side; for compare.py."""

import statistics
import time
from typing import NamedTuple

from stage5_gpt.tellings import Tellings


class Cost(NamedTuple):
    """One call: seconds, and speed relative to the last of the tellings in the same turns."""

    seconds: float
    speed: float


def race(tellings: Tellings, repeats: int) -> dict[str, Cost]:
    """Each telling takes turns with the last one, so that whatever else the machine does slows both of them."""
    last, costs = list(tellings)[-1], {}
    for name, tell in tellings.items():
        tell()  # what is loaded and prepared once does not count
        seconds: dict[str, list[float]] = {turn: [] for turn in (name, last)}
        for _ in range(repeats):
            for turn, taken in seconds.items():
                started = time.perf_counter()
                tellings[turn]()
                taken.append(time.perf_counter() - started)
        ratios = (theirs / own for own, theirs in zip(seconds[name], seconds[last], strict=True))
        costs[name] = Cost(statistics.median(seconds[name]), statistics.median(ratios))
    return costs

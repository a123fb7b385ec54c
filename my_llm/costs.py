"""What several tellings of the same cost, side by side; for the compare.py of stages 4 and 5."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Cost(NamedTuple):
    """One call: seconds, and speed relative to the last of the tellings in the same turns."""

    seconds: float
    speed: float


def race(tellings: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Cost]:
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

"""What the machine is and what it can do: facts for run directories and the ledger, rates for the doctor."""

import contextlib
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

from my_llm.device import matrix_path

if TYPE_CHECKING:
    import torch


def cpu_name() -> str:
    """The CPU's marketing name where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Main memory in GiB, or None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return None


def environment() -> dict[str, dict]:
    """Hardware and versions, as plain data, for run directories and the results ledger."""
    import numpy
    import torch

    memory = memory_gib()
    hardware = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": None if memory is None else round(memory, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "matrix_path": matrix_path(),
    }
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}
    return {"hardware": hardware, "versions": {**versions, "system": f"{platform.system()} {platform.machine()}"}}


def measure_matmul(dtype: "torch.dtype", size: int = 1024, seconds: float = 0.4) -> float:
    """The rate of a square product on the CPU in GFLOP/s (2·size³ operations each), best of the runs that fit."""
    import torch

    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    torch.matmul(a, b)  # the first product pays for set-up
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        torch.matmul(a, b)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9


def measure_bandwidth(megabytes: int = 256) -> float:
    """Memory read bandwidth in GB/s: the sum of a large array, best of five."""
    import torch

    array = torch.ones(megabytes * 2**18)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        array.sum()
        best = min(best, time.perf_counter() - started)
    return megabytes * 2**20 / best / 1e9

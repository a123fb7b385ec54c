"""`my-llm doctor`: what a bug report needs, in 80 columns, and what is unusual on this machine and how to mend it.

It is run when something is broken, so each fact is asked for on its own, a question that fails is answered with the
failure, and nothing but the standard library is needed. It is pasted in public, so home folders become ~, and tokens
and passwords of the environment become ***.
"""

import contextlib
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from my_llm import device, machine

WIDTH = 80
LABEL = 14
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
SECRET_IN_URL = re.compile(r"(?<=://)[^/@\s]+@|(?<=[?&])[^=&\s]+=[^&\s]+")
PACKAGES = ("numpy", "jaxtyping", "tyro", "rich", "matplotlib", "sacrebleu")
OLDEST_TORCH = (2, 10)
SLOW_CORE = 15.0  # GFLOP/s in fp32; a core of the last ten years does more
DISK_GB = 3.0  # an environment with torch and the corpora
MEMORY_GIB = 3.5

Facts = dict[str, Any]  # what the advice looks at: fp32, bf16, threads, cores, …


def main(arguments: Sequence[str] = ()) -> int:
    """The command; it always ends well, since a bad answer is an answer, too."""
    if arguments:
        print("my-llm doctor takes no arguments: it prints what a bug report needs, and what to mend")
        return 0 if set(arguments) <= {"-h", "--help"} else 2
    device.prepare_matrix_path()
    facts: Facts = {}
    for label, question in QUESTIONS.items():
        show(label, answer(question, facts))
    print("\nWhat is unusual, and how to mend it")
    found = advice(facts)
    for sentence in found or ["Nothing: this machine is as it should be."]:
        show("  -", sentence, indent=4)
    return 0


def answer(question: Callable[[Facts], str], facts: Facts) -> str:
    """What a question finds out, or why it does not."""
    try:
        return question(facts)
    except Exception as error:  # a doctor goes on
        return f"could not be found out ({type(error).__name__}: {error})"


def show(label: str, text: str, indent: int = LABEL) -> None:
    """One fact on as many lines of 80 columns as it needs."""
    first = f"{label:<{indent}}"
    lines = textwrap.wrap(private(text), WIDTH, initial_indent=first, subsequent_indent=" " * indent)
    print("\n".join(lines) or first)


def private(text: str) -> str:
    """The text without what must not be public."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) > 3:
            text = text.replace(value, "***")
    text = SECRET_IN_URL.sub("***", text)
    return text.replace(str(Path.home()), "~") if len(str(Path.home())) > 1 else text


# --- the questions ----------------------------------------------------------------------------------------------------


def versions(facts: Facts) -> str:
    import torch

    facts["torch"] = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    names = [f"{name} {version(name)}" for name in PACKAGES]
    return f"my_llm {version('my_llm')}, torch {torch.__version__}, {', '.join(names)}"


def python(facts: Facts) -> str:
    kind = "virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    return f"{platform.python_implementation()} {platform.python_version()}, {kind}, {sys.executable}"


def system(facts: Facts) -> str:
    return f"{platform.system()} {platform.release()}, {platform.machine()}, {' '.join(platform.libc_ver())}".strip(
        ", "
    )


def processor(facts: Facts) -> str:
    facts["cores"] = os.cpu_count() or 1
    facts["allowed"] = allowed_cores(facts["cores"])
    facts["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"{machine.cpu_name()}, {facts['cores']} cores, of which we may use {facts['allowed']:g}"


def allowed_cores(cores: int) -> float:
    """Cores that affinity and the container's quota leave to us."""
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        share, period = quota.read_text().split()
        allowed = allowed if share == "max" else min(allowed, int(share) / int(period))
    return allowed


def threads(facts: Facts) -> str:
    import torch

    facts["threads"] = torch.get_num_threads()
    limits = [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ]
    return f"{facts['threads']} {'(' + ', '.join(limits) + ')' if limits else '(torch chose)'}"


def matrix_path(facts: Facts) -> str:
    facts["matrix_path"] = device.matrix_path()
    return facts["matrix_path"]


def matrix_rate(facts: Facts) -> str:
    import torch

    facts["fp32"], facts["bf16"] = (machine.measure_matmul(dtype) for dtype in (torch.float32, torch.bfloat16))
    return f"fp32 {facts['fp32']:.0f}, bf16 {facts['bf16']:.0f} GFLOP/s (product of 1,024 x 1,024, best of 0.4 s)"


def bandwidth(facts: Facts) -> str:
    return f"{machine.measure_bandwidth():.0f} GB/s reading memory (256 MB, best of 5)"


def memory(facts: Facts) -> str:
    facts["memory"] = machine.memory_gib()
    available = Path("/proc/meminfo")
    free = re.search(r"MemAvailable: +(\d+)", available.read_text()) if available.exists() else None
    words = f", {int(free[1]) / 2**20:.1f} GiB free" if free else ""
    return "the system does not tell" if facts["memory"] is None else f"{facts['memory']:.1f} GiB{words}"


def gpu(facts: Facts) -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return "Apple MPS" if torch.backends.mps.is_available() else "none, the CPU computes"


def home_folder(facts: Facts) -> str:
    folder = Path(os.environ.get("MY_LLM_HOME", Path(__file__).resolve().parents[1]))
    return folder_state(folder, "home", facts)


def cache_folder(facts: Facts) -> str:
    return folder_state(device.cache_folder(), "cache", facts)


def folder_state(folder: Path, name: str, facts: Facts) -> str:
    """Whether a folder (or the one it would be made in) can be written to, and how much room is left."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    facts["disk"] = min(facts.get("disk", float("inf")), shutil.disk_usage(there).free / 1e9)
    try:
        with tempfile.TemporaryFile(dir=there):
            state = "writable"
    except OSError as error:
        state = f"NOT writable ({error.strerror})"
        facts.setdefault("read_only", []).append(name)
    return f"{folder}, {state}, {shutil.disk_usage(there).free / 1e9:.1f} GB free"


def data_folder(facts: Facts) -> str:
    folder = os.environ.get("MY_LLM_DATA")
    if not folder:
        return "MY_LLM_DATA is not set (it may name a folder with corpora of your own)"
    facts["data_missing"] = not Path(folder).expanduser().is_dir()
    return f"MY_LLM_DATA={folder}, {'there is NO such folder' if facts['data_missing'] else 'found'}"


def corpora(facts: Facts) -> str:
    from my_llm.data.catalog import CATALOG
    from my_llm.data.sources import find

    states = {name: find(name, corpus.sources) for name, corpus in CATALOG.items()}
    here = ", ".join(f"{name} ({found.kind})" for name, found in states.items() if found)
    return f"here: {here}; to be fetched: {', '.join(name for name, found in states.items() if not found) or 'none'}"


QUESTIONS: dict[str, Callable[[Facts], str]] = {
    "time": lambda facts: time.strftime("%Y-%m-%d %H:%M"),
    "versions": versions,
    "python": python,
    "system": system,
    "processor": processor,
    "threads": threads,
    "matrix path": matrix_path,
    "matrix rate": matrix_rate,
    "bandwidth": bandwidth,
    "memory": memory,
    "gpu": gpu,
    "home": home_folder,
    "cache": cache_folder,
    "data": data_folder,
    "corpora": corpora,
}


# --- the advice -------------------------------------------------------------------------------------------------------

RULES: tuple[tuple[Callable[[Facts], bool], str], ...] = (  # when it is unusual, and how to mend it
    (lambda f: "torch" not in f, "torch is missing or broken. Run `python3 start.py doctor`, which installs it."),
    (
        lambda f: f["torch"] < OLDEST_TORCH,
        "This torch is older than 2.10 and has known security holes. Run `python3 start.py` to bring it up to date.",
    ),
    (
        lambda f: "half the speed" in f["matrix_path"],
        "Half of this CPU's fp32 speed lies idle. Install a C compiler (`sudo apt install gcc`) and run doctor again.",
    ),
    (
        lambda f: "switched off" in f["matrix_path"],
        "The fast matrix path is switched off. Unset MY_LLM_MATRIX_PATH, unless you meant it.",
    ),
    (
        lambda f: f["threads"] == 1 and f["allowed"] >= 2,
        "Only one thread computes although there are {cores} cores. Unset OMP_NUM_THREADS, or pass --threads.",
    ),
    (
        lambda f: f["threads"] > max(f["allowed"], 1),
        "There are {threads} threads for {allowed:g} cores that we may use: they wait for one another. "
        "Set OMP_NUM_THREADS to the number of cores, or pass --threads.",
    ),
    (
        lambda f: f["load"] > 1.5 * f["allowed"],
        "Other programs keep the cores busy, so the rates above are too low. Close them and run doctor again.",
    ),
    (
        lambda f: f["fp32"] < SLOW_CORE * max(min(f["threads"], f["allowed"]), 1),
        "fp32 products are far slower than on most CPUs: {fp32:.0f} GFLOP/s. Is this laptop on battery, hot or busy?",
    ),
    (
        lambda f: f["disk"] < DISK_GB,
        "Only {disk:.1f} GB of disk are free, and installing and downloading may need 3. Make room.",
    ),
    (
        lambda f: f["memory"] < MEMORY_GIB,
        "Memory is small: {memory:.1f} GiB. Take a smaller --batch_size and close other programs.",
    ),
    (
        lambda f: "home" in f["read_only"],
        "The home folder cannot be written to. Set MY_LLM_HOME to a folder of your own.",
    ),
    (lambda f: "cache" in f["read_only"], "The cache cannot be written to. Set MY_LLM_CACHE to a folder of your own."),
    (lambda f: f["data_missing"], "MY_LLM_DATA points to nothing. Correct it or unset it."),
)


def advice(facts: Facts) -> list[str]:
    """One sentence or two for everything unusual. What could not be found out is not judged."""
    found = []
    for unusual, sentence in RULES:
        with contextlib.suppress(KeyError, TypeError):
            if unusual(facts):
                found.append(sentence.format(**facts))
    return found

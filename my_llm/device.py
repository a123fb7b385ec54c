"""The machine: which device, how many threads, which precision, which seed, and the fast matrix path of this CPU.

Nothing here imports torch at the top, because `prepare_matrix_path` must run before torch loads its matrix library.

Measured on a 2-core AMD EPYC: torch's fp32 products go through Intel's MKL, which on a CPU that is not Intel's takes
its slower AVX2 code. MKL asks one function, `mkl_serv_intel_cpu_true`; answering 1 takes products from 185 to 430
GFLOP/s with the same numbers. The switch is undocumented, so `my-llm doctor` shows it and MY_LLM_MATRIX_PATH=default
turns it off. Where it cannot be had, `matmul` sends the products that matter most through oneDNN, which has its own
AVX-512 code. Intel and ARM machines need none of this.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from my_llm.errors import ConfigError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]

SHIM_SOURCE = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"
_matrix_path = "not chosen: torch was loaded first"
_use_onednn = False


def cache_folder() -> Path:
    """The per-user folder for downloads and compiled helpers: $MY_LLM_CACHE, or the system's usual place."""
    if "MY_LLM_CACHE" in os.environ:
        return Path(os.environ["MY_LLM_CACHE"]).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "my_llm"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "my_llm"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "my_llm"


# --- the matrix path --------------------------------------------------------------------------------------------------


def cpu_vendor() -> str:
    """'AuthenticAMD', 'GenuineIntel', … on Linux; the platform's own description elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("vendor_id"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def prepare_matrix_path() -> str:
    """Take the fastest exact fp32 path of this CPU. Call before torch is imported; says what was chosen, in words."""
    global _matrix_path, _use_onednn
    wish = os.environ.get("MY_LLM_MATRIX_PATH", "auto")
    if wish not in ("auto", "default", "shim", "onednn"):
        raise ConfigError("MY_LLM_MATRIX_PATH is not known", got=wish, valid=("auto", "default", "shim", "onednn"))
    if wish == "onednn":
        _use_onednn, _matrix_path = True, "recurrent products through oneDNN (MY_LLM_MATRIX_PATH)"
    if "torch" in sys.modules or wish == "onednn":
        return _matrix_path
    amd = sys.platform == "linux" and platform.machine() == "x86_64" and cpu_vendor() == "AuthenticAMD"
    if wish == "default" or (wish == "auto" and not amd):
        _matrix_path = "torch's default" if not amd else "torch's default (switched off by MY_LLM_MATRIX_PATH)"
        return _matrix_path
    try:
        ctypes.CDLL(str(_compiled_shim()), mode=ctypes.RTLD_GLOBAL)
        _matrix_path = (
            "MKL told to use its AVX-512 code on this CPU (undocumented; MY_LLM_MATRIX_PATH=default turns it off)"
        )
    except (OSError, subprocess.SubprocessError) as error:
        _use_onednn = True
        reason = " ".join(str(error).split())
        _matrix_path = f"torch's default, about half the speed on this CPU; recurrent products by oneDNN: {reason}"
    return _matrix_path


def matrix_path() -> str:
    """What `prepare_matrix_path` chose."""
    return _matrix_path


def matmul(a: "torch.Tensor", b: "torch.Tensor") -> "torch.Tensor":
    """a @ b for matrices outside of autograd, by the fastest exact path of this CPU."""
    import torch

    if _use_onednn and a.dtype == torch.float32 and a.device.type == "cpu":
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    return a @ b


def right_factor(b: "torch.Tensor", rows: int) -> "Callable[[torch.Tensor], torch.Tensor]":
    """a ↦ a @ b for many a with so many rows: b is packed once, in the order in which the processor will read it."""
    import torch

    exact = b.dtype == torch.float32 and b.device.type == "cpu"
    if exact and _use_onednn:
        packed = torch.ops.mkldnn._reorder_linear_weight(b.t().contiguous(), rows)
        return lambda a: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")
    if exact and torch.backends.mkl.is_available():
        weight = b.t().contiguous()
        packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
        return lambda a: torch.ops.mkl._mkl_linear(a, packed, weight, None, rows)
    b = b.contiguous()
    return lambda a: a @ b


def sorts_matrices(precision: Literal["fp32", "bf16"], device: "torch.device") -> bool:
    """Whether oneDNN's own order of a matrix is read faster here; `packing.py` makes it."""
    import torch

    if device.type != "cpu" or not torch.backends.mkldnn.is_available() or not torch.backends.mkl.is_available():
        return False  # without MKL it is no x86
    return precision == "fp32" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def filled(rows: "torch.Tensor") -> "torch.Tensor":
    """The rows (N, D), and in bf16 on a CPU rows of zeros after them, up to a number that will come again.

    There oneDNN compiles a kernel for each new number of rows: 5 ms, where the product of a small model takes one.
    """
    import torch

    missing = 0 if len(rows) == 1 else -len(rows) % (16 if len(rows) < 256 else 128)
    if not missing or rows.device.type != "cpu" or rows.dtype != torch.bfloat16:
        return rows
    return torch.nn.functional.pad(rows, (0, 0, 0, missing))


def linear(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None" = None) -> "torch.Tensor":
    """x Wᵀ + b for any number of rows, (…, D) → (…, F): torch's, with `filled` rows."""
    import torch
    from torch.nn import functional

    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    rows = x.flatten(0, -2)
    return functional.linear(filled(rows), weight, bias)[: len(rows)].unflatten(0, x.shape[:-1])


def attention_dtype(query: "torch.Tensor") -> "torch.dtype":
    """In what torch's attention kernel is fast. On CPUs its backward in bf16 is slow: 5 times fp32 at 17 tokens."""
    import torch

    slow = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
    return torch.float32 if slow else query.dtype


def _compiled_shim() -> Path:
    """The shared library that holds the one function, compiled once per user."""
    name = hashlib.sha256((SHIM_SOURCE + platform.machine()).encode()).hexdigest()[:16]
    library = cache_folder() / f"matrix_path_{name}.so"
    if library.exists():
        return library
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise OSError("no C compiler found; installing gcc or clang would double the speed")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        source, built = Path(folder) / "shim.c", Path(folder) / "shim.so"
        source.write_text(SHIM_SOURCE)
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(built), str(source)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        os.replace(built, library)  # another process may be doing the same: the last one wins, both are whole
    return library


# --- device, threads, precision, seed ---------------------------------------------------------------------------------


def choose_device(name: str) -> "torch.device":
    """'auto' takes CUDA where there is one, else the CPU; under torchrun each rank takes its own GPU.

    Apple's MPS is taken on request only: it lacks operators that the classifiers need.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if available["cuda"] else "cpu"
    kind = name.split(":")[0]
    if not available.get(kind, False):
        valid = ["auto", *(kind for kind, there in available.items() if there)]
        raise ConfigError("device not available here", got=name, valid=valid)
    if kind == "cuda" and ":" not in name:
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        return torch.device(name)
    except RuntimeError:
        raise ConfigError("not a device", got=name, valid="auto, cpu, cuda, cuda:1, mps") from None


def set_threads(threads: int) -> None:
    """Threads inside one operation; 0 keeps torch's choice (one per core)."""
    import torch

    if threads < 0:
        raise ConfigError("--threads must not be negative", got=threads, valid="0 (one per core) or a count")
    if threads:
        torch.set_num_threads(threads)


def set_up(device: str, threads: int, seed: int) -> "torch.device":
    """Everything that a script does before its first tensor: device, threads, seed, and the meeting of processes."""
    import torch

    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    set_threads(threads)
    torch.set_flush_denormal(True)  # numbers below 1e-38 count as 0: they are noise, and slow where a CPU traps on them
    seed_everything(seed)
    join_world(chosen)
    return chosen


def seed_everything(seed: int) -> None:
    """Seed torch's generators. The project draws from no other global generator."""
    import torch

    torch.manual_seed(seed)


def resolve_precision(precision: Precision, device: "torch.device") -> Literal["fp32", "bf16"]:
    """'auto' is bf16 on CUDA GPUs that have it and exact fp32 elsewhere."""
    import torch

    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def autocast(precision: Literal["fp32", "bf16"], device: "torch.device") -> contextlib.AbstractContextManager:
    """Run matrix products in bf16 inside the context (weights and sums stay fp32), or change nothing."""
    import torch

    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


# --- many processes (torchrun) ----------------------------------------------------------------------------------------


def rank() -> int:
    """This process's number under torchrun, 0 without."""
    return int(os.environ.get("RANK", 0))


def world() -> int:
    """How many processes train together: torchrun's WORLD_SIZE, 1 without."""
    return int(os.environ.get("WORLD_SIZE", 1))


def join_world(device: "torch.device") -> None:
    """Meet the other processes, if torchrun started several (gloo between CPUs, NCCL between GPUs)."""
    import torch.distributed as dist

    if world() > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Process 0 goes through the block alone, then the others: it downloads, they find what it fetched."""
    import torch.distributed as dist

    if rank() > 0:
        dist.barrier()
    yield
    if rank() == 0 and world() > 1:
        dist.barrier()

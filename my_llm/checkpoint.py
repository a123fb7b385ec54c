"""The only module that opens a checkpoint. A checkpoint is a complete sentence: model, config, tokenizer, progress.

The file is one line of text, then what torch.save wrote:

    my_llm checkpoint 1 sha256=<64 hex digits> bytes=<20 digits>\\n

Before anything is parsed the line is computed anew from the bytes that follow and compared, so a truncated, flipped,
zeroed or swapped byte anywhere is refused; torch.load alone accepts about half of such files with wrong numbers and no
error. Then torch.load reads with weights_only=True: tensors and plain data, never code.

Saving goes through files.py: a kill, a full disk or a lost connection at any moment leaves the old file whole.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from my_llm.device import world
from my_llm.errors import CheckpointError, ConfigError
from my_llm.files import write_atomically

Content = dict[str, Any]
PLAIN = (str, int, float, bool, type(None), Tensor)
UNFIT = (ConfigError, KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, AssertionError)


def _first_line(payload: bytes | memoryview) -> bytes:
    return f"my_llm checkpoint 1 sha256={hashlib.sha256(payload).hexdigest()} bytes={len(payload):020d}\n".encode()


LINE_LENGTH = len(_first_line(b""))


@runtime_checkable
class Carried(Protocol):
    """What a training carries from step to step besides weights and optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors."""
        ...

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        ...


def save(path: Path, content: Content) -> None:
    """Write `content` (nested dicts and lists of tensors and plain data) so that `path` is whole at every moment.

    Raises:
        CheckpointError: disk full, no permission, not a folder; what stood at `path` is untouched.
    """
    _check_plain(content, "checkpoint")
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getbuffer()
    write_atomically(path, _first_line(payload), payload)


def load(path: Path, kind: str | None = None) -> Content:
    """Read and verify a checkpoint; tensors come to the CPU.

    Args:
        kind: What the checkpoint must hold, such as "stage1_mlp/text_classifier"; None accepts any.

    Raises:
        CheckpointError: missing, unreadable, damaged, not ours, or of another kind. Nothing is half loaded.
    """
    try:
        raw = memoryview(Path(path).read_bytes())
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError("cannot open checkpoint", got=path, next_step=f"check the path ({reason})") from None
    line, payload = bytes(raw[:LINE_LENGTH]), raw[LINE_LENGTH:]
    if not line.startswith(b"my_llm checkpoint "):
        raise CheckpointError("not a my_llm checkpoint", got=path, next_step="give a file that train.py wrote")
    if line != _first_line(payload):
        raise CheckpointError(
            "checkpoint is damaged (size or SHA-256 differs)", got=path, next_step="use another checkpoint of the run"
        )
    try:
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a hostile file with a valid digest raises
        raise CheckpointError(f"checkpoint cannot be read ({type(error).__name__})", got=path) from None
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise CheckpointError("checkpoint does not say what it holds", got=path)
    if kind is not None and content["kind"] != kind:
        raise CheckpointError(f"{path} holds another kind of model", got=content["kind"], valid=kind)
    return content


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path | str) -> None:
    """Copy `weights` into `model` if names, shapes and types agree and every value is finite; else change nothing."""
    own = model.state_dict()
    missing, surplus = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or surplus:
        names = ", ".join([f"missing {name}" for name in missing[:3]] + [f"unknown {name}" for name in surplus[:3]])
        raise CheckpointError(f"weights do not fit the model ({names})", got=path)
    for name, tensor in own.items():
        other = weights[name]
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            found, needed = f"{tuple(other.shape)} {other.dtype}", f"{tuple(tensor.shape)} {tensor.dtype}"
            raise CheckpointError(f"weight {name} in {path} does not fit the model", got=found, valid=needed)
        if other.is_floating_point() and not torch.isfinite(other).all():
            raise CheckpointError(f"weight {name} is not finite", got=path)
    model.load_state_dict(dict(weights))


@contextmanager
def parts_of(path: Path | str) -> Iterator[None]:
    """Around the use of a checkpoint's content: what does not fit together becomes one line."""
    try:
        yield
    except UNFIT as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise CheckpointError(f"the parts of the checkpoint do not fit together ({cause})", got=path) from None


def of_all_processes(value: Any) -> list[Any]:
    """The value that each process has, in the order of the ranks; every process must call it."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    torch.distributed.all_gather_object(values, value)
    return values


def random_state() -> dict[str, Tensor]:
    """The states of torch's generators, as tensors."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Continue the random numbers where `random_state` was taken."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _check_plain(value: Any, where: str) -> None:
    """Our own invariant: what we write, weights_only can read."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            assert isinstance(key, str | int), f"{where}: key {key!r} is not plain"
            _check_plain(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item, where)
    else:
        assert isinstance(value, PLAIN), f"{where}: {type(value).__name__} is not plain data"

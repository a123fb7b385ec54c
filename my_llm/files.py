"""Writing a file so that it is whole at every moment: a kill, a full disk or a lost connection leaves the old one."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from my_llm.errors import CheckpointError


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Replace the file at `path` by `parts`, one after the other.

    They go to a temporary file beside it, which is synced and read back before it is renamed over the old one.

    Raises:
        CheckpointError: disk full, no permission, not a folder; what stood at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
                digest.update(part)
            file.flush()
            os.fsync(file.fileno())
        if _digest(temporary) != digest.hexdigest():
            raise OSError("what was read back is not what was written: the disk may be failing")
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        step = f"the old file is untouched; free space or choose another place: {error}"
        raise CheckpointError("cannot save", got=path, next_step=step) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system lets us open a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

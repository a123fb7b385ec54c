"""What a row of the catalog is."""

import platform
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from my_llm.data.sources import Source

Content = TypeVar("Content")
PYTHON = f"Python {platform.python_version()}"


@dataclass(frozen=True)
class Corpus(Generic[Content]):
    """One row of the catalog."""

    name: str
    task: str
    languages: tuple[str, ...]
    size: str
    licence: str
    sources: tuple[Source, ...]
    read: Callable[[tuple[Path, ...]], Content]
    labels: tuple[str, ...] = ()  # running text and translations have none


def standard_library() -> Path:
    """The folder of the standard library of the Python that runs."""
    return Path(sysconfig.get_paths()["stdlib"])

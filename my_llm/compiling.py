"""torch.compile, for those parts of a model whose work is many small operations.

Between two products of matrices lie norms, activations, residuals: each reads its input from memory and writes its
result back, and on a CPU that takes longer than the products. A compiled part does a whole chain of them in one pass.
The price is paid before the first step: C++ is written and compiled, for each shape that comes.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn

from my_llm.errors import ConfigError
from my_llm.tasks import Prepared

T = TypeVar("T")


def compile_parts(parts: Iterable[nn.Module], device: torch.device) -> None:
    """From now on each of them runs compiled, the first call excepted, which waits for the compiler.

    Their weights and names stay as they are: a checkpoint does not show it.

    Raises:
        ConfigError: there is no C++ compiler (on a CPU).
    """
    if device.type == "cpu":
        try:  # something small: a compiler may be there, and Python's headers not
            torch.compile(torch.neg, dynamic=False)(torch.zeros(64))
        except Exception as error:  # whatever it provokes
            raise ConfigError(
                "--compile needs a C++ compiler and Python's headers",
                got=str(error).strip().splitlines()[0][:80],
                next_step="install g++ and python3-dev, or leave it out",
            ) from None
    for part in parts:
        part.compile(dynamic=False)


def compiled(prepared: Prepared, parts: Iterable[nn.Module], device: torch.device) -> Prepared:
    """A task whose model trains with compiled parts.

    What it validates and writes on the way runs as it is written: that has other shapes, and is too short to compile.
    """
    compile_parts(parts, device)
    sample = prepared.sample and as_written(prepared.sample)
    return prepared._replace(validate=as_written(prepared.validate), sample=sample)


def as_written(call: Callable[[], T]) -> Callable[[], T]:
    """The same call, in which nothing is compiled."""

    def plain() -> T:
        with torch.compiler.set_stance("force_eager"):
            return call()

    return plain

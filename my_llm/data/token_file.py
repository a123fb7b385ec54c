"""Tokens on disk: a corpus larger than memory, tokenized once and read through the system's page cache.

    4,096 bytes   MY_LLM_TOKENS, then a line of JSON: numbers, vocabulary, digests; spaces up to the end
    the numbers   uint16 (vocabularies up to 65,536) or int32, little-endian, one after the other

A part of the file that no window asks for is never read, and two processes share what was. The digest of the tokenizer
stands in the header: the numbers mean nothing with another one.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from my_llm.errors import DataError
from my_llm.text import Tokenizer, end_of

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = b"MY_LLM_TOKENS 1\n"
HEADER = 4096  # bytes; one page of memory
AGAIN = "write the file again"


def digest_of(tokenizer: Tokenizer) -> str:
    """SHA-256 of everything that a tokenizer is."""
    return hashlib.sha256(json.dumps(tokenizer.to_state(), sort_keys=True).encode()).hexdigest()


def packed(documents: Iterable[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    """The documents, each as numbers, with <eos> (<|endoftext|>) after each: no window is padded.

    A window may begin in one document and end in the next; what the end token is there for, a model learns.
    """
    end = end_of(tokenizer)
    for document in documents:
        yield [*tokenizer.encode(document), end]


@dataclass(frozen=True)
class TokenFile:
    """What the header of a token file says.

    Attributes:
        path: Where it is.
        dtype: Of the numbers.
        count: How many there are.
        vocab_size: All are smaller.
        tokenizer: Digest of the tokenizer that made them.
        sha256: Digest of the numbers.
    """

    path: Path
    dtype: str
    count: int
    vocab_size: int
    tokenizer: str
    sha256: str

    def array(self) -> np.memmap:
        """The numbers (N,), mapped: nothing is read yet. What is written there stays in memory."""
        return np.memmap(self.path, np.dtype(self.dtype).newbyteorder("<"), "c", offset=HEADER, shape=(self.count,))

    def tensor(self) -> "Tensor":
        """The same (N,) as a tensor, for my_llm.language.batches.Windows: int16 where the vocabulary allows it (it
        is the same bits then), else uint16 or int32. All can be indexed; `.long()` of what came out gives numbers."""
        import torch

        array = self.array()
        return torch.from_numpy(array.view(np.int16) if self.vocab_size <= 2**15 else array)


def write_tokens(path: Path, pieces: Iterable[Sequence[int] | np.ndarray], tokenizer: Tokenizer) -> TokenFile:
    """Write a token file piece by piece; the old file stays until the new one is whole and on the disk.

    Args:
        path: By custom it ends in .tokens.
        pieces: Numbers in any portions, from `packed` for example.
        tokenizer: The one that made them.

    Raises:
        DataError: disk full, no permission, or a number that the tokenizer does not have.
    """
    size = tokenizer.vocab_size
    dtype = "uint16" if size <= 2**16 else "int32"
    temporary, digest, count = path.with_name(f".{path.name}.{os.getpid()}.tmp"), hashlib.sha256(), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(bytes(HEADER))
            for piece in pieces:
                numbers = np.asarray(piece, np.int64)
                if len(numbers) and not 0 <= numbers.min() <= numbers.max() < size:
                    raise DataError(
                        "a token that the tokenizer does not have", got=numbers.max(), valid=f"0 to {size - 1}"
                    )
                content = numbers.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
                file.write(content)
                digest.update(content)
                count += len(numbers)
            if not count:
                raise DataError("there are no tokens to write", got=path)
            made = TokenFile(path, dtype, count, size, digest_of(tokenizer), digest.hexdigest())
            file.seek(0)
            file.write(header_of(made))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            "cannot write tokens", got=path, next_step=f"free space or choose another place: {error}"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return made


def header_of(file: TokenFile) -> bytes:
    """The first page of the file."""
    facts = {name: value for name, value in asdict(file).items() if name != "path"}
    return (MAGIC + json.dumps(facts).encode()).ljust(HEADER - 1) + b"\n"


def open_tokens(path: Path, tokenizer: Tokenizer | None = None, *, thorough: bool = False) -> TokenFile:
    """Check header and size of a token file; nothing else is read.

    Args:
        tokenizer: Must be the one that wrote the file.
        thorough: Read everything, and compare the digest.

    Raises:
        DataError: missing, foreign, damaged, cut short, or of another tokenizer.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(HEADER)
            found = TokenFile(path, **json.loads(start.removeprefix(MAGIC))) if start.startswith(MAGIC) else None
            if found is None or header_of(found) != start or not sane(found):
                raise ValueError("it is no token file, or its header is damaged")
            if size != (expected := HEADER + found.count * np.dtype(found.dtype).itemsize):
                raise ValueError(f"it has {size:,} bytes instead of {expected:,}")
            if thorough and hashlib.file_digest(file, "sha256").hexdigest() != found.sha256:
                raise ValueError("its numbers are not those that were written")
    except OSError as error:
        raise DataError(f"cannot open tokens: {error.strerror}", got=path, next_step=AGAIN) from None
    except (ValueError, TypeError, RecursionError) as error:
        cause = error if type(error) is ValueError else "it is no token file, or its header is damaged"
        raise DataError(f"cannot read tokens: {cause}", got=path, next_step=AGAIN) from None
    if tokenizer is not None and digest_of(tokenizer) != found.tokenizer:
        raise DataError("the tokens were made by another tokenizer", got=path, next_step=AGAIN)
    return found


def sane(file: TokenFile) -> bool:
    """The header holds what a header can hold."""
    numbers = all(type(value) is int and value > 0 for value in (file.count, file.vocab_size))
    digests = all(isinstance(value, str) and len(value) == 64 for value in (file.tokenizer, file.sha256))
    return numbers and digests and file.dtype == ("uint16" if file.vocab_size <= 2**16 else "int32")

"""Symbols and their numbers: a list, where the place of a symbol is its id. And the file that keeps it.

A vocabulary file is a pickled plain dict, as learners know it, with a JSON of the same content beside it for people.
A pickle is a program: opened carelessly it can run any command. `load_vocabulary` is therefore careful three times:

    1. before anything runs, every instruction is checked against the few that build dicts, lists and strings;
    2. the unpickler refuses every class and function;
    3. the result must be exactly what a vocabulary is.

This is the only module that touches pickle.
"""

import json
import pickle
import pickletools
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

from my_llm.errors import CheckpointError, ConfigError
from my_llm.files import write_atomically
from my_llm.text.tokenizer import State

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
PAD, UNK, BOS, EOS = range(4)

MAX_BYTES = 32 * 2**20
MAX_SYMBOLS = 2**20
PROTOCOL = 4
HARMLESS = {"PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET", "SHORT_BINUNICODE", "BINUNICODE"} | {
    "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"
}  # fmt: skip


class Vocabulary:
    """Symbols with contiguous ids; the first four are <pad> <unk> <bos> <eos>.

    Args:
        symbols: All symbols in the order of their ids, special tokens included.

    Raises:
        CheckpointError: not strings, repeated, too many, or without the special tokens at the start.
    """

    def __init__(self, symbols: Iterable[str]):
        self.symbols = tuple(symbols)
        if not all(isinstance(symbol, str) for symbol in self.symbols):
            raise CheckpointError("vocabulary holds something that is not a string")
        if self.symbols[: len(SPECIALS)] != SPECIALS:
            raise CheckpointError("vocabulary does not start with the special tokens", valid=SPECIALS)
        if len(self.symbols) > MAX_SYMBOLS:
            raise CheckpointError(
                "vocabulary is too large",
                got=len(self.symbols),
                valid=f"at most {MAX_SYMBOLS}",
                next_step="set max_size or min_count",
            )
        self.ids = {symbol: number for number, symbol in enumerate(self.symbols)}
        if len(self.ids) < len(self.symbols):
            raise CheckpointError("vocabulary repeats a symbol")

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], *, min_count: int = 1, max_size: int | None = None) -> "Vocabulary":
        """Number the symbols by falling count, equal counts in the order of their code points: the same everywhere.

        Args:
            counts: How often each symbol occurs; special tokens among them are not counted twice.
            min_count: Rarer symbols become <unk>.
            max_size: Most ids, special tokens included; the rarest symbols give way.
        """
        if max_size is not None and max_size < len(SPECIALS):
            raise ConfigError("vocabulary size is too small", got=max_size, valid=f"at least {len(SPECIALS)}")
        frequent = [symbol for symbol, count in counts.items() if count >= min_count and symbol not in SPECIALS]
        ordered = sorted(frequent, key=lambda symbol: (-counts[symbol], symbol))
        return cls([*SPECIALS, *ordered][:max_size])

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, symbols: Iterable[str]) -> list[int]:
        """The id of each symbol; <unk> for what is not here."""
        get = self.ids.get
        return [get(symbol, UNK) for symbol in symbols]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The symbol of each id, without <pad>, <bos> and <eos>."""
        return [self.symbols[number] for number in ids if number not in (PAD, BOS, EOS)]


def save_vocabulary(path: Path | str, state: State) -> None:
    """Write a tokenizer's state to `path` (.pkl) and, readable, to the same name with .json.

    Raises:
        CheckpointError: the name does not end in .pkl, or the disk refuses.
    """
    path = _known_suffix(path, ".pkl")
    checked = check_state(state)
    for file, content in {
        path: pickle.dumps(checked, protocol=PROTOCOL),
        path.with_suffix(".json"): json.dumps(checked, indent=1).encode(),
    }.items():
        if len(content) > MAX_BYTES:
            raise CheckpointError("vocabulary is too large to load again", got=file, valid=f"at most {MAX_BYTES} bytes")
        write_atomically(file, content)


def load_vocabulary(path: Path | str) -> State:
    """The state in a .pkl or .json file; `tokenizer_from_state` makes a tokenizer of it.

    Raises:
        CheckpointError: missing, too large, damaged, hostile, or not a vocabulary. Nothing in the file is executed.
    """
    path = _known_suffix(path, ".pkl", ".json")
    try:
        content = _read(path)
        return check_state(_unpickle(content) if path.suffix == ".pkl" else json.loads(content))
    except CheckpointError as error:
        cause = str(error)
    except OSError as error:
        cause = error.strerror or type(error).__name__
    except Exception as error:  # whatever a damaged or hostile file provokes, recursion and memory included
        cause = f"it is damaged ({type(error).__name__}: {str(error)[:80]})"
    raise CheckpointError(f"cannot load vocabulary: {cause}", got=path, next_step="train anew, or take another copy")


class _NoClasses(pickle.Unpickler):
    """An unpickler for plain data."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise CheckpointError(f"it asks for the code {module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise CheckpointError("it asks for an object outside the file")


def _unpickle(content: bytes) -> object:
    end = 0
    for opcode, _, position in pickletools.genops(content):
        if opcode.name not in HARMLESS:
            raise CheckpointError(f"it is not plain data (instruction {opcode.name} at byte {position})")
        end = (position or 0) + 1
    if end != len(content):
        raise CheckpointError(f"{len(content) - end} bytes too many at its end")
    return _NoClasses(BytesIO(content)).load()


def check_state(state: object) -> State:
    """A dict of strings and lists of strings, with a kind and a whole vocabulary."""
    if not (isinstance(state, dict) and type(state.get("kind")) is str and type(state.get("symbols")) is list):
        raise CheckpointError("it is not a vocabulary", valid='{"kind": …, "symbols": […]}')
    for key, value in state.items():
        strings = [key, *(value if isinstance(value, list) else [value])]
        if not all(isinstance(text, str) for text in strings):
            raise CheckpointError("it holds something other than strings", got=str(key)[:40])
    Vocabulary(state["symbols"])
    return state


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError("there is no such file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise CheckpointError("it is too large for a vocabulary", valid=f"at most {MAX_BYTES} bytes")
    return content


def _known_suffix(path: Path | str, *suffixes: str) -> Path:
    path = Path(path)
    if path.suffix not in suffixes:
        raise CheckpointError("unknown kind of vocabulary file", got=path, valid=suffixes)
    return path

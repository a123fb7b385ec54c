"""A text larger than memory: write_tokens.py cuts it into tokens once, train.py maps them and reads what it needs.

book.tokens         the tokens to learn from (my_llm/data/token_file.py)
book.tokens.json    the tokenizer, and the end of the text, which is held out for validation
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from my_llm.data import catalog
from my_llm.data.corpora.language import CONVERT, Texts, assemble, language_of
from my_llm.data.token_file import TokenFile, open_tokens, write_tokens
from my_llm.errors import ConfigError, DataError
from my_llm.files import write_atomically
from my_llm.language.batches import tokenizer_for
from my_llm.progress import Progress
from my_llm.text import CharTokenizer, Tokenizer, tokenizer_from_state

if TYPE_CHECKING:
    from torch import Tensor

ENDING = ".tokens"
PIECE = 2**22  # bytes that are in memory at a time
HELD_OUT = 0.1, 1_000_000  # share of the text, and bytes, that are held out at most


@dataclass(frozen=True)
class LargeText(catalog.LanguageText):
    """A text whose training part is on the disk, as tokens; `train` is empty."""

    tokenizer: Tokenizer
    file: TokenFile

    def cut(self, vocab_type: str, start: Tokenizer | None) -> tuple[Tokenizer, "Tensor"]:
        """The tokenizer, and the tokens (N,) as they lie on the disk.

        Args:
            vocab_type: What was asked for.
            start: The tokenizer of the model that goes on learning; None: of a new one.

        Raises:
            ConfigError: the tokens are of another kind.
            DataError: `start` is another tokenizer.
        """
        if vocab_type != (kind := self.tokenizer.to_state()["kind"]):
            raise ConfigError("the tokens are of another kind", got=vocab_type, valid=f"--vocab_type {kind}")
        return self.tokenizer, open_tokens(self.file.path, start or self.tokenizer).tensor()


def load_text(name: str) -> catalog.LanguageText:
    """`catalog.load_text`, for names that end in .tokens, too.

    Raises:
        DataError: the files are missing or damaged.
    """
    if not name.endswith(ENDING):
        return catalog.load_text(name)
    path = Path(name).expanduser()
    beside = path.with_name(f"{path.name}.json")
    try:
        known = json.loads(beside.read_text("utf-8"))
        tokenizer = tokenizer_from_state(known["tokenizer"])
        language, validation = str(known["language"]), str(known["validation"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        step = "python write_tokens.py --text FILE"
        raise DataError("cannot read the tokenizer of the tokens", got=f"{beside}, {error}", next_step=step) from None
    file = open_tokens(path, tokenizer)
    source = f"the file {path}"
    return LargeText(str(path.resolve()), language, "", validation, "", source, file.sha256, tokenizer, file)


def pieces(path: Path, start: int, end: int) -> Iterator[tuple[int, str]]:
    """The bytes of a file from `start` to `end`, as text: whole lines, and where in the file they end.

    Raises:
        DataError: it is not UTF-8.
    """
    with path.open("rb") as file:
        file.seek(start)
        while (place := file.tell()) < end:
            lines = file.readlines(min(PIECE, end - place))
            try:
                piece = b"".join(lines).decode("utf-8-sig" if place == 0 else "utf-8")
            except UnicodeDecodeError as error:
                where = f"{path}, byte {place + error.start}"
                raise DataError("the text is not UTF-8", got=where, next_step=CONVERT) from None
            yield file.tell(), piece.replace("\r\n", "\n")


def write(text: Path, path: Path, vocab_type: str, vocab_size: int) -> TokenFile:
    """Cut a text file into tokens.

    The tokenizer learns from the first piece; that of characters from all.

    Raises:
        DataError: the text cannot be read or is too short, the tokens cannot be written.
        ConfigError: too small a vocabulary.
    """
    try:
        size = text.stat().st_size
        cut = size - int(min(HELD_OUT[0] * size, HELD_OUT[1]))
        _, first = next(pieces(text, 0, cut), (0, ""))
        corpus = assemble(str(text), language_of(first), Texts(first, "", ""), str(text))
        if vocab_type == "char":  # a rare character may stand anywhere
            tokenizer: Tokenizer = CharTokenizer.train(piece for _, piece in pieces(text, 0, cut))
        else:
            tokenizer = tokenizer_for(corpus, vocab_type, vocab_size)
        progress, end = Progress(), 0

        def tokens() -> Iterator[list[int]]:
            nonlocal end
            for end, piece in pieces(text, 0, cut):
                progress.line(f"{end / 2**20:,.1f} of {cut / 2**20:,.1f} MiB")
                yield tokenizer.encode(piece)

        file = write_tokens(path, tokens(), tokenizer)
        validation = "".join(piece for _, piece in pieces(text, end, size))
    except OSError as error:
        raise DataError(f"cannot read the text: {error.strerror}", got=text) from None
    if len(validation) < 2:
        path.unlink()
        step = "break it into lines: it is cut between them"
        raise DataError("no last lines can be held out", got=f"{size} bytes, {text}", next_step=step)
    known = {"tokenizer": tokenizer.to_state(), "language": corpus.language, "validation": validation}
    write_atomically(path.with_name(f"{path.name}.json"), json.dumps(known, ensure_ascii=False).encode())
    return file

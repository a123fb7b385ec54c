"""Cut a text that is larger than memory into tokens, once: `python write_tokens.py --text ~/texts/book.txt`.

It writes book.tokens and book.tokens.json beside the text; `train.py --dataset ~/texts/book.tokens` learns from them,
and reads only what each batch asks for.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from my_llm.cli import main


@dataclasses.dataclass(frozen=True)
class WriteTokensConfig:
    """Cut a text into tokens."""

    text: Path
    """the text, UTF-8; its last lines, at most a tenth and a megabyte, are held out for validation"""
    out: Path | None = None
    """where the tokens go; none: beside the text, with the ending .tokens"""
    vocab_type: Literal["char", "bpe", "gpt2", "wordpiece"] = "gpt2"
    """kind of tokens; all but char learn from the first four megabytes"""
    vocab_size: int = 8000
    """tokens in the vocabulary, of all kinds but char"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"vocab_size": (5, 2**20)}


def run(config: WriteTokensConfig) -> None:
    """Write, and say what to do with it."""
    from my_llm.cli import command_line
    from my_llm.errors import ConfigError, DataError
    from stage5_gpt.large_text import ENDING, write

    if not config.text.expanduser().is_file():
        raise DataError("cannot read the text: no such file", got=config.text)
    out = config.out or config.text.with_suffix(ENDING)
    if out.suffix != ENDING:
        raise ConfigError("--out must end in .tokens", got=out)
    file = write(config.text.expanduser(), out.expanduser(), config.vocab_type, config.vocab_size)
    print(f"{file.count:,} tokens, {file.vocab_size:,} different ones, {file.path.stat().st_size / 2**20:,.1f} MiB")
    print(command_line(["python", "train.py", "--dataset", out, "--vocab_type", config.vocab_type]))


if __name__ == "__main__":
    main(WriteTokensConfig, run)

"""What tokenizers make of English and of Chinese: `python tokenizer_report.py --vocab_sizes 512 2048 8192`.

Each is trained on each of the two texts and then cuts the held-out parts of both. A model reads and writes token by
token: more bytes in one are less work and a longer memory, a larger vocabulary is a larger head. Perplexities of two
tokenizers do not compare; bits per byte do.
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from my_llm.cli import main, printable
from my_llm.errors import ConfigError, DataError, choose

if TYPE_CHECKING:
    from my_llm.data.catalog import LanguageText
    from my_llm.text import Tokenizer

KINDS = ("char", "bpe", "gpt2", "wordpiece")
POEM = (
    "滚滚长江东逝水，浪花淘尽英雄。是非成败转头空。青山依旧在，几度夕阳红。"
    "白发渔樵江渚上，惯看秋月春风。一壶浊酒喜相逢。古今多少事，都付笑谈中。\n"
)  # Yang Shen, 16th century: the Three Kingdoms begin with it
LOST = 0.01  # of the characters; a token that stands for what is lost says nothing
NOTE = """
Measured on held-out text. split: characters of which one token holds only a
part. lost: characters that become <unk>; where that is more than 1 %, bytes per
token stand in brackets, because what is lost is cheap. · is a space."""


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Train tokenizers on an English and a Chinese text, and measure what they make of both."""

    config: Path | None = None
    """TOML file with values for these flags; flags on the command line win"""
    kinds: tuple[str, ...] = KINDS
    """which tokenizers: char, bpe, gpt2, wordpiece"""
    vocab_sizes: tuple[int, ...] = (512, 2048, 8192)
    """sizes of the vocabularies; characters are as many as there are"""
    english: str = "auto"
    """corpus to train on; auto: Tiny Shakespeare, or what is on this machine"""
    chinese: str = "auto"
    """corpus to train on; auto: three_kingdoms, or where it cannot be had a poem to measure on"""
    longest: int = 8
    """how many of the longest tokens to print"""
    report: Path | None = None
    """also write everything to this JSON file"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"longest": (0, math.inf)}


def run(config: ReportConfig) -> None:
    """Train, measure, print."""
    from my_llm.evaluation import write_report

    for size in config.vocab_sizes:
        if size < 260:
            raise ConfigError("--vocab_sizes is out of range", got=size, valid="260 or more: four and every byte")
    for kind in config.kinds:
        choose(kind, dict.fromkeys(KINDS), "kind of tokenizer")
    corpora = texts(config)
    held_out = {corpus.language: corpus.validation for corpus in corpora}
    tables = []
    for corpus in corpora:
        if corpus.train:
            rows = [measure(kind, size, corpus, held_out) for kind, size in cases(config)]
            tables.append({"data": corpus.name, "source": corpus.source, "sha256": corpus.sha256, "rows": rows})
            show(tables[-1], config.longest)
    print(NOTE)
    bytes_held_out = {language: len(text.encode()) for language, text in held_out.items()}
    write_report(config.report, {"stage": "stage5_gpt", "task": "tokenizers", "held_out_bytes": bytes_held_out,
                                 "trained_on": tables})  # fmt: skip


def cases(config: ReportConfig) -> Iterator[tuple[str, int]]:
    """Kind and size of each tokenizer; of characters there is one."""
    for kind in config.kinds:
        yield from ((kind, size) for size in ((0,) if kind == "char" else config.vocab_sizes))


def texts(config: ReportConfig) -> "list[LanguageText]":
    """The two corpora. Where `auto` finds no Chinese one, there is a poem and nothing to train on."""
    from my_llm.data.catalog import LanguageText, load_text

    english = load_text(config.english)
    try:
        return [english, load_text("three_kingdoms" if config.chinese == "auto" else config.chinese)]
    except DataError as problem:
        if config.chinese != "auto":
            raise
        print(f"Chinese is a poem of {len(POEM)} characters, because {problem.what}")
        return [english, LanguageText("poem", "zh", "", POEM, "", "this script", "")]


# --- one tokenizer ----------------------------------------------------------------------------------------------------


def measure(kind: str, size: int, corpus: "LanguageText", held_out: dict[str, str]) -> dict[str, Any]:
    """Train one tokenizer, and what it makes of each text.

    Returns:
        Plain data; the seconds are those of one thread, and encoding meets every word for the first time.
    """
    from my_llm.language.batches import tokenizer_for
    from my_llm.text import tokenizer_from_state

    started = time.perf_counter()
    tokenizer = tokenizer_for(corpus, kind, size)
    trained = time.perf_counter()
    fresh = tokenizer_from_state(tokenizer.to_state())  # the trained one may remember words
    begun = time.perf_counter()
    fresh.encode(corpus.train)
    seconds = time.perf_counter() - begun
    return {
        "kind": kind, "vocab_size": tokenizer.vocab_size, "train_seconds": trained - started,
        "megabytes_per_second": len(corpus.train.encode()) / 1e6 / seconds,
        "texts": {language: figures(fresh, text) for language, text in held_out.items()},
        "longest": longest(fresh, 50),
    }  # fmt: skip


def figures(tokenizer: "Tokenizer", text: str) -> dict[str, float]:
    """How finely a text is cut: bytes per token, tokens per character, characters split or unknown."""
    ids = tokenizer.encode(text)
    return {
        "bytes_per_token": len(text.encode()) / len(ids),
        "tokens_per_character": len(ids) / len(text),
        "split": split_characters(tokenizer, ids, text) / len(text),
        "unknown": unknown_characters(tokenizer, ids, text) / len(text),
    }


def split_characters(tokenizer: "Tokenizer", ids: list[int], text: str) -> int:
    """Characters of which one token holds only a part: only tokens of bytes end within one."""
    from my_llm.text import BPETokenizer

    if not isinstance(tokenizer, BPETokenizer):
        return 0
    ends = set(accumulate(len(tokenizer.bytes[number]) for number in ids))
    starts = accumulate((len(char.encode()) for char in text), initial=0)
    return sum(any(start + i in ends for i in range(1, len(char.encode()))) for char, start in zip(text, starts))


def unknown_characters(tokenizer: "Tokenizer", ids: list[int], text: str) -> int:
    """Characters that are lost: <unk> is one of them, or the whole word in which one stood."""
    from my_llm.text import UNK, CharTokenizer, WordPieceTokenizer
    from my_llm.text.word import split

    if isinstance(tokenizer, WordPieceTokenizer):
        return sum(len(word) for word in split(text) if UNK in tokenizer.words[word])
    return ids.count(UNK) if isinstance(tokenizer, CharTokenizer) else 0


def longest(tokenizer: "Tokenizer", count: int) -> list[str]:
    """The tokens of most characters, without parts of characters and what is only white space or marks."""
    from my_llm.text import special_ids

    ordinary = set(range(tokenizer.vocab_size)) - set(special_ids(tokenizer))
    tokens = (tokenizer.decode([number]) for number in sorted(ordinary))
    whole = [token for token in tokens if "�" not in token and any(map(str.isalnum, token))]
    return sorted(whole, key=len, reverse=True)[:count]


# --- in the terminal --------------------------------------------------------------------------------------------------


def show(table: dict[str, Any], count: int) -> None:
    """One table, 80 columns wide, and the longest tokens of the largest vocabulary of each kind."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=80, highlight=False)
    shown = Table(title=f"trained on {table['data']}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("kind", min_width=len("wordpiece"))
    names = list(table["rows"][0]["texts"])
    heads = ["size", "train\ns", "encode\nMB/s", *(f"bytes/\ntoken {name}" for name in names)]
    for head in (*heads, "tokens/\nchar zh", "split\n% zh", "lost\n% zh"):
        shown.add_column(head, justify="right")
    for row in table["rows"]:
        chinese, found = row["texts"]["zh"], [row["texts"][name] for name in names]
        sizes = [f"{text['bytes_per_token']:.2f}" for text in found]
        shown.add_row(
            row["kind"], f"{row['vocab_size']:,}", f"{row['train_seconds']:.1f}", f"{row['megabytes_per_second']:.1f}",
            *(f"({size})" if text["unknown"] > LOST else size for size, text in zip(sizes, found)),
            f"{chinese['tokens_per_character']:.2f}", *(f"{100 * chinese[k]:.1f}" for k in ("split", "unknown")),
        )  # fmt: skip
    console.print()
    console.print(shown)
    for kind, row in {row["kind"]: row for row in table["rows"]}.items():
        if kind != "char" and count:
            tokens = " ".join(printable(token).replace(" ", "·") for token in row["longest"][:count])
            console.print(Text(f"longest of {kind}: {tokens}"))


if __name__ == "__main__":
    main(ReportConfig, run)

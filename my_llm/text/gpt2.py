"""GPT-2's byte pairs: the same merging as bpe.py, words cut as GPT-2 cuts them, and GPT-2's own files.

    "It's 2 o'clock, mon été.\\n"  →  It|'s| 2| o|'|clock|,| mon| été|.|\\n

A word is letters, digits or marks with the space before them; seven English endings stand alone. bpe.py gives "don't"
and "l'été" whole to the merges, here they fall apart: English endings are learnt once, French pays a token for each
apostrophe. A word may be as long as it likes: a Chinese clause is one.

Radford et al. 2019 write the pattern with classes of Unicode, which Python's `re` does not have:

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

What it has is \\w: letters, numbers and "_". So a letter is a \\w that is no number, and numbers other than decimal
digits (Ⅷ, ½, ²) are few enough to be listed. What it cannot do: a letter that this Python's Unicode does not know yet
counts as a mark, in a library of a newer Unicode as a letter.

The tokenizers trained here have the four special tokens of this project, with <eos> between documents. One that is read
from GPT-2's files has GPT-2's ids: the bytes are 0 to 255, and <|endoftext|>, between documents, is 50256.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from my_llm.errors import CheckpointError
from my_llm.text.bpe import BPETokenizer
from my_llm.text.merging import WordIds
from my_llm.text.tokenizer import State
from my_llm.text.vocabulary import EOS, MAX_BYTES, MAX_SYMBOLS, SPECIALS

END = "<|endoftext|>"
WHITE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space
BEYOND = re.compile("[\U00010000-\U0010ffff]")  # the 16-bit plane: emoji, cuneiform, rare Chinese


def ranges(characters: Iterable[str]) -> str:
    """Characters in rising order as the inside of a class of `re`: a-dx-x."""
    numbered = enumerate(map(ord, characters))
    runs = ([code for _, code in run] for _, run in groupby(numbered, lambda pair: pair[1] - pair[0]))
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


@lru_cache(maxsize=2)
def pattern(last: int) -> re.Pattern[str]:
    """GPT-2's pattern for texts without characters beyond `last`; a class of fewer ranges is quicker."""
    numeric = filter(str.isnumeric, map(chr, range(last + 1)))
    numbers = ranges(char for char in numeric if unicodedata.category(char) in ("Nl", "No"))
    words = rf"[^\W\d_{numbers}]+|[\d{numbers}]+|(?:[^\w{WHITE}]|_)+"
    return re.compile(rf"'(?:[stmd]|re|ve|ll)| ?(?:{words})|[{WHITE}]+(?![^{WHITE}])|[{WHITE}]+")


def split(text: str) -> list[str]:
    """The words as GPT-2 cuts them; joined they are the text again."""
    return pattern(0x10FFFF if BEYOND.search(text) else 0xFFFF).findall(text)


class GPT2Tokenizer(BPETokenizer):
    """Any text comes back exactly, as from BPETokenizer. Special tokens are made from text on request only.

    Args:
        merges: Pairs of symbols in the order of joining, written in ALPHABET.
        order: All symbols in the order of their ids, where that is not this project's. Those that are neither a byte
            nor made by a merge are its special tokens; <|endoftext|> must be among them, or <eos>.

    Raises:
        CheckpointError: merges that do not fit together, or an order that is not one of these symbols.
    """

    kind: ClassVar[str] = "gpt2"
    split = staticmethod(split)

    def __init__(self, merges: Iterable[tuple[str, str]], order: Sequence[str] = ()):
        super().__init__(merges)
        self.order, self.end, self.special_ids = list(order), EOS, list(range(len(SPECIALS)))
        if order:
            self._renumber()

    def _renumber(self) -> None:
        own, ids = self.vocabulary.symbols[len(SPECIALS) :], {symbol: i for i, symbol in enumerate(self.order)}
        end = next((ids[name] for name in (END, SPECIALS[EOS]) if name in ids), None)
        if len(ids) < len(self.order) or len(ids) > MAX_SYMBOLS or not ids.keys() >= set(own) or end is None:
            raise CheckpointError(
                "the symbols in order are not those of the merges", valid=f"bytes, merges, {END}, each once"
            )
        meaning = dict(zip(own, self.bytes[len(SPECIALS) :]))
        self.end, self.special_ids = end, [i for i, symbol in enumerate(self.order) if symbol not in meaning]
        self.ids, self.bytes = ids, [meaning.get(symbol, b"") for symbol in self.order]
        self.words = WordIds(self.words.merges, [end] * len(SPECIALS) + [ids[symbol] for symbol in own])

    @property
    def vocab_size(self) -> int:
        return len(self.bytes)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of the text.

        Args:
            special: Make `end` of every <|endoftext|>. Only for text of one's own: a stranger could end a document.
        """
        first, *others = text.split(END) if special else [text]
        ids = super().encode(first)
        for other in others:
            ids += [self.end, *super().encode(other)]
        return ids

    @staticmethod
    def library_split() -> Any:
        from tokenizers import pre_tokenizers

        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)

    def to_state(self) -> State:
        return {**super().to_state(), **({"order": self.order} if self.order else {})}

    @classmethod
    def from_state(cls, state: State) -> "GPT2Tokenizer":
        plain, order = super().from_state(state), state.get("order", [])
        if not isinstance(order, list):
            raise CheckpointError("vocabulary whose order is no list")
        return cls(plain.merges, order)


# --- GPT-2's files ----------------------------------------------------------------------------------------------------

PLAIN = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}  # the one way to cut that is known here


def read_gpt2(path: Path) -> GPT2Tokenizer:
    """A tokenizer from files as GPT-2 was published: tokenizer.json, or vocab.json and merges.txt.

    Args:
        path: A tokenizer.json, or the folder that holds the files; tokenizer.json goes first.

    Raises:
        CheckpointError: missing, damaged, or of a tokenizer that works otherwise.
    """
    single = path / "tokenizer.json" if path.is_dir() else path
    try:
        if single.is_file():
            vocab, merges = from_tokenizer_json(json.loads(content_of(single)))
        else:
            vocab = json.loads(content_of(path / "vocab.json"))
            lines = content_of(path / "merges.txt").decode().split("\n")
            merges = [line for line in lines if line and not line.startswith("#version")]
        order = sorted(vocab, key=vocab.__getitem__)
        if [vocab[symbol] for symbol in order] != [*range(len(order))]:
            raise ValueError("its ids are not 0, 1, 2, …")
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
        return GPT2Tokenizer([(left, right) for left, right in pairs], order)
    except OSError as error:
        cause = error.strerror or type(error).__name__
    except CheckpointError as error:
        cause = error.what
    except Exception as error:  # whatever a damaged file provokes, recursion and memory included
        cause = f"{type(error).__name__}: {str(error)[:80]}"
    raise CheckpointError(
        f"cannot read GPT-2's tokenizer: {cause}", got=path, valid="tokenizer.json, or vocab.json and merges.txt"
    )


def from_tokenizer_json(content: Mapping[str, Any]) -> tuple[dict[str, int], list[Any]]:
    """Ids and merges of a tokenizer.json, added tokens included.

    Raises:
        ValueError: it cuts, merges or changes a text otherwise than GPT-2: the ids would be wrong.
    """
    model, cut = content["model"], content["pre_tokenizer"] or {}
    if {**PLAIN, **{key: cut[key] for key in PLAIN if key in cut}} != PLAIN or cut.get("type") != "ByteLevel":
        raise ValueError(f"it cuts words otherwise than GPT-2 ({json.dumps(cut)[:60]})")
    settings = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    odd = [name for name in (*settings, "ignore_merges") if model.get(name)]
    if model.get("type", "BPE") != "BPE" or content.get("normalizer") or odd:
        raise ValueError(f"it is no plain BPE ({', '.join(odd) or model.get('type')})")
    return {**model["vocab"], **{token["content"]: token["id"] for token in content["added_tokens"]}}, model["merges"]


def content_of(path: Path) -> bytes:
    """The file, if it is no larger than a vocabulary may be."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} is too large, at most {MAX_BYTES} bytes")
    return path.read_bytes()

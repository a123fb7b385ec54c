"""Words as tokens: short sequences, a large vocabulary, and every rare word is lost.

The text is cut into words (runs of letters and digits) and marks. A mark carries the spaces around it, ", " or " (", so
that decoding is plain joining and "aujourd'hui", "3.14" and "well-known" come back as they were:

    Hello, world - don't!   →   Hello|, |world| - |don|'|t|!

Two words with nothing between them were one space apart; that space needs no token. Line ends are tokens. What it
cannot do: languages that write no spaces (a Chinese clause would be one word; take characters there).
"""

import re
from collections import Counter
from collections.abc import Iterable

from my_llm.text.tokenizer import State
from my_llm.text.vocabulary import Vocabulary

PIECE = re.compile(r"\w+|\n| ?[^\w\s] ?")
WORD = re.compile(r"\w+|<unk>")


def normalise(text: str) -> str:
    """One space where there is white space, none at the ends of a line; line ends stay."""
    return re.sub(r" ?\n ?", "\n", re.sub(r"[^\S\n]+", " ", text)).strip(" ")


def split(text: str) -> list[str]:
    """Words, marks with their spaces, line ends."""
    return PIECE.findall(normalise(text))


def join(pieces: Iterable[str]) -> str:
    """The inverse of split: split(join(split(text))) = split(text), join(split(text)) = normalise(text)."""
    text, after_word = [], False
    for piece in pieces:
        is_word = WORD.fullmatch(piece) is not None
        if is_word and after_word:
            text.append(" ")
        text.append(piece)
        after_word = is_word
    return "".join(text)


class WordTokenizer:
    """One id per word or mark. Known text comes back with its white space normalised; an unknown word as <unk>."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary

    @classmethod
    def train(cls, texts: Iterable[str], *, min_count: int = 1, max_size: int | None = None) -> "WordTokenizer":
        """Collect the words and marks of `texts`."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split(text))
        return cls(Vocabulary.from_counts(counts, min_count=min_count, max_size=max_size))

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        return self.vocabulary.encode(split(text))

    def decode(self, ids: Iterable[int]) -> str:
        return join(self.vocabulary.decode(ids))

    def to_state(self) -> State:
        return {"kind": "word", "symbols": list(self.vocabulary.symbols)}

    @classmethod
    def from_state(cls, state: State) -> "WordTokenizer":
        return cls(Vocabulary(state["symbols"]))

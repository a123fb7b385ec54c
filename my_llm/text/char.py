"""Characters as tokens: a tiny vocabulary, no unknown spelling, long sequences."""

from collections import Counter
from collections.abc import Iterable

from my_llm.text.tokenizer import State
from my_llm.text.vocabulary import Vocabulary

UNKNOWN = "\ufffd"  # what Unicode shows for an unreadable character: �


class CharTokenizer:
    """One id per code point. Text of known characters comes back exactly; an unknown character comes back as �."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary

    @classmethod
    def train(cls, texts: Iterable[str], *, min_count: int = 1, max_size: int | None = None) -> "CharTokenizer":
        """Collect the characters of `texts`."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        return cls(Vocabulary.from_counts(counts, min_count=min_count, max_size=max_size))

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        return self.vocabulary.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(UNKNOWN if symbol == "<unk>" else symbol for symbol in self.vocabulary.decode(ids))

    def to_state(self) -> State:
        return {"kind": "char", "symbols": list(self.vocabulary.symbols)}

    @classmethod
    def from_state(cls, state: State) -> "CharTokenizer":
        return cls(Vocabulary(state["symbols"]))

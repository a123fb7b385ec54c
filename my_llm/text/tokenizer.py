"""What every tokenizer can do, whatever its units are: characters, words, later byte pairs and word pieces.

It knows text, not tensors: models see only the integers, and a checkpoint holds the tokenizer's state beside the
weights, because the one is useless without the other.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

State = dict[str, str | list[str]]  # plain data: {"kind": "char", "symbols": ["<pad>", …]}


@runtime_checkable
class Tokenizer(Protocol):
    """Text to integers and back."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are: 0 … vocab_size - 1."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of the text, without <bos> and <eos>. What is not in the vocabulary becomes <unk>."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text. <pad>, <bos> and <eos> leave no trace."""
        ...

    def to_state(self) -> State:
        """Everything needed to build it again, as plain data; "kind" names the class in TOKENIZERS."""
        ...

    @classmethod
    def from_state(cls, state: State) -> "Tokenizer":
        """The inverse of to_state.

        Raises:
            CheckpointError: the state does not describe a vocabulary.
        """
        ...

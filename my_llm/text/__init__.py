"""Text to integers and back: the door. A new tokenizer is one class and one row in TOKENIZERS."""

from my_llm.errors import choose
from my_llm.text.bpe import BPETokenizer
from my_llm.text.char import CharTokenizer
from my_llm.text.gpt2 import GPT2Tokenizer, read_gpt2
from my_llm.text.tokenizer import State, Tokenizer
from my_llm.text.vocabulary import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    UNK,
    Vocabulary,
    check_state,
    load_vocabulary,
    save_vocabulary,
)
from my_llm.text.word import WordTokenizer
from my_llm.text.wordpiece import WordPieceTokenizer

Trainable = CharTokenizer | WordTokenizer | BPETokenizer | WordPieceTokenizer
TOKENIZERS: dict[str, type[Trainable]] = {
    "char": CharTokenizer,
    "word": WordTokenizer,
    "bpe": BPETokenizer,
    "gpt2": GPT2Tokenizer,
    "wordpiece": WordPieceTokenizer,
}


def tokenizer_from_state(state: State) -> Tokenizer:
    """The tokenizer that `to_state` described.

    Raises:
        ConfigError: a kind that this version does not know.
        CheckpointError: not a vocabulary.
    """
    check_state(state)
    return choose(str(state["kind"]), TOKENIZERS, "kind of tokenizer").from_state(state)


def special_ids(tokenizer: Tokenizer) -> list[int]:
    """The ids that are no text: nobody should write them. The first four, but for a tokenizer out of GPT-2's files."""
    return tokenizer.special_ids if isinstance(tokenizer, GPT2Tokenizer) else list(range(len(SPECIALS)))


def end_of(tokenizer: Tokenizer) -> int:
    """The id that stands between two documents: <eos>, or GPT-2's <|endoftext|>."""
    return tokenizer.end if isinstance(tokenizer, GPT2Tokenizer) else EOS


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id that stands for what is not in the vocabulary; None of one out of GPT-2's files, whose id 1 is text."""
    return UNK if UNK in special_ids(tokenizer) else None


__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "SPECIALS",
    "TOKENIZERS",
    "UNK",
    "BPETokenizer",
    "CharTokenizer",
    "GPT2Tokenizer",
    "State",
    "Tokenizer",
    "Vocabulary",
    "WordPieceTokenizer",
    "WordTokenizer",
    "end_of",
    "load_vocabulary",
    "read_gpt2",
    "save_vocabulary",
    "special_ids",
    "tokenizer_from_state",
    "unknown_id",
]

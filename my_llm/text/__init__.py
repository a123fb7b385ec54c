"""Text to integers and back: the door. A new tokenizer is one class and one row in TOKENIZERS."""

from my_llm.errors import choose
from my_llm.text.bpe import BPETokenizer
from my_llm.text.char import CharTokenizer
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

TOKENIZERS: dict[str, type[CharTokenizer] | type[WordTokenizer] | type[BPETokenizer]] = {
    "char": CharTokenizer,
    "word": WordTokenizer,
    "bpe": BPETokenizer,
}


def tokenizer_from_state(state: State) -> Tokenizer:
    """The tokenizer that `to_state` described.

    Raises:
        ConfigError: a kind that this version does not know.
        CheckpointError: not a vocabulary.
    """
    check_state(state)
    return choose(str(state["kind"]), TOKENIZERS, "kind of tokenizer").from_state(state)


__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "SPECIALS",
    "TOKENIZERS",
    "UNK",
    "BPETokenizer",
    "CharTokenizer",
    "State",
    "Tokenizer",
    "Vocabulary",
    "WordTokenizer",
    "load_vocabulary",
    "save_vocabulary",
    "tokenizer_from_state",
]

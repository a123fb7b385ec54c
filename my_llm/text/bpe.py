"""Byte-level byte-pair encoding: frequent words are one token, rare ones a few, and nothing is unknown.

Characters make long sequences, words lose what is rare. Byte pairs lie between. Text is cut into words, a word is a
row of bytes, and again and again the most frequent pair of neighbours becomes one new token. Learnt from
4 × "the", 2 × "then", 3 × "hen":

    t h e | t h e n | h e n       h e: 9   t h: 6   e n: 5      →  he is a token
    t he  | t he n  | he n        t he: 6  he n: 5              →  the is a token
    the   | the n   | he n        he n: 3  the n: 2             →  hen is a token
    the   | the n   | hen         the n: 2                      →  then is a token
    the   | then    | hen         nothing left to join

Text that comes later goes through the same merges in the same order: "hens" becomes hen|s, a word that nobody counted.
Since the 256 bytes are tokens, every text comes back exactly, Chinese and emoji included.

Equal counts: the pair with the smaller ids goes first, so a text has one answer, the one of the tokenizers library.
What it cannot do: the merges follow frequency, not meaning ("the|n" shares its first token with "the"), and one
changed letter or a lost space at the start gives quite other tokens.

Gage 1994, "A New Algorithm for Data Compression". Sennrich, Haddow and Birch 2016, section 3.2: the same for words.
Radford et al. 2019 (GPT-2), section 2.2: bytes, and no merge across kinds of characters.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar

from my_llm.errors import CheckpointError, ConfigError
from my_llm.text.merging import ALPHABET, BYTE_IDS, BYTE_OF, WordIds, clean
from my_llm.text.tokenizer import State
from my_llm.text.vocabulary import MAX_SYMBOLS, SPECIALS, UNK, Vocabulary

if TYPE_CHECKING:
    import tokenizers

# A word is a run of letters with the space before it ("l'été" and "don't" are one), a run of digits or of marks, or
# white space. Letters are what is nothing else: the same in every version of Unicode, and in every regex engine. No
# run is longer than 64, so that the time grows with the length of a text, whatever stands in it.
SPACE = "\t-\r \u00a0\u202f\u3000"  # ASCII, the two of French, the one of Chinese
MARK = "\x00-\x08\x0e-\x1f!-/:-@\\[-`{-\x9f\u00a1-\u00bf×÷\u2000-\u202e\u2030-\u2bff"  # ASCII, Latin, dashes, arrows
MARK += "\u3001-\u3003\u3008-\u303f\ufe00-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"  # East Asia
MARK += "\U0001f000-\U0001faff"  # emoji
LETTERS = f"[^{SPACE}{MARK}0-9]{{1,64}}"
WORD = re.compile(
    f" ?(?:{LETTERS}(?:['’]{LETTERS})?|[0-9]{{1,64}}|[{MARK}]{{1,64}})"
    f"|[{SPACE}]{{1,64}}(?![^{SPACE}])|[{SPACE}]{{1,64}}"  # the last of many spaces belongs to the word behind it
)
LARGE = 2**20  # characters


def split(text: str) -> list[str]:
    """The words; joined they are the text again."""
    return WORD.findall(text)


def learn_merges(counts: Mapping[str, int], vocab_size: int) -> list[tuple[str, str]]:
    """Join the most frequent pair until there are `vocab_size` symbols, or no pair occurs twice.

    A word is kept as a string in which every character is one token (character number 260 is token 260), so joining a
    pair is str.replace. Only the words that hold the pair are visited. The count of a pair can rise only at the
    moment when the newer of its two tokens is made, later it only falls: so each pair enters the queue once, and an
    entry that is out of date is too high, never too low.

    The time is that of all joins in all distinct words, each once: it hardly depends on vocab_size.

    Args:
        counts: How often each word occurs.
        vocab_size: Special tokens, 256 bytes and merges together.

    Returns:
        The pairs in the order of joining, written in ALPHABET.
    """
    words = ["".join(chr(BYTE_IDS[byte]) for byte in clean(word).encode()) for word in counts]
    times = list(counts.values())
    total: defaultdict[str, int] = defaultdict(int)
    where: defaultdict[str, list[int]] = defaultdict(list)  # the words in which a pair was seen
    for place, word in enumerate(words):
        for pair in map(add, word, word[1:]):
            total[pair] += times[place]
            where[pair].append(place)
    queue = [(-count, pair) for pair, count in total.items()]
    heapify(queue)

    symbols, merges = [*SPECIALS, *ALPHABET], []
    while queue and len(symbols) < vocab_size:
        count, pair = heappop(queue)
        if -count > total[pair]:  # out of date
            heappush(queue, (-total[pair], pair))
            continue
        if total[pair] < 2:
            break
        left, right = pair
        new = chr(len(symbols))
        merges.append((symbols[ord(left)], symbols[ord(right)]))
        symbols.append("".join(merges[-1]))

        gained: defaultdict[str, int] = defaultdict(int)
        for place in where.pop(pair):
            if pair in words[place]:
                words[place] = word = words[place].replace(pair, new)
                for neighbours in map(add, word, word[1:]):
                    if new in neighbours:
                        gained[neighbours] += times[place]
                        where[neighbours].append(place)
        for neighbours, count in gained.items():
            total[neighbours[0].replace(new, right) + neighbours[1].replace(new, left)] -= count  # what it was before
            total[neighbours] = count
            heappush(queue, (-count, neighbours))
    return merges


class BPETokenizer:
    """Ids: four special tokens, 256 bytes, merges. Any text comes back exactly (a lone surrogate as �).

    Special tokens are never made from text: "<eos>" in a text is five ordinary characters.

    Args:
        merges: Pairs of symbols in the order of joining, written in ALPHABET.

    Raises:
        CheckpointError: a merge of what is no symbol yet, or one that makes a symbol again.
    """

    kind: ClassVar[str] = "bpe"
    split = staticmethod(split)  # another way to cut is another kind: my_llm/text/gpt2.py

    def __init__(self, merges: Iterable[tuple[str, str]]):
        self.merges = list(merges)
        self.vocabulary = Vocabulary([*SPECIALS, *ALPHABET, *map("".join, self.merges)])
        ids, become = self.vocabulary.ids, {}
        for new, (left, right) in enumerate(self.merges, len(SPECIALS) + len(ALPHABET)):
            if not all(len(SPECIALS) <= ids.get(part, UNK) < new for part in (left, right)):
                raise CheckpointError("a merge joins what is no symbol yet", got=f"{left} {right}"[:80])
            become[ids[left], ids[right]] = new
        self.ids, self.words = ids, WordIds(become)
        ordinary = self.vocabulary.symbols[len(SPECIALS) :]
        self.bytes = [b"", "�".encode(), b"", b"", *(bytes(map(BYTE_OF.__getitem__, symbol)) for symbol in ordinary)]

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 8192) -> "BPETokenizer":
        """Learn the merges of `texts`; fewer than vocab_size where no pair is left that occurs twice.

        Raises:
            ConfigError: vocab_size leaves no room for the bytes, or is beyond what a vocabulary may hold.
        """
        smallest = len(SPECIALS) + len(ALPHABET)
        if not smallest <= vocab_size <= MAX_SYMBOLS:
            raise ConfigError("vocabulary size is out of range", got=vocab_size, valid=f"{smallest} to {MAX_SYMBOLS}")
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(cls.split(text))
        return cls(learn_merges(counts, vocab_size))

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self.words.__getitem__, self.split(text))))

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of every text; a large corpus goes through the tokenizers library, which uses all cores."""
        if sum(map(len, texts)) <= LARGE:
            return [self.encode(text) for text in texts]
        library, ids = self.in_library(), []
        for start in range(0, len(texts), 10_000):  # what the library answers is large: not everything at once
            answers = library.encode_batch_fast(list(map(clean, texts[start : start + 10_000])))
            ids += [answer.ids for answer in answers]
        return ids

    def in_library(self) -> "tokenizers.Tokenizer":
        """The same tokenizer out of the tokenizers library, without its own way of special tokens."""
        from tokenizers import Tokenizer, models

        library = Tokenizer(models.BPE(vocab=self.ids, merges=self.merges))
        library.pre_tokenizer = self.library_split()
        return library

    @staticmethod
    def library_split() -> Any:
        """`split`, and the bytes of each word in ALPHABET, as the tokenizers library does it."""
        from tokenizers import Regex, pre_tokenizers

        words = pre_tokenizers.Split(Regex(WORD.pattern), behavior="isolated")
        return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text; bytes that are not whole characters become �."""
        return b"".join(self.bytes[number] for number in ids).decode("utf-8", "replace")

    def to_state(self) -> State:
        return {"kind": self.kind, "symbols": list(self.vocabulary.symbols), "merges": list(map(" ".join, self.merges))}

    @classmethod
    def from_state(cls, state: State) -> "BPETokenizer":
        merges = state.get("merges")
        if not isinstance(merges, list):
            raise CheckpointError("vocabulary of byte pairs without its merges")
        tokenizer = cls((left, right) for left, _, right in (merge.partition(" ") for merge in merges))
        if list(tokenizer.vocabulary.symbols) != state["symbols"]:
            raise CheckpointError("vocabulary holds other symbols than its merges make")
        return tokenizer

"""Word pieces: the tokens of BERT. Joined is what belongs together, not what is frequent.

Text is cut into words as in word.py. A word begins as single characters, all but the first marked as going on:

    hug|pug   →   h ##u ##g | p ##u ##g

Byte pairs join the pair that occurs most often. Here the pair is joined that makes the text most likely, if every
symbol is drawn for itself: an occurrence of a b gains log p(ab) / (p(a) p(b)), so the score is

    count(ab) / (count(a) · count(b))

q and u win over e and s: after q comes nearly always u. But two rare characters that met by chance win over all, and
the vocabulary fills with what is never seen again. So a pair must occur 128 times at first, and half as often whenever
no such pair is left.

A new word is cut greedily, its longest known beginning first, then the longest ## piece, and so on. No merges are
needed for that, only the vocabulary. If nothing fits, the whole word is <unk>: bytes would know it. What else it cannot
do: each character is in the vocabulary twice, with and without ##, and Chinese has thousands; a Chinese clause is one
word here, and one unknown character loses it.

Schuster and Nakajima 2012, "Japanese and Korean Voice Search", section 3. Wu et al. 2016, section 4.1.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain
from operator import add

from my_llm.errors import ConfigError
from my_llm.text.tokenizer import State
from my_llm.text.vocabulary import MAX_SYMBOLS, SPECIALS, UNK, Vocabulary
from my_llm.text.word import join, split

ON = "##"  # this piece goes on with a word; no word begins so, because a mark is a word of its own
LONGEST = 100  # characters; a longer word is <unk>, as in BERT
MIN_COUNT = 128  # of a pair, at first
REMEMBERED = 2**17  # words


def characters(word: str) -> list[str]:
    """h, ##u, ##g."""
    return [word[0], *(ON + char for char in word[1:])]


def alphabet(counts: Mapping[str, int], room: int) -> list[str]:
    """The most frequent characters of all words, with and without ##; at most `room`."""
    found: Counter[str] = Counter()
    for word, times in counts.items():
        for char in characters(word):
            found[char] += times
    return sorted(found, key=lambda char: (-found[char], char))[:room]


class Pieces:
    """Words cut into symbols, and what is counted of them; a word is a string in which character 260 is symbol 260.

    Args:
        words: Each as such a string.
        times: How often each word occurs.
    """

    def __init__(self, words: Sequence[str], times: Sequence[int]):
        self.words, self.times = list(words), times
        self.single: Counter[str] = Counter()
        self.total: Counter[str] = Counter()  # of pairs
        self.where: defaultdict[str, set[int]] = defaultdict(set)  # the words in which a pair was seen
        self.beside: defaultdict[str, set[str]] = defaultdict(set)  # the pairs that a symbol is part of
        for place in range(len(words)):
            self.count(place, 1)

    def count(self, place: int, sign: int) -> None:
        """Add a word's symbols and pairs (sign 1), or take them away (-1)."""
        word, times = self.words[place], sign * self.times[place]
        for symbol in word:
            self.single[symbol] += times
        for pair in map(add, word, word[1:]):
            self.total[pair] += times
            self.where[pair].add(place)
            self.beside[pair[0]].add(pair)
            self.beside[pair[1]].add(pair)

    def join(self, pair: str, new: str) -> set[str]:
        """Make `new` of the pair wherever it stands, and return all pairs whose score is another now."""
        for place in self.where.pop(pair):
            if pair in self.words[place]:
                self.count(place, -1)
                self.words[place] = self.words[place].replace(pair, new)
                self.count(place, 1)
        for symbol in (*pair, new):
            self.beside[symbol] = {beside for beside in self.beside[symbol] if self.total[beside]}
        return self.beside[pair[0]] | self.beside[pair[1]] | self.beside[new]

    def scores(self, pairs: Iterable[str], min_count: int) -> list[tuple[float, str]]:
        """-count(ab) / (count(a) · count(b)) and the pair, for those that occur so often."""
        single, total = self.single, self.total
        frequent = [pair for pair in pairs if total[pair] >= min_count]
        return [(-total[pair] / (single[pair[0]] * single[pair[1]]), pair) for pair in frequent]


def learn_pieces(counts: Mapping[str, int], vocab_size: int, min_count: int = MIN_COUNT) -> list[str]:
    """Join the pair of the highest score until there are `vocab_size` symbols, or no pair occurs twice.

    Scores rise and fall: whenever a count changes, every pair that it concerns enters the queue anew, and older entries
    are out of date. Equal scores: the pair with the smaller ids goes first.

    Args:
        counts: How often each word occurs.
        vocab_size: Special tokens, characters and joined pieces together.
        min_count: How often a pair must occur at first; with 2 the score alone decides.

    Returns:
        The symbols but for the special ones: characters by falling count, then pieces in the order of joining.
    """
    symbols = [*SPECIALS, *alphabet(counts, vocab_size - len(SPECIALS))]
    ids = {symbol: chr(number) for number, symbol in enumerate(symbols)}
    known = {word: times for word, times in counts.items() if all(char in ids for char in characters(word))}
    pieces = Pieces(["".join(ids[char] for char in characters(word)) for word in known], list(known.values()))
    queue = pieces.scores(pieces.total, min_count)
    heapify(queue)
    while len(symbols) < vocab_size and (queue or min_count > 2):
        if not queue:
            min_count = max(2, min_count // 2)
            queue = pieces.scores(pieces.total, min_count)
            heapify(queue)
            continue
        entry = heappop(queue)
        left, right = pair = entry[1]
        if [entry] != pieces.scores([pair], min_count):  # out of date
            continue
        symbol = symbols[ord(left)] + symbols[ord(right)].removeprefix(ON)
        if symbol not in ids:  # two pairs can make the same
            ids[symbol] = chr(len(symbols))
            symbols.append(symbol)
        for changed in pieces.scores(pieces.join(pair, ids[symbol]), min_count):
            heappush(queue, changed)
    return symbols[len(SPECIALS) :]


class PieceIds(dict[str, tuple[int, ...]]):
    """The ids of every word met so far; a word is cut when it is met first.

    Args:
        ids: The number of each symbol.
    """

    def __init__(self, ids: Mapping[str, int]):
        self.numbers, self.longest = ids, max(map(len, ids))

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= REMEMBERED:
            self.clear()
        found = self[word] = tuple(self.cut(word)) if len(word) <= LONGEST else (UNK,)
        return found

    def cut(self, word: str) -> list[int]:
        """The longest known beginning, then the longest known piece that goes on, …; <unk> if nothing fits."""
        found, start = [], 0
        while start < len(word):
            mark = ON if start else ""
            for end in range(min(len(word), start + self.longest), start, -1):
                if (number := self.numbers.get(mark + word[start:end], UNK)) != UNK:
                    break
            else:
                return [UNK]
            found.append(number)
            start = end
        return found


class WordPieceTokenizer:
    """Known text comes back with its white space normalised, as from WordTokenizer; an unknown word as <unk>."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary, self.words = vocabulary, PieceIds(vocabulary.ids)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 8192) -> "WordPieceTokenizer":
        """Learn the pieces of `texts`; fewer than vocab_size where no pair is left that occurs twice.

        Raises:
            ConfigError: vocab_size leaves no room for a character, or is beyond what a vocabulary may hold.
        """
        if not len(SPECIALS) < vocab_size <= MAX_SYMBOLS:
            valid = f"{len(SPECIALS) + 1} to {MAX_SYMBOLS}"
            raise ConfigError("vocabulary size is out of range", got=vocab_size, valid=valid)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split(text))
        return cls(Vocabulary([*SPECIALS, *learn_pieces(counts, vocab_size)]))

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self.words.__getitem__, split(text))))

    def beginnings(self, ids: Iterable[int]) -> list[int]:
        """Those that begin a word: one for each word, <unk> included."""
        return [number for number in ids if not self.vocabulary.symbols[number].startswith(ON)]

    def decode(self, ids: Iterable[int]) -> str:
        words: list[str] = []
        for symbol in self.vocabulary.decode(ids):
            if symbol.startswith(ON) and words:
                words[-1] += symbol.removeprefix(ON)
            else:
                words.append(symbol.removeprefix(ON))
        return join(words)

    def to_state(self) -> State:
        return {"kind": "wordpiece", "symbols": list(self.vocabulary.symbols)}

    @classmethod
    def from_state(cls, state: State) -> "WordPieceTokenizer":
        return cls(Vocabulary(state["symbols"]))

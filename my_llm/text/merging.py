"""From a word to its ids by merges that were learnt: what every tokenizer of byte pairs does, however it cuts words.

A word is the row of its bytes. Of all pairs of neighbours that are a merge, the one that was learnt first is joined,
until there is none:

    h e n s, learnt: h e → he, t he → the, he n → hen      h e|n|s → he n|s → hen|s

How merges are learnt stands in my_llm/text/bpe.py.
"""

import re
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from my_llm.text.vocabulary import MAX_SYMBOLS, SPECIALS

SURROGATE = re.compile("[\ud800-\udfff]")

# How a byte is written in a vocabulary file: itself if it can be seen, else one of Ā ā Ă …; a space is Ġ (as GPT-2).
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = [*VISIBLE, *(byte for byte in range(256) if byte not in VISIBLE)]  # in the order of their ids
ALPHABET = [*map(chr, VISIBLE), *(chr(256 + number) for number in range(256 - len(VISIBLE)))]
BYTE_IDS = {byte: number for number, byte in enumerate(BYTES, len(SPECIALS))}
BYTE_OF = dict(zip(ALPHABET, BYTES))

NO_TOKEN = MAX_SYMBOLS  # greater than every id
REMEMBERED = 2**17  # words, some 40 MB
LONG = 300  # bytes of a word


def clean(text: str) -> str:
    """The text with � for every lone surrogate: half a character, which a str can hold and a file cannot."""
    return SURROGATE.sub("�", text)


Merges = Mapping[tuple[int, int], int]  # two ids side by side → the id that they become; a smaller one is earlier


def merge(ids: list[int], merges: Merges) -> None:
    """Join the pair that was learnt first, again and again, in place. n² steps: for words."""
    become = merges.get
    candidates = [become(pair, NO_TOKEN) for pair in pairwise(ids)]  # what each pair of neighbours would become
    while candidates and (new := min(candidates)) != NO_TOKEN:
        place = candidates.index(new)
        ids[place] = new
        del ids[place + 1], candidates[place]
        if place > 0:
            candidates[place - 1] = become((ids[place - 1], new), NO_TOKEN)
        if place < len(candidates):
            candidates[place] = become((new, ids[place + 1]), NO_TOKEN)


def merge_long(ids: list[int], merges: Merges) -> None:
    """The same in n log n steps, whatever stands in a text: the pairs wait in a queue, and nothing is moved."""
    become, end = merges.get, len(ids)
    before, after = [*range(-1, end - 1)], [*range(1, end + 1)]  # the neighbours of each place that is still taken
    queue = [(become(pair, NO_TOKEN), place) for place, pair in enumerate(pairwise(ids))]
    heapify(queue)
    while queue and queue[0][0] != NO_TOKEN:
        new, place = heappop(queue)
        right = after[place]
        if right == end or become((ids[place], ids[right])) != new:  # out of date
            continue
        ids[place], ids[right], after[place] = new, NO_TOKEN, after[right]
        if after[place] < end:
            before[after[place]] = place
            heappush(queue, (become((new, ids[after[place]]), NO_TOKEN), place))
        if before[place] >= 0:
            heappush(queue, (become((ids[before[place]], new), NO_TOKEN), before[place]))
    ids[:] = [number for number in ids if number != NO_TOKEN]


class WordIds(dict[str, tuple[int, ...]]):
    """The ids of every word met so far; a word is merged when it is met first.

    Args:
        merges: For two ids side by side the id that they become. A smaller new id means an earlier merge.
        numbers: What each id is called outside; None: the same.
    """

    def __init__(self, merges: Merges, numbers: Sequence[int] | None = None):
        self.merges, self.numbers = merges, numbers

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = [BYTE_IDS[byte] for byte in clean(word).encode()]
        long = len(ids) > LONG
        (merge_long if long else merge)(ids, self.merges)
        found = tuple(ids if self.numbers is None else map(self.numbers.__getitem__, ids))
        if long:  # it will hardly come again
            return found
        if len(self) >= REMEMBERED:
            self.clear()
        self[word] = found
        return found

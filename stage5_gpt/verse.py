"""Verse as far as rules see it: syllables and rhymes of English lines, the form of Chinese regulated verse.

No dictionary says how a word sounds, so English rules go by spelling: a group of vowels is a syllable unless it is a
silent e, and words rhyme when they are spelt alike from their last sounded vowel on. That misses "love" and "above" as
little as it catches "one" and "sun", and takes "love" and "move" for a rhyme, as the eye does; stress, and with it the
iambic foot, it cannot see at all. So every share stands beside the same of real verse, where these mistakes are, too.

Of Chinese, characters are counted. How they sounded no rule says; but poets do: what ends the even clauses of one short
poem rhymes. Such characters belong together, and so do those that rhyme with them (`rhymes_of`).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from my_llm.data.corpora.three_kingdoms_verse import LENGTHS, Poem

# --- English ----------------------------------------------------------------------------------------------------------

FEET = range(9, 12)  # syllables of a pentameter: ten, with one of grace for the rules' mistakes
WORD = re.compile(r"[a-z']*[a-z]")
VOWELS = re.compile("[aeiouy]+")
SAME = (  # what is spelt differently and sounds alike at the end of a word; the first that fits
    (r"eight$", "ate"), (r"ight$", "ite"), (r"(?:ey|eigh|aye)$", "ay"), (r"(?:ie|igh|ye)$", "y"), (r"ea$", "ee"),
    (r"^([^aeiouy]+)e$", r"\1ee"), (r"(?:ea|ie)([^aeiouy]+)e?$", r"ee\1"), (r"ai([^aeiouy]+)$", r"a\1e"),
    (r"oa([^aeiouy]+)$", r"o\1e"), (r"our$", "ower"), (r"(?:oe|ow)$", "o"), (r"(?:ue|ew|ough)$", "oo"),
)  # fmt: skip


def words_of(line: str) -> list[str]:
    """The words in lower case."""
    return WORD.findall(line.lower().replace("’", "'"))


@lru_cache(maxsize=100_000)
def syllables(word: str) -> int:
    """Syllables of a word in lower case, by its spelling."""
    sounded = word.removesuffix("'s")
    if sounded.endswith("'d") or re.search(r"[^aeiouytd]ed$", sounded):  # wash'd, loved; but not: wanted
        sounded = re.sub(r"e?'?d$", "", sounded)
    elif re.search(r"[^aeiouysxzcgh]es$", sounded):  # lives; but not: faces
        sounded = sounded[:-2]
    elif sounded.endswith("e") and not re.search(r"[^aeiouy]le$", sounded):  # love; but not: little
        sounded = sounded[:-1]
    return max(len(VOWELS.findall(sounded)), 1)


def line_syllables(line: str) -> int:
    """Syllables of a line."""
    return sum(map(syllables, words_of(line)))


def is_pentameter(line: str) -> bool:
    """Whether it has ten syllables, or nearly."""
    return line_syllables(line) in FEET


def ending(word: str) -> str:
    """How it sounds from its last sounded vowel on, by its spelling."""
    for spelt, sound in SAME:
        changed = re.sub(spelt, sound, word)
        if changed != word:
            word = changed
            break
    return re.sub(r"^.*?([aeiouy]+(?:[^aeiouy']+e?)?)$", r"\1", word)


def rhymes(line: str, other: str) -> bool:
    """Whether the last words of two lines are spelt alike at the end, and are two words."""
    words = [words_of(each)[-1:] for each in (line, other)]
    if not all(words) or words[0] == words[1]:
        return False
    return ending(words[0][0]) == ending(words[1][0])


class Couplet(NamedTuple):
    """The last two lines of a speech after which somebody leaves: where Shakespeare rhymes most."""

    before: str  # the lines in front of it
    first: str
    second: str


LEAVES = re.compile(r"^(?:Exeunt|Exit)", re.MULTILINE)
CONTEXT = 400  # characters in front of a couplet


def couplets(text: str) -> list[Couplet]:
    """Those of a text, if both lines are of verse."""
    found = []
    for leaving in LEAVES.finditer(text):
        before = text[: leaving.start()].rstrip("\n")
        head, first, second = ["", "", *before.rsplit("\n", 2)][-3:]
        if is_pentameter(first) and is_pentameter(second) and not first.endswith(":"):
            found.append(Couplet(head[-CONTEXT:].partition("\n")[2], first, second))
    return found


# --- Chinese ----------------------------------------------------------------------------------------------------------

LINE = re.compile("^([\u4e00-\u9fff]+)，([\u4e00-\u9fff]+)。$")


def clauses(text: str) -> Poem | None:
    """The clauses of a poem as the corpus writes one; None if a line is not two clauses with their marks."""
    lines = [LINE.match(line) for line in text.strip().split("\n")]
    return tuple(clause for line in lines if line for clause in line.groups()) if all(lines) else None


def regular(text: str) -> bool:
    """Whether all clauses have five characters, or all seven, and there are four or more."""
    poem = clauses(text)
    return poem is not None and len(poem) >= 4 and len({*map(len, poem)}) == 1 and len(poem[0]) in LENGTHS


Rhymes = Callable[[str, str], bool]


def rhymes_of(poems: Iterable[Poem]) -> Rhymes:
    """Which characters rhyme, as short poems show: a relation that goes on from one pair to the next."""
    parent: dict[str, str] = {}

    def root(character: str) -> str:
        parent.setdefault(character, character)
        while parent[character] != character:
            character = parent[character]
        return character

    for poem in poems:
        ends = [clause[-1] for clause in poem[1::2]]
        if len(poem) <= 8:  # a longer one changes its rhyme
            for one, other in pairwise(ends):
                parent[root(one)] = root(other)
    return lambda one, other: one != other and root(one) == root(other)


def rhymed(text: str, rhyme: Rhymes) -> bool:
    """Whether the even clauses of a poem all rhyme with the one before."""
    poem = clauses(text)
    ends = [clause[-1] for clause in poem[1::2]] if poem else []
    return len(ends) > 1 and all(rhyme(one, other) for one, other in pairwise(ends))


def share(values: Sequence[bool]) -> float:
    """In percent."""
    return round(100 * sum(values) / max(len(values), 1), 1)

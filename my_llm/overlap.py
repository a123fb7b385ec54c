"""How much of one text stands in another: ROUGE for summaries, and the same for sets of words.

ROUGE (Lin 2004) compares a summary with one that a person wrote. Counted are words, capital or small, without marks:

    ROUGE-1   of which words it is made: those that both have, each as often as both have it
    ROUGE-L   in which order: the longest run of words that both have, other words may stand between them

Each is an F1: 2 · shared / (words said + words wanted), from 0 to 1. It does not see what a summary means: a headline
in other words counts as wrong, and all the right words in a false sentence count as right.
"""

import re
from collections import Counter


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, without marks."""
    return re.findall(r"\w+", text.lower())


def f1(shared: int, said: int, wanted: int) -> float:
    """The harmonic mean of the shares of what was said and of what was wanted; 0 where nothing is shared."""
    return 2 * shared / (said + wanted) if shared else 0.0


def rouge_1(said: str, wanted: str) -> float:
    """Shared words, in [0, 1]."""
    a, b = Counter(words_of(said)), Counter(words_of(wanted))
    return f1((a & b).total(), a.total(), b.total())


def rouge_l(said: str, wanted: str) -> float:
    """Shared words in the same order, in [0, 1]."""
    a, b = words_of(said), words_of(wanted)
    row = [0] * (len(b) + 1)  # how long the longest common run is of a so far and the first j words of b
    for word in a:
        before = row
        row = [0]
        for j, other in enumerate(b):
            row.append(before[j] + 1 if word == other else max(row[j], before[j + 1]))
    return f1(row[-1], len(a), len(b))


def shared_words(said: str, wanted: str) -> float:
    """F1 of the sets of words, in [0, 1]: for keywords, whose order and number mean nothing."""
    a, b = set(words_of(said)), set(words_of(wanted))
    return f1(len(a & b), len(a), len(b))

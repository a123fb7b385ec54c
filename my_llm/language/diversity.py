"""How varied texts are: a model that repeats itself, or always says the same, can have a fine perplexity.

    distinct-n       how many of all n-grams are different ones              over all texts    more is more varied
    self-BLEU        how well the other texts foretell a text                between texts     less is more varied
    repetition       how many n-grams were there before in their own text    inside a text     less is more varied
    longest repeat   the longest passage that comes twice                    inside a text     less is more varied

All grow or fall with the length and number of texts, so only samples of the same size compare, and the same numbers of
real text belong beside them: real text repeats itself, too. None of them sees sense: random words are the most varied.

A text is a sequence of units: a string is one of characters, a list of strings one of words (`units_of`).
"""

from collections.abc import Sequence
from typing import Literal

from my_llm.errors import DataError
from my_llm.metrics import bleu, ngrams
from my_llm.text.word import PIECE, normalise

ORDERS = (1, 2, 3, 4)
Units = Literal["words", "characters"]


def units_of(text: str, units: Units) -> list[str]:
    """The words and marks of a text, without spaces, or its characters; a language without spaces has characters."""
    if units == "characters":
        return [character for character in text if not character.isspace()]
    return [piece.strip(" ") for piece in PIECE.findall(normalise(text)) if piece != "\n"]


def distinct_n(texts: Sequence[Sequence[str]], n: int) -> float:
    """The share of different n-grams among all n-grams of the texts, in (0, 1] (Li et al. 2016, §5).

    Li et al. divide by the number of units; with the number of n-grams, as is usual since, 1 means no repetition.

    Raises:
        DataError: no text has n units.
    """
    counts = sum((ngrams(text, n) for text in texts), ngrams("", n))
    if not counts:
        raise DataError(f"no text of {n} units to look for repetitions in", got=f"{len(texts)} texts")
    return len(counts) / counts.total()


def self_bleu(texts: Sequence[Sequence[str]]) -> float:
    """The mean BLEU of each text with all the others as its references, in [0, 100] (Zhu et al. 2018, Texygen, §3).

    100: all are the same. The units are tokenised once more, as BLEU does.

    Raises:
        DataError: fewer than two texts.
    """
    if len(texts) < 2:
        raise DataError("self-BLEU compares texts with each other", got=len(texts), valid="at least 2 texts")
    joined = [" ".join(text) for text in texts]
    scores = [bleu([text], [[*joined[:place], *joined[place + 1 :]]]) for place, text in enumerate(joined)]
    return sum(scores) / len(scores)


def repetition(text: Sequence[str], n: int) -> float:
    """The share of n-grams that were there before in the same text (Welleck et al. 2020, §6: seq-rep-n); 0 if short."""
    counts = ngrams(text, n)
    return 1 - len(counts) / counts.total() if counts else 0.0


def longest_repeat(text: Sequence[str]) -> float:
    """The length of the longest passage that comes twice (it may overlap itself), as a share of the text."""
    short, long = 0, len(text)  # if a passage comes twice, so does all of it but its end: halving finds the longest
    while long - short > 1:
        middle = (short + long) // 2
        if repetition(text, middle) > 0:
            short = middle
        else:
            long = middle
    return short / len(text) if len(text) else 0.0


def diversity(texts: Sequence[str], units: Units = "words") -> dict[str, float]:
    """All measures of this file: distinct_1 … 4, self_bleu (of several texts), repetition_1 … 4, longest_repeat.

    What looks inside a text is averaged over the texts; shares are in [0, 1], self_bleu in [0, 100].

    Raises:
        DataError: no text has four units.
    """
    cut = [units_of(text, units) for text in texts]
    measured = {f"distinct_{n}": distinct_n(cut, n) for n in ORDERS}
    if len(cut) > 1:
        measured["self_bleu"] = self_bleu(cut)
    for n in ORDERS:
        measured[f"repetition_{n}"] = sum(repetition(text, n) for text in cut) / len(cut)
    measured["longest_repeat"] = sum(map(longest_repeat, cut)) / len(cut)
    return measured

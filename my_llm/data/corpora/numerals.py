"""Numbers in English and French words, put together from parts that say the same in both languages.

So for every French word it is known which English words it says: "quatre-vingt-dix" says "ninety", "mille" says "one
thousand". French as before the reform of 1990 (Grevisse, "Le bon usage", on the numerals): hyphens below a hundred only
and none around "et"; "vingt" and "cent" take their s when they are multiplied and end the number, but not before
"mille", not in an ordinal and not in a year.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from my_llm.data.corpora.translation import WORD, Pair


def table(text: str) -> list[tuple[str, str]]:
    """`one un, two deux` as pairs."""
    pairs = (pair.split() for pair in text.split(","))
    return [(english, french) for english, french in pairs]


SMALL = table(
    """zero zéro, one un, two deux, three trois, four quatre, five cinq, six six, seven sept, eight huit, nine neuf,
    ten dix, eleven onze, twelve douze, thirteen treize, fourteen quatorze, fifteen quinze, sixteen seize,
    seventeen dix-sept, eighteen dix-huit, nineteen dix-neuf"""
)
TENS = table(
    """zero zéro, ten dix, twenty vingt, thirty trente, forty quarante, fifty cinquante, sixty soixante,
    seventy soixante-dix, eighty quatre-vingt, ninety quatre-vingt-dix"""
)
ENGLISH_ORDINALS = dict(
    table("one first, two second, three third, five fifth, eight eighth, nine ninth, twelve twelfth")
)
FRENCH_ENDS = {"e": "", "f": "v", "q": "qu"}  # before -ième: quatre, neuf, cinq


@dataclass(slots=True, eq=False)  # two parts of the same words are two parts
class Part:
    """Words that say the same in both languages; a hyphen in front ties them to what stands before."""

    english: str
    french: str


class Phrase(NamedTuple):
    """The same parts in the order of each language."""

    english: list[Part]
    french: list[Part]

    def pair(self) -> Pair:
        """The phrase as text."""
        return Pair(english_of(self.english), french_of(self.french))

    def alignment(self) -> list[tuple[int, ...]]:
        """For each French word, in order, the places of the English words that it says; words are runs of letters."""
        places, count = {}, 0
        for part in self.english:
            length = len(WORD.findall(part.english))
            places[part] = tuple(range(count, count + length))
            count += length
        return [places[part] for part in self.french for _ in WORD.findall(part.french)]


def english_of(parts: list[Part]) -> str:
    """The English text of parts."""
    return " ".join(part.english for part in parts if part.english).replace(" -", "-")


def french_of(parts: list[Part]) -> str:
    """The French text of parts."""
    return " ".join(part.french for part in parts if part.french).replace(" -", "-")


def cardinal(number: int, plural: bool = True) -> list[Part]:
    """0 to 999,999, the parts in the same order in both languages.

    Args:
        number: What to say.
        plural: Whether "vingt" and "cent" at the end take their s: quatre-vingts, deux cents.
    """
    thousands, rest = divmod(number, 1000)
    if not thousands:
        return below_thousand(rest, plural)
    many = [*below_thousand(thousands, plural=False), Part("thousand", "mille")]
    head = many if thousands > 1 else [Part("one thousand", "mille")]
    return head + (below_thousand(rest, plural) if rest else [])


def below_thousand(number: int, plural: bool) -> list[Part]:
    """0 to 999."""
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return below_hundred(rest, plural)
    many = [Part(*SMALL[hundreds]), Part("hundred", "cent" if rest or not plural else "cents")]
    head = many if hundreds > 1 else [Part("one hundred", "cent")]
    return head + (below_hundred(rest, plural) if rest else [])


def below_hundred(number: int, plural: bool) -> list[Part]:
    """0 to 99. From 71 to 76 and from 91 to 96 French counts on from sixty and from four twenties: one part."""
    if number < 20:
        return [Part(*SMALL[number])]
    tens, unit = divmod(number, 10)
    (english, french), (english_unit, french_unit) = TENS[tens], SMALL[unit]
    if not unit:
        return [Part(english, "quatre-vingts" if number == 80 and plural else french)]
    if tens in (7, 9) and unit <= 6:
        link = " et " if number == 71 else "-"
        return [Part(f"{english}-{english_unit}", TENS[tens - 1][1] + link + SMALL[10 + unit][1])]
    return [Part(english, french), Part(f"-{english_unit}", "et un" if unit == 1 and tens != 8 else f"-{french_unit}")]


def ordinal(number: int) -> list[Part]:
    """1 to 999,999: first, second, …; the last word of the cardinal takes the ending."""
    if number == 1:
        return [Part("first", "premier")]
    *head, last = cardinal(number, plural=False)
    ending = FRENCH_ENDS.get(last.french[-1], last.french[-1]) + "ième"
    return [*head, Part(english_ordinal(last.english), last.french[:-1] + ending)]


def english_ordinal(cardinal: str) -> str:
    """`twenty` → `twentieth`, `seventy-one` → `seventy-first`."""
    word = WORD.findall(cardinal)[-1]
    return cardinal.removesuffix(word) + ENGLISH_ORDINALS.get(word, re.sub("y$", "ie", word) + "th")

"""Numbers, dates and times in English words, with their one right French answer, made by rule.

The corpus that is always there: no download, no licence, and an answer that is right or wrong. It is small, but not
word for word: "ninety-one" is four twenties eleven, "May third" changes places, "a quarter to six" turns round.

    four thousand two hundred ninety-seven        quatre mille deux cent quatre-vingt-dix-sept
    Saturday the first of March nineteen eighty   le samedi premier mars mille neuf cent quatre-vingt
    twenty-one minutes past noon                  midi vingt et une

For every French word it is known which English words it says. That is the truth against which the alignments of
attention are measured (`alignment`). What only grammar asks for belongs to the word that asks for it: the "le" of "le
trois mai" to "third", "heures" to the hour. The first day of a month is "premier", hours and minutes are feminine, noon
and midnight masculine; the spelling of numbers is told in `numerals`.
"""

import random
import re
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path

from my_llm.data.corpora.numerals import (
    SMALL,
    Part,
    Phrase,
    below_hundred,
    cardinal,
    english_of,
    french_of,
    ordinal,
    table,
)
from my_llm.data.corpora.translation import Pair, Pairs, order_of
from my_llm.errors import DataError

TRAIN, HELD_OUT = 20_000, 1_000  # phrases to learn from; for validation, and as many for the test
FIRST_DAY, LAST_DAY = date(1100, 1, 1).toordinal(), date(2099, 12, 31).toordinal()

WEEKDAYS = table(
    "Monday lundi, Tuesday mardi, Wednesday mercredi, Thursday jeudi, Friday vendredi, Saturday samedi, Sunday dimanche"
)
MONTHS = table(
    """January janvier, February février, March mars, April avril, May mai, June juin, July juillet, August août,
    September septembre, October octobre, November novembre, December décembre"""
)
PERIODS = (  # the hours that a part of the day has, and how to say it
    (range(13), ()),
    (range(1, 12), (("in the", "du"), ("morning", "matin"))),
    (range(1, 7), (("in", "de"), ("the afternoon", "l'après-midi"))),
    (range(5, 12), (("in the", "du"), ("evening", "soir"))),
)


@cache
def century(number: int) -> tuple[str, str]:
    """11 to 20 in front of a year: nineteen and mille neuf cent."""
    return english_of(below_hundred(number, plural=False)), french_of(cardinal(100 * number, plural=False))


def year(number: int) -> list[Part]:
    """1100 to 2099 as years are read: nineteen eighty-four, nineteen oh five, nineteen hundred, two thousand five."""
    if 2000 <= number < 2010:
        return cardinal(number, plural=False)
    english, french = century(number // 100)
    rest = number % 100
    if not rest:
        return [Part(f"{english} hundred", french)]
    zero = [Part("oh", "")] if rest < 10 else []
    return [Part(english, french), *zero, *below_hundred(rest, plural=False)]


@cache
def day_of_month(number: int) -> tuple[str, str]:
    """1 to 31: English counts days with ordinals, French only the first one."""
    return english_of(ordinal(number)), "premier" if number == 1 else french_of(cardinal(number))


def date_phrase(day: date, style: int) -> Phrase:
    """A date in one of five styles of English; French has one order for all of them."""
    weekday, month, years = Part(*WEEKDAYS[day.weekday()]), Part(*MONTHS[day.month - 1]), year(day.year)
    english, french = day_of_month(day.day)
    number, le_number = Part(english, french), Part(english, f"le {french}")
    the, of, within = Part("the", "le"), Part("of", ""), Part("in", "en")
    return (
        Phrase([the, number, of, month, *years], [the, number, month, *years]),
        Phrase([weekday, the, number, of, month, *years], [the, weekday, number, month, *years]),
        Phrase([month, le_number, *years], [le_number, month, *years]),
        Phrase([within, month, *years], [within, month, *years]),
        Phrase([within, *years], [within, *years]),
    )[style]


def time_phrase(hour: int, minute: int, period: int) -> Phrase:
    """A time as people say it.

    Args:
        hour: 1 to 11; 0 is midnight and 12 noon.
        minute: 0 to 30 minutes past the hour, -1 to -29 to it.
        period: An index into `PERIODS`: none, morning, afternoon, evening; noon and midnight have none.
    """
    parts = [Part(*words) for words in PERIODS[period][1]]
    english, masculine = SMALL[hour]
    french, noun = ("une", "heure") if hour == 1 else (masculine, "heures")
    if minute == 0 and 0 < hour < 12:
        both = [Part(english, french), Part("o'clock", noun), *parts]
        return Phrase(both, both)
    said = {0: Part("midnight", "minuit"), 12: Part("noon", "midi")}.get(hour, Part(english, f"{french} {noun}"))
    if minute == 0:
        return Phrase([said], [said])
    if minute > 0:
        relation = Part("past", "et" if minute in (15, 30) else "")
    else:
        relation = Part("to", "moins le" if minute == -15 else "moins")
    count = minutes(abs(minute), "demi" if hour in (0, 12) else "demie")
    return Phrase([*count, relation, said, *parts], [said, relation, *count, *parts])


def minutes(count: int, half: str) -> list[Part]:
    """1 to 30 minutes; English counts them without the word where they are fives, French always does."""
    if count in (15, 30):
        return [Part("a quarter", "quart") if count == 15 else Part("half", half)]
    *head, last = below_hundred(count, plural=True)
    feminine = Part(last.english, re.sub("un$", "une", last.french))
    word = [] if count % 5 == 0 else [Part("minute" if count == 1 else "minutes", "")]
    return [*head, feminine, *word]


def drawn(draw: Callable[[int], int]) -> Phrase:
    """A phrase by chance: of seven, three are numbers, one is an ordinal, two are dates, one is a time.

    Args:
        draw: Gives a number below n.
    """
    kind = draw(7)
    if kind <= 3:
        digits = 3 + draw(4)
        parts = cardinal(draw(10**digits)) if kind < 3 else ordinal(1 + draw(10 ** (digits - 1)))
        return Phrase(parts, parts)
    if kind <= 5:
        return date_phrase(date.fromordinal(FIRST_DAY + draw(LAST_DAY - FIRST_DAY + 1)), style=draw(5))
    hour, minute, period = draw(13), draw(60) - 29, draw(4)
    return time_phrase(hour, minute, period if hour in PERIODS[period][0] else 0)


@cache
def phrases() -> dict[str, Phrase]:
    """Every phrase of the corpus by its English, each once, in the order of a digest.

    Not in the order of drawing: there are few times and small numbers, all are drawn early, and none would be left.
    """
    generator, found = random.Random(0), {}

    def draw(below: int) -> int:
        return int(below * generator.random())  # the one method whose numbers Python promises to keep

    while len(found) < TRAIN + 2 * HELD_OUT:
        phrase = drawn(draw)
        found[phrase.pair().source] = phrase
    return {source: found[source] for source in sorted(found, key=order_of)}


def read(files: tuple[Path, ...]) -> Pairs:
    """Make the phrases; `files` is this file, where the rules stand."""
    pairs = [phrase.pair() for phrase in phrases().values()]
    return Pairs(pairs[2 * HELD_OUT :], pairs[HELD_OUT : 2 * HELD_OUT], pairs[:HELD_OUT])


def alignment(pair: Pair) -> list[tuple[int, ...]]:
    """For each French word of a pair of this corpus the places of the English words that it says.

    A word is a run of letters, `translation.WORD`: "quatre-vingt-dix-sept" has four.

    Raises:
        DataError: The pair is not one of this corpus.
    """
    phrase = phrases().get(pair.source)
    if phrase is None or phrase.pair().target != pair.target:
        raise DataError("the alignment is known for pairs of numbers_en_fr only", got=pair.source)
    return phrase.alignment()

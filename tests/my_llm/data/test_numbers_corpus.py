"""Numbers, dates and times: French as it is taught, read back by other rules, and who says what in a phrase."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.data.catalog import load_pairs
from my_llm.data.corpora.numbers_en_fr import alignment, date_phrase, phrases, time_phrase
from my_llm.data.corpora.numerals import Phrase, cardinal, english_of, french_of, ordinal
from my_llm.data.corpora.translation import WORD, Pair
from my_llm.errors import DataError

FRENCH_VALUES: dict[str, int] = dict(
    zip(
        """zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize vingt trente
        quarante cinquante soixante""".split(),  # noqa: SIM905
        (*range(17), 20, 30, 40, 50, 60),
        strict=True,
    )
)
ENGLISH_VALUES: dict[str, int] = dict(
    zip(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
        seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""".split(),  # noqa: SIM905
        (*range(20), 20, 30, 40, 50, 60, 70, 80, 90),
        strict=True,
    )
)
NUMBERS = st.integers(0, 999_999) | st.integers(0, 999).map(lambda n: 1000 * n) | st.integers(0, 9_999)


def french_value(text: str) -> int:
    """Read French number words from left to right."""
    total = current = 0
    for word in re.split("[ -]", text):
        match word:
            case "et":
                pass
            case "mille":
                total, current = 1000 * (current or 1), 0
            case "cent" | "cents":
                current = 100 * (current or 1)
            case "vingt" | "vingts" if current % 10 == 4:  # four twenties
                current += 80 - 4
            case _:
                current += FRENCH_VALUES[word.removesuffix("s") if word == "vingts" else word]
    return total + current


def english_value(text: str) -> int:
    """Read English number words from left to right."""
    total = current = 0
    for word in re.split("[ -]", text):
        if word == "thousand":
            total, current = 1000 * current, 0
        elif word == "hundred":
            current *= 100
        else:
            current += ENGLISH_VALUES[word]
    return total + current


@pytest.mark.parametrize(
    ("number", "french"),
    [
        (0, "zéro"),
        (1, "un"),
        (16, "seize"),
        (17, "dix-sept"),
        (20, "vingt"),
        (21, "vingt et un"),
        (22, "vingt-deux"),
        (31, "trente et un"),
        (61, "soixante et un"),
        (69, "soixante-neuf"),
        (70, "soixante-dix"),
        (71, "soixante et onze"),
        (72, "soixante-douze"),
        (77, "soixante-dix-sept"),
        (80, "quatre-vingts"),
        (81, "quatre-vingt-un"),
        (90, "quatre-vingt-dix"),
        (91, "quatre-vingt-onze"),
        (99, "quatre-vingt-dix-neuf"),
        (100, "cent"),
        (101, "cent un"),
        (180, "cent quatre-vingts"),
        (200, "deux cents"),
        (201, "deux cent un"),
        (280, "deux cent quatre-vingts"),
        (999, "neuf cent quatre-vingt-dix-neuf"),
        (1_000, "mille"),
        (1_001, "mille un"),
        (1_100, "mille cent"),
        (1_200, "mille deux cents"),
        (2_000, "deux mille"),
        (4_297, "quatre mille deux cent quatre-vingt-dix-sept"),
        (21_000, "vingt et un mille"),
        (71_071, "soixante et onze mille soixante et onze"),
        (80_000, "quatre-vingt mille"),
        (80_080, "quatre-vingt mille quatre-vingts"),
        (100_000, "cent mille"),
        (200_000, "deux cent mille"),
        (200_200, "deux cent mille deux cents"),
        (999_999, "neuf cent quatre-vingt-dix-neuf mille neuf cent quatre-vingt-dix-neuf"),
    ],
)
def test_french_cardinals(number: int, french: str) -> None:
    assert french_of(cardinal(number)) == french and french_value(french) == number


@pytest.mark.parametrize(
    ("number", "english", "french"),
    [
        (1, "first", "premier"),
        (2, "second", "deuxième"),
        (4, "fourth", "quatrième"),
        (5, "fifth", "cinquième"),
        (9, "ninth", "neuvième"),
        (11, "eleventh", "onzième"),
        (12, "twelfth", "douzième"),
        (19, "nineteenth", "dix-neuvième"),
        (20, "twentieth", "vingtième"),
        (21, "twenty-first", "vingt et unième"),
        (71, "seventy-first", "soixante et onzième"),
        (75, "seventy-fifth", "soixante-quinzième"),
        (80, "eightieth", "quatre-vingtième"),
        (81, "eighty-first", "quatre-vingt-unième"),
        (85, "eighty-fifth", "quatre-vingt-cinquième"),
        (100, "one hundredth", "centième"),
        (200, "two hundredth", "deux centième"),
        (201, "two hundred first", "deux cent unième"),
        (1_000, "one thousandth", "millième"),
        (3_080, "three thousand eightieth", "trois mille quatre-vingtième"),
        (4_000, "four thousandth", "quatre millième"),
    ],
)
def test_ordinals(number: int, english: str, french: str) -> None:
    assert (english_of(ordinal(number)), french_of(ordinal(number))) == (english, french)


@pytest.mark.parametrize(
    ("day", "style", "english", "french"),
    [
        (date(1984, 5, 3), 0, "the third of May nineteen eighty-four",
         "le trois mai mille neuf cent quatre-vingt-quatre"),
        (date(1980, 3, 1), 1, "Saturday the first of March nineteen eighty",
         "le samedi premier mars mille neuf cent quatre-vingt"),
        (date(1900, 8, 21), 2, "August twenty-first nineteen hundred", "le vingt et un août mille neuf cent"),
        (date(1789, 7, 14), 1, "Tuesday the fourteenth of July seventeen eighty-nine",
         "le mardi quatorze juillet mille sept cent quatre-vingt-neuf"),
        (date(1905, 12, 31), 3, "in December nineteen oh five", "en décembre mille neuf cent cinq"),
        (date(2000, 1, 1), 4, "in two thousand", "en deux mille"),
        (date(2009, 2, 1), 2, "February first two thousand nine", "le premier février deux mille neuf"),
        (date(2024, 6, 8), 4, "in twenty twenty-four", "en deux mille vingt-quatre"),
        (date(1180, 4, 1), 4, "in eleven eighty", "en mille cent quatre-vingt"),
    ],
)  # fmt: skip
def test_dates(day: date, style: int, english: str, french: str) -> None:
    assert date_phrase(day, style).pair() == Pair(english, french)


@pytest.mark.parametrize(
    ("time", "english", "french"),
    [
        ((1, 0, 0), "one o'clock", "une heure"),
        ((6, 0, 1), "six o'clock in the morning", "six heures du matin"),
        ((3, 15, 2), "a quarter past three in the afternoon", "trois heures et quart de l'après-midi"),
        ((9, -15, 3), "a quarter to nine in the evening", "neuf heures moins le quart du soir"),
        ((1, 30, 0), "half past one", "une heure et demie"),
        ((12, 30, 0), "half past noon", "midi et demi"),
        ((0, 0, 0), "midnight", "minuit"),
        ((0, 1, 0), "one minute past midnight", "minuit une"),
        ((12, 21, 0), "twenty-one minutes past noon", "midi vingt et une"),
        ((6, -20, 0), "twenty to six", "six heures moins vingt"),
        ((4, -29, 0), "twenty-nine minutes to four", "quatre heures moins vingt-neuf"),
        ((11, 5, 0), "five past eleven", "onze heures cinq"),
    ],
)
def test_times(time: tuple[int, int, int], english: str, french: str) -> None:
    assert time_phrase(*time).pair() == Pair(english, french)


@given(NUMBERS)
def test_numbers_read_back_and_follow_the_rules_of_spelling(number: int) -> None:
    english, french = english_of(cardinal(number)), french_of(cardinal(number))
    assert (english_value(english), french_value(french)) == (number, number)
    assert re.search(r"(cents|vingts)\b(?!$)", french) is None, "the s stands at the end only"
    assert (number % 100 == 80) == french.endswith("vingts") and french.endswith("cents") == (
        number % 100 == 0 and number % 1000 // 100 > 1
    )
    assert (french.count(" et ") > 0) == any(n % 10 == 1 and 20 < n % 100 < 80 for n in (number % 1000, number // 1000))
    assert "un mille" not in french or number // 1000 > 1
    year_like = french_of(cardinal(number, plural=False))
    assert re.search(r"(cents|vingts)\b", year_like) is None and french_value(year_like) == number


def test_all_numbers_below_two_thousand_differ() -> None:
    for tell in (cardinal, ordinal):
        for language in (english_of, french_of):
            assert len({language(tell(number)) for number in range(1, 2_000)}) == 1_999


# --- Who says what ----------------------------------------------------------------------------------------------------


def told(phrase: Phrase) -> str:
    """`mille=one,thousand` for each French word."""
    english, french = (WORD.findall(text) for text in phrase.pair()[:2])
    links = phrase.alignment()
    return " ".join(f"{word}={','.join(english[i] for i in at)}" for word, at in zip(french, links, strict=True))


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        (Phrase(*[cardinal(1_297)] * 2),
         "mille=one,thousand deux=two cent=hundred quatre=ninety vingt=ninety dix=ninety sept=seven"),
        (Phrase(*[cardinal(171_021)] * 2),
         "cent=one,hundred soixante=seventy,one et=seventy,one onze=seventy,one mille=thousand "
         "vingt=twenty et=one un=one"),
        (Phrase(*[ordinal(202)] * 2), "deux=two cent=hundred deuxième=second"),
        (date_phrase(date(1980, 3, 1), 1),
         "le=the samedi=Saturday premier=first mars=March mille=nineteen neuf=nineteen cent=nineteen "
         "quatre=eighty vingt=eighty"),
        (date_phrase(date(2013, 5, 23), 2),
         "le=twenty,third vingt=twenty,third trois=twenty,third mai=May deux=twenty mille=twenty treize=thirteen"),
        (time_phrase(6, -20, 1), "six=six heures=six moins=to vingt=twenty du=in,the matin=morning"),
        (time_phrase(5, 15, 2), "cinq=five heures=five et=past quart=a,quarter de=in l=the,afternoon "
         "après=the,afternoon midi=the,afternoon"),
        (time_phrase(1, 0, 0), "une=one heure=o,clock"),
    ],
)  # fmt: skip
def test_every_french_word_knows_what_it_says(phrase: Phrase, expected: str) -> None:
    assert told(phrase) == expected


def test_the_alignment_of_a_pair_of_the_corpus() -> None:
    silent = {"of", "oh", "past", "minute", "minutes"}  # what French leaves out
    corpus = load_pairs("numbers_en_fr")
    for pair in (*corpus.train[:2000], *corpus.validation, *corpus.test):
        english, links = WORD.findall(pair.source), alignment(pair)
        assert len(links) == len(WORD.findall(pair.target)) and all(links)
        unsaid = set(range(len(english))) - {place for at in links for place in at}
        assert {english[place] for place in unsaid} <= silent
    with pytest.raises(DataError, match="known for pairs of numbers_en_fr only; got 'a dog'"):
        alignment(Pair("a dog", "un chien"))
    with pytest.raises(DataError):
        alignment(corpus.test[0]._replace(target="un chien"))


def test_the_corpus_has_every_kind_in_every_part_and_is_always_the_same() -> None:
    corpus = load_pairs("numbers_en_fr")
    assert corpus.sha256.startswith("0d98a3ff47ab"), "other phrases: published numbers no longer compare"
    kinds = (
        r"^(?:(?!in |the )[a-z -])*(?<!th)$",
        r"^[a-z -]+th$",
        r"^in ",
        r"^the .* of ",
        r"day the ",
        r" past | to ",
    )
    for part, least in ((corpus.train, 500), (corpus.validation, 20), (corpus.test, 20)):
        for kind in kinds:
            assert sum(re.search(kind, pair.source) is not None for pair in part) > least, kind
    assert len(phrases()) == 22_000


def test_a_learner_meets_every_word_before_the_test() -> None:
    corpus = load_pairs("numbers_en_fr")
    held_out = (*corpus.validation, *corpus.test)
    for side in ("source", "target"):
        known = {word for pair in corpus.train for word in getattr(pair, side).split()}
        assert {word for pair in held_out for word in getattr(pair, side).split()} <= known

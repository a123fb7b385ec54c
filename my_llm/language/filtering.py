"""A content filter: words that may not be written, and strings at which a text ends.

A banned word is found as a reader finds it: whole, whatever the case, and however many tokens it is made of. "cat" is
in "the Cat." but not in "category"; so it is known only by the character behind it. Then the model takes back its
tokens up to the last one of the word, that token is forbidden at this place, and it chooses again: "ca|t" becomes
"ca|r". If nothing is left at a place, it goes back one more. What may yet be taken back is not shown.

Letters that only look different are the same (full width, ligatures, accents apart from their letter or together, and
characters without width are skipped). In scripts without spaces, such as Chinese, there are no ends of words to see: a
banned word is found anywhere. What it cannot do: c-a-t, other spellings, and the same thing said in other words. It
filters words, not meanings; and since the model has begun the word when it is stopped, the text is not quite what
it would have written had it never known the word.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm.decoding import Choose, Step
from my_llm.errors import ConfigError, DataError

WITHOUT_SPACES = re.compile(  # Thai, Lao, Burmese, Khmer, Japanese, Chinese
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
LARGEST = 2**20  # characters of a file of banned words
Spell = Callable[[int, Any], tuple[str, Any]]  # a token and what the spelling of the one before it left → its text, …


def fold(character: str) -> str:
    """What is compared: lower case, one form of every letter; nothing of a character without width."""
    if unicodedata.category(character) == "Cf":
        return ""
    return " " if character.isspace() else unicodedata.normalize("NFKD", character).casefold()


def in_word(character: str) -> bool:
    """Whether it goes on a word of the letters before it: a letter, a digit, an accent, of a script with spaces."""
    kind = unicodedata.category(character or " ")[0]
    return (kind in "LNM" or character == "_") and not WITHOUT_SPACES.match(character)


def words_of(entries: Iterable[str]) -> list[str]:
    """The banned words: entries as they are; one that ends in .txt is a file with a word (or several) on every line.

    Raises:
        DataError: a file that cannot be read, is too large, or holds no word.
        ConfigError: a word without anything to see in it.
    """
    words = []
    for entry in filter(None, entries):
        lines = _lines_of(Path(entry)) if entry.endswith(".txt") else [entry]
        for line in lines:
            if not "".join(map(fold, line)).strip():
                raise ConfigError("no word to ban", got=entry, valid='words, or a file like words.txt; "" is none')
        words += lines
    return list(dict.fromkeys(words))


def _lines_of(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            text = opened.read(LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot read banned words", got=file, next_step=str(error)) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(text) > LARGEST:
        raise DataError(
            "no list of banned words", got=file, valid=f"one word a line, at most {LARGEST:,} characters in all"
        )
    return lines


# --- finding words ----------------------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """Where a reader stands who looks for banned words: all that matters of the text so far."""

    position: int  # characters read, counted from the end of the prompt
    before: str = ""  # the last one
    begun: tuple[tuple[str, int], ...] = ()  # banned words that may be under way: what is there of each, and its start

    @property
    def safe(self) -> int:
        """The characters before this position belong to no word under way."""
        return min((start for _, start in self.begun), default=self.position)


class Hit(NamedTuple):
    """A banned word in a text."""

    word: str
    last: int  # position of its last character


class Banned:
    """Words that may not be written, in any case, and how often that was tried: `found`."""

    def __init__(self, words: Iterable[str]):
        self.words = {" ".join("".join(map(fold, word)).split()): word for word in words}  # as compared → as given
        self.beginnings = {word[:end] for word in self.words for end in range(1, len(word) + 1)}
        self.found: Counter[str] = Counter()

    def after(self, prompt: str) -> Reading:
        """Where a reader of the prompt stands. Words in it are the person's own; one may be under way at its end."""
        return self.read(Reading(-len(prompt)), prompt)[0]

    def read(self, reading: Reading, text: str) -> tuple[Reading, Hit | None]:
        """Read on: where the reader stands then, or the first banned word that is now known to be one."""
        for character in text:
            seen = fold(character)
            if seen and (hit := self.end(reading, character)):
                return reading, hit
            begun = reading.begun
            if seen:
                going_on = [(part if part[-1] == seen == " " else part + seen, start) for part, start in begun]
                if not (in_word(reading.before) and in_word(character)):
                    going_on.append((seen, reading.position))
                begun = tuple((part, start) for part, start in going_on if part in self.beginnings)
            reading = Reading(reading.position + 1, character if seen else reading.before, begun)
        return reading, None

    def end(self, reading: Reading, following: str = "") -> Hit | None:
        """The banned word that ends here, if any, `following` being the character behind it; "": the text ends."""
        if reading.position <= 0 or (in_word(reading.before) and in_word(following)):
            return None
        whole = [part for part, _ in reading.begun if part in self.words]
        return Hit(self.words[max(whole, key=len)], reading.position - 1) if whole else None

    def said(self) -> str:
        """What was filtered and how often, for people."""
        words = ", ".join(f"{word!r} {count:,}" for word, count in self.found.most_common())
        return f"filtered {self.found.total():,} times: {words}" if words else "nothing had to be filtered"


# --- writing without them ---------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a token goes, with all that is needed to choose it again."""

    logits: Float[Tensor, "1 V"]
    state: Any
    spelling: Any
    reading: Reading


def generate_without(
    banned: Banned,
    spell: Spell,
    step: Step,
    prompt: Int[Tensor, "1 T"],
    *,
    max_new_tokens: int,
    choose: Choose,
    spelling: Any,
    reading: Reading,
    stop: int | None = None,
) -> Iterator[int]:
    """`my_llm.decoding.generate` for one row that writes no banned word; a token comes when it is there to stay.

    Args:
        spell: The text of a token.
        spelling: How the prompt leaves `spell`.
        reading: Where the reader of the prompt stands.
        stop: The token that ends the text.

    Raises:
        ConfigError: every token is forbidden, however far it goes back.
    """
    first, end = prompt.shape[1], prompt.shape[1] + max_new_tokens
    tokens = torch.cat([prompt, prompt.new_zeros(1, max_new_tokens)], dim=1)
    places = [Place(*_next(step, prompt, None), spelling, reading)]  # of tokens first, … that may change, and the next
    while True:
        known, place = first + len(places) - 1, places[-1]
        if bool((place.logits == -torch.inf).all()):
            _take_back(places, len(places) - 2, tokens[:, known - 1])
            continue
        tokens[:, known] = choose(place.logits, previous=tokens[:, :known])
        text, spelling = spell(int(tokens[0, known]), place.spelling)
        reading, hit = banned.read(place.reading, text)
        is_last = known + 1 == end or int(tokens[0, known]) == stop
        if hit := hit or (banned.end(reading) if is_last else None):
            banned.found[hit.word] += 1
            back = max(i for i, earlier in enumerate(places) if earlier.reading.position <= hit.last)
            _take_back(places, back, tokens[:, first + back])
        elif is_last:
            yield from tokens[0, first : known + 1].tolist()
            return
        else:
            places.append(Place(*_next(step, tokens[:, known, None], place.state), spelling, reading))
            while len(places) > 1 and places[1].reading.position <= reading.safe:
                yield int(tokens[0, first])
                del places[0]
                first += 1


def _next(step: Step, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
    with torch.no_grad():  # not around a yield: it is nobody else's setting
        return step(tokens, state)


def _take_back(places: list[Place], to: int, token: Int[Tensor, "1"]) -> None:
    """Go back to a place and forbid the token that was chosen there."""
    if to < 0:
        raise ConfigError("there is no way on without a banned word", next_step="ban fewer, or begin otherwise")
    del places[to + 1 :]
    places[to] = places[to]._replace(logits=places[to].logits.index_fill(1, token, -torch.inf))


# --- where a text ends ------------------------------------------------------------------------------------------------


def until(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """The text before the stop string that is whole first, however it is cut into pieces.

    Only what may be the beginning of a stop string is held back until the next piece.
    """
    held = ""
    for piece in pieces:
        held += piece
        ends = [(place + len(stop), place) for stop in stops if (place := held.find(stop)) >= 0]
        if ends:
            yield held[: min(ends)[1]]
            return
        keep = max((n for stop in stops for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
        yield held[: len(held) - keep]
        held = held[len(held) - keep :]
    yield held

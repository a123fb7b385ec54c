"""Translation as the end of a text: a sentence, its language, the other language, and the model goes on.

    en: A dog runs.
    fr: Un chien court.

Nothing but the two lines says that this is a translation. Pairs, parts and score are those of stages 3 and 4.
"""

from collections.abc import Sequence

from my_llm.data.catalog import load_pairs
from my_llm.data.corpora.translation import Pair
from stage5_gpt.answering import Example, Exercise, exercise_of


def as_text(pairs: Sequence[Pair]) -> list[Example]:
    """Sentence pairs as texts of two lines, of which the second is the answer."""
    return [Example(f"en: {pair.source}\nfr:", f" {pair.target}") for pair in pairs]


def translation(corpus: str) -> Exercise:
    """English sentences and French ones, scored by BLEU.

    Raises:
        ConfigError: no such corpus; DataError: its source is out of reach.
    """
    pairs = load_pairs(corpus)
    parts = {part: as_text(getattr(pairs, part)) for part in ("train", "validation", "test")}
    return exercise_of(pairs.name, parts, source=pairs.source, score="bleu")

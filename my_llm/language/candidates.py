"""Looking over the model's shoulder: at each step the likeliest tokens, their shares, and which one was drawn."""

import unicodedata
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from my_llm.text import Tokenizer

COLUMNS = 80
LONGEST = 24  # characters of a token that are shown


def spelled(tokenizer: Tokenizer, number: int) -> str:
    """A token in quotes, so that spaces and line ends are seen; bytes that are no whole character as \\\\xe4."""
    symbols: Sequence[bytes] | None = getattr(tokenizer, "bytes", None)
    text = tokenizer.decode([number]) if symbols is None else symbols[number].decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…").replace("\\\\x", "\\x")


def width(text: str) -> int:
    """Columns in a terminal: a Chinese character takes two, an accent of its own none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def percent(share: float) -> str:
    """A share for the eye."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


class Listing:
    """Says, for every token that is drawn, the `count` likeliest ones, the one drawn with an arrow.

    Args:
        say: Where the lines go.
    """

    def __init__(self, tokenizer: Tokenizer, count: int, say: Callable[[str], None]):
        self.tokenizer, self.count, self.say, self.step = tokenizer, count, say, 0

    def __call__(self, shares: Float[Tensor, "V"], drawn: int) -> None:
        """One step: the probabilities that were drawn from, and the token."""
        self.step += 1
        best = shares.topk(min(self.count, len(shares)))
        likeliest = [number for share, number in zip(best.values.tolist(), best.indices.tolist()) if share > 0]
        cells = [self._cell(shares, number, drawn) for number in likeliest]
        if drawn not in likeliest:
            cells += ["…", self._cell(shares, drawn, drawn)]
        line, indent = f"{self.step:>5}", " " * 5
        for cell in cells:
            if width(line) + 2 + width(cell) > COLUMNS:
                self.say(line)
                line = indent
            line += f"  {cell}"
        self.say(line)

    def _cell(self, shares: Float[Tensor, "V"], number: int, drawn: int) -> str:
        return f"{'→' if number == drawn else ' '}{spelled(self.tokenizer, number)} {percent(float(shares[number]))}"

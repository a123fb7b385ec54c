"""The likeliest text instead of a drawn one: beam search with a language model.

A translation ends with <eos>; a language model never ends by itself. So all texts are as long as --length says, unless
a stop string ends them; only then do lengths differ, and the length penalty matters. The likeliest text is not the
best one: it repeats itself, the more the wider the beam (Holtzman et al. 2020, "The Curious Case of Neural Text
Degeneration", §3).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from my_llm.decoding import beam_search
from my_llm.errors import ConfigError
from my_llm.language.filtering import Banned, Reading, until
from my_llm.language.writer import Writer


class TextJudge:
    """Judges the beginnings of a beam search by their text: whether a stop string ends it, or a banned word is in it.

    Args:
        beginning: What the prompt leaves: for `writer.spell`, and for who looks for banned words.
    """

    def __init__(self, writer: Writer, beginning: tuple[Any, Reading], stop: Sequence[str], banned: Banned):
        self.writer, self.stop, self.banned = writer, stop, banned
        self.shorter: dict[tuple[int, ...], tuple[Any, Reading, str]] = {}
        self.newest: dict[tuple[int, ...], tuple[Any, Reading, str]] = {(): (*beginning, "")}
        self.length = 0

    def __call__(self, said: list[int]) -> Literal["goes on", "ends", "forbidden"]:
        if len(said) > self.length:
            self.length, self.shorter, self.newest = len(said), self.newest, {}
        left, reading, tail = self.shorter[tuple(said[:-1])]
        ends = said[-1] == self.writer.end
        text, left = self.writer.spell(said[-1], left)
        reading, hit = self.banned.read(reading, text)
        hit = hit or (self.banned.end(reading) if ends else None)
        if hit is not None:
            self.banned.found[hit.word] += 1
            return "forbidden"
        if ends:
            return "ends"
        tail += text  # long enough to hold a stop string that began earlier
        if any(stop in tail for stop in self.stop):
            return "ends"
        self.newest[tuple(said)] = (left, reading, tail[-max(map(len, self.stop), default=1) :])
        return "goes on"

    def unfinished(self, said: list[int]) -> bool:
        """Whether a text that was cut off there ends with a banned word."""
        found = self.newest.get(tuple(said))
        return found is not None and self.banned.end(found[1]) is not None


def search(
    writer: Writer,
    prompt: str,
    *,
    length: int,
    beam_size: int,
    length_penalty: float = 0.6,
    stop: Sequence[str] = (),
    banned: Banned | None = None,
    stop_if: Callable[[], bool] = lambda: False,
) -> str:
    """The text after the prompt, as `Writer.write` gives it, that is the likeliest as far as a beam can see.

    Args:
        length: How many characters, words or byte pairs at most.
        beam_size: Beginnings that are kept; 1 takes the likeliest token each time.
        length_penalty: See my_llm.decoding.length_penalty.
        stop: The text ends before the first of these strings, which are not empty.
        banned: Words that are not written; it counts the beginnings that were given up.
        stop_if: Asked before every token; see my_llm.terminal.stoppable.

    Raises:
        ConfigError: every beginning that was kept came to a banned word.
        KeyboardInterrupt: `stop_if` said so.
    """

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        if stop_if():
            raise KeyboardInterrupt
        return writer.step(tokens, state)

    numbers, banned = writer.numbers_of(prompt), banned or Banned([])
    judge = TextJudge(writer, (writer.spelt(numbers[-1]), banned.after(writer.as_read(prompt))), stop, banned)
    tokens = torch.tensor([numbers], device=writer.device)
    (found,) = beam_search(step, tokens, width=beam_size, max_new_tokens=length, stop=judge, alpha=length_penalty)
    allowed = [hypothesis for hypothesis in found if not judge.unfinished(hypothesis.tokens)]
    if not allowed:
        raise ConfigError(
            "no way on without a banned word", got=f"--beam_size {beam_size}", next_step="a larger beam, or ban fewer"
        )
    return "".join(until(writer.pieces(numbers[-1], allowed[0].tokens), stop))

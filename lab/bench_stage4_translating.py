"""Sentences a second, for bench_stage4.py: greedy and beam search, with cached keys and values and without."""

import copy
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from lab.bench import Row, take_turns
from my_llm.packing import settle
from my_llm.text import EOS, BPETokenizer
from my_llm.translation.translator import Translator
from stage4_transformer.models import Maps, Transformer, TransformerConfig, TransformerState


class Pace(NamedTuple):
    """A translation under way, batch first."""

    inner: TransformerState
    left: Int[Tensor, "B"]  # tokens until the end
    said: Int[Tensor, "B T"]


class Paced(nn.Module):
    """A translator that has learnt nothing but how long a translation is: as long as its source.

    What a word costs does not depend on what the network has learnt; how many words there are does.

    Args:
        model: With random weights.
        cached: Keep keys and values; otherwise every token is computed anew for each one that follows. What there is to
            see of the source is kept either way.
    """

    def __init__(self, model: Transformer, cached: bool):
        super().__init__()
        self.model, self.config, self.cached = model, model.config, cached

    def encode(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"]) -> Pace:
        """Read the source."""
        return Pace(self.model.encode(source, lengths), lengths, source[:, :0])

    def step(self, tokens: Int[Tensor, "B T"], state: Pace) -> tuple[Tensor, Pace]:
        """Say the next token: anything but <eos> before the end, <eos> at the end."""
        said = torch.cat([state.said, tokens], dim=1)
        logits, inner = self.model.step(tokens if self.cached else said, state.inner)
        ends = state.left <= 1
        logits = logits.masked_fill(ends[:, None], -torch.inf)
        logits[:, EOS] = torch.where(ends, 0.0, -torch.inf)
        return logits, Pace(inner if self.cached else state.inner, state.left - 1, said)

    def reorder(self, state: Pace, rows: Int[Tensor, "N"]) -> Pace:
        """The given rows: beam search."""
        return Pace(self.model.reorder(state.inner, rows), state.left[rows], state.said[rows])

    def look(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"], target_in: Int[Tensor, "B T"]) -> Maps:
        """As the model."""
        return self.model.look(source, lengths, target_in)


def translating(config: TransformerConfig, tokenizer: BPETokenizer, texts: Sequence[str], rounds: int) -> list[Row]:
    """Sentences a second, greedy and beam search, with the cache and without, and as `--precision bf16` does it."""
    torch.manual_seed(0)
    exact, rows = Transformer(config), []
    rough = copy.deepcopy(exact)
    settle(rough, "bf16")
    ways: list[tuple[str, Transformer, bool, Literal["fp32", "bf16"]]] = [
        ("recomputed", exact, False, "fp32"), ("cached", exact, True, "fp32"), ("cached, bf16", rough, True, "bf16")
    ]  # fmt: skip
    for how, width in (("greedy", 1), ("beam 5", 5)):
        calls = {}
        for name, model, cached, precision in ways:
            translator = Translator(Paced(model, cached), tokenizer, facts={})
            translator.precision = precision
            calls[f"{how}, {name}"] = partial(translator.translate, texts, beam_size=width)
        seconds = {name: statistics.median(taken) for name, taken in take_turns(calls, rounds, warm_up=1).items()}
        rows += [
            {"case": name, "sentences_per_second": round(len(texts) / taken, 1),
             "ratio": round(seconds[f"{how}, recomputed"] / taken, 2)}
            for name, taken in seconds.items()
        ]  # fmt: skip
    return rows

"""What the studies share: a text as characters, a short training on it, a score (and the way out, my_llm/studies.py).

A study trains small networks for hundreds of steps, so that it can try many cases:

    text = load_characters(config)
    model = new_language_model(text, seed, cell="gru", hidden=128)
    for step in train_on_text(model, text, max_steps=300, seed=seed): ...
    print(nats_per_character(model, text.validation))
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from my_llm import studies
from my_llm.data.catalog import LanguageText, load_text
from my_llm.language.scoring import nats_of
from my_llm.plots import PALETTE
from my_llm.schedules import Schedule, cosine
from my_llm.studies import check, finish, lines, mean_and_spread, sheet
from my_llm.text import CharTokenizer
from my_llm.training import Step, train_steps
from stage2_rnn_lstm.data import Streams
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.studies import StudyConfig, seeds_of, steps_of

__all__ = [
    "CELL_COLORS", "COLORS", "Characters", "StudyConfig", "check", "finish", "lines", "load_characters",
    "mean_and_spread", "nats_per_character", "new_language_model", "parameters_of", "save", "seeds_of", "sheet",
    "steps_of", "train_on_text",
]  # fmt: skip

COLORS = PALETTE[:6]
CELL_COLORS: dict[str, str] = dict(zip(("rnn", "lstm", "gru"), COLORS))  # a cell has the same colour in every figure
save = partial(studies.save, stage=StudyConfig.stage)


@dataclass(frozen=True)
class Characters:
    """A text as numbers; the vocabulary is that of the training part, an unknown character is one token."""

    corpus: LanguageText
    tokenizer: CharTokenizer
    train: Int[Tensor, "N"]
    validation: Int[Tensor, "M"]


def load_characters(config: StudyConfig) -> Characters:
    """The text that the command line names."""
    check(config)
    return _load_characters(config.dataset)


@lru_cache(maxsize=2)
def _load_characters(dataset: str) -> Characters:
    corpus = load_text(dataset)
    tokenizer = CharTokenizer.train([corpus.train])
    train, validation = (torch.tensor(tokenizer.encode(part)) for part in (corpus.train, corpus.validation))
    return Characters(corpus, tokenizer, train, validation)


def new_language_model(text: Characters, seed: int, **shape: Any) -> LanguageModel:
    """A fresh language model of this text's characters; `shape` takes the other fields of `LanguageModelConfig`."""
    torch.manual_seed(seed)
    return LanguageModel(LanguageModelConfig(text.tokenizer.vocab_size, **shape))


def train_on_text(
    model: nn.Module,
    text: Characters,
    *,
    max_steps: int,
    seed: int,
    rate: float = 0.004,
    batch_size: int = 32,
    length: int = 64,
    clip: float | None = 1.0,
    schedule: Schedule | None = None,
) -> Iterator[Step]:
    """Truncated back-propagation through time with Adam; consume it with a loop, or with `for _ in …: pass`.

    Args:
        rate: Learning rate at the peak of the schedule.
        length: Steps T of a window; the state is carried from window to window.
        schedule: None: cosine after a warm-up of a twentieth of the steps.

    Raises:
        NotFiniteError: the training diverged.
    """
    streams = Streams(text.train, batch_size, length, seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = schedule or cosine(max_steps, max_steps // 20)
    return train_steps(model, streams, CarriedLoss(), optimizer, schedule=schedule, max_steps=max_steps, clip=clip)


def nats_per_character(model: nn.Module, tokens: Int[Tensor, "N"]) -> float:
    """Mean loss over a text, in evaluation mode: every character after the first is predicted once."""
    loss = nats_of(model, tokens)
    return float(loss.total) / loss.count


def parameters_of(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())

"""Every generation of language models as one kind of thing: tokens and what came before in, logits of the next out.

The networks are those of the stages, at any width, so that they can be given equal parameters. Attention alone is
stage 4's stack without the feed-forward networks, to see what looking by itself is worth.
"""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from my_llm.evaluation import parameters_of
from my_llm.language.batches import Windows
from my_llm.language.scoring import nats_in_windows, nats_of, next_token_loss
from my_llm.training import Loss
from stage1_mlp.models import MLPLanguageModel, MLPLanguageModelConfig
from stage2_rnn_lstm.data import Streams
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.studies.ladder import WindowReader
from stage4_transformer.models import Encoder, EncoderLayer, LayerNorm, TransformerLM, TransformerLMConfig
from stage5_gpt.models import GPT, GPTConfig
from stage5_gpt.studies.common import adamw
from stage5_gpt.studies.recipes import muon

LENGTH = 128  # tokens of a window, for those that begin each one anew
STEPS = 64  # tokens of a window, for those that carry a state on to the next
LAYERS, HEADS = 3, 4
EVEN = 2 * HEADS  # heads of even width, as rotary positions want
WIDEST = 4096


class Looking(EncoderLayer):
    """A layer that looks and does not think: no feed-forward network."""

    def __init__(self, model: int, heads: int):
        super().__init__(model, heads, hidden=1)
        del self.feed_forward, self.around_feed_forward

    def think(self, x: Tensor) -> Tensor:
        """Nothing."""
        return x


def mlp(vocabulary: int, width: int) -> nn.Module:
    """Sees 16 tokens."""
    return WindowReader(MLPLanguageModel(MLPLanguageModelConfig(vocabulary, context=16, embedding=24, hidden=width)))


def recurrent(cell: str) -> Callable[[int, int], nn.Module]:
    """One layer; its state is all it knows of the past."""
    return lambda vocabulary, width: LanguageModel(
        LanguageModelConfig(vocabulary, cell=cell, embedding=32, hidden=width)
    )


def transformer(vocabulary: int, width: int) -> TransformerLM:
    """Stage 4's, as a language model."""
    return TransformerLM(
        TransformerLMConfig(
            vocab_size=vocabulary, model=width, heads=HEADS, layers=LAYERS, hidden=4 * width, max_length=LENGTH
        )
    )


def attention_only(vocabulary: int, width: int) -> nn.Module:
    """The same without feed-forward networks."""
    model = transformer(vocabulary, width)
    model.stack = Encoder([Looking(width, HEADS) for _ in range(LAYERS)], model.stack.positions, LayerNorm(width))
    return model


def gpt(**parts: Any) -> Callable[[int, int], GPT]:
    """Stage 5's; `parts`: fields of GPTConfig."""
    shape = {"context": LENGTH, "layers": LAYERS, "heads": HEADS, **parts}
    return lambda vocabulary, width: GPT(GPTConfig(vocab_size=vocabulary, model=width, **shape))


class Generation(NamedTuple):
    """A kind of language model, the year of the paper, its stage, how it is made and how it learns."""

    year: int
    stage: int
    make: Callable[[int, int], nn.Module]  # vocabulary, width
    rate: float  # this and the batch: best of those tried, on the part that also chooses the sizes
    batch: int  # tokens of a step
    carried: bool = False  # whether it carries a state from one window to the next
    grid: int = 1  # widths are multiples of it
    optimizer: Callable[[Any, float], torch.optim.Optimizer] = adamw

    def sized(self, vocabulary: int, parameters: int) -> tuple[int, int]:
        """The widest network with at most so many parameters: its width and parameters."""

        def count(width: int) -> int:
            with torch.device("meta"):  # shapes without numbers
                return parameters_of(self.make(vocabulary, width))

        widths = range(self.grid, WIDEST, self.grid)
        width = widths[max(0, bisect_right(widths, parameters, key=count) - 1)]
        return width, count(width)

    def learning(self, tokens: Tensor, seed: int) -> tuple[Callable[[int], Any], Callable[[nn.Module, Any], Loss]]:
        """Batches, and their loss."""
        if self.carried:
            return Streams(tokens, self.batch // STEPS, STEPS, seed=seed), CarriedLoss()
        return Windows(tokens, self.batch // LENGTH, LENGTH, seed=seed), next_token_loss

    def nats(self, model: nn.Module, tokens: Tensor) -> float:
        """Of the whole text, each token but the first predicted once."""
        model.eval()
        return float((nats_of(model, tokens) if self.carried else nats_in_windows(model, tokens, LENGTH)).total)


MODERN = {"positions": "rotary", "norm": "rms_plain", "activation": "relu2", "bias": False, "query_key_norm": True,
          "quiet": True}  # fmt: skip
GENERATIONS: dict[str, Generation] = {
    "MLP": Generation(2003, 1, mlp, 0.004, 512),
    "RNN": Generation(1990, 2, recurrent("rnn"), 0.002, 1024, carried=True),
    "LSTM": Generation(1997, 2, recurrent("lstm"), 0.008, 512, carried=True),
    "GRU": Generation(2014, 2, recurrent("gru"), 0.004, 1024, carried=True),
    "attention alone": Generation(2017, 4, attention_only, 0.004, 512, grid=EVEN),
    "Transformer": Generation(2017, 4, transformer, 0.004, 512, grid=EVEN),
    "GPT": Generation(2018, 5, gpt(), 0.008, 1024, grid=EVEN),
    "GPT, modern": Generation(2024, 5, gpt(**MODERN), 0.004, 1024, grid=EVEN, optimizer=muon),
}

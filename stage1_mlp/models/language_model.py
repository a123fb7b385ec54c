"""A language model that is nothing but a classifier: given the last n tokens, which of V tokens comes next?

Bengio, Ducharme, Vincent & Jauvin, "A Neural Probabilistic Language Model", JMLR 3, 2003, section 2. The classes are
the whole vocabulary and the labels are free: any text labels itself, by being continued. The loss is the cross-entropy
of `losses.py`, unchanged; its exponential is the perplexity. New against `mlp.py` is one table, which gives every
token a vector that is learned along with the rest, so that words used alike come to lie near each other.

What it cannot do: see further back than n tokens, or use at one position what it has learned about another: each
position has its own columns in the hidden layer. Stage 2 removes both limits.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError, DataError
from stage1_mlp.models.activations import tanh
from stage1_mlp.models.layers import Linear, xavier


@dataclass(frozen=True)
class MLPLanguageModelConfig:
    """V tokens, n tokens of context, D numbers for each token, F hidden units."""

    vocabulary: int
    context: int = 3
    embedding: int = 32
    hidden: int = 128

    def __post_init__(self) -> None:
        if min(self.vocabulary, self.context, self.embedding, self.hidden) < 1:
            raise ConfigError("every size of the language model must be at least 1", got=self)


class MLPLanguageModel(nn.Module):
    """Logits of the next token: y = b + U tanh(d + H x), x the n embeddings side by side (equation 1, with W = 0).

    Explained in docs/en/stage1_mlp.md.
    """

    def __init__(self, config: MLPLanguageModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.randn(config.vocabulary, config.embedding))  # C in the paper
        self.hidden = Linear(config.context * config.embedding, config.hidden, xavier)  # H, d
        self.output = Linear(config.hidden, config.vocabulary, xavier)  # U, b

    def forward(self, tokens: Int[Tensor, "B n"]) -> Float[Tensor, "B V"]:
        """Logits over the vocabulary for the token after `tokens`, oldest first."""
        x = self.embedding[tokens]  # (B, n, D)
        return self.output(tanh(self.hidden(x.flatten(start_dim=1))))


def next_token_examples(tokens: Int[Tensor, "T"], context: int) -> tuple[Int[Tensor, "B n"], Int[Tensor, "B"]]:
    """Cuts a text into classification examples, B = T − n of them: every window of n tokens, and the token after it.

    Raises:
        DataError: If the text is not longer than the context.
    """
    if len(tokens) <= context:
        raise DataError("text too short for the context", got=len(tokens), valid=f"more than {context} tokens")
    return tokens[:-1].unfold(0, context, 1), tokens[context:]


@torch.no_grad()
def continue_text(model: MLPLanguageModel, start: Int[Tensor, "n"], length: int, seed: int = 0) -> Int[Tensor, "T"]:
    """Draws `length` tokens, one at a time, each from the model's distribution after the n tokens before it."""
    rng = torch.Generator().manual_seed(seed)
    tokens = start
    for _ in range(length):
        probabilities = model(tokens[None, -model.config.context :])[0].softmax(dim=0)  # (V,)
        tokens = torch.cat([tokens, torch.multinomial(probabilities, 1, generator=rng)])
    return tokens

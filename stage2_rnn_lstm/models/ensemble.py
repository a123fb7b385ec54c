"""Several networks that are asked together: the mean of their probabilities (Zaremba et al. 2014, §4.1).

Networks that started from different weights make different mistakes. A mean of probabilities is never worse than the
members are on average: −log is convex, so −log mean(p) ≤ mean(−log p) for each token. Where one network would learn its
text by heart before it has learned much else, three of a size say more than one of three times the size.

What it cannot do: be cheap. Training and writing cost as many times more as there are members.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage2_rnn_lstm.models.language_model import LanguageModel, LanguageModelConfig

States = tuple[Any, ...]  # the state of each member


def mean_of(answers: Sequence[Float[Tensor, "*shape V"]]) -> Float[Tensor, "*shape V"]:
    """The logarithm of the mean probabilities, from each member's logits."""
    each = torch.stack([logits.float().log_softmax(dim=-1) for logits in answers])  # (members, …, V)
    return each.logsumexp(dim=0) - math.log(len(answers))


class Ensemble(nn.Module):
    """`config.members` language models, alike but for their first weights.

    Raises:
        ConfigError: fewer than one member.

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(self, config: LanguageModelConfig):
        super().__init__()
        if config.members < 1:
            raise ConfigError("an ensemble has members", got=config.members, valid="1 and more")
        self.config = config
        self.members = nn.ModuleList(LanguageModel(config) for _ in range(config.members))

    def forward(self, tokens: Int[Tensor, "B T"], state: States | None = None) -> tuple[Float[Tensor, "N T V"], States]:
        """What comes next, and the members' states.

        Returns:
            In evaluation mode the logarithms of the mean probabilities, N = B. In training mode the logits of all
            members, one batch upon the other, N = members · B: each learns for itself, as if it were alone.
        """
        before = state or (None,) * len(self.members)
        answers = [member(tokens, own) for member, own in zip(self.members, before, strict=True)]
        said, after = zip(*answers, strict=True)  # logits (B, T, V) of each, states of each
        return torch.cat(said) if self.training else mean_of(said), after

"""A GPT that sorts texts: the head that said the next token makes way for one that says the class.

It is read off the last token, the only one that has seen the whole text. All below the head is as it was, so it may
begin with what a language model has learnt: tuning a model that knows the language took the place of learning each task
from its labels alone (Radford et al. 2018, §3.2). What it cannot do: look ahead. Each token knows what stands before it
only, where an encoder (stage 4) sees both sides.

Explained in docs/en/stage5_gpt.md.
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage5_gpt.models.gpt import GPT, GPTConfig
from stage5_gpt.models.layers import Linear


@dataclass(frozen=True, kw_only=True)
class GPTClassifierConfig(GPTConfig):
    """A GPT with `classes` answers."""

    classes: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes < 1:
            raise ConfigError("classes must be at least 1", got=self.classes)


class GPTClassifier(nn.Module):
    """A GPT and a head of one logit per class.

    Explained in docs/en/stage5_gpt.md.
    """

    def __init__(self, config: GPTClassifierConfig):
        super().__init__()
        self.config = config
        self.gpt = GPT(config)
        self.gpt.head = Linear(config.model, config.classes)

    def forward(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B C"]:
        """Logits of B texts; padding comes after them, where nobody looks.

        Args:
            tokens: Padded to the longest text, which is at most a context long.
            lengths: Tokens of each text, 1 … T.
        """
        logits, _ = self.gpt(tokens)  # (B, T, C)
        return logits[torch.arange(len(tokens), device=tokens.device), lengths - 1]


def classifier_from(gpt: GPT, classes: int, dropout: float) -> GPTClassifier:
    """A classifier that knows what a language model has learnt, but for its head, which is new."""
    fields = {**asdict(gpt.config), "dropout": dropout, "classes": classes}
    model = GPTClassifier(GPTClassifierConfig(**fields))
    below = {name: weight for name, weight in gpt.state_dict().items() if not name.startswith("head.")}
    model.gpt.load_state_dict({**model.gpt.state_dict(), **below})
    return model


def freeze(gpt: GPT, blocks: int) -> None:
    """Let all that lies below block number `blocks` stay as it is; above all of them, only the head learns.

    The head always learns, and the embedding with it where they are one.

    Raises:
        ConfigError: there are not so many blocks.
    """
    if not 0 <= blocks <= len(gpt.blocks):
        raise ConfigError("there are not so many blocks to freeze", got=blocks, valid=f"0 to {len(gpt.blocks)}")
    above = [gpt.head, *gpt.blocks[blocks:], *([gpt.norm] if blocks < len(gpt.blocks) else [])]
    learning = {id(weight) for part in above for weight in part.parameters()}
    for weight in gpt.parameters():
        weight.requires_grad_(not blocks or id(weight) in learning)

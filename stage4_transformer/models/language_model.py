"""A small Transformer that writes: the encoder's stack, told not to look ahead.

Every position is trained to say the next token, all of them in one pass; when it writes, keys and values of what was
written are kept, and a token costs one token (`state`). This is GPT's architecture; what becomes of it at scale is
stage 5. Explained in docs/en/stage4_transformer.md.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage4_transformer.models.attention import KeysValues, causal_mask, window_mask
from stage4_transformer.models.stacks import Past, StackConfig, encoder_of, length_of


@dataclass(frozen=True, kw_only=True)
class TransformerLMConfig(StackConfig):
    """A stack, V = `vocab_size` tokens, and how many of the last ones a layer looks at: `window`, 0 for all."""

    vocab_size: int
    window: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_size < 1 or self.window < 0:
            raise ConfigError("vocab_size must be at least 1, and window not negative", got=self)


class TransformerLM(nn.Module):
    """Embedding, causal stack, and the embedding once more as output weights.

    Explained in docs/en/stage4_transformer.md.
    """

    def __init__(self, config: TransformerLMConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.model)
        nn.init.normal_(self.embedding.weight, std=config.model**-0.5)
        self.stack = encoder_of(config)
        self.head = nn.Linear(config.model, config.vocab_size)
        self.head.weight = self.embedding.weight
        nn.init.zeros_(self.head.bias)

    def mask(self, steps: int, start: int, device: torch.device) -> Tensor:
        """Nobody looks ahead, nor further back than the window; the newest `steps` tokens after `start` older ones."""
        mask = causal_mask(steps, start + steps, device)
        return mask & window_mask(steps, start + steps, self.config.window, device) if self.config.window else mask

    def forward(
        self, tokens: Int[Tensor, "B T"], state: Past = None
    ) -> tuple[Float[Tensor, "B T V"], tuple[KeysValues, ...]]:
        """Logits for the token after each position, and the keys and values of all tokens so far."""
        mask = self.mask(tokens.shape[1], length_of(state), tokens.device)
        x, past, _ = self.stack(self.embedding(tokens) * self.config.model**0.5, mask, state)
        return self.head(x), past

"""The same model out of torch.nn: two embeddings, nn.TransformerEncoder, a head.

An encoder that may not look ahead is a GPT. What torch has is GPT-2's form, with any activation that is one function;
rotary positions, RMSNorm, SwiGLU, grouped queries and norms of queries and keys it lacks. Where the rest differs:

    mask        True hides, and is_causal says that this is all the mask does.
    positions   a second nn.Embedding, that is asked for 0, 1, 2 …
    dropout     also of the weights of attention and inside the feed-forward network; the same model at dropout 0 only.
    cache       none: all tokens are read anew for each one that is written.
    begin       torch's own, larger weights; for a race from the same start copy those of a new GPT.

"Proved equal" means: copy the weights, compare values and gradients. Explained in docs/en/stage5_gpt.md.
"""

import re

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage4_transformer.models import EPSILON, causal_mask
from stage5_gpt.models.gpt import GPT, GPTConfig
from stage5_gpt.models.layers import ACTIVATIONS

HAVING = {
    "positions": ("learned",),
    "norm": ("layer",),
    "activation": ("gelu", "gelu_tanh", "relu2"),
    "query_key_norm": (False,),
    "ngrams": (1,),
}  # what torch's layers can be told


def check(config: GPTConfig, who: str = "torch.nn's Transformer", next_step: str = "use models/gpt.py") -> None:
    """Raises ConfigError for a part that GPT-2 has not, and so neither has `who`."""
    for name, valid in {**HAVING, "groups": (0, config.heads)}.items():
        if getattr(config, name) not in valid:
            got = getattr(config, name)
            raise ConfigError(f"{who} has no such {name}", got=got, valid=valid, next_step=next_step)


class OfficialGPT(nn.Module):
    """`gpt.GPT`, for training: what one writes around nn.TransformerEncoder to write with it.

    Raises:
        ConfigError: a variant that torch has not.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        check(config)
        self.config = config
        activation, _ = ACTIVATIONS[config.activation]
        layer = nn.TransformerEncoderLayer(
            config.model, config.heads, config.hidden or 4 * config.model, config.dropout, activation, EPSILON,
            batch_first=True, norm_first=True, bias=config.bias,
        )  # fmt: skip
        self.embedding = nn.Embedding(config.vocab_size, config.model)
        self.positions = nn.Embedding(config.context, config.model)
        self.dropout = nn.Dropout(config.dropout)
        norm = nn.LayerNorm(config.model, EPSILON, bias=config.bias)
        self.stack = nn.TransformerEncoder(layer, config.layers, norm, enable_nested_tensor=False)
        self.head = nn.Linear(config.model, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits for what follows each token."""
        steps = tokens.shape[1]
        x = self.dropout(self.embedding(tokens) + self.positions(torch.arange(steps, device=tokens.device)))
        return self.head(self.stack(x, ~causal_mask(steps, steps, tokens.device), is_causal=True))


# --- weights and gradients --------------------------------------------------------------------------------------------

# A part of torch's name → ours; the shapes are the same.
NAMES = {
    r"^positions\.weight": "positions.table",
    r"^stack\.layers\.": "blocks.",
    r"^stack\.norm\.": "norm.",
    r"self_attn\.": "attention.",
    r"in_proj_": "inward.",
    r"out_proj\.": "outward.",
    r"linear1\.": "feed_forward.inward.",
    r"linear2\.": "feed_forward.outward.",
    r"norm1\.": "norm_attention.",
    r"norm2\.": "norm_feed_forward.",
}


def our_name(name: str) -> str:
    """What ours calls the parameter that torch calls `name`."""
    for theirs, ours in NAMES.items():
        name = re.sub(theirs, ours, name)
    return name


def to_official(model: GPT) -> OfficialGPT:
    """The official telling with a copy of our weights, in the same mode, precision and place."""
    copy, ours = OfficialGPT(model.config).to(model.embedding.weight), model.state_dict()
    copy.load_state_dict({name: ours[our_name(name)] for name in copy.state_dict()})
    return copy.train(model.training)


def from_official(model: OfficialGPT) -> GPT:
    """The way back."""
    copy = GPT(model.config).to(model.embedding.weight)
    copy.load_state_dict({our_name(name): value for name, value in model.state_dict().items()})
    return copy.train(model.training)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """∂L/∂parameters of either telling after `backward()`, by our names."""
    return {our_name(name): value.grad for name, value in model.named_parameters() if value.grad is not None}

"""The same models out of torch.nn: nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerDecoder, nn.Transformer.

What torch has is the paper's Transformer: LayerNorm before or after, ReLU or GELU. Rotary positions, ALiBi, RMSNorm and
SwiGLU it lacks, and positions and embeddings of any kind; those that are added to the embedding stand outside, as ours.
Where the rest differs:

    masks       True hides, where ours says True where one may look.
    last norm   nn.Transformer always has one; after the norms of a post-norm stack it would be one too many.
    dropout     also of the weights of attention and inside the feed-forward network; the same model at dropout 0 only.
    padding     nn.TransformerEncoder would pack sentences into a nested tensor where nothing is learnt: turned off.
    cache       none: all tokens are read anew for each one that is written.

"Proved equal" means: copy the weights, compare values and gradients. Explained in docs/en/stage4_transformer.md.
"""

import re
from typing import overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage4_transformer.models.attention import MultiHeadAttention, causal_mask, padding_mask, window_mask
from stage4_transformer.models.classifier import TransformerClassifier, TransformerClassifierConfig
from stage4_transformer.models.language_model import TransformerLM, TransformerLMConfig
from stage4_transformer.models.layers import EPSILON
from stage4_transformer.models.positions import POSITIONS, Positions
from stage4_transformer.models.stacks import StackConfig
from stage4_transformer.models.transformer import Transformer, TransformerConfig

HAVING = {
    "positions": ("none", "sinusoidal", "learned"),
    "norm": ("layer",),
    "activation": ("relu", "gelu"),
}  # what torch's layers can be told

# --- masks: True hides ------------------------------------------------------------------------------------------------


def hidden_padding(lengths: Int[Tensor, "B"], steps: int) -> Bool[Tensor, "B S"]:
    """A `key_padding_mask`."""
    return ~padding_mask(lengths, steps)[:, 0, 0]


def hidden_future(steps: int, device: torch.device) -> Bool[Tensor, "T T"]:
    """An `attn_mask`, together with is_causal=True."""
    return ~causal_mask(steps, steps, device)


# --- stacks -----------------------------------------------------------------------------------------------------------


def official_encoder(config: StackConfig) -> nn.TransformerEncoder:
    """`stacks.encoder_of`, without its positions.

    Raises:
        ConfigError: a variant that torch has not.
    """
    for name, valid in HAVING.items():
        if getattr(config, name) not in valid:
            raise ConfigError(
                f"torch.nn's Transformer has no such {name}", got=getattr(config, name), valid=valid,
                next_step="use the model written out in stage4_transformer/models",
            )  # fmt: skip
    layer = nn.TransformerEncoderLayer(
        config.model, config.heads, config.hidden, config.dropout, config.activation, EPSILON,
        batch_first=True, norm_first=config.order == "pre",
    )  # fmt: skip
    return nn.TransformerEncoder(layer, config.layers, last_norm(config), enable_nested_tensor=False)


def official_decoder(config: StackConfig) -> nn.TransformerDecoder:
    """`stacks.decoder_of`, without its positions."""
    layer = nn.TransformerDecoderLayer(
        config.model, config.heads, config.hidden, config.dropout, config.activation, EPSILON,
        batch_first=True, norm_first=config.order == "pre",
    )  # fmt: skip
    return nn.TransformerDecoder(layer, config.layers, last_norm(config))


def last_norm(config: StackConfig) -> nn.LayerNorm | None:
    """Of a pre-norm stack."""
    return nn.LayerNorm(config.model, EPSILON) if config.order == "pre" else None


def positions_of(config: StackConfig) -> Positions:
    """Ours, since torch has none."""
    return POSITIONS[config.positions](config.model, config.heads, config.max_length)


def tied(vocab_size: int, model: int) -> tuple[nn.Embedding, nn.Linear]:
    """Embedding and head with one matrix, started as ours."""
    embedding, head = nn.Embedding(vocab_size, model), nn.Linear(model, vocab_size)
    nn.init.normal_(embedding.weight, std=model**-0.5)
    nn.init.zeros_(head.bias)
    head.weight = embedding.weight
    return embedding, head


# --- models: the parts have names that `our_name` can translate -------------------------------------------------------


class OfficialTransformer(nn.Module):
    """`transformer.Transformer`, for training: what one writes around nn.Transformer to translate with it.

    Raises:
        ConfigError: a variant that torch has not.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.transformer = nn.Transformer(
            config.model, config.heads, batch_first=True,
            custom_encoder=official_encoder(config), custom_decoder=official_decoder(config),
        )  # fmt: skip
        self.encoder_positions, self.decoder_positions = positions_of(config), positions_of(config)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding, self.head = tied(config.vocab_size, config.model)

    def forward(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"], target_in: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T V"]:
        """Logits after each target token."""
        scale, padding = self.config.model**0.5, hidden_padding(lengths, source.shape[1])
        features = self.transformer(
            self.dropout(self.encoder_positions.embed(self.embedding(source) * scale)),
            self.dropout(self.decoder_positions.embed(self.embedding(target_in) * scale)),
            tgt_mask=hidden_future(target_in.shape[1], source.device),
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return self.head(features)


class OfficialLM(nn.Module):
    """`language_model.TransformerLM`, for training: nn.TransformerEncoder with a mask."""

    def __init__(self, config: TransformerLMConfig):
        super().__init__()
        self.config = config
        self.stack, self.stack_positions = official_encoder(config), positions_of(config)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding, self.head = tied(config.vocab_size, config.model)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits for the token after each position."""
        steps, window = tokens.shape[1], self.config.window
        hidden = hidden_future(steps, tokens.device)
        if window:
            hidden = hidden | ~window_mask(steps, steps, window, tokens.device)
        x = self.dropout(self.stack_positions.embed(self.embedding(tokens) * self.config.model**0.5))
        return self.head(self.stack(x, hidden, is_causal=not window))


class OfficialClassifier(nn.Module):
    """`classifier.TransformerClassifier`, without its forgetting of words."""

    def __init__(self, config: TransformerClassifierConfig):
        super().__init__()
        self.config = config
        self.encoder, self.encoder_positions = official_encoder(config), positions_of(config)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Embedding(config.vocab_size, config.model)
        self.head = nn.Linear(config.model, config.classes)
        nn.init.normal_(self.embedding.weight, std=config.model**-0.5)

    def forward(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B C"]:
        """Logits of B texts."""
        padding = hidden_padding(lengths, tokens.shape[1])
        x = self.dropout(self.encoder_positions.embed(self.embedding(tokens) * self.config.model**0.5))
        outputs = self.encoder(x, src_key_padding_mask=padding).masked_fill(padding[:, :, None], 0)
        return self.head(self.dropout(outputs.sum(dim=1) / lengths[:, None]))


# --- weights and gradients --------------------------------------------------------------------------------------------

# A part of torch's name → ours. What reads a sentence comes first, then what is inside a layer.
NAMES = {
    r"^transformer\.": "",
    r"_positions\.": ".positions.",
    r"self_attn\.": "attention.",
    r"multihead_attn\.": "cross_attention.",
    r"in_proj_": "inward.",
    r"out_proj\.": "outward.",
    r"linear1\.": "feed_forward.inward.",
    r"linear2\.": "feed_forward.outward.",
    r"norm1\.": "around_attention.norm.",
    r"(decoder.*)norm2\.": r"\1around_cross_attention.norm.",
    r"norm[23]\.": "around_feed_forward.norm.",
}


def our_name(name: str) -> str:
    """What ours calls the parameter that torch calls `name`; the shapes are the same."""
    for theirs, ours in NAMES.items():
        name = re.sub(theirs, ours, name)
    return name


@overload
def to_official(model: MultiHeadAttention) -> nn.MultiheadAttention: ...
@overload
def to_official(model: Transformer) -> OfficialTransformer: ...
@overload
def to_official(model: TransformerLM) -> OfficialLM: ...
@overload
def to_official(model: TransformerClassifier) -> OfficialClassifier: ...
def to_official(model: MultiHeadAttention | Transformer | TransformerLM | TransformerClassifier) -> nn.Module:
    """The official telling with a copy of our weights, in the same mode, precision and place."""
    if isinstance(model, MultiHeadAttention):
        copy = nn.MultiheadAttention(model.model, model.heads, batch_first=True)
    elif isinstance(model, Transformer):
        copy = OfficialTransformer(model.config)
    elif isinstance(model, TransformerLM):
        copy = OfficialLM(model.config)
    else:
        copy = OfficialClassifier(model.config)
    copy, ours = copy.to(next(model.parameters())), dict(model.named_parameters())
    for name, parameter in copy.named_parameters():
        parameter.data.copy_(ours[our_name(name)].detach())
    return copy.train(model.training)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """∂L/∂parameters of either telling after `backward()`, by our names."""
    return {our_name(name): value.grad for name, value in model.named_parameters() if value.grad is not None}

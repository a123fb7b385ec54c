"""GPT: a stack of blocks that look back, and nothing else.

Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", left out the encoder: what a text
means is there as soon as one can say how it goes on. Radford et al. 2019, GPT-2, moved the norms to the front (Pre-LN),
added one at the end, and scaled it up; that form is the default here. What later models changed are parts of the same
stack: other positions, norms, activations, grouped queries. `GPTConfig` lists them.

What it cannot do: see more than `context` tokens, or take back a word. Explained in docs/en/stage5_gpt.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from my_llm.errors import ConfigError, choose
from my_llm.losses import linear_cross_entropy
from stage4_transformer.models import POSITIONS, Dropout, KeysValues, Positions
from stage5_gpt.models.attention import Cache, CausalSelfAttention
from stage5_gpt.models.layers import ACTIVATIONS, NORMS, STD, FeedForward
from stage5_gpt.models.ngrams import NgramEmbedding

NOT_ASKED = -1  # a target that does not count


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Sizes and parts. The defaults are GPT-2's form, small."""

    vocab_size: int
    context: int = 256
    layers: int = 4
    heads: int = 4
    groups: int = 0  # heads of keys and values; 0: as many as queries have
    model: int = 128
    hidden: int = 0  # 0: four times the width
    dropout: float = 0.0
    bias: bool = True  # of the products and of LayerNorm
    positions: str = "learned"
    norm: str = "layer"
    activation: str = "gelu"
    query_key_norm: bool = False
    tied: bool = True  # the embedding is the head, too
    quiet: bool = False  # what goes into the residuals begins as zero, not only small
    ngrams: int = 1  # tokens of the longest runs that have embeddings of their own
    ngram_rows: int = 8192  # of the table for each length of a run

    def __post_init__(self) -> None:
        choose(self.positions, POSITIONS, "positions")
        choose(self.norm, NORMS, "norm")
        choose(self.activation, ACTIVATIONS, "activation")
        if (
            min(self.vocab_size, self.context, self.layers, self.heads, self.model) < 1
            or min(self.groups, self.hidden) < 0
        ):
            raise ConfigError("every size of a GPT must be at least 1", got=self)
        if not 1 <= self.ngrams <= 8 or self.ngram_rows < 1:
            raise ConfigError("ngrams out of range", got=f"{self.ngrams}, {self.ngram_rows} rows", valid="1 to 8")
        if not 0 <= self.dropout < 1:
            raise ConfigError("dropout rate out of range", got=self.dropout, valid="0 <= rate < 1")


class Block(nn.Module):
    """Look back, then think; each beside a residual that nothing stands in (Pre-LN)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        c = config
        self.norm_attention = NORMS[c.norm](c.model, c.bias)
        self.attention = CausalSelfAttention(
            c.model, c.heads, c.groups or c.heads, bias=c.bias, query_key_norm=c.query_key_norm
        )
        self.norm_feed_forward = NORMS[c.norm](c.model, c.bias)
        self.feed_forward = FeedForward(c.model, c.hidden or 4 * c.model, c.activation, c.bias)
        self.dropout = Dropout(c.dropout)

    def forward(
        self, x: Float[Tensor, "B T D"], positions: Positions, room: KeysValues | None = None, start: int = 0
    ) -> Float[Tensor, "B T D"]:
        """Arguments as in CausalSelfAttention."""
        x = x + self.dropout(self.attention(self.norm_attention(x), positions, room, start))
        return x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))


class Stack(nn.ModuleList):
    """Blocks, one upon the other; one module, so that it can be compiled as one."""

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        positions: Positions,
        rooms: Sequence[KeysValues | None],
        start: int,
        again: bool,
    ) -> Float[Tensor, "B T D"]:
        """Arguments as in CausalSelfAttention, a room for each block; `again`: see GPT.checkpointing."""
        for block, room in zip(self, rooms, strict=True):
            if again:
                x = checkpoint(block, x, positions, room, start, use_reentrant=False)
            else:
                x = block(x, positions, room, start)
        return x


class GPT(nn.Module):
    """Embedding, blocks, a norm, and the head.

    Explained in docs/en/stage5_gpt.md.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.model)
        self.runs = NgramEmbedding(config.model, config.ngrams, config.ngram_rows)
        self.positions = POSITIONS[config.positions](config.model, config.heads, config.context)
        self.dropout = Dropout(config.dropout)
        self.blocks = Stack([Block(config) for _ in range(config.layers)])
        self.norm = NORMS[config.norm](config.model, config.bias)
        self.head = nn.Linear(config.model, config.vocab_size, bias=False)
        self.checkpointing = False  # recompute each block in the backward pass instead of keeping what it computed
        self.begin()

    def begin(self) -> None:
        """Weights of 0.02; what goes into the residuals smaller by √(2L), as there are 2L of them (GPT-2, §2.3)."""
        for table in (self.embedding.weight, self.head.weight, *self.positions.parameters()):
            nn.init.normal_(table, std=STD)
        for block in cast("list[Block]", list(self.blocks)):
            for part in (block.attention, block.feed_forward):
                std = 0.0 if self.config.quiet else STD / (2 * self.config.layers) ** 0.5
                nn.init.normal_(part.outward.weight, std=std)
        if self.config.tied:
            self.head.weight = self.embedding.weight

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        cache: Cache | None = None,
        *,
        targets: Int[Tensor, "B T"] | None = None,
        last: bool = False,
    ) -> tuple[Float[Tensor, "B S V"] | Float[Tensor, ""], Cache | None]:
        """Read tokens.

        Args:
            tokens: The newest ones.
            cache: Of those before them, from `new_cache`; it is written to.
            targets: What follows each token; NOT_ASKED where nobody asks.
            last: Logits for what follows the last token alone, (B, 1, V).

        Returns:
            Logits for what follows each token, or with targets the cross-entropy summed over them, for which nobody has
            to hold all logits; and the cache, longer by T.

        Raises:
            ConfigError: more tokens than the context holds.
        """
        start, steps = (0 if cache is None else cache.length), tokens.shape[1]
        if start + steps > self.config.context:
            raise ConfigError(
                "more tokens than the context holds", got=start + steps, valid=f"at most {self.config.context}"
            )
        before = tokens.new_zeros(len(tokens), self.runs.memory) if cache is None else cache.last
        x = self.embedding(tokens) + self.runs(tokens, before)
        x = self.dropout(self.positions.embed(x, start))
        rooms = [None] * len(self.blocks) if cache is None else cache.layers
        x = self.norm(self.blocks(x, self.positions, rooms, start, self.checkpointing and self.training))
        grown = None if cache is None else cache.grown(tokens)
        if targets is None:
            return self.head(x[:, -1:] if last else x), grown
        x, targets = x.flatten(0, 1), targets.flatten()
        if (targets == NOT_ASKED).any():
            x, targets = x[targets != NOT_ASKED], targets[targets != NOT_ASKED]
        zeros = x.new_zeros(self.config.vocab_size, dtype=torch.promote_types(x.dtype, torch.float32))
        return linear_cross_entropy(x, self.head.weight, zeros, targets), grown

    def new_cache(self, batch: int) -> Cache:
        """Room for the keys and values of a whole context, for so many texts."""
        c, weight = self.config, self.embedding.weight
        size = batch, c.groups or c.heads, c.context, c.model // c.heads
        layers = tuple(KeysValues(weight.new_empty(size), weight.new_empty(size)) for _ in range(c.layers))
        return Cache(layers, 0, torch.zeros(batch, self.runs.memory, dtype=torch.long, device=weight.device))

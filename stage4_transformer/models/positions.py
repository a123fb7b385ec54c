"""Where a token stands: five answers, in one slot.

Attention sees a set: shuffle the keys with their values, and every output stays as it was. So the order must come in
from elsewhere. Three places are open, and each answer uses one of them:

    embed     adds to the embedding:           sinusoidal, learned         (Vaswani et al. 2017, §3.5)
    rotate    turns queries and keys:          rotary, RoPE                (Su et al. 2021, RoFormer)
    bias      adds to the scores:              ALiBi                       (Press, Smith & Lewis, ICLR 2022)

The first two say where a token stands; the last two say how far two tokens are apart, which is what is still true in
a sentence longer than all that were learnt from. Explained in docs/en/stage4_transformer.md.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from my_llm.errors import ConfigError

BASE = 10_000  # of the wave lengths, which go from 2π to 2π · BASE


def angles(start: int, steps: int, width: int) -> Float[Tensor, "T I"]:
    """t / BASE^(2i / W) for positions t from `start` on and pairs i: each pair of numbers is the hand of a clock.

    In fp64: at position 10,000 the angle of the fastest clock has only three decimals in fp32.
    """
    speed = BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)  # (W/2,)
    return torch.arange(start, start + steps)[:, None] * speed


def sinusoids(start: int, steps: int, width: int) -> Float[Tensor, "T W"]:
    """sin of every clock's angle, and beside it its cos (Vaswani et al. 2017, §3.5)."""
    turned = angles(start, steps, width)
    return torch.stack([turned.sin(), turned.cos()], dim=2).flatten(1).float()


def turns(steps: int, width: int) -> Float[Tensor, "2 T I"]:
    """cos of every clock's angle, and sin, at positions 0, 1, …"""
    turned = angles(0, steps, width)
    return torch.stack([turned.cos(), turned.sin()]).float()


def rotated(
    x: Float[Tensor, "B H T K"], cos: Float[Tensor, "T K//2"], sin: Float[Tensor, "T K//2"]
) -> Float[Tensor, "B H T K"]:
    """Turn the pair (x_i, x_{i + K/2}) by the angle of clock i (RoFormer, equation 15).

    A dot product of two turned vectors depends on the difference of their angles only: on how far they are apart. The
    paper turns neighbours; halves are the same up to the order of the numbers, and faster.
    """
    first, second = x.chunk(2, dim=3)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=3)


def slopes(heads: int) -> Float[Tensor, "H"]:
    """How strongly each head prefers what is near: 2^(-8/H), 2^(-16/H), …, 2^-8 (ALiBi, §3)."""
    return 2 ** (-8 * torch.arange(1, heads + 1) / heads)


class Positions(nn.Module):
    """The slot, and the answer "none": every place is left as it is.

    Without any, a bidirectional layer cannot tell one order from another. A causal one can: how much there is to look
    at tells it how far it has come.

    Args:
        model: Width D of an embedding.
        heads: Number H of heads.
        max_length: Tokens of the longest sequence, where one has to know.
    """

    def __init__(self, model: int, heads: int, max_length: int):
        super().__init__()

    def embed(self, x: Float[Tensor, "B T D"], start: int = 0) -> Float[Tensor, "B T D"]:
        """Embeddings of the tokens at positions start, start + 1, …"""
        return x

    def rotate(self, x: Float[Tensor, "B H T K"], start: int = 0) -> Float[Tensor, "B H T K"]:
        """Queries or keys of the tokens at positions start, start + 1, …"""
        return x

    def bias(self, queries: int, keys: int) -> Float[Tensor, "H T S"] | None:
        """What is added to the scores; the queries are the last of the positions."""
        return None


class NoPositions(Positions):
    """Leave the order to the mask."""


class SinusoidalPositions(Positions):
    """Add a fixed pattern of waves. Any length has one; whether the model can read it is another question."""

    waves: Tensor

    def __init__(self, model: int, heads: int, max_length: int):
        super().__init__(model, heads, max_length)
        if model % 2:
            raise ConfigError("sines and cosines come in pairs: the model's width must be even", got=model)
        self.register_buffer("waves", sinusoids(0, max_length, model), persistent=False)

    def embed(self, x: Float[Tensor, "B T D"], start: int = 0) -> Float[Tensor, "B T D"]:
        end = start + x.shape[1]
        if end > len(self.waves):
            with torch.inference_mode(False):  # else a table that grew while translating could not be learnt with
                self.waves = sinusoids(0, 2 * end, x.shape[2]).to(self.waves)
        return x + self.waves[start:end]


class LearnedPositions(Positions):
    """Add a vector for each position, learnt like those of the tokens (Gehring et al. 2017). There is no next one."""

    def __init__(self, model: int, heads: int, max_length: int):
        super().__init__(model, heads, max_length)
        self.table = nn.Parameter(torch.randn(max_length, model) * model**-0.5)

    def embed(self, x: Float[Tensor, "B T D"], start: int = 0) -> Float[Tensor, "B T D"]:
        """Raises ConfigError behind the last position."""
        end = start + x.shape[1]
        if end > len(self.table):
            raise ConfigError(
                "no position was learnt there", got=f"{end} tokens", valid=f"at most {len(self.table)}",
                next_step="choose other positions, or a larger max_length",
            )  # fmt: skip
        return x + self.table[start:end]


class RotaryPositions(Positions):
    """Turn queries and keys, so that their product knows how far they are apart."""

    turns: Tensor

    def __init__(self, model: int, heads: int, max_length: int):
        super().__init__(model, heads, max_length)
        width = model // heads
        if width % 2:
            raise ConfigError("rotary positions turn pairs: a head's width must be even", got=width)
        self.register_buffer("turns", turns(max_length, width), persistent=False)

    def rotate(self, x: Float[Tensor, "B H T K"], start: int = 0) -> Float[Tensor, "B H T K"]:
        end = start + x.shape[2]
        if end > self.turns.shape[1]:
            with torch.inference_mode(False):  # as above
                self.turns = turns(2 * end, x.shape[3]).to(self.turns)
        return rotated(x, *self.turns[:, start:end]).to(x.dtype)  # turned in fp32; in bf16 attention goes on


class AlibiPositions(Positions):
    """Subtract from each score what the distance costs, in each head at another rate; nothing else is told.

    In a causal model the distance is how far back a key lies; between the tokens of a source it counts both ways.
    """

    slopes: Tensor

    def __init__(self, model: int, heads: int, max_length: int):
        super().__init__(model, heads, max_length)
        self.register_buffer("slopes", slopes(heads), persistent=False)

    def bias(self, queries: int, keys: int) -> Float[Tensor, "H T S"] | None:
        positions = torch.arange(keys, device=self.slopes.device)
        away = (positions[keys - queries :, None] - positions).abs()  # (T, S)
        return -self.slopes[:, None, None] * away


# One slot: (model, heads, max_length).
POSITIONS: dict[str, type[Positions]] = {
    "none": NoPositions,
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
    "rotary": RotaryPositions,
    "alibi": AlibiPositions,
}

"""Sizes of GPTs, from one that learns in a minute to GPT-2 XL, and what each costs before it is built.

    parameters        V D + T D + L (12 D² + 13 D) + 2 D              (GPT-2's form: biases, tied head)
    training          6 operations for each weight of a product and token: 2 forward, 4 backward,
                      and 12 L T D a token for the scores and means of attention   (Chowdhery et al. 2022, PaLM, B)
    memory            16 bytes a parameter: weight, gradient, and two of Adam, and what the backward pass needs

Explained in docs/en/stage5_gpt.md.
"""

import dataclasses
from typing import Any

from my_llm.errors import choose
from stage5_gpt.models.gpt import GPTConfig
from stage5_gpt.models.layers import ACTIVATIONS

GPT2: dict[str, Any] = {"vocab_size": 50_257, "context": 1024, "activation": "gelu_tanh"}

# Name → fields of GPTConfig besides the vocabulary; those of GPT-2 with it (Radford et al. 2019, table 2).
SIZES: dict[str, dict[str, Any]] = {
    "0.1m": {"layers": 2, "heads": 2, "model": 64, "context": 128},
    "0.8m": {"layers": 4, "heads": 4, "model": 128, "context": 64},  # nanoGPT's for a CPU
    "3m": {"layers": 4, "heads": 4, "model": 256, "context": 128},
    "11m": {"layers": 6, "heads": 6, "model": 384, "context": 256},  # nanoGPT's for a GPU
    "25m": {"layers": 8, "heads": 8, "model": 512, "context": 512},
    "gpt2": {**GPT2, "layers": 12, "heads": 12, "model": 768},
    "gpt2-medium": {**GPT2, "layers": 24, "heads": 16, "model": 1024},
    "gpt2-large": {**GPT2, "layers": 36, "heads": 20, "model": 1280},
    "gpt2-xl": {**GPT2, "layers": 48, "heads": 25, "model": 1600},
}

# What the authors' own weights hold; the paper's 117M and 345M are miscounted.
PUBLISHED = {"gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200}


def config_of(size: str, **fields: Any) -> GPTConfig:
    """A configuration of that size; `fields` go before, and have the vocabulary where the size has none.

    Raises:
        ConfigError: no such size.
    """
    return GPTConfig(**{"vocab_size": 256, **choose(size, SIZES, "size"), **fields})


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a GPT costs."""

    parameters: int
    in_products: int  # weights that each token is multiplied with: no positions, and of the embedding only the head
    flops_per_token: int  # of training
    state_bytes: int  # weights, gradients and Adam's two means, in fp32
    kept_bytes_per_token: int  # of the forward pass, for the backward one, in fp32


def cost_of(config: GPTConfig, *, checkpointing: bool = False) -> Cost:
    """Computed from the sizes alone; a test counts the parameters of the built model.

    Args:
        checkpointing: Of each block only what it reads is kept, and what one block computes.
    """
    c, wide = config, ACTIVATIONS[config.activation][1]
    width, hidden, groups = c.model, c.hidden or 4 * c.model, c.groups or c.heads
    inward, outward = (c.heads + 2 * groups) * (width // c.heads), width
    matrices = width * (inward + outward) + (wide + 1) * width * hidden
    biases = c.bias * (inward + outward + wide * hidden + width)
    norm = {"layer": width * (1 + c.bias), "rms": width, "rms_plain": 0}[c.norm]
    tables = c.vocab_size * width * (1 if c.tied else 2) + (c.context * width if c.positions == "learned" else 0)
    tables += (c.ngrams - 1) * c.ngram_rows * width
    parameters = tables + c.layers * (matrices + biases + 2 * norm) + norm
    products = c.layers * matrices + c.vocab_size * width
    # A block keeps what its two norms read and said, queries, keys, values, the mean, and both sides of the activation.
    block = 4 * width + inward + outward + (wide + 1) * hidden
    kept = (c.layers * width + block if checkpointing else c.layers * block) + 2 * width
    return Cost(parameters, products, 6 * products + 12 * c.layers * c.context * width, 16 * parameters, 4 * kept)

"""Parameters counted before the model is built are those of the built one, and GPT-2's are the published ones."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from my_llm.errors import ConfigError
from stage5_gpt.models import GPT, PUBLISHED, SIZES, config_of, cost_of


@pytest.mark.parametrize("size", SIZES)
def test_the_built_model_has_so_many_parameters(size: str):
    config = config_of(size)
    with torch.device("meta"):
        model = GPT(config)
    assert sum(weight.numel() for weight in model.parameters()) == cost_of(config).parameters
    if size in PUBLISHED:
        assert cost_of(config).parameters == PUBLISHED[size]


@pytest.mark.parametrize(
    "fields",
    [
        {"groups": 2, "bias": False, "activation": "swiglu", "tied": False, "norm": "rms", "positions": "rotary"},
        {"norm": "rms_plain", "hidden": 77, "positions": "alibi"},
        {"bias": False, "groups": 1},
        {"ngrams": 3, "ngram_rows": 11},
    ],
    ids=str,
)
def test_and_so_has_every_variant(fields: dict[str, Any]):
    config = config_of("0.8m", **fields)
    assert sum(weight.numel() for weight in GPT(config).parameters()) == cost_of(config).parameters


def test_the_operations_are_those_that_torch_counts():
    """It counts the products, forward and backward, and not what happens inside of the kernel of attention."""
    config = config_of("0.1m", bias=False, tied=False)
    model, tokens = GPT(config), torch.randint(0, 256, (2, 128))
    with FlopCounterMode(display=False) as counter:
        logits, _ = model(tokens)
        logits.sum().backward()
    attention = 12 * 2 * 128 * 64  # 12 L T D
    assert cost_of(config).flops_per_token == counter.get_total_flops() / tokens.numel() + attention


def test_an_unknown_size_is_refused():
    with pytest.raises(ConfigError, match="gpt3"):
        config_of("gpt3")

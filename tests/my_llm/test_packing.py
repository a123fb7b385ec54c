"""A settled model says what autocast says, row by row or many at once; in fp32 it says what it said before."""

import pytest
import torch
from torch import nn

from my_llm import packing
from my_llm.device import autocast, sorts_matrices
from my_llm.packing import settle

CPU = torch.device("cpu")


def a_model(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(9, 24), nn.Linear(24, 40, bias=bias), nn.GELU(), nn.Linear(40, 7, bias=bias))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1,), (1, 5), (3, 1), (2, 17)])
def test_a_settled_model_says_what_autocast_says(shape: tuple[int, ...], bias: bool):
    model, settled = a_model(bias), a_model(bias)
    settle(settled, "bf16")
    tokens = torch.randint(9, shape)
    with torch.inference_mode(), autocast("bf16", CPU):
        expected, found = model(tokens), settled(tokens)
    assert found.shape == expected.shape == (*shape, 7) and found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), atol=0.02)
    assert float(found.float().abs().max()) > 0.05


def test_its_matrices_are_rounded_and_its_vectors_are_not():
    model = a_model()
    settle(model, "bf16")
    assert {weight.dtype for weight in model.parameters() if weight.ndim > 1} == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters() if weight.ndim == 1} == {torch.float32}


def test_in_fp32_small_matrices_are_left_alone():
    model, tokens = a_model(), torch.arange(9)
    before = model(tokens)
    settle(model, "fp32")
    assert torch.equal(model(tokens), before)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.skipif(not sorts_matrices("fp32", CPU), reason="oneDNN's order is no gain on this machine")
@pytest.mark.parametrize("shape", [(1, 1), (1,), (1, 5), (2, 17)])
def test_in_fp32_large_matrices_are_sorted_and_say_the_same(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packing, "LARGE", 24 * 40)
    model, tokens = a_model(), torch.randint(9, shape)
    with torch.inference_mode():
        before = model(tokens)
        settle(model, "fp32")
        assert ["forward" in vars(part) for part in model] == [False, True, False, False]
        torch.testing.assert_close(model(tokens), before)

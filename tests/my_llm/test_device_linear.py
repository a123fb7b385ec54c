"""A product of any number of rows is torch's, in every format, whatever is filled up inside."""

import pytest
import torch
from torch.nn import functional

from my_llm.device import attention_dtype, linear


def parts(rows: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((*rows, 7), (11, 7), (11,))
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [(1,), (3, 5), (16,), (2, 3, 47), (300,)])
def test_values_and_gradients_are_torchs(rows: tuple[int, ...], dtype: torch.dtype):
    ours, theirs = parts(rows, dtype), parts(rows, dtype)
    said, right = linear(*ours), functional.linear(*theirs)
    assert said.shape == right.shape == (*rows, 11) and said.dtype == dtype
    (said.float() ** 2).sum().backward()
    (right.float() ** 2).sum().backward()
    exact = {"rtol": 1e-2, "atol": 1e-1} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(said, right, **exact)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, **exact)


@pytest.mark.parametrize("rows", [5, 130])
def test_autocast_takes_the_filled_way_too(rows: int):
    x, weight, bias = parts((rows,), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        said = linear(x, weight, bias)
    assert said.dtype == torch.bfloat16 and said.shape == (rows, 11)
    torch.testing.assert_close(said.float(), functional.linear(x, weight, bias), rtol=2e-2, atol=5e-2)


def test_products_of_bf16_have_few_different_sizes(monkeypatch: pytest.MonkeyPatch):
    """The reason for all this: the kernels that oneDNN has to compile."""
    sizes = set()
    real = functional.linear
    monkeypatch.setattr(functional, "linear", lambda x, *rest: (sizes.add(len(x)), real(x, *rest))[1])
    _, weight, bias = parts((1,), torch.bfloat16)
    for rows in range(1, 1025):
        linear(torch.zeros(rows, 7, dtype=torch.bfloat16), weight, bias)
    assert len(sizes) == 1 + 16 + 6 and max(sizes) == 1024  # 1, then 16 … 256, then 384 … 1024
    sizes.clear()
    linear(torch.zeros(5, 7), weight.float(), bias.float())
    assert sizes == {5}


def test_bf16_attention_that_is_learnt_from_runs_in_fp32_on_a_cpu():
    x = torch.zeros(2, dtype=torch.bfloat16)
    assert attention_dtype(x) == torch.bfloat16 and attention_dtype(x.requires_grad_()) == torch.float32
    assert attention_dtype(torch.zeros(2, requires_grad=True)) == torch.float32
    assert attention_dtype(torch.zeros(2, dtype=torch.float64, requires_grad=True)) == torch.float64

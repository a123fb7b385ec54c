"""Cross-entropy without all logits: the same values and gradients as torch's, in every piece."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from my_llm import losses
from my_llm.losses import linear_cross_entropy

D, V = 5, 11


def some(n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    features, weight, bias = (
        torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_() for shape in ((n, D), (V, D), (V,))
    )
    return features, weight, bias, torch.randint(V, (n,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("n", [0, 1, 3, 4, 10])
def test_values_and_gradients_equal_torchs(n: int, smoothing: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(losses, "LOGITS", 1)
    monkeypatch.setattr(losses, "ROWS", 4)  # less than one piece, exactly one, several and a rest
    *ours, targets = some(n)
    *theirs, _ = some(n)
    total = linear_cross_entropy(*ours, targets, smoothing)
    expected = cross_entropy(linear(*theirs), targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-12)
    (total / 3).backward()
    (expected / 3).backward()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-12)


def test_large_logits_do_not_overflow():
    features, weight, bias, targets = some(6, torch.float32)
    total = linear_cross_entropy(1e4 * features, weight, bias, targets)
    total.backward()
    assert total.isfinite() and features.grad is not None and features.grad.isfinite().all()


def test_inside_autocast_products_are_bf16_and_the_loss_is_fp32():
    *ours, targets = some(300, torch.float32)
    *theirs, _ = some(300, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        total = linear_cross_entropy(*ours, targets, 0.1)
        expected = cross_entropy(linear(*theirs).float(), targets, reduction="sum", label_smoothing=0.1)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=0)
    assert abs(total - linear_cross_entropy(*theirs, targets, 0.1)) > 1e-4  # fp32 says something else
    total.backward()
    expected.backward()
    for own, other in zip(ours, theirs, strict=True):
        assert own.grad is not None and own.grad.dtype == torch.float32
        torch.testing.assert_close(own.grad, other.grad, rtol=0.02, atol=0.02 * float(other.grad.abs().max()))

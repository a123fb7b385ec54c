"""Back-propagation through time written out: equal to autograd, whatever the loss looks at, on every matrix path."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stage2_rnn_lstm.models.cells import lstm_step
from stage2_rnn_lstm.models.through_time import LSTMThroughTime, product_dtype

NAMES = ("x", "h0", "c0", "weight_ih", "weight_hh", "bias")

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "both": lambda h, c: (h * weights(h)).sum() + (c.cos() * weights(c)).sum(),
    "outputs only": lambda h, c: (h * weights(h)).sum(),
    "memory only": lambda h, c: (c * weights(c)).sum(),
    "last step": lambda h, c: h[-1].square().sum() + c[-1].sum(),
    "first step": lambda h, c: h[0].square().sum(),
}


def weights(tensor: Tensor) -> Tensor:
    """Numbers that are all different, so that no two steps or units can be exchanged unseen."""
    return torch.linspace(-1, 2, tensor.numel(), dtype=tensor.dtype).view_as(tensor)


def inputs_of(steps: int = 5, batch: int = 3, width: int = 2, hidden: int = 7, dtype=torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = ((steps, batch, width), (batch, hidden), (batch, hidden), (4 * hidden, width), (4 * hidden, hidden))
    return [torch.randn(*shape, dtype=dtype).requires_grad_() for shape in (*shapes, (4 * hidden,))]


def loop(x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The same by `lstm_step`, for autograd to derive."""
    states = []
    for a in torch.nn.functional.linear(x, weight_ih, bias).unbind(0):
        h, c = lstm_step(a, (h, c), weight_hh)
        states.append((h, c))
    return torch.stack([h for h, _ in states]), torch.stack([c for _, c in states])


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", [(5, 3, 2, 7), (1, 3, 2, 7), (11, 1, 1, 1), (2, 7, 5, 3)])
def test_values_and_all_six_gradients_equal_autograd(loss: str, sizes: tuple[int, int, int, int]):
    tensors = inputs_of(*sizes)
    ours, expected = LSTMThroughTime.apply(*tensors), loop(*tensors)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(LOSSES[loss](*ours), tensors)
    reference = torch.autograd.grad(LOSSES[loss](*expected), tensors)
    for name, a, b in zip(NAMES, gradients, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("wanted", [("x",), ("weight_hh", "bias"), ("h0", "c0")])
def test_it_may_be_asked_for_a_part_of_the_gradients(wanted: tuple[str, ...]):
    tensors = [tensor.detach().requires_grad_(name in wanted) for name, tensor in zip(NAMES, inputs_of(), strict=True)]
    asked = [tensor for tensor in tensors if tensor.requires_grad]
    gradients = torch.autograd.grad(LOSSES["both"](*LSTMThroughTime.apply(*tensors)), asked)
    for a, b in zip(gradients, torch.autograd.grad(LOSSES["both"](*loop(*tensors)), asked), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


# --- gradient ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(6), ids=NAMES)
def test_each_gradient_against_a_finite_difference(number: int):
    """(L(w + εd) - L(w - εd)) / 2ε = ⟨∇L, d⟩ for a random direction d; the error is of order ε² = 1e-10."""
    tensors, epsilon = inputs_of(), 1e-5
    loss = LOSSES["both"](*LSTMThroughTime.apply(*tensors))
    gradient = torch.autograd.grad(loss, tensors)[number]
    direction = torch.randn_like(gradient)
    values = []
    for sign in (1, -1):
        moved = [tensor.detach() for tensor in tensors]
        moved[number] = moved[number] + sign * epsilon * direction
        values.append(LOSSES["both"](*LSTMThroughTime.apply(*moved)))
    slope = (values[0] - values[1]) / (2 * epsilon)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-7, atol=1e-7)


# --- invariants -------------------------------------------------------------------------------------------------------


def test_a_second_way_back_is_an_error_and_not_a_wrong_number():
    """The gates' memory is used again for their derivatives."""
    tensors = inputs_of()
    h, _ = LSTMThroughTime.apply(*tensors)
    h.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        h.sum().backward()
    h, _ = LSTMThroughTime.apply(*tensors)
    h.sum().backward()
    with pytest.raises(RuntimeError, match="a second time"):
        h.sum().backward()


def test_a_gradient_of_the_gradient_is_an_error():
    tensors = inputs_of()
    (gradient,) = torch.autograd.grad(LSTMThroughTime.apply(*tensors)[0].square().sum(), tensors[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_inputs_stay_as_they_were():
    tensors = inputs_of()
    before = [tensor.detach().clone() for tensor in tensors]
    LOSSES["both"](*LSTMThroughTime.apply(*tensors)).backward()
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_a_way_back_the_numbers_are_the_same(mode: Callable):
    tensors = inputs_of()
    expected = LSTMThroughTime.apply(*tensors)
    with mode():
        for a, b in zip(LSTMThroughTime.apply(*tensors), expected, strict=True):
            assert torch.equal(a, b.detach()) and not a.requires_grad


def test_under_autocast_products_are_bf16_and_states_and_gradients_fp32():
    """bf16 keeps 8 bits: a product is right to about 2⁻⁸ = 0.004 of its size, and errors add up over the steps."""
    tensors = inputs_of(7, 5, 11, 13, dtype=torch.float32)
    exact = LSTMThroughTime.apply(*tensors)
    with torch.autocast("cpu", torch.bfloat16):
        assert product_dtype(tensors[0]) == torch.bfloat16
        mixed = LSTMThroughTime.apply(*tensors)
    assert product_dtype(tensors[0]) == torch.float32
    pairs = list(zip(mixed, exact, strict=True))
    gradients = [torch.autograd.grad(LOSSES["last step"](*states), tensors) for states in (mixed, exact)]
    for a, b in pairs + list(zip(*gradients, strict=True)):
        assert a.dtype == torch.float32 and not torch.equal(a, b)
        assert (a - b).norm() < 0.05 * b.norm()


# --- the matrix path --------------------------------------------------------------------------------------------------

ON_ONEDNN = """
import sys
from my_llm import device
assert "oneDNN" in device.prepare_matrix_path() and device._use_onednn
import torch
used, ours = 0, torch.ops.mkldnn._linear_pointwise
def counted(*arguments):
    global used
    used += 1
    return ours(*arguments)
torch.ops.mkldnn._linear_pointwise = counted
from stage2_rnn_lstm.models.through_time import LSTMThroughTime
tensors = torch.load(sys.argv[1])
h, c = LSTMThroughTime.apply(*tensors)
gradients = torch.autograd.grad(h.square().sum() + c.sum(), tensors)
assert used == 1 + 7 + 7 + 3, used  # all inputs; a step; a step back; dx, dw_ih, dw_hh
torch.save([h.detach(), c.detach(), *gradients], sys.argv[2])
"""


def test_the_path_through_onednn_gives_the_same_numbers(tmp_path: Path):
    tensors = inputs_of(7, 5, 11, 13, dtype=torch.float32)
    torch.save(tensors, tmp_path / "in.pt")
    subprocess.run(
        [sys.executable, "-c", ON_ONEDNN, str(tmp_path / "in.pt"), str(tmp_path / "out.pt")],
        env={**os.environ, "MY_LLM_MATRIX_PATH": "onednn"},
        cwd=Path(__file__).resolve().parents[3],
        check=True,
        timeout=120,
    )
    h, c = loop(*tensors)
    expected = [h, c, *torch.autograd.grad(h.square().sum() + c.sum(), tensors)]
    for a, b in zip(torch.load(tmp_path / "out.pt"), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

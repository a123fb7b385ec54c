"""The LSTM over all steps, with back-propagation through time written out: as fast as the library's, and to be read.

Autograd could derive the backward pass of `lstm_step` in a loop, and the tests let it. It would add up the gradient of
weight_hh after every step and keep every intermediate result. Written by hand, a step of the way back is one product,
the weights get their gradients in one product over all steps, and only gates and states are kept.

Notation: d… is the derivative of the loss by …; σ' = σ(1 - σ), tanh' = 1 - tanh². Derived line by line in
docs/en/stage2_rnn_lstm.md; models/by_hand.py is the same in NumPy.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from my_llm.device import matmul, right_factor


class LSTMThroughTime(torch.autograd.Function):
    """(x (T, B, D), h_0, c_0 (B, H), weight_ih (4H, D), weight_hh (4H, H), bias (4H)) → h, c over time (T, B, H).

    Gate order: input, forget, output, candidate. Inside autocast the products are bf16; gates and states stay fp32.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h0: Tensor, c0: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All steps; keeps the gates after their bend, and the states."""
        (steps, batch, _), hidden = x.shape, h0.shape[1]
        dtype = product_dtype(x)
        a_x = matmul(x.flatten(0, 1).to(dtype), weight_ih.to(dtype).t()).to(x.dtype).add_(bias)  # (T·B, 4H)
        gates, times_w_hh = a_x.view(steps, batch, 4 * hidden), right_factor(weight_hh.to(dtype).t(), batch)
        h, c = x.new_empty(steps + 1, batch, hidden), x.new_empty(steps + 1, batch, hidden)
        h[0], c[0] = h0, c0
        for t, gate in enumerate(gates.unbind(0)):
            gate.add_(times_w_hh(h[t].to(dtype)))  # (B, 4H)
            gate[:, : 3 * hidden].sigmoid_()
            gate[:, 3 * hidden :].tanh_()
            i, f, o, g = gate.chunk(4, dim=1)
            torch.mul(f, c[t], out=c[t + 1]).addcmul_(i, g)  # c_t = f c_{t-1} + i g
            torch.tanh(c[t + 1], out=h[t + 1]).mul_(o)  # h_t = o tanh(c_t)
        ctx.save_for_backward(x, weight_ih, weight_hh, gates, h, c)
        ctx.dtype = dtype
        ctx.set_materialize_grads(False)
        return h[1:], c[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The way back. The gates' memory is used again for their derivatives: there is no second backward pass."""
        dh_out, dc_out = grad_outputs  # None where the loss does not look at it
        x, weight_ih, weight_hh, gates, h, c = ctx.saved_tensors
        dh, dc = torch.zeros_like(h[0]), torch.zeros_like(c[0])
        times_w_hh, one = right_factor(weight_hh.to(ctx.dtype), len(dh)), x.new_ones(())
        for t in range(len(x) - 1, -1, -1):
            dh = dh if dh_out is None else dh + dh_out[t]
            dc = dc if dc_out is None else dc + dc_out[t]
            i, f, o, g = gates[t].chunk(4, dim=1)
            tanh_c = c[t + 1].tanh()
            do = dh * tanh_c
            dc = torch.addcmul(dc, dh * o, torch.addcmul(one, tanh_c, tanh_c, value=-1))  # + dh o tanh'(c)
            di, df, dg = dc * g, dc * c[t], dc * i
            dc = dc * f
            for gate, d in ((i, di), (f, df), (o, do)):
                torch.mul(d, torch.addcmul(gate, gate, gate, value=-1), out=gate)  # da = d σ'
            torch.mul(dg, torch.addcmul(one, g, g, value=-1), out=g)  # da = dg tanh'
            dh = times_w_hh(gates[t].to(ctx.dtype)).to(x.dtype)  # (B, H)
        da = gates.flatten(0, 1)  # (T·B, 4H)
        low = da.to(ctx.dtype)
        inputs, before = x.flatten(0, 1).to(ctx.dtype), h[:-1].flatten(0, 1).to(ctx.dtype)
        dx = matmul(low, weight_ih.to(ctx.dtype)).to(x.dtype).view_as(x) if ctx.needs_input_grad[0] else None
        dw_ih, dw_hh = (matmul(read.t(), low).t().to(x.dtype) for read in (inputs, before))
        return dx, dh, dc, dw_ih, dw_hh, da.sum(0)


def product_dtype(x: Tensor) -> torch.dtype:
    """The number format of matrix products here: autocast's, where it is on, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype

"""Blockwise attention: the plain formula without its matrix. Values, gradients, the blocks' edges, and the memory."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from my_llm.errors import ConfigError
from stage4_transformer.models import blockwise
from stage4_transformer.models.blockwise import blockwise_attention

B, H, T, S, K = 2, 3, 7, 11, 5
LENGTHS = torch.tensor([4, 11])
either_direction = pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
Asked = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch):
    """Four times as many keys as queries, so that short sequences have several blocks of either."""
    monkeypatch.setattr(blockwise, "WIDER", 4)


def close(a: object, b: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def asked(t: int = T, s: int = S, dtype: torch.dtype = torch.float64, b: int = B, h: int = H, k: int = K) -> Asked:
    """query, key, value: leaves."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(b, h, n, k, dtype=dtype).requires_grad_() for n in (t, s, s))
    return query, key, value


def allowed(t: int, s: int, causal: bool, lengths: Tensor | None) -> Tensor:
    """True where one may look, written entry by entry from the definition: (B or 1, 1, T, S)."""
    real = [s] if lengths is None else lengths.tolist()
    rows = [[[j < n and (not causal or j <= i + s - t) for j in range(s)] for i in range(t)] for n in real]
    return torch.tensor(rows)[:, None]


def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """exp(scores) over its sum, over the keys one may look at; nowhere to look: 0."""
    weights = torch.exp(q @ k.mT / math.sqrt(q.shape[3])) * mask
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-300) @ v


def with_gradients(output: Tensor, leaves: Asked) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    return output.detach(), *torch.autograd.grad(output, leaves, torch.randn_like(output))


class Watch(TorchDispatchMode):
    """The most entries of any tensor that an operator makes, and how many products there are."""

    largest = products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.products += "bmm" in str(func)
        for x in made if isinstance(made, (tuple, list)) else (made,):
            self.largest = max(self.largest, x.numel() if isinstance(x, Tensor) else 0)
        return made


# --- contract ---------------------------------------------------------------------------------------------------------


@either_direction
def test_shape_strides_and_dtype_are_the_query_s(causal: bool):
    query, key, value = asked()
    heads_last = query.detach().transpose(1, 2).contiguous().transpose(1, 2)  # as split_heads makes it
    output = blockwise_attention(heads_last, key, value, causal=causal, block=2)
    assert output.shape == (B, H, T, K) and output.dtype == torch.float64
    assert output.stride() == heads_last.stride() != query.stride()
    close(output, blockwise_attention(query, key, value, causal=causal, block=2), 0)


def test_a_block_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="block needs at least one query; got .0."):
        blockwise_attention(*asked(), block=0)


def test_nothing_is_kept_for_a_way_back_that_does_not_come():
    with torch.no_grad():
        assert blockwise_attention(*asked()).grad_fn is None


# --- parity -----------------------------------------------------------------------------------------------------------


@either_direction
@pytest.mark.parametrize("lengths", [None, LENGTHS, torch.tensor([0, 9])], ids=["full", "padded", "one empty"])
@pytest.mark.parametrize(("t", "s"), [(T, S), (S, T), (S, S), (1, S), (T, 1)])
@pytest.mark.parametrize("block", [1, 2, 3, 128])
def test_values_and_gradients_of_the_plain_formula(causal: bool, lengths: Tensor | None, t: int, s: int, block: int):
    lengths = None if lengths is None else lengths.clamp(max=s)
    leaves = asked(t, s)
    ours = with_gradients(blockwise_attention(*leaves, causal=causal, lengths=lengths, block=block), leaves)
    close(ours, with_gradients(plain(*leaves, allowed(t, s, causal, lengths)), leaves))


@either_direction
def test_the_fused_kernel_on_blocks_as_they_are_used(causal: bool):
    """Many blocks each way, none of them whole at the edge: 300 = 2 · 128 + 44 queries, 700 = 512 + 188 keys."""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        leaves = asked(300, 700, dtype, b=1, h=5, k=16)
        fused = scaled_dot_product_attention(*leaves, attn_mask=allowed(300, 700, causal, None))
        ours = blockwise_attention(*leaves, causal=causal)
        close(with_gradients(ours, leaves), with_gradients(fused, leaves), tolerance)


@given(st.data(), st.booleans(), st.integers(1, 40))
def test_any_sizes_any_block(data: st.DataObject, causal: bool, block: int):
    b, h, t, s, k = (data.draw(st.integers(1, most)) for most in (3, 3, 70, 70, 5))
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, s), min_size=b, max_size=b)))
    leaves = asked(t, s, b=b, h=h, k=k)
    ours = with_gradients(blockwise_attention(*leaves, causal=causal, lengths=lengths, block=block), leaves)
    close(ours, with_gradients(plain(*leaves, allowed(t, s, causal, lengths)), leaves))


@pytest.mark.parametrize(("scores", "groups"), [(8, 3), (32, 2), (1000, 1)])
def test_how_many_heads_go_together_changes_nothing(scores: int, groups: int, monkeypatch: pytest.MonkeyPatch):
    """Blocks of 2 · 8 = 16 scores a head: one of the 3 heads at a time, two, all. 4 · 2 blocks, 2 products forward."""
    leaves = asked()
    expected = with_gradients(blockwise_attention(*leaves, block=2), leaves)
    monkeypatch.setattr(blockwise, "SCORES", scores)
    close(with_gradients(blockwise_attention(*leaves, block=2), leaves), expected)
    with Watch() as seen:
        blockwise_attention(*leaves, block=2)
    assert seen.products == B * groups * 4 * 2 * 2


def test_bf16_comes_in_and_goes_out_and_between_them_is_fp32():
    leaves = asked(130, 600, torch.bfloat16)
    fp32 = tuple(leaf.detach().float().requires_grad_() for leaf in leaves)
    ours = with_gradients(blockwise_attention(*leaves, causal=True), leaves)
    torch.manual_seed(1)
    go = torch.randn(leaves[0].shape, dtype=torch.bfloat16).float()
    output = blockwise_attention(*fp32, causal=True)
    rounded = (output.detach(), *torch.autograd.grad(output, fp32, go))
    assert all(x.dtype == torch.bfloat16 for x in ours)
    close(ours[0], rounded[0].bfloat16(), 0)
    torch.testing.assert_close(
        ours[1:], tuple(x.bfloat16() for x in rounded[1:]), rtol=0.02, atol=0.005
    )  # D's rounding


def test_autocast_changes_nothing():
    leaves = asked(dtype=torch.float32)
    expected = with_gradients(blockwise_attention(*leaves, causal=True, block=2), leaves)
    with torch.autocast("cpu", torch.bfloat16):
        assert (leaves[0] @ leaves[1].mT).dtype == torch.bfloat16  # it is at work
        ours = with_gradients(blockwise_attention(*leaves, causal=True, block=2), leaves)
    close(ours, expected, 0)


# --- gradient ---------------------------------------------------------------------------------------------------------


@either_direction
def test_finite_differences(causal: bool):
    def short(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return blockwise_attention(q, k, v, causal=causal, lengths=torch.tensor([5, 2]), block=1)

    assert torch.autograd.gradcheck(short, asked(4, 5, h=1, k=2))


# --- invariants -------------------------------------------------------------------------------------------------------


def test_the_future_changes_nothing():
    query, key, value = (leaf.detach() for leaf in asked())
    before = blockwise_attention(query, key, value, causal=True, block=2)
    key[:, :, 9:], value[:, :, 9:] = 100.0, -1000.0  # query t sees keys 0 … t + 4: those from 5 on see key 9
    after = blockwise_attention(query, key, value, causal=True, block=2)
    close(after[:, :, :5], before[:, :, :5], 0)
    assert ((after - before)[:, :, 5:].abs().amax(-1) > 1e-6).all()


def test_padding_changes_nothing_and_has_no_gradient():
    leaves = asked()
    with torch.no_grad():
        for leaf in leaves[1:]:
            leaf[0, :, 4:] = math.inf  # a weight of 0 would make NaN of it
    got = with_gradients(blockwise_attention(*leaves, lengths=LENGTHS, block=1), leaves)
    short: Any = tuple(leaf[:1, :, :4] if i else leaf[:1] for i, leaf in enumerate(leaves))
    close(got[0][:1], blockwise_attention(*short, block=1))
    assert all(x.isfinite().all() for x in got)
    assert not got[2][0, :, 4:].any() and not got[3][0, :, 4:].any()


@either_direction
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_very_large_scores_stay_finite(causal: bool, dtype: torch.dtype):
    """Scores of about ±1e4: a softmax of them is one key's. exp of one would be infinite, exp of the other 0."""
    leaves = asked(dtype=dtype)
    with torch.no_grad():
        leaves[0].mul_(1e4)
    got = with_gradients(blockwise_attention(*leaves, causal=causal, block=1), leaves)
    query, key, value = leaves
    scores = (query @ key.mT).masked_fill(~allowed(T, S, causal, None), -math.inf)
    close(got[0], value.detach().gather(2, scores.argmax(-1)[..., None].expand(B, H, T, K)), 1e-5)
    assert all(x.isfinite().all() for x in got)


def test_weights_too_small_to_count_are_not_so_small_that_they_cost_time():
    """A denormal number in a product takes a processor a hundred times longer."""
    x = torch.tensor([-math.inf, -1e30, -95.0, -1.0, 0.0])
    assert torch.finfo(torch.float32).tiny <= blockwise.exp_(x.clone()).min() < 1e-18
    close(blockwise.exp_(x.clone())[3:], torch.tensor([math.exp(-1), 1.0]), 1e-7)


def largest(steps: int, attend: Any) -> int:
    leaves = asked(steps, steps, torch.float32, b=1, h=1, k=4)
    with Watch() as seen:
        attend(*leaves).sum().backward()
    return seen.largest


@either_direction
def test_no_tensor_grows_with_the_square_of_the_length(causal: bool):
    """The plain formula makes one of T², which shows that the count counts; ours two of 32 · 128 scores, or 4 T."""
    assert largest(256, lambda q, k, v: plain(q, k, v, torch.ones(1, dtype=torch.bool))) == 256**2
    for steps in (256, 1024):
        made = largest(steps, lambda q, k, v: blockwise_attention(q, k, v, causal=causal, block=32))
        assert made == max(4 * steps, 2 * 32 * 128)


def test_blocks_in_the_future_or_the_padding_are_not_computed():
    """64 queries, 64 keys, blocks of 8 × 32. A block costs two products forward and five backward."""

    def products(**options: Any) -> int:
        leaves = asked(64, 64, torch.float32, b=1, h=1)
        with Watch() as seen:
            blockwise_attention(*leaves, block=8, **options).sum().backward()
        return seen.products

    assert products() == 7 * 8 * 2
    assert products(causal=True) == 7 * (4 * 1 + 4 * 2)  # the first 32 queries see the first 32 keys only
    assert products(lengths=torch.tensor([32])) == 7 * 8 * 1
    assert products(lengths=torch.tensor([0])) == 0

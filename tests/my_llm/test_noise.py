"""Random masks: right shares, right scale, the same seed the same mask, every number by itself."""

import math

import pytest
import torch

from my_llm.noise import dropout_mask

SHAPE = (101, 7, 13)  # 9,191 numbers: no multiple of 8


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_the_share_and_the_scale_are_right(rate: float):
    torch.manual_seed(0)
    mask = dropout_mask(torch.empty(SHAPE), rate)
    kept = round(256 * (1 - rate)) / 256
    assert mask.shape == SHAPE and mask.unique().tolist() == pytest.approx([0, 1 / kept])
    deviation = math.sqrt(kept * (1 - kept) / mask.numel())
    assert float((mask > 0).float().mean()) == pytest.approx(kept, abs=4 * deviation)


@pytest.mark.parametrize(("rate", "kept"), [(1e-6, 255 / 256), (1 - 1e-6, 1 / 256)])
def test_a_rate_near_the_end_is_rounded_to_something_that_drops_and_keeps(rate: float, kept: float):
    torch.manual_seed(0)
    mask = dropout_mask(torch.empty(100_000), rate)
    assert float(mask.max()) == pytest.approx(1 / kept) and float((mask > 0).float().mean()) == pytest.approx(
        kept, abs=0.002
    )


def test_every_byte_of_a_word_is_random():
    """torch's random integers are positive unless told otherwise: every eighth byte would be below 128."""
    torch.manual_seed(0)
    shares = (dropout_mask(torch.empty(8 * 4_000), 0.5) > 0).float().view(-1, 8).mean(dim=0)
    assert shares.tolist() == pytest.approx([0.5] * 8, abs=0.04)


def test_neighbours_are_independent():
    torch.manual_seed(0)
    signs = (dropout_mask(torch.empty(80_000), 0.5) > 0).double() - 0.5
    for apart in (1, 2, 4, 7, 8):
        assert abs(float((signs[apart:] * signs[:-apart]).mean())) < 4 * 0.25 / math.sqrt(80_000)


def test_the_same_seed_the_same_mask_and_the_formats_follow():
    masks = []
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.manual_seed(3)
        masks.append(dropout_mask(torch.empty(SHAPE, dtype=dtype), 0.25))
        assert masks[-1].dtype == dtype
    assert torch.equal(masks[0], masks[2]) and torch.equal(masks[0] > 0, masks[1] > 0)
    assert not torch.equal(masks[2], dropout_mask(torch.empty(SHAPE), 0.25))


def test_a_transposed_and_an_empty_tensor_have_masks():
    assert dropout_mask(torch.empty(5, 3).t(), 0.5).shape == (3, 5)
    assert dropout_mask(torch.empty(0, 3), 0.5).shape == (0, 3)

"""Random masks, eight at a time.

A mask needs one random decision for each number. torch's `bernoulli_` makes each of them from a random number of its
own, and in a small Transformer that costs as much as all its norms and residuals together. One 64-bit random integer is
eight random bytes, and a byte below 256 · p is true with probability p: a tenth of the time (docs/log.md).
"""

import torch
from jaxtyping import Float
from torch import Tensor

BYTE = 256


def dropout_mask(like: Float[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """0 with probability `rate`, else 1 / (1 − rate): what a training step multiplies with (Srivastava et al. 2014).

    The rate is rounded to a multiple of 1/256, and to one of them if it is less than half.
    """
    kept = min(max(round(BYTE * (1 - rate)), 1), BYTE - 1)
    words = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    random = words.view(torch.uint8)[: like.numel()].view(like.shape)
    return torch.lt(random, kept, out=torch.empty_like(like, memory_format=torch.contiguous_format)).mul_(BYTE / kept)

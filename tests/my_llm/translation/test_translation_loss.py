"""The loss is what it says, and so is what the decoder reads."""

import math

import pytest
import torch
from torch import Tensor, nn

from my_llm.losses import linear_cross_entropy
from my_llm.text import PAD
from my_llm.translation.batches import Batch
from my_llm.translation.loss import TranslationLoss


class Next(nn.Module):
    """Says after token n: n + 1, with a logit of `sure`; all others are 0. 7 tokens. Counts its calls."""

    def __init__(self, sure: float):
        super().__init__()
        self.sure, self.calls = nn.Parameter(torch.tensor(sure)), 0
        self.read = torch.empty(0)

    def forward(
        self, source: Tensor, lengths: Tensor, target_in: Tensor, target_out: Tensor | None = None, smoothing: float = 0
    ) -> tuple[Tensor, None]:
        self.calls, self.read = self.calls + 1, target_in
        logits = nn.functional.one_hot((target_in + 1) % 7, 7) * self.sure
        if target_out is None:
            return logits, None
        wanted = target_out != PAD
        weight, bias = torch.eye(7), torch.zeros(7)
        return linear_cross_entropy(logits[wanted], weight, bias, target_out[wanted], float(smoothing)), None


def batch(target: list[list[int]]) -> Batch:
    rows = torch.tensor(target)
    return Batch(torch.ones(len(rows), 2).long(), torch.full((len(rows),), 2), rows[:, :-1], rows[:, 1:])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_by_hand(smoothing: float):
    """<bos> (2) → 3, then 4 → 6: the first is expected, the second not; padding does not count.

    The logit of what is expected is ln 6: with six others it has probability 6 / 12, each other one 1 / 12.
    """
    loss = TranslationLoss(smoothing)(Next(math.log(6)), batch([[2, 3, PAD], [4, 6, PAD]]))
    right, wrong = math.log(2), math.log(12)
    blurred = (right + 6 * wrong) / 7  # what the blur asks for: all seven alike
    assert loss.count == 2
    assert loss.total.item() == pytest.approx((1 - smoothing) * (right + wrong) + smoothing * 2 * blurred, rel=1e-5)


class Alone(Next):
    """The same, with nothing beside the logits or the loss."""

    def forward(self, *args: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(*args)[0]


@pytest.mark.parametrize("forcing", [1.0, 0.0])
def test_a_model_need_not_say_where_it_looked(forcing: float):
    pairs = batch([[2, 6, 6, 3, PAD]])
    loss = TranslationLoss(0.1, forcing)
    said, alone = loss(Next(1.0), pairs), loss(Alone(1.0), pairs)
    assert torch.equal(said.total, alone.total) and said.count == alone.count == 3


def test_with_full_forcing_the_truth_is_read_once():
    model, pairs = Next(1.0), batch([[2, 6, 6, 3, PAD]])
    TranslationLoss(0.0)(model, pairs)
    assert model.calls == 1 and torch.equal(model.read, pairs.target_in)
    model.eval()
    TranslationLoss(0.0, teacher_forcing=0.0)(model, pairs)
    assert model.calls == 2 and torch.equal(model.read, pairs.target_in)  # scoring is never mixed


def test_without_forcing_the_model_reads_what_it_said_at_the_step_before():
    """Reading 2 6 6 5 it says 3 0 0 6; so it reads 2, then 3 0 0; padding stays, and so does what is asked for."""
    model = Next(1.0)
    loss = TranslationLoss(0.0, teacher_forcing=0.0)(model, batch([[2, 6, 6, 5, 1], [2, 6, PAD, PAD, PAD]]))
    assert model.calls == 2 and model.read.tolist() == [[2, 3, 0, 0], [2, 3, PAD, PAD]]
    assert loss.count == 5
    loss.total.backward()
    assert model.sure.grad is not None


def test_forcing_is_a_share_of_the_tokens_that_the_seed_chooses():
    pairs = batch([[2] + 1000 * [5]])  # it would always say 6, and 3 after <bos>
    reads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = Next(1.0)
        TranslationLoss(0.0, teacher_forcing=0.75)(model, pairs)
        reads.append(model.read)
    assert torch.equal(reads[0], reads[1]) and not torch.equal(reads[0], reads[2])
    assert float((reads[0] == 5).float().mean()) == pytest.approx(0.75, abs=0.05)

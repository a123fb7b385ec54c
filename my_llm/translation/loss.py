"""What a translator learns from: the cross-entropy of every target token."""

from typing import Any

import torch
from torch import Tensor, nn

from my_llm.text import PAD
from my_llm.training import Loss
from my_llm.translation.batches import Batch


def said_by(answer: Tensor | tuple[Tensor, Any]) -> Tensor:
    """Logits or loss, out of the answer of a model that may say beside it where it looked."""
    return answer[0] if isinstance(answer, tuple) else answer


class TranslationLoss:
    """Cross-entropy of every target token, at labels that are a little blurred.

    With `teacher_forcing` below 1 the decoder sometimes reads what it would have said itself (scheduled sampling,
    Bengio et al. 2015): a first pass guesses every token, a second one learns with some of the guesses in the truth's
    place.
    """

    def __init__(self, label_smoothing: float, teacher_forcing: float = 1.0):
        self.label_smoothing, self.teacher_forcing = label_smoothing, teacher_forcing

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        device = next(model.parameters()).device
        source, lengths, target_in, target_out = (tensor.to(device) for tensor in batch)
        if self.teacher_forcing < 1 and model.training:
            target_in = self.mixed(model, source, lengths, target_in)
        total = said_by(model(source, lengths, target_in, target_out, self.label_smoothing))
        return Loss(total, int((target_out != PAD).sum()))

    @torch.no_grad()
    def mixed(self, model: nn.Module, source: Tensor, lengths: Tensor, target_in: Tensor) -> Tensor:
        """The target with some tokens replaced by what the model says there; <bos> stays."""
        said = said_by(model(source, lengths, target_in)).argmax(dim=-1)[:, :-1]  # (B, T - 1)
        forced = torch.rand(said.shape) < self.teacher_forcing
        right = target_in[:, 1:]
        return torch.cat([target_in[:, :1], torch.where(forced.to(said.device) | (right == PAD), right, said)], dim=1)

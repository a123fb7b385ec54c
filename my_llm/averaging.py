"""The mean of the weights of the last few checkpoints: one model, better than each of them.

Late in training the weights walk around a minimum, each step kicked aside by the noise of its batch; the mean of places
on this walk lies nearer to the middle. It costs nothing when the model is used. Vaswani et al. 2017, §6.1, took the
last five checkpoints; Izmailov et al. 2018 ("Averaging Weights Leads to Wider Optima") say why it works.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class MeanOfLast:
    """The weights that the model had at the last `count` updates, and their mean.

    It belongs to the training: `state_dict` gives it to the checkpoint for exact resume.
    """

    def __init__(self, count: int):
        assert count > 0
        self.count = count
        self.last: list[Weights] = []

    def update(self, model: nn.Module) -> None:
        """Remember the model as it is now, and forget the oldest; in main memory, of which there is more."""
        now = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        self.last = [*self.last, now][-self.count :]

    def weights(self) -> Weights:
        """The mean; of one model, that model."""
        return {name: torch.stack([weights[name] for weights in self.last]).mean(dim=0) for name in self.last[-1]}

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model has the mean's weights; afterwards its own again."""
        own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self.weights())
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered."""
        return {"last": self.last}

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.last = list(content["last"])[-self.count :]

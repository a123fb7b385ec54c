"""The same recurrent layers out of torch.nn, and the way weights and states travel between the three tellings.

Torch differs from ours in three points, and this file is the whole difference:

    gates     LSTM: input, forget, candidate, output; ours ends with output, candidate. GRU: the same order.
    biases    two for every gate, one with each product, where one would do: only their sum acts. Exception: the GRU's
              candidate, whose second bias is inside the product with the reset gate; that is our bias_hh.
    states    one tensor (layers · directions, B, H) per memory, where ours are tuples of (B, H) for each layer.

"Proved equal" means: copy the weights, compare values and gradients. Explained in docs/en/stage2_rnn_lstm.md.
"""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from stage2_rnn_lstm.models.by_hand import Weights
from stage2_rnn_lstm.models.by_hand_language_model import NumpyLanguageModel
from stage2_rnn_lstm.models.cells import CELLS, GRULayer, RNNLayer
from stage2_rnn_lstm.models.language_model import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.models.recurrent import Recurrent, States

OFFICIAL: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

# --- layers -----------------------------------------------------------------------------------------------------------


def official_layers(
    inputs: int, hidden: int, *, cell: str = "lstm", layers: int = 1, dropout: float = 0.0, bidirectional: bool = False
) -> nn.RNNBase:
    """nn.RNN, nn.LSTM or nn.GRU with the arguments of `Recurrent`; between one layer and none there is no dropout."""
    between = dropout if layers > 1 else 0.0
    return OFFICIAL[cell](inputs, hidden, layers, dropout=between, bidirectional=bidirectional)


def official(recurrent: Recurrent) -> nn.RNNBase:
    """The official layers with a copy of the weights of ours, in the same mode, precision and place."""
    first = ours(recurrent)[0]
    module = official_layers(
        first.weight_ih.shape[1],
        first.hidden,
        cell=next(name for name, layer in CELLS.items() if type(first) is layer),
        layers=len(recurrent.layers) // recurrent.directions,
        dropout=recurrent.dropout.p,
        bidirectional=recurrent.directions == 2,
    ).to(first.bias)
    copy_to_official(recurrent, module)
    return module.train(recurrent.training)


def ours(recurrent: Recurrent) -> list[RNNLayer]:
    """Our layers as a list: layer 0 forward, layer 0 backward, layer 1 forward, …."""
    return cast("list[RNNLayer]", list(recurrent.layers))


def theirs(module: nn.RNNBase) -> list[dict[str, nn.Parameter]]:
    """Torch's weights of each layer and direction, in our order, without `_l0`, `_l0_reverse`, `_l1` … in the names."""
    directions = ("", "_reverse") if module.bidirectional else ("",)
    endings = [f"_l{layer}{direction}" for layer in range(module.num_layers) for direction in directions]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [{name: getattr(module, name + ending) for name in names} for ending in endings]


def swap_gates(module: nn.RNNBase, rows: Float[Tensor, "G ..."]) -> Float[Tensor, "G ..."]:
    """From our order of the LSTM's gates to torch's, or back: output and candidate change places."""
    if not isinstance(module, nn.LSTM):
        return rows
    first, second, third, fourth = rows.chunk(4)
    return torch.cat((first, second, fourth, third))


@torch.no_grad()
def copy_to_official(recurrent: Recurrent, module: nn.RNNBase) -> None:
    """Writes our weights into the official layers, whose second biases become 0 but for the GRU's candidate."""
    for layer, weights in zip(ours(recurrent), theirs(module), strict=True):
        weights["weight_ih"].copy_(swap_gates(module, layer.weight_ih))
        weights["weight_hh"].copy_(swap_gates(module, layer.weight_hh))
        weights["bias_ih"].copy_(swap_gates(module, layer.bias))
        weights["bias_hh"].zero_()
        if isinstance(layer, GRULayer):
            weights["bias_hh"][-layer.hidden :] = layer.bias_hh


@torch.no_grad()
def load_official(recurrent: Recurrent, module: nn.RNNBase) -> None:
    """Writes the weights of official layers, wherever they were trained, into ours: two biases become their sum."""
    for layer, weights in zip(ours(recurrent), theirs(module), strict=True):
        layer.weight_ih.copy_(swap_gates(module, weights["weight_ih"]))
        layer.weight_hh.copy_(swap_gates(module, weights["weight_hh"]))
        layer.bias.copy_(swap_gates(module, weights["bias_ih"] + weights["bias_hh"]))
        if isinstance(layer, GRULayer):
            layer.bias[-layer.hidden :] = weights["bias_ih"][-layer.hidden :]
            layer.bias_hh.copy_(weights["bias_hh"][-layer.hidden :])


def still_second_biases(module: nn.RNNBase) -> None:
    """From now on only as many biases learn as have an effect of their own.

    Both biases of a gate get the gradient of their sum. A training moves both, and so the sum by twice the step that it
    would make as one parameter: torch's biases learn at twice the learning rate of ours, until they are stilled.
    """
    for weights in theirs(module):
        acts = torch.zeros_like(weights["bias_hh"])
        if isinstance(module, nn.GRU):
            acts[-module.hidden_size :] = 1
        weights["bias_hh"].register_hook(lambda grad, acts=acts: grad * acts)


def official_gradients(module: nn.RNNBase) -> dict[str, Tensor]:
    """∂L/∂weights of the official layers after `backward()`, by our names, in our order: `layers.0.weight_ih`, …."""
    gradients = {}
    for number, weights in enumerate(theirs(module)):
        grads = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
        for name in ("weight_ih", "weight_hh"):
            gradients[f"layers.{number}.{name}"] = swap_gates(module, grads[name])
        # L knows the first bias only as part of the sum, so its gradient is that of the sum.
        gradients[f"layers.{number}.bias"] = swap_gates(module, grads["bias_ih"])
        if isinstance(module, nn.GRU):
            gradients[f"layers.{number}.bias_hh"] = grads["bias_hh"][-module.hidden_size :]
    return gradients


def official_forward(
    module: nn.RNNBase,
    x: Float[Tensor, "T B D"],
    state: States | None = None,
    lengths: Int[Tensor, "B"] | None = None,
) -> tuple[Float[Tensor, "T B O"], States]:
    """The official layers with the signature of `Recurrent.forward`; padding is skipped by packing."""
    start = None
    if state is not None:
        memories = tuple(torch.stack(memory) for memory in zip(*state, strict=True))  # (layers · directions, B, H) each
        start = memories if isinstance(module, nn.LSTM) else memories[0]
    if lengths is None:
        outputs, final = module(x, start)
    else:
        packed, final = module(pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False), start)
        outputs, _ = pad_packed_sequence(packed, total_length=len(x))
    memories = final if isinstance(module, nn.LSTM) else (final,)
    return outputs, tuple(zip(*(memory.unbind(0) for memory in memories), strict=True))


# --- language models --------------------------------------------------------------------------------------------------


class OfficialLanguageModel(nn.Module):
    """`language_model.LanguageModel`, written with nn.LSTM, nn.GRU or nn.RNN."""

    def __init__(self, config: LanguageModelConfig):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding)
        self.recurrent = official_layers(
            config.embedding, config.hidden, cell=config.cell, layers=config.layers, dropout=config.dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.vocab_size)
        if config.tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Int[Tensor, "B T"], state: States | None = None) -> tuple[Float[Tensor, "B T V"], States]:
        x = self.dropout(self.embedding(tokens.t()))  # (T, B, E)
        outputs, state = official_forward(self.recurrent, x, state)
        return self.head(self.dropout(outputs)).transpose(0, 1), state


def to_official(model: LanguageModel) -> OfficialLanguageModel:
    """The official language model with a copy of our weights, in the same mode, precision and place."""
    copy = OfficialLanguageModel(model.config).to(model.head.bias)
    copy.embedding.load_state_dict(model.embedding.state_dict())
    copy.head.load_state_dict(model.head.state_dict())
    copy_to_official(model.recurrent, copy.recurrent)
    return copy.train(model.training)


def language_model_gradients(model: LanguageModel | OfficialLanguageModel) -> dict[str, Tensor]:
    """∂L/∂parameters after `backward()`, by our names: `recurrent.layers.0.weight_ih`, …."""
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    if isinstance(model, OfficialLanguageModel):
        gradients = {name: value for name, value in gradients.items() if not name.startswith("recurrent.")}
        gradients |= {f"recurrent.{name}": value for name, value in official_gradients(model.recurrent).items()}
    return gradients


# --- arrays -----------------------------------------------------------------------------------------------------------


def to_levels(recurrent: Recurrent) -> list[list[Weights]]:
    """A copy of our weights for `by_hand.stack`: a list of levels, each of one or two layers."""
    arrays = [
        {name: value.detach().numpy().copy() for name, value in layer.named_parameters()} for layer in recurrent.layers
    ]
    return [arrays[first : first + recurrent.directions] for first in range(0, len(arrays), recurrent.directions)]


def to_numpy(model: LanguageModel) -> NumpyLanguageModel:
    """The language model by hand with a copy of the weights of the one from scratch."""
    assert not model.config.tied, "by hand, embedding and output weights are two matrices"
    arrays = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    return NumpyLanguageModel(arrays, cell=model.config.cell)

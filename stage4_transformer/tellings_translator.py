"""A whole translator told three times: forward and back once, and so many steps of gradient descent.

By hand, the blocks of models/by_hand.py are put together here: embedding, both stacks, head. Explained in
docs/en/stage4_transformer.md.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import cross_entropy

from stage1_mlp.models import softmax_cross_entropy
from stage4_transformer.models import Transformer, TransformerConfig, by_hand, causal_mask, padding_mask
from stage4_transformer.models.by_hand import Kept, Weights, part, whole
from stage4_transformer.models.official import OfficialTransformer, to_official
from stage4_transformer.tellings import SMALL, Answer, Size, Tellings, numpy_weights, shaken, weights_of, with_torch

LEARNING_RATE = 0.1
Training = Callable[[int], list[float]]  # number of steps → the loss of each, in nats a token


class Sentences(NamedTuple):
    """What the translators read, and what they are to say."""

    source: Int[Tensor, "B S"]
    lengths: Int[Tensor, "B"]
    target_in: Int[Tensor, "B T"]
    target_out: Int[Tensor, "B T"]


# --- by hand ----------------------------------------------------------------------------------------------------------


def stack(
    x: Float[ndarray, "B T D"], weights: Weights, layers: int, pre: bool, block: Callable[..., Any], *given: Any
) -> tuple[Float[ndarray, "B T D"], Kept]:
    """Blocks upon each other, and in the order "pre" a last norm."""
    kept = []
    for number in range(layers):
        x, of_block = block(x, part(weights, f"layers.{number}"), *given)
        kept.append(of_block)
    x, of_norm = by_hand.layer_norm(x, part(weights, "norm")) if pre else (x, None)
    return x, (kept, of_norm)


def stack_backward(dx: Float[ndarray, "B T D"], kept: Kept, block_backward: Callable[..., Any]) -> tuple[Any, ...]:
    """δx, δmemory (0 in an encoder) and ∂L/∂weights: the blocks from the last to the first."""
    parts, dmemory = {}, 0
    if kept[1] is not None:
        dx, parts["norm"] = by_hand.layer_norm_backward(dx, kept[1])
    for number, of_block in reversed(list(enumerate(kept[0]))):
        dx, *of_memory, parts[f"layers.{number}"] = block_backward(dx, of_block)
        dmemory = sum(of_memory, dmemory)
    return dx, dmemory, whole(parts)


class NumpyTransformer:
    """Embedding, encoder, decoder, and the embedding once more as output weights. Weights have our names.

    Args:
        model: Whose weights are copied.
    """

    def __init__(self, model: Transformer):
        self.config, self.weights = model.config, numpy_weights(model)
        waves = model.encoder.positions.embed(torch.zeros(1, model.config.max_length, model.config.model).double())
        self.waves = waves[0].numpy().astype(self.weights["head.bias"].dtype)

    def forward(
        self, source: Int[ndarray, "B S"], real: Bool[ndarray, "B 1 1 S"], target_in: Int[ndarray, "B T"]
    ) -> tuple[Float[ndarray, "B T V"], Kept]:
        """Logits after each target token."""
        config, table, steps = self.config, self.weights["embedding.weight"], target_in.shape[1]
        pre, future = config.order == "pre", causal_mask(steps, steps).numpy()
        inputs = (table[tokens] * config.model**0.5 + self.waves[: tokens.shape[1]] for tokens in (source, target_in))
        x, encoder = next(inputs), part(self.weights, "encoder")
        memory, read = stack(x, encoder, config.layers, pre, by_hand.encoder_block, config.heads, real, config.order)
        y, given = next(inputs), (config.heads, memory, future, real, config.order)
        y, written = stack(y, part(self.weights, "decoder"), config.layers, pre, by_hand.decoder_block, *given)
        return y @ table.T + self.weights["head.bias"], (source, target_in, read, written, y)

    def backward(self, dlogits: Float[ndarray, "B T V"], kept: Kept) -> Weights:
        """∂L/∂weights. The embedding is used three times: by both stacks, and by the head."""
        source, target_in, read, written, y = kept
        table, scale = self.weights["embedding.weight"], self.config.model**0.5
        dy, dmemory, decoder = stack_backward(dlogits @ table, written, by_hand.decoder_block_backward)
        dx, _, encoder = stack_backward(dmemory, read, by_hand.encoder_block_backward)
        dtable = np.einsum("btv,btd->vd", dlogits, y)
        np.add.at(dtable, target_in, scale * dy)
        np.add.at(dtable, source, scale * dx)
        gradients = {"embedding.weight": dtable, "head.bias": dlogits.sum(axis=(0, 1))}
        return gradients | whole({"encoder": encoder, "decoder": decoder})


# --- the three --------------------------------------------------------------------------------------------------------


def translators(
    order: str, size: Size = SMALL, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tellings, dict[str, Training]]:
    """The three translators, each to go forward and back once, and to be trained. A training changes its weights."""
    torch.manual_seed(seed)
    shape = {name: getattr(size, name) for name in ("model", "heads", "hidden", "layers")}
    longest = max(size.source, size.target)
    config = TransformerConfig(vocab_size=size.vocabulary, max_length=longest, order=order, **shape)
    ours = shaken(Transformer(config), torch.zeros((), dtype=dtype))
    theirs, hand = to_official(ours), NumpyTransformer(ours)
    lengths = torch.randint(1, size.source + 1, (size.batch,))
    lengths[0] = size.source
    source, target = (torch.randint(size.vocabulary, (size.batch, steps)) for steps in (size.source, size.target))
    sentences = Sentences(source, lengths, target, target)  # they are to say what they read
    grad = torch.randn(size.batch, size.target, size.vocabulary, dtype=dtype)

    def tell_by_hand() -> Answer:
        logits, kept = hand.forward(*arrays_of(sentences))
        return Answer(logits, hand.backward(grad.numpy(), kept))

    tellings: Tellings = {"by hand": tell_by_hand}
    trainings: dict[str, Training] = {"by hand": lambda steps: losses_by_hand(hand, sentences, steps)}
    for telling, model in (("from scratch", ours), ("official", theirs)):
        tellings[telling] = with_torch(lambda model=model: model(*sentences[:3]), weights_of(model), grad)
        trainings[telling] = lambda steps, model=model: losses_with_torch(model, sentences, steps)
    return tellings, trainings


def arrays_of(sentences: Sentences) -> tuple[ndarray, ndarray, ndarray]:
    """What NumpyTransformer reads."""
    source, lengths, target_in, _ = sentences
    return source.numpy(), padding_mask(lengths, source.shape[1]).numpy(), target_in.numpy()


def losses_by_hand(model: NumpyTransformer, sentences: Sentences, steps: int) -> list[float]:
    """Gradient descent, every line of it in NumPy."""
    arrays, target, losses = arrays_of(sentences), sentences.target_out.numpy().ravel(), []
    for _ in range(steps):
        logits, kept = model.forward(*arrays)
        loss, dlogits = softmax_cross_entropy(logits.reshape(len(target), -1), target)
        for name, gradient in model.backward(dlogits.reshape(logits.shape), kept).items():
            model.weights[name] -= LEARNING_RATE * gradient
        losses.append(loss)
    return losses


def losses_with_torch(model: Transformer | OfficialTransformer, sentences: Sentences, steps: int) -> list[float]:
    """The same with autograd and torch's optimiser."""
    optimizer, losses = torch.optim.SGD(model.parameters(), LEARNING_RATE), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = cross_entropy(model(*sentences[:3]).flatten(0, 1), sentences.target_out.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

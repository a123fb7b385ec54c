"""The three tellings of a translator, brought to one form that compare.py can subtract.

By hand, from scratch and official start with the same weights and read the same sentences, padded ones among them, in
float64. An `Outcome` says, by name, what came out and what every gradient is. By hand tells what this stage is about:
bridge, attention, decoder and head; what the encoder said is given to it (stage 2 told recurrent layers by hand).
Explained in docs/en/stage3_attention_seq2seq.md.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import cross_entropy

from stage2_rnn_lstm.models import still_second_biases
from stage3_attention_seq2seq.models import (
    NUMPY_ATTENTIONS,
    NumpyDecoder,
    OfficialSeq2Seq,
    Seq2Seq,
    Seq2SeqConfig,
    bahdanau_step,
    bahdanau_step_backward,
    luong_step,
    luong_step_backward,
    seq2seq_gradients,
    to_numpy,
    to_official,
)

LENGTHS = (7, 4, 1, 6, 7)  # tokens of each source
TARGET, SOURCE_VOCAB, TARGET_VOCAB, EMBEDDING, HIDDEN = 5, 19, 17, 6, 11
LEARNING_RATE = 0.1
State = tuple[ndarray, ...]
Weights = dict[str, ndarray]

CASES: dict[str, dict[str, Any]] = {
    **{f"{name}, {cell}": {"attention": name, "cell": cell} for name in NUMPY_ATTENTIONS for cell in ("gru", "lstm")},
    **{name: {"attention": name} for name in ("luong_concat", "local", "none")},
    "two layers": {"attention": "bahdanau", "layers": 2},
    "no input feeding": {"attention": "luong_general", "input_feeding": False},
}


class Outcome(NamedTuple):
    """What one telling gives: values and gradients by name, and in nats the loss of every training step."""

    values: dict[str, ndarray]
    gradients: dict[str, ndarray]
    losses: list[float]


class Problem(NamedTuple):
    """Sentences, and the weights with which logits and attention add up to what is differentiated."""

    source: Int[Tensor, "B S"]
    lengths: Int[Tensor, "B"]
    target_in: Int[Tensor, "B T"]
    grad: Float[Tensor, "B T V"]


def translators(options: dict[str, Any], seed: int, steps: int) -> dict[str, Outcome]:
    """The tellings of a translator with these options: values and gradients, and the losses of a short training."""
    torch.manual_seed(seed)
    model = Seq2Seq(Seq2SeqConfig(SOURCE_VOCAB, TARGET_VOCAB, embedding=EMBEDDING, hidden=HIDDEN, **options)).double()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)  # so that no bias is 0, and attention has preferences
    count, longest = len(LENGTHS), max(LENGTHS)
    problem = Problem(
        torch.randint(SOURCE_VOCAB, (count, longest)),
        torch.tensor(LENGTHS),
        torch.randint(TARGET_VOCAB, (count, TARGET)),
        torch.randn(count, TARGET, TARGET_VOCAB, dtype=torch.float64),
    )
    config, copy = model.config, to_official(model)
    for side in (copy.encoder, copy.decoder):
        still_second_biases(side.recurrent)
    told = config.attention in NUMPY_ATTENTIONS and config.layers == 1 and config.input_feeding
    found = {"by hand": by_hand(model, problem)} if told else {}
    return found | {"from scratch": with_torch(model, problem, steps), "official": with_torch(copy, problem, steps)}


def with_torch(model: Seq2Seq | OfficialSeq2Seq, problem: Problem, steps: int) -> Outcome:
    """Forward, autograd's backward, and so many steps of gradient descent."""
    logits, weights = model(problem.source, problem.lengths, problem.target_in)
    logits.backward(problem.grad)
    values = {"logits": logits} | ({} if weights is None else {"weights": weights})
    gradients = arrays(seq2seq_gradients(model))
    optimizer, losses = torch.optim.SGD(model.parameters(), LEARNING_RATE), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = cross_entropy(model(*problem[:3])[0].flatten(0, 1), problem.target_in.flatten())  # say what it reads
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Outcome(arrays(values), gradients, losses)


def arrays(tensors: dict[str, Tensor]) -> dict[str, ndarray]:
    """A copy of each as an array."""
    return {name: value.detach().numpy().copy() for name, value in tensors.items()}


# --- by hand ----------------------------------------------------------------------------------------------------------


class Read(NamedTuple):
    """What the decoder by hand made of a target: features, attention weights, and what the way back needs."""

    features: Float[ndarray, "T B D"]
    weights: Float[ndarray, "T B S"]
    start: Float[ndarray, "B M"]
    tapes: list[Any]


def read_by_hand(
    hand: NumpyDecoder,
    tokens: Int[ndarray, "B T"],
    keys: Float[ndarray, "B S H"],
    summary: Float[ndarray, "B H"],
    real: Bool[ndarray, "B S"],
) -> Read:
    """Teacher forcing, step by step."""
    start = np.tanh(summary @ hand.weights["initial"].T)  # (B, H), or (B, 2 H) for h and c
    state: State = tuple(np.split(start, start.shape[1] // keys.shape[2], axis=1))
    features, tapes = [], []
    fed = np.zeros((len(tokens), hand.weights["embedding.weight"].shape[1]), keys.dtype)
    for x in hand.weights["embedding.weight"][tokens.T]:  # (B, D)
        if hand.attention == "bahdanau":
            feature, state, tape = bahdanau_step(hand, x, state, keys, real)
        else:
            feature, state, tape = luong_step(hand, x, state, fed, keys, real)
            fed = feature
        features.append(feature)
        tapes.append(tape)
    return Read(np.stack(features), np.stack([tape.look.alpha for tape in tapes]), start, tapes)


def back_by_hand(
    hand: NumpyDecoder, read: Read, tokens: Int[ndarray, "B T"], summary: Float[ndarray, "B H"], grad: ndarray
) -> tuple[Float[ndarray, "B S H"], Float[ndarray, "B H"], Weights]:
    """From ∂L/∂features to δkeys, δsummary and the gradients of the decoder's weights."""
    table = np.zeros_like(hand.weights["embedding.weight"])
    total: Weights = {"embedding.weight": table}
    dstate: State = tuple(np.zeros_like(part) for part in read.tapes[0].state)
    dfed, dkeys = np.zeros_like(grad[0]), np.zeros_like(read.tapes[0].look.keys)
    for t in reversed(range(len(grad))):
        if hand.attention == "bahdanau":
            dx, dstate, dk, gradients = bahdanau_step_backward(hand, read.tapes[t], grad[t], dstate)
        else:
            dx, dstate, dfed, dk, gradients = luong_step_backward(hand, read.tapes[t], grad[t] + dfed, dstate)
        np.add.at(table, tokens[:, t], dx)
        dkeys += dk
        total |= {name: total.get(name, 0) + value for name, value in gradients.items()}
    bent = np.concatenate(dstate, axis=1) * (1 - read.start * read.start)  # through the tanh of the start
    total["initial"] = bent.T @ summary
    return dkeys, bent @ hand.weights["initial"], total


def by_hand(model: Seq2Seq, problem: Problem) -> Outcome:
    """Bridge, decoder and head in NumPy, forward and back; the head's weights are the target embedding."""
    hand = to_numpy(model.decoder, model.config.cell, model.config.attention)
    with torch.no_grad():
        outputs, final = (tensor.numpy() for tensor in model.encoder(problem.source, problem.lengths))
    bridge, bias = model.bridge.weight.detach().numpy(), model.head.bias.detach().numpy()
    tokens, grad = problem.target_in.numpy(), problem.grad.numpy().swapaxes(0, 1)  # (T, B, V)
    real = np.arange(outputs.shape[1]) < problem.lengths.numpy()[:, None]
    keys, summary, table = outputs @ bridge.T, final @ bridge.T, hand.weights["embedding.weight"]

    read = read_by_hand(hand, tokens, keys, summary, real)
    logits = read.features @ table.T + bias
    dkeys, dsummary, gradients = back_by_hand(hand, read, tokens, summary, grad @ table)
    gradients["embedding.weight"] += np.einsum("tbv,tbd->vd", grad, read.features)  # as the head
    return Outcome(
        {"logits": logits.swapaxes(0, 1), "weights": read.weights.swapaxes(0, 1)},
        {
            **{f"decoder.{name}": value for name, value in gradients.items()},
            "bridge.weight": np.einsum("bsh,bso->ho", dkeys, outputs) + dsummary.T @ final,
            "head.bias": grad.sum(axis=(0, 1)),
        },
        [],
    )


# --- what compare.py prints -------------------------------------------------------------------------------------------


def differences(ours: Outcome, theirs: Outcome) -> list[float]:
    """Largest |difference| of the values, of the gradients and, if there was a training, of any step's loss."""
    found = [farthest(ours.values, theirs.values), farthest(ours.gradients, theirs.gradients)]
    if ours.losses:
        found.append(float(np.abs(np.subtract(ours.losses, theirs.losses)).max()))
    return found


def farthest(ours: dict[str, ndarray], theirs: dict[str, ndarray]) -> float:
    """The largest |difference|, over all that ours has, which theirs has in the same shapes; NaN if there is one."""
    assert all(ours[name].shape == theirs[name].shape for name in ours)
    return float(np.max([np.abs(ours[name] - theirs[name]).max() for name in ours]))

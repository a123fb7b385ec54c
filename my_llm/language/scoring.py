"""How well a model predicts a text. In training: the loss of a batch. After it: every token of a whole text once.

A score needs its unit. Nats per character and nats per word do not compare; bits per byte of the text do, as long as
no word is unknown: <unk> is easier to guess than the word that it stands for.
"""

import time
from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm import metrics
from my_llm.data.catalog import LanguageText
from my_llm.device import autocast
from my_llm.evaluation import Facts, parameters_of, part_of, shared_facts
from my_llm.language.batches import Batch, tokens_of
from my_llm.language.writer import Writer
from my_llm.text import UNK, Tokenizer, WordPieceTokenizer, WordTokenizer, unknown_id
from my_llm.text.word import normalise
from my_llm.training import Loss

STREAMS = 64  # read side by side when a text is scored
WARM_UP = 256  # tokens that each of them reads before its first target
CHUNK = 128  # steps at a time: enough to keep the products busy
ENOUGH = 2000  # characters or words to time the writing

UNITS = {"char": "character", "word": "word or mark", "bpe": "token", "gpt2": "token", "wordpiece": "token"}


def next_token_loss(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy at every token of the batch, for a model that begins each window anew."""
    inputs, targets = (tensor.to(next(model.parameters()).device) for tensor in batch)
    logits, _ = model(inputs)  # (B, T, V)
    total = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
    return Loss(total, targets.numel())


# --- a whole text -----------------------------------------------------------------------------------------------------


def side_by_side(
    tokens: Int[Tensor, "N"], streams: int, warm_up: int
) -> tuple[Int[Tensor, "B M"], Int[Tensor, "B M"], Int[Tensor, "B M"]]:
    """A text for scoring: every token but the first is a target exactly once.

    The targets are dealt to the streams in order. To have a past to predict from, each stream first reads the `warm_up`
    tokens before its first target, unscored. The text begins with the first stream, where they are targets as well.

    Returns:
        inputs, targets, and 1 where a target counts, else 0.
    """
    last = len(tokens) - 2  # row r predicts token r + 1
    warm_up = min(warm_up, last + 1)
    share = -(-(last + 1 - warm_up) // streams)  # targets of each stream, rounded up; the first has warm_up more
    stream, steps = torch.arange(streams)[:, None], torch.arange(warm_up + share)
    rows = stream * share + steps  # (B, M)
    counts = ((stream == 0) | (steps >= warm_up)) & (rows <= last)
    rows = rows.clamp(max=last)
    return tokens[rows], tokens[rows + 1], counts.long()


def sum_of(
    logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"], counts: Int[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Nats of the targets that count, on the CPU."""
    losses = cross_entropy(logits.float().flatten(0, 1), targets.flatten().to(logits.device), reduction="none")
    return (losses.cpu().double() * counts.flatten()).sum()


@torch.inference_mode()
def nats_of(model: nn.Module, tokens: Int[Tensor, "N"], streams: int = STREAMS, warm_up: int = WARM_UP) -> Loss:
    """The loss over a whole text of a model whose state may grow old, in evaluation mode.

    Args:
        model: tokens and state → logits and state.
        tokens: The text; at least two tokens. Every one after the first is predicted once.
        streams: How many parts are read side by side; 1 reads it in one go, which is slow and gives almost the same.
        warm_up: Tokens that a stream reads before its first target.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    streams = max(1, min(streams, (len(tokens) - 1) // CHUNK))
    warm_up = max(warm_up, getattr(model, "receptive_field", 0)) if streams > 1 else 0  # a WaveNet's may be longer
    inputs, targets, counts = side_by_side(tokens, streams, warm_up)
    total, state = torch.zeros((), dtype=torch.float64), None
    for start in range(0, inputs.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        logits, state = model(inputs[:, part].to(device), state)
        total += sum_of(logits, targets[:, part], counts[:, part])
    model.train(training)
    return Loss(total, len(tokens) - 1)


@torch.inference_mode()
def nats_in_windows(model: nn.Module, tokens: Int[Tensor, "N"], length: int) -> Loss:
    """`nats_of` a model that reads at most `length` tokens at once, such as a Transformer.

    It reads windows of that length, each half a window further on. The first half of a window is there to be looked at
    and is not scored, but for the beginning of the text: every token is predicted once, from length / 2 tokens or more.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    warm_up = length // 2
    windows = max(1, -(-(len(tokens) - 1 - warm_up) // (length - warm_up)))
    parts = zip(*(part.split(max(1, STREAMS * CHUNK // length)) for part in side_by_side(tokens, windows, warm_up)))
    total = torch.zeros((), dtype=torch.float64)
    for inputs, targets, counts in parts:
        total += sum_of(model(inputs.to(device))[0], targets, counts)
    model.train(training)
    return Loss(total, len(tokens) - 1)


def predicted_bytes(tokenizer: Tokenizer, text: str) -> int:
    """UTF-8 bytes of the text as the model predicts it: one of words never sees indentation or double spaces."""
    by_words = isinstance(tokenizer, WordTokenizer | WordPieceTokenizer)
    return len((normalise(text) if by_words else text).encode())


def scores_of(
    loss: Loss, n_bytes: int, tokens: Int[Tensor, "N"], name: str = "validation", *, unknown: int | None = UNK
) -> dict[str, float]:
    """Nats and perplexity per token, bits per byte of the text, and the share of unknown tokens where there are any.

    Args:
        loss: The sum over all tokens of the text but the first, from `nats_of`.
        n_bytes: Of that text, from `predicted_bytes`.
        name: Goes before _loss.
        unknown: The id of <unk>, from `unknown_id`; None where all is known.
    """
    total = float(loss.total)
    share = 0.0 if unknown is None else float((tokens == unknown).float().mean())
    return {
        f"{name}_loss": total / loss.count,
        "perplexity": metrics.perplexity(total, loss.count),
        "bits_per_byte": metrics.bits_per_byte(total, n_bytes),
        **({"unknown": share} if share else {}),
    }


def measure(
    writer: Writer,
    corpus: LanguageText,
    split: str,
    loss_of: Callable[[Any, Tensor], Loss],
    *,
    seed: int = 0,
    parameters: int | None = None,
) -> Facts:
    """All that evaluate.py says: perplexity, bits per byte, speed of reading and writing, and a text that it wrote.

    Args:
        loss_of: Model and tokens → nats: `nats_of`, or `nats_in_windows` with its length.
        seed: Of the text that it writes.
        parameters: How many numbers the model has learnt; None: those of the network.

    Raises:
        DataError: the corpus has no such part, or it is too short.
    """
    split, text = part_of(corpus, split)
    size = parameters_of(cast(nn.Module, writer.model)) if parameters is None else parameters
    tokens, unknown = tokens_of(writer.tokenizer, text, split), unknown_id(writer.tokenizer)
    started = time.perf_counter()
    with autocast(writer.precision, writer.device):
        loss = loss_of(writer.model, tokens)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    written = "".join(writer.write("\n", length=ENOUGH, temperature=0.8, seed=seed))
    return {
        "task": "language model", "unit": UNITS[writer.kind],
        **shared_facts(writer.facts, corpus, split, size), "n": loss.count,
        "vocabulary": writer.tokenizer.vocab_size,
        "frequencies_alone": frequencies_alone(tokens),
        **scores_of(loss, predicted_bytes(writer.tokenizer, text), tokens, "mean", unknown=unknown),
        "scored_per_second": loss.count / seconds, "written_per_second": ENOUGH / (time.perf_counter() - started),
        "sample": written[:600],
    }  # fmt: skip


def frequencies_alone(tokens: Int[Tensor, "N"]) -> float:
    """Nats per token for one who knows how frequent each token is in this text, and nothing else."""
    share = tokens.bincount() / len(tokens)
    share = share[share > 0]
    return float(-(share * share.log()).sum())

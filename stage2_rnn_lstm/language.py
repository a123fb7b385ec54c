"""Language modelling as a task: the loss with the state that is carried along, and the score of a whole text.

A score needs its unit. Nats per character and nats per word do not compare; bits per byte of the text do, as long as
no word is unknown: <unk> is easier to guess than the word that it stands for.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm import metrics
from my_llm.data.catalog import LanguageText
from my_llm.errors import DataError
from my_llm.text import UNK, CharTokenizer, Tokenizer, WordTokenizer, save_vocabulary
from my_llm.text.word import normalise
from my_llm.training import Loss
from stage2_rnn_lstm.data import Streams, Window, side_by_side
from stage2_rnn_lstm.models import NGramModel, detached
from stage2_rnn_lstm.prepared import Prepared
from stage2_rnn_lstm.writer import KIND, NGRAM_KIND, Model, Writer, build, parts_of

__all__ = [
    "KIND",
    "NGRAM_KIND",
    "CarriedLoss",
    "count_ngrams",
    "loss_of",
    "nats_of",
    "predicted_bytes",
    "prepare",
    "publish_vocabulary",
    "scores_of",
    "tokens_of",
]  # fmt: skip

SAMPLE = 200  # characters or words that the model writes on the way
PROMPT = 500  # characters that it reads before, of the text held out

STREAMS = 64  # read side by side when a text is scored
WARM_UP = 256  # tokens that each of them reads before its first target
CHUNK = 128  # steps at a time: enough to keep the products busy


class CarriedLoss:
    """The loss of a window; the state after it is where the next window begins.

    The state belongs to the training, not to the model: `state_dict` gives it to the checkpoint for exact resume.
    """

    def __init__(self) -> None:
        self.state: Any = None

    def __call__(self, model: nn.Module, window: Window) -> Loss:
        device = next(model.parameters()).device
        before = None if window.fresh else self.state
        before = before and detached(before, device)  # a loaded one is on the CPU
        logits, state = model(window.inputs.to(device), before)
        self.state = detached(state)
        members = len(logits) // len(window.targets)  # an ensemble answers once for each
        targets = window.targets.to(device).repeat(members, 1)
        total = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        return Loss(total / members, window.targets.numel())

    def state_dict(self) -> dict[str, Any]:
        """The carried state, tensors in nested tuples."""
        return {"state": self.state}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.state = content["state"]


@torch.inference_mode()
def nats_of(model: nn.Module, tokens: Int[Tensor, "N"], streams: int = STREAMS, warm_up: int = WARM_UP) -> Loss:
    """The model's loss over a whole text, in evaluation mode: every token after the first is predicted once.

    Args:
        tokens: The text; at least two tokens.
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
        losses = cross_entropy(logits.float().flatten(0, 1), targets[:, part].flatten().to(device), reduction="none")
        total += (losses.cpu().double() * counts[:, part].flatten()).sum()
    model.train(training)
    return Loss(total, len(tokens) - 1)


def loss_of(model: Model, tokens: Int[Tensor, "N"]) -> Loss:
    """The loss over a whole text of any language model, counts or network."""
    if isinstance(model, NGramModel):
        return Loss(model.score(tokens)[1:].sum(), len(tokens) - 1)
    return nats_of(model, tokens)


def predicted_bytes(tokenizer: Tokenizer, text: str) -> int:
    """UTF-8 bytes of the text as the model predicts it: one of words never sees indentation or double spaces."""
    return len((normalise(text) if isinstance(tokenizer, WordTokenizer) else text).encode())


def scores_of(loss: Loss, n_bytes: int, tokens: Int[Tensor, "N"], name: str = "validation") -> dict[str, float]:
    """Nats and perplexity per token, bits per byte of the text, and the share of unknown tokens where there are any.

    Args:
        loss: The sum over all tokens of the text but the first, from `nats_of`.
        n_bytes: Of that text, from `predicted_bytes`.
        name: Goes before _loss.
    """
    total = float(loss.total)
    unknown = float((tokens == UNK).float().mean())
    return {
        f"{name}_loss": total / loss.count,
        "perplexity": metrics.perplexity(total, loss.count),
        "bits_per_byte": metrics.bits_per_byte(total, n_bytes),
        **({"unknown": unknown} if unknown else {}),
    }


def tokenizer_for(corpus: LanguageText, vocab_type: str, max_words: int) -> Tokenizer:
    """All characters of the training part, or its most frequent words."""
    if vocab_type == "word":
        return WordTokenizer.train([corpus.train], max_size=max_words)
    return CharTokenizer.train([corpus.train])


def tokens_of(tokenizer: Tokenizer, text: str, part: str) -> Int[Tensor, "N"]:
    """A part of a corpus as numbers.

    Raises:
        DataError: it has fewer than two tokens, so there is nothing to predict.
    """
    tokens = torch.tensor(tokenizer.encode(text), dtype=torch.long)
    if len(tokens) < 2:
        raise DataError(f"the {part} part is too short", got=f"{len(tokens)} tokens", valid="at least 2 tokens")
    return tokens


def model_config_of(config: Any, vocab_size: int) -> dict[str, Any]:
    """The fields of the model's config, from the flags of train.py."""
    shared = {"vocab_size": vocab_size, "dropout": config.dropout}
    if config.model_type == "wavenet":
        return {**shared, "channels": config.hidden, "blocks": config.layers}
    sizes = {name: getattr(config, name) for name in ("embedding", "hidden", "layers", "tied", "members")}
    return {**shared, **sizes, "cell": config.model_type}


def prepare(corpus: LanguageText, config: Any, order: Mapping[str, int]) -> Prepared:
    """A new language model for this corpus, and everything to train it with.

    Args:
        corpus: Running text.
        config: The flags of train.py.
        order: batch_size, seed, rank, world, as Streams takes them.
    """
    tokenizer = tokenizer_for(corpus, config.vocab_type, config.max_words)
    tokens, held_out = (tokens_of(tokenizer, getattr(corpus, part), part) for part in ("train", "validation"))
    model = build(config.model_type, model_config_of(config, tokenizer.vocab_size))
    streams = Streams(tokens, length=config.length, **order)
    loss = CarriedLoss()
    n_bytes = predicted_bytes(tokenizer, corpus.validation)
    opening = corpus.validation[:PROMPT].rpartition("\n")[0] + "\n"  # a state as reading leaves it, at a line's start

    def sample() -> str:
        training = model.training
        writer = Writer(model, tokenizer, facts={})
        text = "".join(writer.write(opening, length=SAMPLE, temperature=0.8, seed=config.seed))
        model.train(training)
        return text

    return Prepared(
        model,
        streams,
        streams.per_epoch,
        loss,
        lambda: scores_of(nats_of(model, held_out), n_bytes, held_out),
        parts_of(model, config.model_type, tokenizer),
        size=f"{len(tokens):,} {config.vocab_type}s to learn from, {tokenizer.vocab_size:,} different ones",
        carried=loss,
        sample=sample,
    )


def count_ngrams(corpus: LanguageText, config: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Count the training part: the content of a checkpoint, and the scores on the validation part."""
    tokenizer = tokenizer_for(corpus, config.vocab_type, config.max_words)
    tokens, held_out = (tokens_of(tokenizer, getattr(corpus, part), part) for part in ("train", "validation"))
    started = time.perf_counter()
    model = NGramModel.fit(tokens, tokenizer.vocab_size, config.order)
    seconds = time.perf_counter() - started
    scores = scores_of(loss_of(model, held_out), predicted_bytes(tokenizer, corpus.validation), held_out)
    data = {"name": corpus.name, "sha256": corpus.sha256, "source": corpus.source}
    progress = {"step": 0, "best": {"step": 0, "scores": scores}, "seconds": seconds}
    return {"kind": NGRAM_KIND, "data": data, "progress": progress, **parts_of(model, "ngram", tokenizer)}, scores


def publish_vocabulary(checkpoint: Path, parts: Mapping[str, Any]) -> None:
    """Put <char or word>_vocabulary.pkl, and its JSON, beside a published checkpoint."""
    state = parts["tokenizer"]
    save_vocabulary(checkpoint.with_name(f"{state['kind']}_vocabulary.pkl"), state)

"""Sort texts with a network that reads words in order: texts in, probabilities out, whatever stands between.

A long text is cut to its first and last words: every word costs, a review says its verdict at the end, and news say
what they are about at the start.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm import checkpoint, metrics
from my_llm.data.batches import LengthBatches, chunks_by_length, pad
from my_llm.data.corpora.classification import Example, TextClassification
from my_llm.device import Precision, autocast, resolve_precision
from my_llm.errors import DataError, UserError
from my_llm.evaluation import Facts, parameters_of, part_of, shared_facts
from my_llm.tasks import Prepared
from my_llm.text import UNK, Tokenizer, WordTokenizer, tokenizer_from_state
from my_llm.training import Loss

CrossEntropy = Callable[..., Tensor]  # logits (B, C), labels (B,), label smoothing → nats (B,); stage 1 wrote it
ConfigClass = Callable[..., Any]  # vocab_size, classes, and what else the model has
ModelClass = Callable[[Any], nn.Module]  # config → a network: tokens (B, T), lengths (B,) → logits (B, C)

MAX_WORDS = 400  # of a text, first and last half together
MAX_VOCABULARY = 20_000
LABEL_SMOOTHING = 0.1  # as in stage 1: an answer need not be surer than this


class Batch(NamedTuple):
    """What one training step reads."""

    tokens: Int[Tensor, "B T"]
    lengths: Int[Tensor, "B"]
    labels: Int[Tensor, "B"]


class TextSorter:
    """Tokenizer, model and labels together: everything between a text and its class.

    Args:
        model: tokens (B, T), lengths (B,) → logits (B, C); it has its `config`.
        tokenizer: Of words in lower case; a subclass may read otherwise.
        labels: The name of each class.
        facts: data, settings and progress of the checkpoint; empty for a new model.
    """

    reads: ClassVar[Any] = WordTokenizer  # what the tokenizer is

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, labels: Sequence[str], facts: Mapping[str, Any]):
        self.model, self.tokenizer, self.labels, self.facts = model, tokenizer, tuple(labels), facts
        self.precision: Literal["fp32", "bf16"] = "fp32"

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """The words of each text in lower case, (T,); a text without words is one <unk>."""
        return [torch.tensor(first_and_last(self.tokenizer.encode(text.lower())) or [UNK]) for text in texts]

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> Float[Tensor, "N C"]:
        """Logits on the CPU, computed in evaluation mode; the model's mode is put back afterwards."""
        encoded, device, training = self.encode(texts), next(self.model.parameters()).device, self.model.training
        logits = torch.empty(len(texts), len(self.labels))
        self.model.eval()
        for rows in chunks_by_length([len(tokens) for tokens in encoded]):
            tokens, lengths = pad([encoded[row] for row in rows])
            with autocast(self.precision, device):
                logits[rows] = self.model(tokens.to(device), lengths.to(device)).float().cpu()
        self.model.train(training)
        return logits

    def probabilities(self, texts: Sequence[str]) -> Float[Tensor, "N C"]:
        """The probability of each class for each text."""
        return self.logits(texts).softmax(dim=1)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The most probable class of each text."""
        return [self.labels[answer] for answer in self.logits(texts).argmax(dim=1).tolist()]

    def scores(
        self, examples: Sequence[Example], cross_entropy: CrossEntropy, name: str = "validation"
    ) -> dict[str, float]:
        """Mean loss in nats as <name>_loss, accuracy and macro-F1 as fractions."""
        logits, labels = self.logits([e.text for e in examples]), torch.tensor([e.label for e in examples])
        predicted, truth = logits.argmax(dim=1).numpy(), labels.numpy()
        confusion = metrics.confusion_matrix(predicted, truth, len(self.labels))
        return {
            f"{name}_loss": float(cross_entropy(logits, labels).mean()),
            "accuracy": metrics.accuracy(predicted, truth),
            "macro_f1": metrics.macro_f1(confusion),
        }

    def parts(self) -> dict[str, Any]:
        """What a checkpoint needs besides the weights, as plain data; `load_sorter` reads it back."""
        return {
            "model_config": asdict(cast(Any, self.model).config),
            "tokenizer": self.tokenizer.to_state(),
            "labels": list(self.labels),
        }


def first_and_last(tokens: list[int], most: int = MAX_WORDS) -> list[int]:
    """The whole text, or its two ends with the middle left out."""
    return tokens if len(tokens) <= most else tokens[: most - most // 2] + tokens[-(most // 2) :]


# --- learning ---------------------------------------------------------------------------------------------------------


def classification_loss(model: nn.Module, batch: Batch, cross_entropy: CrossEntropy) -> Loss:
    """Cross-entropy of every text of the batch, at labels that are a little blurred."""
    tokens, lengths, labels = (tensor.to(next(model.parameters()).device) for tensor in batch)
    logits = model(tokens, lengths).float()
    return Loss(cross_entropy(logits, labels, LABEL_SMOOTHING).sum(), len(labels))


def prepare(
    corpus: TextClassification,
    config_class: ConfigClass,
    model_class: ModelClass,
    cross_entropy: CrossEntropy,
    *,
    shape: Mapping[str, Any],
    order: Mapping[str, int],
) -> Prepared:
    """A new model for this corpus, and everything to train it with.

    Args:
        corpus: Labelled texts in three parts.
        config_class: Of the model.
        model_class: Takes the config alone.
        cross_entropy: Of each text, label smoothing as its third argument.
        shape: Fields of the config besides vocab_size and classes.
        order: batch_size, seed, rank, world, as LengthBatches takes them.
    """
    texts = [example.text.lower() for example in corpus.train]
    tokenizer = WordTokenizer.train(texts, min_count=2, max_size=MAX_VOCABULARY)
    config = config_class(vocab_size=tokenizer.vocab_size, classes=len(corpus.labels), **shape)
    sorter = TextSorter(model_class(config), tokenizer, corpus.labels, facts={})
    return prepare_sorter(sorter, corpus, cross_entropy, order=order)


def prepare_sorter(
    sorter: TextSorter, corpus: TextClassification, cross_entropy: CrossEntropy, *, order: Mapping[str, int]
) -> Prepared:
    """Everything to train a sorter with that is there already; arguments as in `prepare`."""
    encoded = sorter.encode([example.text for example in corpus.train])
    labels = torch.tensor([example.label for example in corpus.train])
    rows_of = LengthBatches([len(tokens) for tokens in encoded], **order)

    def batch(index: int) -> Batch:
        rows = rows_of(index)
        return Batch(*pad([encoded[row] for row in rows]), labels[rows])

    return Prepared(
        sorter.model,
        batch,
        rows_of.per_epoch,
        partial(classification_loss, cross_entropy=cross_entropy),
        lambda: sorter.scores(corpus.validation, cross_entropy),
        sorter.parts(),
        f"{len(corpus.train):,} texts to learn from, {sorter.tokenizer.vocab_size:,} words",
        len(corpus.train),
    )


# --- use --------------------------------------------------------------------------------------------------------------


def load_sorter(
    path: Path,
    device: torch.device,
    precision: Precision = "auto",
    *,
    kind: str,
    config_class: ConfigClass,
    model_class: ModelClass,
    sorter_class: type[TextSorter] = TextSorter,
) -> TextSorter:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    content = checkpoint.load(path, kind)
    with checkpoint.parts_of(path):
        try:
            tokenizer, labels = tokenizer_from_state(content["tokenizer"]), content["labels"]
            config = config_class(**content["model_config"])
            model = model_class(config)
        except UserError as error:  # no flag is wrong here, but the file
            raise ValueError(error.what) from None
        if not isinstance(tokenizer, sorter_class.reads) or (config.vocab_size, config.classes) != (
            tokenizer.vocab_size,
            len(labels),
        ):
            raise ValueError("vocabulary, labels and model differ")
        checkpoint.load_weights(model, content["model"], path)
        facts = {key: content[key] for key in ("data", "settings", "progress")}
        sorter = sorter_class(model.to(device).eval(), tokenizer, labels, facts)
    sorter.precision = resolve_precision(precision, device)
    return sorter


def measure(sorter: TextSorter, corpus: TextClassification, split: str = "auto") -> Facts:
    """All that evaluate.py says: accuracy and F1, overall and for each class, speed, and the surest mistakes.

    Raises:
        DataError: the corpus has other classes than the model, or no such part.
    """
    if corpus.labels != sorter.labels:
        raise DataError(
            "the corpus has other classes than the model", got=", ".join(corpus.labels), valid=sorter.labels
        )
    split, examples = part_of(corpus, split)
    started = time.perf_counter()
    probabilities = sorter.probabilities([example.text for example in examples])
    seconds = time.perf_counter() - started
    sureness, predicted = probabilities.max(dim=1)
    truth = torch.tensor([example.label for example in examples])
    confusion = metrics.confusion_matrix(predicted.numpy(), truth.numpy(), len(sorter.labels))
    rows = zip(sorter.labels, *metrics.precision_recall_f1(confusion), confusion.sum(axis=1), strict=True)
    wrong = [row for row in sureness.argsort(descending=True).tolist() if predicted[row] != truth[row]]
    return {
        "task": "text classification", "labels": list(sorter.labels),
        **shared_facts(sorter.facts, corpus, split, parameters_of(sorter.model)),
        "n": len(examples), "accuracy": metrics.accuracy(predicted.numpy(), truth.numpy()),
        "macro_f1": metrics.macro_f1(confusion), "confusion": confusion.tolist(),
        "scored_per_second": len(examples) / seconds, **latency(sorter, [example.text for example in examples]),
        "per_class": [{"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
                      for label, p, r, f, n in rows],
        "examples": [f"{sorter.labels[predicted[row]]} at {100 * float(sureness[row]):.0f} %, labelled "
                     f"{sorter.labels[truth[row]]}: {examples[row].text[:300]}" for row in wrong[:20]],
    }  # fmt: skip


def latency(sorter: TextSorter, texts: Sequence[str], batch: int = 256, rounds: int = 3) -> dict[str, float]:
    """Text in, label out: median µs a text in batches of 256, median ms for one text alone."""

    def seconds(texts: Sequence[str]) -> float:
        started = time.perf_counter()
        sorter.predict(texts)
        return time.perf_counter() - started

    batches = [texts[start : start + batch] for start in range(0, min(len(texts), 1024), batch)]
    together = statistics.median(seconds(part) / len(part) for _ in range(rounds) for part in batches)
    alone = statistics.median(seconds([text]) for text in texts[:200])
    return {"latency_batch_us": together * 1e6, "latency_single_ms": alone * 1e3}

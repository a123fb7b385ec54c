"""Sort texts with a recurrent network: texts in, probabilities out. train.py and evaluate.py share it.

A long text is cut to its first and last words: every word costs a step, a review says its verdict at the end, and news
say what they are about at the start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm import checkpoint, metrics
from my_llm.data.batches import LengthBatches, chunks_by_length, pad
from my_llm.data.corpora.classification import Example, TextClassification
from my_llm.device import Precision, autocast, resolve_precision
from my_llm.text import UNK, WordTokenizer, tokenizer_from_state
from my_llm.training import Loss
from stage1_mlp.models import cross_entropy
from stage2_rnn_lstm.models import SequenceClassifier, SequenceClassifierConfig
from stage2_rnn_lstm.prepared import Prepared

KIND = "stage2_rnn_lstm/classifier"
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

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(
        self, model: SequenceClassifier, tokenizer: WordTokenizer, labels: Sequence[str], facts: Mapping[str, Any]
    ):
        self.model, self.tokenizer, self.labels, self.facts = model, tokenizer, tuple(labels), facts
        self.precision: Literal["fp32", "bf16"] = "fp32"

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """The words of each text in lower case, (T,); a text without words is one <unk>."""
        return [torch.tensor(first_and_last(self.tokenizer.encode(text.lower())) or [UNK]) for text in texts]

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> Float[Tensor, "N C"]:
        """Logits on the CPU, computed in evaluation mode; the model's mode is put back afterwards."""
        encoded, device, training = self.encode(texts), self.model.head.bias.device, self.model.training
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

    def scores(self, examples: Sequence[Example], name: str = "validation") -> dict[str, float]:
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
        """What a checkpoint needs besides the weights, as plain data; `load_labeller` reads it back."""
        return {
            "model_config": asdict(self.model.config),
            "tokenizer": self.tokenizer.to_state(),
            "labels": list(self.labels),
        }


def first_and_last(tokens: list[int], most: int = MAX_WORDS) -> list[int]:
    """The whole text, or its two ends with the middle left out."""
    return tokens if len(tokens) <= most else tokens[: most - most // 2] + tokens[-(most // 2) :]


def classification_loss(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy of every text of the batch, at labels that are a little blurred."""
    tokens, lengths, labels = (tensor.to(next(model.parameters()).device) for tensor in batch)
    logits = model(tokens, lengths).float()
    return Loss(cross_entropy(logits, labels, LABEL_SMOOTHING).sum(), len(labels))


def prepare(corpus: TextClassification, shape: Mapping[str, Any], order: Mapping[str, int]) -> Prepared:
    """A new model for this corpus, and everything to train it with.

    Args:
        corpus: Labelled texts in three parts.
        shape: Fields of SequenceClassifierConfig: cell, embedding, hidden, layers, dropout, …
        order: batch_size, seed, rank, world, as LengthBatches takes them.
    """
    texts = [example.text.lower() for example in corpus.train]
    tokenizer = WordTokenizer.train(texts, min_count=2, max_size=MAX_VOCABULARY)
    config = SequenceClassifierConfig(tokenizer.vocab_size, len(corpus.labels), **shape)
    sorter = TextSorter(SequenceClassifier(config), tokenizer, corpus.labels, facts={})
    encoded, labels = sorter.encode(texts), torch.tensor([example.label for example in corpus.train])
    rows_of = LengthBatches([len(tokens) for tokens in encoded], **order)

    def batch(index: int) -> Batch:
        rows = rows_of(index)
        return Batch(*pad([encoded[row] for row in rows]), labels[rows])

    return Prepared(
        sorter.model,
        batch,
        rows_of.per_epoch,
        classification_loss,
        lambda: sorter.scores(corpus.validation),
        sorter.parts(),
        f"{len(corpus.train):,} texts to learn from, {tokenizer.vocab_size:,} words",
        len(corpus.train),
    )


def load_labeller(path: Path, device: torch.device, precision: Precision = "auto") -> TextSorter:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    content = checkpoint.load(path, KIND)
    with checkpoint.parts_of(path):
        tokenizer, labels = tokenizer_from_state(content["tokenizer"]), content["labels"]
        config = SequenceClassifierConfig(**content["model_config"])
        if not isinstance(tokenizer, WordTokenizer) or (config.vocab_size, config.classes) != (
            tokenizer.vocab_size,
            len(labels),
        ):
            raise ValueError("vocabulary, labels and model differ")
        model = SequenceClassifier(config)
        checkpoint.load_weights(model, content["model"], path)
        facts = {key: content[key] for key in ("data", "settings", "progress")}
        sorter = TextSorter(model.to(device).eval(), tokenizer, labels, facts)
    sorter.precision = resolve_precision(precision, device)
    return sorter

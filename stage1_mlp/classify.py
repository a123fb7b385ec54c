"""A trained classifier put to use: checkpoint in, texts in, probabilities out. evaluate.py and predict.py share it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm import checkpoint, metrics
from my_llm.data.catalog import Example
from my_llm.device import Precision, autocast, resolve_precision
from my_llm.training import Loss
from stage1_mlp.data import Batch, NgramBags, NgramFeatures, select
from stage1_mlp.models import TextClassifier, TextClassifierConfig, cross_entropy

KIND = "stage1_mlp/text_classifier"
CHUNK = 1024  # texts at a time: enough to keep the products busy, few enough for any memory
SUSPECTS = 200  # n-grams of a text that may be its reasons, the heaviest ones


def fit_features(examples: Sequence[Example], max_features: int) -> NgramFeatures:
    """The n-grams of these texts, weighed by their classes."""
    return NgramFeatures.fit([e.text for e in examples], [e.label for e in examples], max_features=max_features)


def encode(features: NgramFeatures, examples: Sequence[Example]) -> tuple[NgramBags, Int[Tensor, "B"]]:
    """The bag and the class of each example."""
    return features.encode([e.text for e in examples]), torch.tensor([e.label for e in examples])


@torch.inference_mode()
def logits_of(
    model: TextClassifier, bags: NgramBags, precision: Literal["fp32", "bf16"] = "fp32"
) -> Float[Tensor, "B C"]:
    """Logits of any number of texts, in evaluation mode, on the CPU; the model's mode is put back afterwards."""
    training, device, size = model.training, model.bias.device, len(bags.offsets)
    model.eval()
    parts = [select(bags, torch.arange(start, min(start + CHUNK, size))) for start in range(0, size, CHUNK)]
    with autocast(precision, device):
        logits = [model(*(tensor.to(device) for tensor in part)).float().cpu() for part in parts]
    model.train(training)
    return torch.cat(logits) if logits else torch.empty(0, model.config.classes)


def classification_loss(model: torch.nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Loss:
    """The loss that train.py minimises: cross-entropy of every text of the batch."""
    device = next(model.parameters()).device
    logits = model(*(tensor.to(device) for tensor in batch.bags)).float()
    return Loss(cross_entropy(logits, batch.labels.to(device), label_smoothing).sum(), len(batch.labels))


def scores(logits: Float[Tensor, "B C"], labels: Int[Tensor, "B"], name: str) -> dict[str, float]:
    """Mean loss in nats as <name>_loss, accuracy and macro-F1 as fractions; a name other than "validation" stays."""
    prefix = "" if name == "validation" else f"{name}_"
    predicted, truth = logits.argmax(dim=1).numpy(), labels.numpy()
    confusion = metrics.confusion_matrix(predicted, truth, logits.shape[1])
    return {
        f"{name}_loss": float(cross_entropy(logits, labels).mean()),
        f"{prefix}accuracy": metrics.accuracy(predicted, truth),
        f"{prefix}macro_f1": metrics.macro_f1(confusion),
    }


class Reason(NamedTuple):
    """An n-gram of a text, and by how much the probability of the answer would fall without it."""

    ngram: str
    drop: float


class Classifier:
    """Features, model and labels together: everything between a text and its class.

    Explained in docs/en/stage1_mlp.md.
    """

    def __init__(self, model: TextClassifier, features: NgramFeatures, labels: Sequence[str], facts: Mapping[str, Any]):
        self.model, self.features, self.labels, self.facts = model.eval(), features, tuple(labels), facts
        self.precision: Literal["fp32", "bf16"] = "fp32"

    @classmethod
    def load(cls, path: Path, device: torch.device, precision: Precision = "auto") -> "Classifier":
        """Read a checkpoint that train.py wrote.

        Raises:
            CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
        """
        content = checkpoint.load(path, KIND)
        with checkpoint.parts_of(path):
            features, labels = NgramFeatures.from_state(content["features"]), content["labels"]
            shape = TextClassifierConfig(
                **{**content["model_config"], "hidden": tuple(content["model_config"]["hidden"])}
            )
            if (len(features), len(labels)) != (shape.features, shape.classes):
                raise ValueError("features, labels and model differ")
            model = TextClassifier(shape)
            checkpoint.load_weights(model, content["model"], path)
            classifier = cls(
                model.to(device), features, labels, {k: content[k] for k in ("data", "settings", "progress")}
            )
        classifier.precision = resolve_precision(precision, device)
        return classifier

    def logits(self, bags: NgramBags) -> Float[Tensor, "B C"]:
        """Logits in the classifier's precision."""
        return logits_of(self.model, bags, self.precision)

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> Float[Tensor, "B C"]:
        """The probability of each class for each text."""
        return self.logits(self.features.encode(texts)).softmax(dim=1)

    def reasons(self, text: str, count: int = 5) -> list[Reason]:
        """The n-grams without which the probability of the answer would fall most: each is left out once."""
        bag = self.features.encode([text])
        n, suspects = len(bag.ids), bag.weights.argsort(descending=True, stable=True)[:SUSPECTS]
        if n == 0:
            return []
        kept = torch.arange(n) != suspects[:, None]  # (S, n), row s holds all but suspect s
        rest = torch.arange(n).expand_as(kept)[kept]  # (S · (n-1),)
        without = NgramBags(bag.ids[rest], torch.arange(len(suspects)) * (n - 1), bag.weights[rest])
        before = self.logits(bag).softmax(dim=1)[0]
        answer = before.argmax()
        drops = before[answer] - self.logits(without).softmax(dim=1)[:, answer]
        order = drops.argsort(descending=True, stable=True)[:count].tolist()
        return [Reason(self.names[bag.ids[suspects[i]]], float(drops[i])) for i in order if drops[i] > 0]

    def evidence(self, count: int = 10) -> dict[str, list[tuple[str, float]]]:
        """For each class the n-grams that speak loudest for it.

        Each n-gram is read as a text of its own; its voice is the class's logit above the mean of the other classes'.
        """
        ids = torch.arange(len(self.features))
        logits = self.logits(NgramBags(ids, ids, torch.ones(len(ids))))  # (V, C)
        others = (logits.sum(dim=1, keepdim=True) - logits) / max(len(self.labels) - 1, 1)
        voice, loudest = (logits - others).topk(min(count, len(ids)), dim=0)  # (K, C)
        return {
            label: [(self.names[n], v) for n, v in zip(loudest[:, c].tolist(), voice[:, c].tolist(), strict=True)]
            for c, label in enumerate(self.labels)
        }

    @cached_property
    def names(self) -> list[str]:
        """What each feature looks like in a text."""
        return self.features.names()


def parts_of(model: TextClassifier, features: NgramFeatures, labels: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint needs besides the weights, as plain data; `Classifier.load` reads it back."""
    return {"model_config": asdict(model.config), "features": features.to_state(), "labels": list(labels)}

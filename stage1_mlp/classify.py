"""A trained classifier put to use: checkpoint in, texts in, probabilities out. evaluate.py and predict.py share it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm import checkpoint, metrics
from my_llm.data.catalog import Example
from my_llm.errors import CheckpointError
from my_llm.training import Loss
from stage1_mlp.data import Batch, NgramBags, NgramFeatures, select
from stage1_mlp.models import TextClassifier, TextClassifierConfig, cross_entropy

KIND = "stage1_mlp/text_classifier"
CHUNK = 1024  # texts at a time: enough to keep the products busy, few enough for any memory


def fit_features(examples: Sequence[Example], max_features: int) -> NgramFeatures:
    """The n-grams of these texts, weighed by their classes."""
    return NgramFeatures.fit([e.text for e in examples], [e.label for e in examples], max_features=max_features)


def encode(features: NgramFeatures, examples: Sequence[Example]) -> tuple[NgramBags, Int[Tensor, "B"]]:
    """The bag and the class of each example."""
    return features.encode([e.text for e in examples]), torch.tensor([e.label for e in examples])


@torch.inference_mode()
def logits_of(model: TextClassifier, bags: NgramBags) -> Float[Tensor, "B C"]:
    """Logits of any number of texts, in evaluation mode, on the CPU; the model's mode is put back afterwards."""
    training, device, size = model.training, model.bias.device, len(bags.offsets)
    model.eval()
    parts = [select(bags, torch.arange(start, min(start + CHUNK, size))) for start in range(0, size, CHUNK)]
    logits = [model(*(tensor.to(device) for tensor in part)).float().cpu() for part in parts]
    model.train(training)
    return torch.cat(logits) if logits else torch.empty(0, model.config.classes)


def classification_loss(model: torch.nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Loss:
    """The loss that train.py minimises: cross-entropy of every text of the batch."""
    device = next(model.parameters()).device
    logits = model(*(tensor.to(device) for tensor in batch.bags)).float()
    return Loss(cross_entropy(logits, batch.labels.to(device), label_smoothing).sum(), len(batch.labels))


def scores(logits: Float[Tensor, "B C"], labels: Int[Tensor, "B"], name: str) -> dict[str, float]:
    """Mean loss in nats as <name>_loss, accuracy and macro-F1 as fractions."""
    predicted, truth = logits.argmax(dim=1).numpy(), labels.numpy()
    confusion = metrics.confusion_matrix(predicted, truth, logits.shape[1])
    return {
        f"{name}_loss": float(cross_entropy(logits, labels).mean()),
        "accuracy": metrics.accuracy(predicted, truth),
        "macro_f1": metrics.macro_f1(confusion),
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

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Classifier":
        """Read a checkpoint that train.py wrote.

        Raises:
            CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
        """
        content = checkpoint.load(path, KIND)
        features, labels = NgramFeatures.from_state(content["features"]), content["labels"]
        shape = content["model_config"]
        model = TextClassifier(TextClassifierConfig(**{**shape, "hidden": tuple(shape["hidden"])}))
        if (len(features), len(labels)) != (model.config.features, model.config.classes):
            raise CheckpointError("features, labels and model do not fit together", got=path)
        checkpoint.load_weights(model, content["model"], path)
        facts = {key: content[key] for key in ("data", "settings", "progress")}
        return cls(model.to(device), features, labels, facts)

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> Float[Tensor, "B C"]:
        """The probability of each class for each text."""
        return logits_of(self.model, self.features.encode(texts)).softmax(dim=1)

    def reasons(self, text: str, count: int = 5) -> list[Reason]:
        """The n-grams without which the probability of the answer would fall most: each is left out once."""
        bag = self.features.encode([text])
        n = len(bag.ids)
        if n == 0:
            return []
        rest = torch.arange(n).repeat(n, 1)[~torch.eye(n, dtype=torch.bool)]  # (n · (n-1),) row i holds all but i
        offsets = torch.arange(n) * (n - 1)
        without = NgramBags(bag.ids[rest], offsets, bag.weights[rest])
        before = logits_of(self.model, bag).softmax(dim=1)[0]
        answer = before.argmax()
        drops = before[answer] - logits_of(self.model, without).softmax(dim=1)[:, answer]
        order = drops.argsort(descending=True)[:count].tolist()
        return [Reason(self.names[bag.ids[i]], float(drops[i])) for i in order if drops[i] > 0]

    def evidence(self, count: int = 10) -> dict[str, list[tuple[str, float]]]:
        """For each class the n-grams that speak loudest for it.

        Each n-gram is read as a text of its own; its voice is the class's logit above the mean of the other classes'.
        """
        ids = torch.arange(len(self.features))
        logits = logits_of(self.model, NgramBags(ids, ids, torch.ones(len(ids))))  # (V, C)
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

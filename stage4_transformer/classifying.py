"""Sort texts with attention: what my_llm/classification.py does, with the model of this stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from my_llm import classification
from my_llm.classification import MAX_WORDS, TextSorter, load_sorter
from my_llm.data.corpora.classification import TextClassification
from my_llm.device import Precision
from my_llm.tasks import Prepared
from stage1_mlp.models import cross_entropy
from stage4_transformer.models import TransformerClassifier, TransformerClassifierConfig

KIND = "stage4_transformer/classifier"


def prepare(corpus: TextClassification, shape: Mapping[str, Any], order: Mapping[str, int]) -> Prepared:
    """A new model for this corpus, and everything to train it with.

    Args:
        corpus: Labelled texts in three parts.
        shape: Fields of TransformerClassifierConfig besides vocab_size, classes and max_length.
        order: batch_size, seed, rank, world, as LengthBatches takes them.
    """
    classes = TransformerClassifierConfig, TransformerClassifier
    shape = {**shape, "max_length": MAX_WORDS}
    return classification.prepare(corpus, *classes, cross_entropy, shape=shape, order=order)


def load_labeller(path: Path, device: torch.device, precision: Precision = "auto") -> TextSorter:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    config_class, model_class = TransformerClassifierConfig, TransformerClassifier
    return load_sorter(path, device, precision, kind=KIND, config_class=config_class, model_class=model_class)

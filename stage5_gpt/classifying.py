"""Sort texts with a GPT: what my_llm/classification.py does, in the tokens of the language model it begins with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from my_llm.classification import TextSorter, first_and_last, load_sorter, prepare_sorter
from my_llm.data.corpora.classification import TextClassification
from my_llm.device import Precision
from my_llm.tasks import Prepared
from my_llm.text import Tokenizer, end_of
from stage1_mlp.models import cross_entropy
from stage5_gpt.models import GPTClassifier, GPTClassifierConfig, classifier_from, freeze
from stage5_gpt.starting import Start

KIND = "stage5_gpt/classifier"


class GPTSorter(TextSorter):
    """A GPT with a head of classes; it reads texts as they are, as long as its context."""

    reads = Tokenizer

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """The tokens of each text, the middle of a long one left out; an empty text is the end of one."""
        most, end = cast(Any, self.model).config.context, end_of(self.tokenizer)
        return [torch.tensor(first_and_last(self.tokenizer.encode(text), most) or [end]) for text in texts]


def prepare(
    corpus: TextClassification, start: Start, *, dropout: float, frozen: int, order: Mapping[str, int]
) -> Prepared:
    """A classifier for this corpus, and everything to tune it with.

    Args:
        corpus: Labelled texts in three parts.
        start: The language model that it begins with, and its vocabulary.
        dropout: While it is tuned.
        frozen: How many of the lowest blocks stay as they are.
        order: batch_size, seed, rank, world, as LengthBatches takes them.

    Raises:
        ConfigError: there are not so many blocks.
    """
    model = classifier_from(start.model, len(corpus.labels), dropout)
    freeze(model.gpt, frozen)
    prepared = prepare_sorter(
        GPTSorter(model, start.tokenizer, corpus.labels, facts={}), corpus, cross_entropy, order=order
    )
    return prepared._replace(size=f"{len(corpus.train):,} texts to learn from")


def load_labeller(path: Path, device: torch.device, precision: Precision = "auto") -> TextSorter:
    """Read a checkpoint that finetune.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    classes = {"config_class": GPTClassifierConfig, "model_class": GPTClassifier, "sorter_class": GPTSorter}
    return load_sorter(path, device, precision, kind=KIND, **classes)

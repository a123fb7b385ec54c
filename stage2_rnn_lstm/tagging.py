"""Tag the words of sentences: who, where, which organisation. train.py and evaluate.py share it.

The model sees a word twice: as a number, where capitals are lost and every digit is 0 ("1998" and "2002" are the same
year to it), and as letters, where they are not. A word that only one training sentence holds has no number of its own;
its letters and its neighbours must do, as they must for every new name later.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm import checkpoint, metrics
from my_llm.data.batches import LengthBatches, chunks_by_length, pad
from my_llm.data.corpora.tags import TaggedSentence, Tagging
from my_llm.device import Precision, autocast, resolve_precision
from my_llm.tasks import Prepared
from my_llm.text import PAD, Vocabulary
from my_llm.training import Loss
from stage2_rnn_lstm.models import Tagger, TaggerConfig, best_sequence, log_partition, sequence_score

KIND = "stage2_rnn_lstm/tagger"
MAX_LETTERS = 20  # of a word, first and last half together


class Inputs(NamedTuple):
    """B sentences as the tagger reads them."""

    words: Int[Tensor, "B T"]
    characters: Int[Tensor, "B T W"]
    lengths: Int[Tensor, "B"]


class Batch(NamedTuple):
    """What one training step reads."""

    inputs: Inputs
    tags: Int[Tensor, "B T"]


def normal(word: str) -> str:
    """The form under which a word is looked up."""
    return re.sub(r"\d", "0", word.lower())


def letters(word: str, most: int = MAX_LETTERS) -> str:
    """The whole word, or its two ends with the middle left out."""
    return word if len(word) <= most else word[: most - most // 2] + word[-(most // 2) :]


class EntityTagger:
    """Vocabularies, model and labels together: everything between a sentence and its tags.

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(
        self,
        model: Tagger,
        vocabularies: tuple[Vocabulary, Vocabulary],
        labels: Sequence[str],
        facts: Mapping[str, Any],
    ):
        self.model, self.labels, self.facts = model, tuple(labels), facts
        self.words, self.characters = vocabularies
        self.precision: Literal["fp32", "bf16"] = "fp32"

    def encode(self, sentences: Sequence[Sequence[str]]) -> list[tuple[Tensor, Tensor]]:
        """The words, (T,), and the letters, (T, W), of each sentence."""
        spelled = {word: self.characters.encode(letters(word)) for word in {w for words in sentences for w in words}}
        rows = {word: ids + [PAD] * (MAX_LETTERS - len(ids)) for word, ids in spelled.items()}
        return [
            (torch.tensor(self.words.encode(map(normal, words))), torch.tensor([rows[word] for word in words]))
            for words in sentences
        ]

    @torch.inference_mode()
    def read(
        self, sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[int]] | None = None
    ) -> tuple[list[list[str]], float]:
        """The best tags of each sentence; and, where the true tags are given, their surprise in nats, summed."""
        encoded, device, training = self.encode(sentences), self.model.head.bias.device, self.model.training
        answers: list[list[str]] = [[] for _ in sentences]
        total = 0.0
        self.model.eval()
        for rows in chunks_by_length([len(words) for words in sentences]):
            inputs = gather([encoded[row] for row in rows])
            with autocast(self.precision, device):
                emissions, transitions = self.model(*(tensor.to(device) for tensor in inputs))
            emissions, transitions = emissions.float().cpu(), transitions.float().cpu()
            if tags is not None:
                truth, _ = pad([torch.tensor(tags[row]) for row in rows])
                total += float(surprise(emissions, transitions, truth, inputs.lengths).sum())
            best = best_sequence(emissions, transitions, inputs.lengths).tolist()
            for row, answer in zip(rows, best, strict=True):
                answers[row] = [self.labels[tag] for tag in answer[: len(sentences[row])]]
        self.model.train(training)
        return answers, total

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """One tag for each word of each sentence; a sentence without words has none."""
        answers: list[list[str]] = [[] for _ in sentences]
        spoken = [number for number, words in enumerate(sentences) if words]
        for number, tags in zip(spoken, self.read([sentences[number] for number in spoken])[0], strict=True):
            answers[number] = tags
        return answers

    def scores(self, sentences: Sequence[TaggedSentence], name: str = "validation") -> dict[str, float]:
        """Loss in nats a word as <name>_loss; precision, recall and F1 of whole entities as fractions."""
        predicted, total = self.read([s.words for s in sentences], [s.tags for s in sentences])
        truth = [[self.labels[tag] for tag in s.tags] for s in sentences]
        overall = metrics.entity_scores(predicted, truth)["all"]
        return {
            f"{name}_loss": total / sum(len(s.words) for s in sentences),
            "f1": overall.f1,
            "precision": overall.precision,
            "recall": overall.recall,
        }

    def parts(self) -> dict[str, Any]:
        """What a checkpoint needs besides the weights, as plain data; `load_labeller` reads it back."""
        return {
            "model_config": asdict(self.model.config),
            "words": list(self.words.symbols),
            "characters": list(self.characters.symbols),
            "labels": list(self.labels),
        }


def gather(sentences: Sequence[tuple[Tensor, Tensor]]) -> Inputs:
    """Encoded sentences as one batch, no wider than its longest word."""
    words, lengths = pad([words for words, _ in sentences])
    characters, _ = pad([characters for _, characters in sentences])
    widest = int((characters != PAD).sum(dim=2).max())
    return Inputs(words, characters[:, :, : max(widest, 1)], lengths)


def surprise(
    emissions: Float[Tensor, "B T C"],
    transitions: Float[Tensor, "K K"],
    tags: Int[Tensor, "B T"],
    lengths: Int[Tensor, "B"],
) -> Float[Tensor, "B"]:
    """−log p of the true tag sequence of each sentence, in nats."""
    right = sequence_score(emissions, transitions, tags, lengths)
    return log_partition(emissions, transitions, lengths) - right


def tagging_loss(model: nn.Module, batch: Batch) -> Loss:
    """The surprise at the tags of the batch; counted per word."""
    device = next(model.parameters()).device
    inputs = Inputs(*(tensor.to(device) for tensor in batch.inputs))
    emissions, transitions = model(*inputs)
    total = surprise(emissions.float(), transitions.float(), batch.tags.to(device), inputs.lengths).sum()
    return Loss(total, int(batch.inputs.lengths.sum()))


def prepare(corpus: Tagging, shape: Mapping[str, Any], order: Mapping[str, int]) -> Prepared:
    """A new model for this corpus, and everything to train it with.

    Args:
        corpus: Tagged sentences in three parts.
        shape: Fields of TaggerConfig: cell, embedding, hidden, layers, dropout, …
        order: batch_size, seed, rank, world, as LengthBatches takes them.
    """
    sentences = [sentence.words for sentence in corpus.train]
    words = Vocabulary.from_counts(Counter(normal(word) for s in sentences for word in s), min_count=2)
    characters = Vocabulary.from_counts(Counter(c for s in sentences for word in s for c in word), min_count=2)
    config = TaggerConfig(len(words), len(characters), len(corpus.labels), **shape)
    tagger = EntityTagger(Tagger(config), (words, characters), corpus.labels, facts={})
    encoded, tags = tagger.encode(sentences), [torch.tensor(sentence.tags) for sentence in corpus.train]
    rows_of = LengthBatches([len(s) for s in sentences], **order)

    def batch(index: int) -> Batch:
        rows = rows_of(index)
        return Batch(gather([encoded[row] for row in rows]), pad([tags[row] for row in rows])[0])

    return Prepared(
        tagger.model,
        batch,
        rows_of.per_epoch,
        tagging_loss,
        lambda: tagger.scores(corpus.validation),
        tagger.parts(),
        f"{len(sentences):,} sentences to learn from, {len(words):,} words",
        len(sentences),
    )


def load_labeller(path: Path, device: torch.device, precision: Precision = "auto") -> EntityTagger:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    content = checkpoint.load(path, KIND)
    with checkpoint.parts_of(path):
        words, characters = Vocabulary(content["words"]), Vocabulary(content["characters"])
        config = TaggerConfig(**content["model_config"])
        if (config.words, config.characters, config.tags) != (len(words), len(characters), len(content["labels"])):
            raise ValueError("vocabularies, labels and model differ")
        model = Tagger(config)
        checkpoint.load_weights(model, content["model"], path)
        facts = {key: content[key] for key in ("data", "settings", "progress")}
        tagger = EntityTagger(model.to(device).eval(), (words, characters), content["labels"], facts)
    tagger.precision = resolve_precision(precision, device)
    return tagger

"""Score a trained model of this stage: `python evaluate.py --model_path checkpoints/best_lstm_char.pt`.

Needs nothing but the checkpoint, which says which task it is for and which corpus it was trained on. A language model:
nats and perplexity per character or word, and bits per byte. A classifier: accuracy and F1. A tagger: precision, recall
and F1 of whole entities.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from my_llm.cli import BaseConfig, main
from my_llm.evaluation import Facts, kind_of, parameters_of, part_of, shared_facts, show, write_report

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(BaseConfig):
    """Score a language model, a classifier or a tagger of stage 2."""

    model_path: Path = Path("checkpoints/best_lstm_char.pt")
    """checkpoint that train.py wrote"""
    dataset: str = ""
    """corpus to score on; empty: the one that the model was trained on"""
    split: Literal["auto", "test", "validation", "train"] = "auto"
    """which part of the corpus; auto: test, or validation where there is no test part"""
    examples: int = 3
    """how many of its answers to print"""
    report: Path | None = None
    """also write everything to this JSON file"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {**BaseConfig.ranges, "examples": (0, math.inf)}


def run(config: EvaluateConfig) -> None:
    """Load, score, print."""
    from my_llm.device import set_up
    from stage2_rnn_lstm import classifying, language, tagging

    device = set_up(config.device, config.threads, config.seed)
    measures: dict[str, Callable[[EvaluateConfig, torch.device], Facts]] = {
        language.KIND: language_model,
        language.NGRAM_KIND: language_model,
        classifying.KIND: classifier,
        tagging.KIND: tagger,
    }
    kind = kind_of(config.model_path, measures, "stage 2")
    facts = {"stage": "stage2_rnn_lstm", **measures[kind](config, device)}
    show(facts, config.examples)
    write_report(config.report, facts)


def language_model(config: EvaluateConfig, device: "torch.device") -> Facts:
    """Perplexity, bits per byte, speed of writing."""
    from my_llm.data.catalog import load_text
    from my_llm.language.scoring import measure
    from stage2_rnn_lstm.language import loss_of
    from stage2_rnn_lstm.models import NGramModel
    from stage2_rnn_lstm.writer import load_writer

    writer = load_writer(config.model_path, device, config.precision)
    corpus = load_text(config.dataset or writer.facts["data"]["name"])
    model = writer.model
    counts = sum(len(level.keys) for level in model.levels) if isinstance(model, NGramModel) else None
    return measure(writer, corpus, config.split, loss_of, seed=config.seed, parameters=counts)


def classifier(config: EvaluateConfig, device: "torch.device") -> Facts:
    """Accuracy and F1, overall and for each class."""
    from my_llm.classification import measure
    from my_llm.data.catalog import load
    from stage2_rnn_lstm.classifying import load_labeller

    sorter = load_labeller(config.model_path, device, config.precision)
    corpus = load(config.dataset or sorter.facts["data"]["name"])
    return measure(sorter, corpus, config.split)


def tagger(config: EvaluateConfig, device: "torch.device") -> Facts:
    """Precision, recall and F1 of whole entities, overall and for each kind."""
    from my_llm import metrics
    from my_llm.data.catalog import load_tags
    from my_llm.errors import DataError
    from stage2_rnn_lstm.tagging import load_labeller

    reader = load_labeller(config.model_path, device, config.precision)
    corpus = load_tags(config.dataset or reader.facts["data"]["name"])
    if tuple(corpus.labels) != reader.labels:
        raise DataError("the corpus has other tags than the model", got=", ".join(corpus.labels), valid=reader.labels)
    split, sentences = part_of(corpus, config.split)
    started = time.perf_counter()
    predicted = reader.predict([sentence.words for sentence in sentences])
    seconds = time.perf_counter() - started
    truth = [[reader.labels[tag] for tag in sentence.tags] for sentence in sentences]
    scores = metrics.entity_scores(predicted, truth)
    pairs = zip(sentences, predicted, truth, strict=True)
    wrong = [f"{bracketed(s.words, said)}\nright: {bracketed(s.words, true)}"
             for s, said, true in pairs if said != true and len(s.words) > 3]  # fmt: skip
    words = sum(len(sentence.words) for sentence in sentences)
    return {
        "task": "tagging", "labels": list(reader.labels),
        **shared_facts(reader.facts, corpus, split, parameters_of(reader.model)),
        "n": len(sentences), "words": words, "scored_per_second": words / seconds,
        "f1": scores["all"].f1, "precision": scores["all"].precision, "recall": scores["all"].recall,
        "per_class": [{"label": label, "precision": score.precision, "recall": score.recall, "f1": score.f1,
                       "support": score.support} for label, score in scores.items() if label != "all"],
        "examples": wrong[:20],
    }  # fmt: skip


def bracketed(words: "tuple[str, ...]", tags: list[str]) -> str:
    """A sentence with the entities that the tags name in brackets: [LOC La Coruña]."""
    text = []
    for number, (word, tag) in enumerate(zip(words, tags, strict=True)):
        before = tags[number - 1] if number else "O"
        if before != "O" and (tag[0] in "OB" or tag[2:] != before[2:]):
            text[-1] += "]"
        text.append(f"[{tag[2:]} {word}" if tag != "O" and (tag[0] == "B" or tag[2:] != before[2:]) else word)
    return " ".join(text) + ("]" if tags and tags[-1] != "O" else "")


if __name__ == "__main__":
    main(EvaluateConfig, run)

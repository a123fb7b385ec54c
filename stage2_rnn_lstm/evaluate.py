"""Score a trained model of this stage: `python evaluate.py --model_path checkpoints/best_lstm_char.pt`.

Needs nothing but the checkpoint, which says which task it is for and which corpus it was trained on. A language model:
nats and perplexity per character or word, and bits per byte. A classifier: accuracy and F1. A tagger: precision, recall
and F1 of whole entities.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from my_llm.cli import BaseConfig, main, printable

if TYPE_CHECKING:
    import torch

Facts = dict[str, Any]
ENOUGH = 2000  # characters, words, texts or sentences to time


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
    from my_llm import checkpoint
    from my_llm.device import set_up
    from my_llm.errors import CheckpointError
    from my_llm.files import write_atomically
    from stage2_rnn_lstm import classifying, language, tagging

    device = set_up(config.device, config.threads, config.seed)
    measures: dict[str, Callable[[EvaluateConfig, torch.device], Facts]] = {
        language.KIND: language_model,
        language.NGRAM_KIND: language_model,
        classifying.KIND: classifier,
        tagging.KIND: tagger,
    }
    content = checkpoint.load(config.model_path)
    kind = content["kind"]
    if kind not in measures:
        raise CheckpointError(f"{config.model_path} is no model of stage 2", got=kind, valid=sorted(measures))
    with checkpoint.parts_of(config.model_path):
        check_origin(content)
    facts = {"stage": "stage2_rnn_lstm", **measures[kind](config, device)}
    show(facts, config.examples)
    if config.report is not None:
        write_atomically(config.report, json.dumps(facts, indent=1, ensure_ascii=False).encode())
        print(f"report      {config.report}")


def check_origin(content: Mapping[str, Any]) -> None:
    """Raises ValueError or the like unless the checkpoint says what was trained, on what, and for how long."""
    data, settings = content["data"], content["settings"]
    names = data["name"], data["sha256"], settings["model_type"]
    if not all(isinstance(name, str) for name in names) or not math.isfinite(content["progress"]["seconds"]):
        raise ValueError("data, settings or progress")


def part_of(corpus: Any, split: str) -> tuple[str, Any]:
    """Name and content of the part to score.

    Raises:
        DataError: the corpus has no such part.
    """
    from my_llm.errors import DataError

    if split == "auto":
        split = "test" if corpus.test else "validation"
    part = getattr(corpus, split)
    if not part:
        raise DataError(f"{corpus.name} has no such part", got=split, valid=("train", "validation"))
    return split, part


def shared_facts(loaded: Mapping[str, Any], corpus: Any, split: str, parameters: int) -> Facts:
    """What is said of every model."""
    settings, same = loaded["settings"], corpus.sha256 == loaded["data"]["sha256"]
    members = f"{settings['members']} × " if settings.get("members", 1) > 1 else ""
    return {
        "model": members + settings["model_type"].upper().replace("NGRAM", "n-gram").replace("WAVENET", "WaveNet"),
        "parameters": parameters, "train_seconds": loaded["progress"]["seconds"], "settings": settings,
        "data": corpus.name, "source": corpus.source, "sha256": corpus.sha256, "split": split,
        "same_text_as_trained": same, "learnt_from": same and split == "train",
    }  # fmt: skip


def parameters_of(model: "torch.nn.Module") -> int:
    """How many numbers a network has learnt."""
    return sum(parameter.numel() for parameter in model.parameters())


def language_model(config: EvaluateConfig, device: "torch.device") -> Facts:
    """Perplexity, bits per byte, speed of writing."""
    from my_llm.data.catalog import load_text
    from my_llm.device import autocast
    from stage2_rnn_lstm.language import loss_of, predicted_bytes, scores_of, tokens_of
    from stage2_rnn_lstm.models import NGramModel
    from stage2_rnn_lstm.writer import Writer

    writer = Writer.load(config.model_path, device, config.precision)
    corpus = load_text(config.dataset or writer.facts["data"]["name"])
    split, text = part_of(corpus, config.split)
    tokens = tokens_of(writer.tokenizer, text, split)
    started = time.perf_counter()
    with autocast(writer.precision, device):
        loss = loss_of(writer.model, tokens)
    seconds = time.perf_counter() - started
    model = writer.model
    size = sum(len(level.keys) for level in model.levels) if isinstance(model, NGramModel) else parameters_of(model)
    started = time.perf_counter()
    written = "".join(writer.write("\n", length=ENOUGH, temperature=0.8, seed=config.seed))
    return {
        "task": "language model", "unit": {"char": "character", "word": "word or mark"}[writer.kind],
        **shared_facts(writer.facts, corpus, split, size), "n": loss.count,
        "vocabulary": writer.tokenizer.vocab_size,
        "frequencies_alone": frequencies_alone(tokens),
        **scores_of(loss, predicted_bytes(writer.tokenizer, text), tokens, "mean"),
        "scored_per_second": loss.count / seconds, "written_per_second": ENOUGH / (time.perf_counter() - started),
        "sample": written[:600],
    }  # fmt: skip


def frequencies_alone(tokens: "torch.Tensor") -> float:
    """Nats per token for one who knows how frequent each token is in this text, and nothing else."""
    share = tokens.bincount() / len(tokens)
    share = share[share > 0]
    return float(-(share * share.log()).sum())


def classifier(config: EvaluateConfig, device: "torch.device") -> Facts:
    """Accuracy and F1, overall and for each class."""
    import torch

    from my_llm import metrics
    from my_llm.data.catalog import load
    from my_llm.errors import DataError
    from stage2_rnn_lstm.classifying import load_labeller

    sorter = load_labeller(config.model_path, device, config.precision)
    corpus = load(config.dataset or sorter.facts["data"]["name"])
    if corpus.labels != sorter.labels:
        raise DataError(
            "the corpus has other classes than the model", got=", ".join(corpus.labels), valid=sorter.labels
        )
    split, examples = part_of(corpus, config.split)
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
        "scored_per_second": len(examples) / seconds,
        "per_class": [{"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
                      for label, p, r, f, n in rows],
        "examples": [f"{sorter.labels[predicted[row]]} at {100 * float(sureness[row]):.0f} %, labelled "
                     f"{sorter.labels[truth[row]]}: {examples[row].text[:300]}" for row in wrong[:20]],
    }  # fmt: skip


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


def show(facts: Facts, examples: int) -> None:
    """The facts, 80 columns wide."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=80, highlight=False)
    console.print(Text(f"{facts['model']}, {facts['task']}: {facts['data']}, {facts['split']} part"))
    if facts["task"] == "language model":
        unit = facts["unit"]
        units = "words and marks" if "word" in unit else f"{unit}s"
        console.print(f"{facts['n']:,} {units} predicted, {facts['parameters']:,} parameters")
        console.print(f"loss           {facts['mean_loss']:.4f} nats per {unit}")
        console.print(f"perplexity     {facts['perplexity']:.3f} per {unit}")
        console.print(f"bits per byte  {facts['bits_per_byte']:.3f}")
        if facts.get("unknown"):
            share = 100 * facts["unknown"]
            console.print(f"<unk>          {share:.2g} % of the {units} are unknown and predicted as <unk>: bits per "
                          "byte are then too low")  # fmt: skip
        console.print(f"speed          reads {facts['scored_per_second']:,.0f}, writes "
                      f"{facts['written_per_second']:,.0f} {units} a second")  # fmt: skip
        console.print(Text(f"\n{printable(facts['sample'])}") if examples else "")
    else:
        table = Table("class", title=f"{facts['n']:,} examples", title_justify="left")
        for heading in ("precision", "recall", "F1", "number"):
            table.add_column(heading, justify="right")
        for row in facts["per_class"]:
            table.add_row(
                row["label"], *(f"{100 * row[k]:.1f} %" for k in ("precision", "recall", "f1")), f"{row['support']:,}"
            )
        console.print(table)
        for example in facts["examples"][:examples]:
            console.print(Text("wrong: " + "\n".join(map(printable, example.split("\n")))))
        scores = [f"{name.replace('_', ' ')} {100 * facts[name]:.2f} %"
                  for name in ("accuracy", "macro_f1", "precision", "recall", "f1") if name in facts]  # fmt: skip
        console.print("  ".join(scores))
    if facts["learnt_from"]:
        console.print("The model has learnt from these very examples: no measure of anything.")
    if not facts["same_text_as_trained"]:
        console.print("Not the text that the model was trained on, or another split of it.")


if __name__ == "__main__":
    main(EvaluateConfig, run)

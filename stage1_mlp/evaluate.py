"""Score a trained classifier on test texts: `python evaluate.py --model_path checkpoints/best_model.pt`.

Needs nothing but the checkpoint, which says which corpus and which split it was trained on. Prints accuracy, precision,
recall, F1, the confusion matrix, the latency, and the mistakes that the model was surest of.
"""

import dataclasses
import json
import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from my_llm.cli import BaseConfig, main, printable

if TYPE_CHECKING:
    from my_llm.data.catalog import Example
    from stage1_mlp.classify import Classifier


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(BaseConfig):
    """Score stage 1's text classifier."""

    threads: int = 1
    """CPU threads: more help so small a network little, and hurt it on a busy machine; 0: one per core"""
    model_path: Path = Path("checkpoints/best_model.pt")
    """checkpoint that train.py wrote"""
    dataset: str = ""
    """corpus to score on; empty: the one that the model was trained on"""
    split: Literal["test", "validation", "train"] = "test"
    """which part of the corpus"""
    worst: int = 3
    """how many of the surest mistakes to print"""
    report: Path | None = None
    """also write everything, with more examples, to this JSON file"""
    plot: Path | None = None
    """also draw the confusion matrix to this PNG file"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {**BaseConfig.ranges, "worst": (0, math.inf)}


def run(config: EvaluateConfig) -> None:
    """Load, score, time, print."""
    from my_llm.data.catalog import load
    from my_llm.device import set_up
    from my_llm.errors import DataError
    from my_llm.files import write_atomically
    from stage1_mlp.classify import Classifier

    device = set_up(config.device, config.threads, config.seed)
    classifier = Classifier.load(config.model_path, device, config.precision)
    trained_on, settings = classifier.facts["data"], classifier.facts["settings"]
    corpus = load(config.dataset or trained_on["name"], split_seed=settings["split_seed"])
    if corpus.labels != classifier.labels:
        raise DataError(
            "the corpus has other classes than the model", got=", ".join(corpus.labels), valid=classifier.labels
        )
    examples: list[Example] = getattr(corpus, config.split)
    facts = measure(classifier, examples, max(config.worst, 10))
    facts |= {
        "data": corpus.name, "source": corpus.source, "sha256": corpus.sha256, "split": config.split,
        "same_text_as_trained": corpus.sha256 == trained_on["sha256"],
        "learnt_from": config.split == "train" or (config.split == "validation" and settings["final"]),
    }  # fmt: skip
    show(facts, config.worst)
    if config.report is not None:
        write_atomically(config.report, json.dumps(facts, indent=1, ensure_ascii=False).encode())
        print(f"report      {config.report}")
    if config.plot is not None:
        import numpy as np

        from my_llm.plots import confusion

        confusion(np.array(facts["confusion"]), corpus.labels, config.plot, title=f"{corpus.name}, {config.split}")
        print(f"figure      {config.plot}")


def measure(classifier: "Classifier", examples: "list[Example]", worst: int) -> dict[str, Any]:
    """Everything that can be said about a classifier on labelled texts, as plain data; fractions lie in 0 … 1."""
    from my_llm import metrics

    texts, truth = [e.text for e in examples], [e.label for e in examples]
    probabilities = classifier.probabilities(texts)  # (N, C)
    sureness, predicted = probabilities.max(dim=1)
    confusion = metrics.confusion_matrix(predicted.numpy(), truth, len(classifier.labels))
    rows = zip(classifier.labels, *metrics.precision_recall_f1(confusion), confusion.sum(axis=1), strict=True)

    def shown(numbers: list[int]) -> list[dict[str, Any]]:
        return [
            {
                "text": printable(texts[i]), "truth": classifier.labels[truth[i]],
                "predicted": classifier.labels[predicted[i]], "probability": float(sureness[i]),
                "reasons": [[reason.ngram, reason.drop] for reason in classifier.reasons(texts[i])],
            }
            for i in numbers
        ]  # fmt: skip

    by_sureness = sureness.argsort(descending=True, stable=True).tolist()
    return {
        "stage": "stage1_mlp", "model": "MLP", "task": "text classification", "labels": list(classifier.labels),
        "n": len(texts),
        "accuracy": metrics.accuracy(predicted.numpy(), truth),
        "macro_f1": metrics.macro_f1(confusion),
        "per_class": [
            {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for label, p, r, f, n in rows
        ],
        "confusion": confusion.tolist(),
        **latency(classifier, texts),
        "train_seconds": classifier.facts["progress"]["seconds"],
        "parameters": sum(parameter.numel() for parameter in classifier.model.parameters()),
        "right": shown([i for i in by_sureness if predicted[i] == truth[i]][:5]),
        "wrong": shown([i for i in by_sureness if predicted[i] != truth[i]][:worst]),
        "words": {label: [[w, v] for w, v in words] for label, words in classifier.evidence().items()},
    }  # fmt: skip


def latency(classifier: "Classifier", texts: list[str], batch: int = 256, rounds: int = 5) -> dict[str, float]:
    """Text in, label out: median µs a text in batches of 256, median ms for one text alone."""

    def seconds(texts: list[str]) -> float:
        started = time.perf_counter()
        classifier.probabilities(texts).argmax(dim=1)
        return time.perf_counter() - started

    batches = [texts[i : i + batch] for i in range(0, min(len(texts), 2048), batch)]
    seconds(batches[0])  # the first call pays for set-up
    together = statistics.median(seconds(part) / len(part) for _ in range(rounds) for part in batches)
    alone = statistics.median(seconds([text]) for text in texts[:200])
    return {"latency_batch_us": together * 1e6, "latency_single_ms": alone * 1e3}


def show(facts: dict[str, Any], worst: int) -> None:
    """The facts as tables, 80 columns wide."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=80, highlight=False)
    table = Table("class", title=f"{facts['data']}, {facts['split']}: {facts['n']:,} texts", title_justify="left")
    for heading in ("precision", "recall", "F1", "texts"):
        table.add_column(heading, justify="right")
    for row in facts["per_class"]:
        numbers = [f"{100 * row[key]:.1f} %" for key in ("precision", "recall", "f1")]
        table.add_row(row["label"], *numbers, f"{row['support']:,}")
    console.print(table)

    matrix = Table("truth ↓   predicted →", title="confusion", title_justify="left")
    for number in range(1, len(facts["labels"]) + 1):
        matrix.add_column(str(number), justify="right")
    for number, (label, row) in enumerate(zip(facts["labels"], facts["confusion"], strict=True), 1):
        matrix.add_row(f"{number} {label}", *(f"{count:,}" for count in row))
    console.print(matrix)

    for mistake in facts["wrong"][:worst]:
        console.print(Text(f"sure and wrong: {mistake['predicted']} at {100 * mistake['probability']:.0f} %, "
                           f"labelled {mistake['truth']}"))  # fmt: skip
        console.print(Text(f"  {' '.join(mistake['text'].split())[:220]}"))
    print(f"accuracy    {100 * facts['accuracy']:.2f} %\nmacro-F1    {100 * facts['macro_f1']:.2f} %")
    print(f"latency     {facts['latency_batch_us']:.0f} µs a text in batches of 256, ", end="")
    print(f"{facts['latency_single_ms']:.2f} ms alone, text in, label out")
    print(f"data        {facts['source']}")
    if facts["learnt_from"]:
        print("note        the model has learnt from these very texts: this is no test")
    if not facts["same_text_as_trained"]:
        print("note        the text differs from the one that the model was trained on")


if __name__ == "__main__":
    main(EvaluateConfig, run)

"""What every evaluate.py says of a model, whatever its task: where it comes from, what was scored, and how it is shown.

The facts are plain data, the same in the terminal and in the JSON file of `--report`. A task adds its own: see
my_llm/classification.py and my_llm/language/scoring.py.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from my_llm.cli import printable
from my_llm.errors import CheckpointError, DataError

if TYPE_CHECKING:
    from rich.console import Console
    from torch import nn

Facts = dict[str, Any]
NAMES = {"ngram": "n-gram", "wavenet": "WaveNet", "transformer": "Transformer"}  # others are capital letters


def kind_of(path: Path, kinds: Iterable[str], stage: str) -> str:
    """What the checkpoint holds.

    Raises:
        CheckpointError: missing, damaged, none of these kinds, or it does not say what was trained, on what, how long.
    """
    from my_llm import checkpoint

    content = checkpoint.load(path)
    if content["kind"] not in kinds:
        raise CheckpointError(f"{path} is no model of {stage}", got=content["kind"], valid=sorted(kinds))
    with checkpoint.parts_of(path):
        data, settings = content["data"], content["settings"]
        names = data["name"], data["sha256"], settings["model_type"]
        if not all(isinstance(name, str) for name in names) or not math.isfinite(content["progress"]["seconds"]):
            raise ValueError("data, settings or progress")
    return content["kind"]


def part_of(corpus: Any, split: str) -> tuple[str, Any]:
    """Name and content of the part to score; "auto" is the test part, or validation where there is none.

    Raises:
        DataError: the corpus has no such part.
    """
    if split == "auto":
        split = "test" if corpus.test else "validation"
    part = getattr(corpus, split)
    if not part:
        raise DataError(f"{corpus.name} has no such part", got=split, valid=("train", "validation"))
    return split, part


def shared_facts(loaded: Mapping[str, Any], corpus: Any, split: str, parameters: int) -> Facts:
    """What is said of every model.

    Args:
        loaded: data, settings (with model_type) and progress of its checkpoint.
    """
    settings, same = loaded["settings"], corpus.sha256 == loaded["data"]["sha256"]
    model_type = str(settings["model_type"])
    members = f"{settings['members']} × " if settings.get("members", 1) > 1 else ""
    return {
        "model": members + NAMES.get(model_type, model_type.upper()),
        "parameters": parameters, "train_seconds": loaded["progress"]["seconds"], "settings": settings,
        "data": corpus.name, "source": corpus.source, "sha256": corpus.sha256, "split": split,
        "same_text_as_trained": same, "learnt_from": same and split == "train",
    }  # fmt: skip


def parameters_of(model: "nn.Module") -> int:
    """How many numbers a network has learnt."""
    return sum(parameter.numel() for parameter in model.parameters())


def write_report(path: Path | None, facts: Facts) -> None:
    """The facts as JSON, where a file is asked for."""
    from my_llm.files import write_atomically

    if path is not None:
        write_atomically(path, json.dumps(facts, indent=1, ensure_ascii=False).encode())
        print(f"report      {path}")


# --- in the terminal --------------------------------------------------------------------------------------------------


def show(facts: Facts, examples: int) -> None:
    """The facts of a language model, a classifier or a tagger, 80 columns wide."""
    from rich.console import Console
    from rich.text import Text

    console = Console(width=80, highlight=False)
    console.print(Text(f"{facts['model']}, {facts['task']}: {facts['data']}, {facts['split']} part"))
    if facts["task"] == "language model":
        show_language_model(console, facts, examples)
    else:
        show_classes(console, facts, examples)
    if facts["learnt_from"]:
        console.print("The model has learnt from these very examples: no measure of anything.")
    if not facts["same_text_as_trained"]:
        console.print("Not the text that the model was trained on, or another split of it.")


def show_language_model(console: "Console", facts: Facts, examples: int) -> None:
    """Loss, perplexity, bits per byte, speed, and a text that it wrote."""
    from rich.text import Text

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


def show_classes(console: "Console", facts: Facts, examples: int) -> None:
    """Precision, recall and F1 of every class, some wrong answers, and the scores over all classes."""
    from rich.table import Table
    from rich.text import Text

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
    if "latency_batch_us" in facts:
        console.print(f"{facts['latency_batch_us']:,.0f} µs a text in batches of 256, "
                      f"{facts['latency_single_ms']:.2f} ms alone, text in, label out")  # fmt: skip

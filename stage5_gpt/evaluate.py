"""Score a trained GPT: `python evaluate.py --model_path checkpoints/best_gpt_char.pt`.

Needs nothing but the checkpoint, which says what it is for and on which corpus it was trained. A classifier: accuracy,
F1 and latency. One that answers prompts: the share of right answers, by level, and what else its task is scored by. A
language model: two losses, see language.py, in windows that overlap, from which perplexity and bits per byte come, and
in windows one after the other.
A loss says nothing of how varied the texts are that it writes: so it writes some, and the same is measured of the book
(what the measures mean stands in my_llm/language/diversity.py).
"""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from my_llm.cli import BaseConfig, main

if TYPE_CHECKING:
    import torch

    from my_llm.language.writer import Writer


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(BaseConfig):
    """Score a GPT of stage 5: one that writes, or one that was tuned to sort or to answer."""

    model_path: Path = Path("checkpoints/best_gpt_char.pt")
    """checkpoint that train.py or finetune.py wrote"""
    dataset: str = ""
    """corpus to score on; empty: the one that the model was trained on"""
    split: Literal["auto", "test", "validation", "train"] = "auto"
    """which part of the corpus; auto: test, or validation where there is no test part"""
    window: int = 0
    """tokens of the windows one after the other; 0: as many as the model reads"""
    samples: int = 8
    """how many texts it writes to see how varied they are; 0: none"""
    sample_length: int = 400
    """tokens of each of them"""
    temperature: float = 0.8
    """at which it writes them"""
    examples: int = 1
    """how many of a classifier's mistakes to print, or three times as many answers to each task; of a language model a
    text, or 0: none"""
    report: Path | None = None
    """also write everything to this JSON file"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "window": (0, math.inf), "samples": (0, 10_000), "sample_length": (20, 1_000_000),
        "temperature": (0, 100), "examples": (0, math.inf),
    }  # fmt: skip


def run(config: EvaluateConfig) -> None:
    """Load, score, print."""
    from my_llm import checkpoint
    from my_llm.device import set_up
    from my_llm.errors import ConfigError
    from my_llm.evaluation import kind_of
    from stage5_gpt import classifying, language, tasks

    device = set_up(config.device, config.threads, config.seed)
    measures = {language.KIND: language_model, classifying.KIND: classifier}
    kind = kind_of(config.model_path, measures, "stage 5")
    if kind == language.KIND and checkpoint.load(config.model_path)["settings"].get("task") in tasks.EXERCISES:
        kind, measures = "a model that answers", {"a model that answers": answering}
    for name in ("window", "samples", "sample_length", "temperature"):
        if kind != language.KIND and (value := getattr(config, name)) != getattr(EvaluateConfig, name):
            raise ConfigError(f"--{name} means nothing to {kind}", got=value, next_step="leave it out")
    measures[kind](config, device)


def classifier(config: EvaluateConfig, device: "torch.device") -> None:
    """Accuracy and F1, overall and for each class, and the time that a text takes."""
    from my_llm.classification import measure
    from my_llm.data.catalog import load
    from my_llm.evaluation import show, write_report
    from stage5_gpt.classifying import load_labeller

    sorter = load_labeller(config.model_path, device, config.precision)
    corpus = load(config.dataset or sorter.facts["data"]["name"])
    facts = {"stage": "stage5_gpt", **measure(sorter, corpus, config.split)}
    show(facts, config.examples)
    write_report(config.report, facts)


def answering(config: EvaluateConfig, device: "torch.device") -> None:
    """The scores of its task, and some answers."""
    from my_llm.evaluation import write_report
    from stage5_gpt.language import load_writer
    from stage5_gpt.scoring_answers import measure, told
    from stage5_gpt.tasks import EXERCISES

    writer: Any = load_writer(config.model_path, device, config.precision)
    exercise = EXERCISES[writer.facts["settings"]["task"]](config.dataset or writer.facts["data"]["name"])
    facts = {"stage": "stage5_gpt", **measure(writer, exercise, config.split)}
    for line in told(facts, 3 * config.examples):
        print(line)
    write_report(config.report, facts)


def language_model(config: EvaluateConfig, device: "torch.device") -> None:
    """Both losses, speed, a text, and how varied what it writes is."""
    from my_llm.errors import ConfigError
    from my_llm.evaluation import part_of, show, write_report
    from my_llm.language.scoring import measure
    from stage5_gpt.language import load_writer, loss_of
    from stage5_gpt.large_text import load_text

    writer: Any = load_writer(config.model_path, device, config.precision)
    if config.window > writer.model.config.context:
        valid = f"at most {writer.model.config.context}"
        raise ConfigError("--window is longer than the model can read", got=config.window, valid=valid)
    corpus = load_text(config.dataset or writer.facts["data"]["name"])
    facts = {"stage": "stage5_gpt", **measure(writer, corpus, config.split, loss_of, seed=config.seed)}
    _, text = part_of(corpus, config.split)
    facts |= apart(writer, text, config.window)
    if config.samples:
        facts |= varied(writer, text, "characters" if corpus.language == "zh" else "words", config)
    show(facts, config.examples)
    for line in told(facts):
        print(line)
    write_report(config.report, facts)


def apart(writer: "Writer", text: str, window: int) -> dict[str, Any]:
    """The loss in windows one after the other."""
    from my_llm.device import autocast
    from my_llm.language.batches import tokens_of
    from stage5_gpt.language import nats_apart

    model: Any = writer.model
    tokens = tokens_of(writer.tokenizer, text, "scored")
    with autocast(writer.precision, writer.device):
        loss = nats_apart(model, tokens, window)
    return {"window": window or model.config.context, "loss_apart": float(loss.total) / loss.count}


def varied(
    writer: "Writer", text: str, units: Literal["words", "characters"], config: EvaluateConfig
) -> dict[str, Any]:
    """How varied the texts are that it writes, and as many pieces of the book, of the same length."""
    from my_llm.language.diversity import diversity

    texts = [
        "".join(writer.write("", length=config.sample_length, temperature=config.temperature, seed=config.seed + n))
        for n in range(config.samples)
    ]
    size = min(sum(map(len, texts)), len(text)) // len(texts)  # characters
    firsts = [(len(text) - size) * n // max(len(texts) - 1, 1) for n in range(len(texts))]
    book = [text[first : first + size] for first in firsts]
    return {"samples": len(texts), "sample_characters": size, "temperature": config.temperature,
            "diversity_unit": units, "diversity": diversity(texts, units),
            "diversity_of_book": diversity(book, units)}  # fmt: skip


def told(facts: dict[str, Any]) -> list[str]:
    """What this stage adds to what is shown of every language model, 80 columns wide."""
    unit = facts["unit"]
    lines = [f"loss           {facts['loss_apart']:.4f} nats per {unit}, in windows of {facts['window']}"]
    lines.append("               one after the other: the first token of each has no past")
    if "diversity" not in facts:
        return lines
    lines.append(f"\n{facts['samples']} texts of about {facts['sample_characters']:,} characters, counted in "
                 f"{facts['diversity_unit']}")  # fmt: skip
    lines.append(f"{'':18}{'it writes':>12}{'the book':>12}")
    for name, value in facts["diversity"].items():
        lines.append(f"{name.replace('_', ' '):18}{value:12.3f}{facts['diversity_of_book'][name]:12.3f}")
    return lines


if __name__ == "__main__":
    main(EvaluateConfig, run)

"""Score a trained model of this stage: `python evaluate.py --model_path checkpoints/best_transformer_model.pt`.

Needs nothing but the checkpoint, which says which task it is for and which corpus it was trained on. A translator:
BLEU and chrF, greedy and by beam search. A classifier: accuracy, F1 and latency. A language model: nats and perplexity
per token, and bits per byte. What is measured, and how, stands in my_llm/.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from my_llm.cli import main
from my_llm.translation.flags import ScoringConfig

if TYPE_CHECKING:
    import torch

STAGE = "stage4_transformer"


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(ScoringConfig):
    """Score a model of stage 4; --beam_size and --length_penalty are for translators."""

    model_path: Path = Path("checkpoints/best_transformer_model.pt")
    """checkpoint that train.py wrote"""


def run(config: EvaluateConfig) -> None:
    """Load, score, print."""
    config.check()
    from my_llm.device import set_up
    from my_llm.errors import ConfigError
    from my_llm.evaluation import kind_of
    from stage4_transformer import classifying, language, translating

    device = set_up(config.device, config.threads, config.seed)
    measures: dict[str, Callable[[EvaluateConfig, torch.device], None]] = {
        translating.KIND: translator,
        classifying.KIND: classifier,
        language.KIND: language_model,
    }
    kind = kind_of(config.model_path, measures, "stage 4")
    for name in ("beam_size", "length_penalty"):
        if kind != translating.KIND and (value := getattr(config, name)) != getattr(EvaluateConfig, name):
            raise ConfigError(f"--{name} means nothing to {kind}", got=value, next_step="leave it out")
    measures[kind](config, device)


def translator(config: EvaluateConfig, device: "torch.device") -> None:
    """BLEU, chrF, by length, examples, alignment, maps of all heads."""
    from my_llm.translation.scoring import report
    from stage4_transformer.translating import align, blocks, load_translator

    loaded = load_translator(config.model_path, device, config.precision)
    looks = partial(align, loaded), partial(blocks, loaded)
    report(config, loaded, looks[0], stage=STAGE, model="Transformer", heads=looks[1])


def classifier(config: EvaluateConfig, device: "torch.device") -> None:
    """Accuracy and F1, overall and for each class, and the time that a text takes."""
    from my_llm.classification import measure
    from my_llm.data.catalog import load
    from my_llm.evaluation import show, write_report
    from stage4_transformer.classifying import load_labeller

    sorter = load_labeller(config.model_path, device, config.precision)
    corpus = load(config.dataset or sorter.facts["data"]["name"])
    facts = {"stage": STAGE, **measure(sorter, corpus, config.split)}
    show(facts, config.examples)
    write_report(config.report, facts)


def language_model(config: EvaluateConfig, device: "torch.device") -> None:
    """Perplexity, bits per byte, speed of writing."""
    from my_llm.data.catalog import load_text
    from my_llm.evaluation import show, write_report
    from my_llm.language.scoring import measure
    from stage4_transformer.language import load_writer, loss_of

    writer = load_writer(config.model_path, device, config.precision)
    corpus = load_text(config.dataset or writer.facts["data"]["name"])
    facts = {"stage": STAGE, **measure(writer, corpus, config.split, loss_of, seed=config.seed)}
    show(facts, config.examples)
    write_report(config.report, facts)


if __name__ == "__main__":
    main(EvaluateConfig, run)

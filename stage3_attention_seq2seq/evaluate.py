"""Score a trained translator: `python evaluate.py --model_path checkpoints/best_attention_model.pt`.

Needs nothing but the checkpoint, which says what corpus it was trained on. What is measured, and how, stands in
my_llm/translation/scoring.py.
"""

import dataclasses
from functools import partial
from pathlib import Path

from my_llm.cli import main
from my_llm.translation.flags import ScoringConfig


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(ScoringConfig):
    """Score a translator of stage 3."""

    model_path: Path = Path("checkpoints/best_attention_model.pt")
    """checkpoint that train.py wrote"""


def run(config: EvaluateConfig) -> None:
    """Load, translate, score, print."""
    config.check()
    from my_llm.device import set_up
    from my_llm.translation.scoring import report
    from stage3_attention_seq2seq.translator import align, load_translator

    device = set_up(config.device, config.threads, config.seed)
    translator = load_translator(config.model_path, device, config.precision)
    model = translator.facts["settings"]["attention_type"]
    report(config, translator, partial(align, translator), stage="stage3_attention_seq2seq", model=model)


if __name__ == "__main__":
    main(EvaluateConfig, run)

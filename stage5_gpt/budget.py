"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from typing import Any

from my_llm.budget import PYTHON, TO_WRITE, Rule, Size
from stage5_gpt.models import GPTConfig, cost_of

SHAPES = {64: (2, 2, 0.27), 96: (3, 3, 0.37), 128: (4, 4, 0.44), 160: (5, 5, 0.5), 256: (6, 8, 0.63), 384: (6, 6, 0.7)}
WINDOWS, CONTEXT = 32, 128


def rule() -> Rule:
    """Windows of characters; by width: layers, heads, and the share."""

    def sizes(vocabulary: int) -> list[Size]:
        made = []
        for width, (layers, heads, share) in SHAPES.items():
            flags: dict[str, Any] = {"layers": layers, "heads": heads, "model": width, "context": CONTEXT}
            cost = cost_of(GPTConfig(vocab_size=vocabulary, positions="rotary", **flags))
            made.append(Size(flags, cost.parameters, cost.flops_per_token, share))
        return made

    return Rule(
        "language modelling", sizes, TO_WRITE, WINDOWS * CONTEXT, passes=(3, 20), unit="characters", instead=PYTHON
    )

"""Runs the studies of stage 2: every claim of the theory page is measured here.

    python stage2_rnn_lstm/experiments.py --studies gradients clipping --dataset tiny_shakespeare

Each study writes a table, results/stage2_rnn_lstm/<study>.json, and a figure, docs/figures/stage2_<study>.png, and
says in one sentence what the numbers show, whether or not that is what the textbooks say.
"""

from my_llm.cli import main
from my_llm.studies import run_studies
from stage2_rnn_lstm.studies import StudyConfig

# Study → the module of stage2_rnn_lstm/studies/ that holds the function of that name; in the order of the theory page.
STUDIES: dict[str, str] = {
    "gradients": "gradients",
    "clipping": "gradients",
    "copy_task": "memory",
    "adding_task": "memory",
    "forget_gate": "gates",
    "tracking_cells": "tracking",
    "truncation": "truncation",
    "hidden_size": "shape",
    "layers": "shape",
    "dropout": "shape",
    "ladder": "ladder",
    "teacher_forcing": "exposure",
    "bottleneck": "bottleneck",
    "order_cost": "order",
    "sentiment": "sentiment",
}


def run(config: StudyConfig) -> None:
    """Run the chosen studies one after the other."""
    run_studies(config, STUDIES)


if __name__ == "__main__":
    main(StudyConfig, run)

"""Runs the studies of stage 1: every claim of the theory page is measured here.

    python stage1_mlp/experiments.py --studies activations optimizers --dataset ag_news

Each study writes a table, results/stage1_mlp/<study>.json, and a figure, docs/figures/stage1_<study>.png, and says in
one sentence what the numbers show, whether or not that is what the textbooks say.
"""

from my_llm.cli import main
from my_llm.studies import run_studies
from stage1_mlp.studies import StudyConfig

# Study → the module of stage1_mlp/studies/ that holds the function of that name; in the order of the theory page.
STUDIES: dict[str, str] = {
    "three_steps": "learning",
    "tasks": "tasks",
    "xor": "xor",
    "activations": "training",
    "losses": "training",
    "optimizers": "training",
    "schedules": "training",
    "initialization": "shape",
    "depth_width": "shape",
    "batch_norm": "regularization",
    "dropout": "regularization",
    "overfitting": "regularization",
    "features": "features",
    "genetic": "search",
    "word_order": "limits",
    "long_inputs": "limits",
    "next_token": "language",
    "supervision": "supervision",
    "baselines": "baselines",
}


def run(config: StudyConfig) -> None:
    """Run the chosen studies one after the other."""
    run_studies(config, STUDIES)


if __name__ == "__main__":
    main(StudyConfig, run)

"""Runs the studies of stage 4: every claim of the theory page is measured here.

    python stage4_transformer/experiments.py --studies order positions

Each study writes a table, results/stage4_transformer/<study>.json, and a figure, docs/figures/stage4_<study>.png, and
says in one sentence what the numbers show, whether or not that is what the textbooks say. Studies that are called
together share the trainings that they have in common. They train on one thread, whatever --threads says; the study
families also times two, if there may be two.
"""

from my_llm.cli import main
from my_llm.studies import run_studies
from stage4_transformer.studies import StudyConfig

# Study → the module of stage4_transformer/studies/ that holds the function of that name; in the order of the theory
# page.
STUDIES: dict[str, str] = {
    "order": "order",
    "positions": "positions",
    "cost": "cost",
    "heads": "heads",
    "shape": "shape",
    "families": "families",
    "recall": "recall",
    "translation": "translation",
    "windows": "windows",
    "looking": "looking",
    "news": "news",
}


def run(config: StudyConfig) -> None:
    """Run the chosen studies one after the other."""
    run_studies(config, STUDIES)


if __name__ == "__main__":
    main(StudyConfig, run)

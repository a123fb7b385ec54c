"""Runs the studies of stage 5: the claims of the theory page are measured here.

    python stage5_gpt/experiments.py --studies size leak

Each study writes a table, results/stage5_gpt/<study>.json, and a figure, docs/figures/stage5_<study>.png, and says in
one sentence what the numbers show. They train on one thread, whatever --threads says.
"""

from my_llm.cli import main
from my_llm.studies import run_studies
from stage5_gpt.studies import StudyConfig

# Study → the module of stage5_gpt/studies/ that holds the function of that name; in the order of the theory page, and
# what the projects measure.
STUDIES: dict[str, str] = {
    "leak": "leak",
    "size": "shapes",
    "depth": "shapes",
    "heads": "shapes",
    "context": "shapes",
    "rivals": "rivals",
    "optimizers": "recipes",
    "batch": "recipes",
    "ngrams": "recipes",
    "tokenizers": "rivals",
    "decoding": "decoding",
    "encoder": "encoder",
    "sorting": "sorting",
    "coding": "coding",
    "verses": "verses",
    "novels": "novels",
    "questions": "answers",
    "shots": "answers",
    "continuation": "answers",
    "news": "news",
    "several": "news",
}


def run(config: StudyConfig) -> None:
    """Run the chosen studies one after the other."""
    run_studies(config, STUDIES)


if __name__ == "__main__":
    main(StudyConfig, run)

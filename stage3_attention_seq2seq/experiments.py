"""Runs the studies of stage 3: every claim of the theory page is measured here.

    python stage3_attention_seq2seq/experiments.py --studies attentions length

Each study writes a table, results/stage3_attention_seq2seq/<study>.json, and a figure,
docs/figures/stage3_<study>.png, and says in one sentence what the numbers show, whether or not that is what the
textbooks say. Studies that are called together share the trainings that they have in common.
"""

from my_llm.cli import main
from my_llm.studies import run_studies
from stage3_attention_seq2seq.studies import StudyConfig

# Study → the module of stage3_attention_seq2seq/studies/ that holds the function of that name; in the order of the
# theory page.
STUDIES: dict[str, str] = {
    "reversed": "reading",
    "attentions": "attentions",
    "length": "length",
    "context": "context",
    "forcing": "forcing",
    "beam": "search",
    "choosing": "search",
}


def run(config: StudyConfig) -> None:
    """Run the chosen studies one after the other."""
    run_studies(config, STUDIES)


if __name__ == "__main__":
    main(StudyConfig, run)

"""Runs the studies of stage 3: every claim of the theory page is measured here.

    python stage3_attention_seq2seq/experiments.py --studies attentions length

Each study writes a table, results/stage3_attention_seq2seq/<study>.json, and a figure,
docs/figures/stage3_<study>.png, and says in one sentence what the numbers show, whether or not that is what the
textbooks say. Studies that are called together share the trainings that they have in common.
"""

from collections.abc import Callable
from importlib import import_module

from my_llm.cli import main
from my_llm.errors import choose
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


def study(name: str) -> Callable[[StudyConfig], None]:
    """The function of a study; its module, and torch with it, is loaded only now.

    Raises:
        ConfigError: no such study; the nearest name is suggested.
    """
    return getattr(import_module(f"stage3_attention_seq2seq.studies.{choose(name, STUDIES, 'study')}"), name)


def run(config: StudyConfig) -> None:
    """Run the chosen studies one after the other."""
    names = list(STUDIES) if "all" in config.studies else config.studies
    functions = [study(name) for name in names]  # all names are checked before the first minute is spent
    from my_llm.device import set_up

    set_up(config.device, config.threads, config.seed)
    for number, (name, function) in enumerate(zip(names, functions, strict=True), 1):
        print(f"study {number} of {len(names)}: {name}", flush=True)
        function(config)


if __name__ == "__main__":
    main(StudyConfig, run)

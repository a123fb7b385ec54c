"""Runs the studies of stage 2: every claim of the theory page is measured here.

    python stage2_rnn_lstm/experiments.py --studies gradients clipping --dataset tiny_shakespeare

Each study writes a table, results/stage2_rnn_lstm/<study>.json, and a figure, docs/figures/stage2_<study>.png, and
says in one sentence what the numbers show, whether or not that is what the textbooks say.
"""

from collections.abc import Callable
from importlib import import_module

from my_llm.cli import main
from my_llm.errors import choose
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


def study(name: str) -> Callable[[StudyConfig], None]:
    """The function of a study; its module, and torch with it, is loaded only now.

    Raises:
        ConfigError: no such study; the nearest name is suggested.
    """
    return getattr(import_module(f"stage2_rnn_lstm.studies.{choose(name, STUDIES, 'study')}"), name)


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

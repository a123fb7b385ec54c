"""What a budget buys: `train.py --budget` of every stage, run as a user runs it; other seeds have the first one's plan.

A training that was stopped is continued, one that is over is not run again: they lie in runs/ as all others do.
"""

import importlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.jobs import Row, folder_of
from my_llm.budget import Plan, Rule, Size, Text
from my_llm.errors import ConfigError
from my_llm.run import Stopped, home
from my_llm.studies import mean_and_spread

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = {"1m": (0, 1), "10m": (0,), "1h": (0,)}  # and their seeds
HOUR = ("stage2_rnn_lstm", "stage4_transformer", "stage5_gpt")  # in stage 3, ten minutes already say "better than"
METRICS = {
    "stage1_mlp": "accuracy", "stage2_rnn_lstm": "bits_per_byte", "stage3_attention_seq2seq": "bleu",
    "stage4_transformer": "bleu", "stage5_gpt": "bits_per_byte",
}  # fmt: skip


def train(stage: str, budget: str, seed: int, plan: Plan | None = None) -> Path:
    """The folder of the training, when it is over.

    Args:
        plan: Of the first seed, for the others: the machine's rate wavers.

    Raises:
        Stopped: by Ctrl-C, which the training has heard, too.
        ConfigError: it failed.
    """
    name = f"budget-{budget}-{folder_of('budget', [repr(texts_and_sizes(stage))]).name[-8:]}-seed{seed}"
    found = sorted(path.parent for path in (home() / "runs" / stage).glob(f"*-{name}/config.toml"))
    if found and (found[-1] / "summary.json").exists():
        return found[-1]
    given = plan.flags() if plan else {"budget": budget}
    words = [str(word) for flag, value in given.items() for word in (f"--{flag}", value)]
    flags = ["--resume", str(found[-1])] if found else [*words, "--run_name", name, "--seed", str(seed)]
    with subprocess.Popen([sys.executable, "train.py", *flags], cwd=ROOT / stage) as training:
        try:
            code = training.wait()
        except KeyboardInterrupt:  # the terminal has told the training, too: it saves
            training.wait()
            code = 130
    if code == 130:
        raise Stopped("trainings that are over are kept; the same command goes on")
    if code:
        raise ConfigError(f"train.py of {stage} ended with {code}", next_step="see above, and mend it")
    return max((home() / "runs" / stage).glob(f"*-{name}"), key=lambda path: path.stat().st_mtime_ns)


def rule_of(stage: str) -> Rule:
    """Of its budget.py."""
    return importlib.import_module(f"{stage}.budget").rule()


def texts_and_sizes(stage: str) -> list[tuple[Text, Sequence[Size]]]:
    """What the rule may choose from: with other sizes, a budget buys another training."""
    rule = rule_of(stage)
    return [(text, rule.sizes(text.vocabulary)) for text in (*rule.texts, rule.instead) if text]


def planned(stage: str, settings: dict[str, Any]) -> Plan:
    """What was trained, in the words of the rule."""
    for text, sizes in texts_and_sizes(stage):
        for size in sizes if text.dataset == settings["dataset"] else ():
            # several numbers, such as those of stage 1's layers, are a list in TOML
            if all(str(settings[name]).strip("[]") == str(value) for name, value in size.flags.items()):
                steps = settings["max_steps"]
                tokens = steps * rule_of(stage).batch * text.per_example
                return Plan(size, text, steps, tokens * size.operations, 0.0)
    raise ConfigError("the run has another size than the rule", got=settings, next_step="delete it")


def settings_of(folder: Path) -> dict[str, Any]:
    """All flags of a run."""
    return tomllib.loads((folder / "config.toml").read_text("utf-8"))


def row_of(stage: str, budget: str, folders: Sequence[Path]) -> Row:
    """One stage and budget; the spread is that over the seeds."""
    made = planned(stage, settings_of(folders[0]))
    told = [json.loads((folder / "summary.json").read_text("utf-8")) for folder in folders]
    metric = METRICS[stage]
    scores = [one["best"]["scores"][metric] * (100 if metric == "accuracy" else 1) for one in told]
    return {
        "case": f"{stage.split('_')[0]}, {budget}", "metric": metric, "data": made.text.dataset,
        "tera_operations": float(f"{made.operations / 1e12:.3g}"), "parameters": made.size.parameters,
        "times_read": round(made.tokens(rule_of(stage)) / made.text.tokens, 1),
        "seconds": round(max(one["seconds"] for one in told), 1), **mean_and_spread("score", scores, 3),
    }  # fmt: skip


def rows() -> Iterator[Row]:
    """All of them; where more time buys nothing more, the shorter one only."""
    known = []
    for budget, (first, *others) in BUDGETS.items():
        for stage in HOUR if budget == "1h" else METRICS:
            folder = train(stage, budget, first)
            made = planned(stage, settings_of(folder))
            if made in known:
                continue
            known.append(made)
            yield row_of(stage, budget, [folder, *(train(stage, budget, seed, made) for seed in others)])


COLUMNS = {
    "metric": "",
    "data": "text",
    **dict.fromkeys(("tera_operations", "parameters", "times_read"), ""),
    "seconds": "s",
    "score": "",
    "score_sd": "",
}

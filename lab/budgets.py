"""What a budget buys: `train.py --budget` of every stage, run as a user runs it, twice.

A training that was stopped is continued, one that is over is not run again: they lie in runs/ as all others do.
"""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.jobs import Row
from my_llm.budget import Plan, Rule
from my_llm.errors import ConfigError
from my_llm.run import Stopped, home
from my_llm.studies import mean_and_spread

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = ("1m",)
SEEDS = (0, 1)
METRICS = {
    "stage1_mlp": "accuracy", "stage2_rnn_lstm": "bits_per_byte", "stage3_attention_seq2seq": "bleu",
    "stage4_transformer": "bleu", "stage5_gpt": "bits_per_byte",
}  # fmt: skip


def train(stage: str, budget: str, seed: int) -> Path:
    """The folder of the training, when it is over.

    Raises:
        Stopped: by Ctrl-C, which the training has heard, too.
        ConfigError: it failed.
    """
    name = f"budget-{budget}-seed{seed}"
    found = sorted((home() / "runs" / stage).glob(f"*-{name}"))
    if found and (found[-1] / "summary.json").exists():
        return found[-1]
    flags = ["--resume", str(found[-1])] if found else ["--budget", budget, "--run_name", name, "--seed", str(seed)]
    code = subprocess.run(
        [sys.executable, "train.py", *flags], cwd=ROOT / stage, check=False, env=os.environ
    ).returncode
    if code == 130:
        raise Stopped("trainings that are over are kept; the same command goes on")
    if code:
        raise ConfigError(f"train.py of {stage} ended with {code}", next_step="see above, and mend it")
    return max((home() / "runs" / stage).glob(f"*-{name}"), key=lambda path: path.stat().st_mtime_ns)


def planned(rule: Rule, settings: dict[str, Any]) -> Plan:
    """What was trained, in the words of the rule."""
    size = next(
        one
        for one in rule.sizes
        if all(str(settings[name]).strip("[]") == str(value) for name, value in one.flags.items())
    )  # several numbers, such as those of stage 1's layers, are a list in TOML
    text = next(one for one in rule.texts if one.dataset == settings["dataset"])
    operations = settings["max_steps"] * rule.tokens_per_step * size.operations
    return Plan(size, text, settings["max_steps"], operations, 0.0)


def row_of(stage: str, budget: str, folders: Sequence[Path]) -> Row:
    """One stage and budget; the spread is that over the seeds."""
    rule: Rule = importlib.import_module(f"{stage}.budget").rule()
    made = planned(rule, tomllib.loads((folders[0] / "config.toml").read_text("utf-8")))
    told = [json.loads((folder / "summary.json").read_text("utf-8")) for folder in folders]
    metric = METRICS[stage]
    scores = [one["best"]["scores"][metric] * (100 if metric == "accuracy" else 1) for one in told]
    tokens = made.steps * rule.tokens_per_step
    return {
        "case": f"{stage}, {budget}", "operations": made.operations, "parameters": made.size.parameters,
        "steps": made.steps, "passes": round(tokens / made.text.tokens, 1), 
        "seconds": max(one["seconds"] for one in told),
        "metric": metric, **mean_and_spread("score", scores, 3),
    }  # fmt: skip


def rows(budgets: Sequence[str] = BUDGETS) -> Iterator[Row]:
    """All of them."""
    for budget in budgets:
        for stage in METRICS:
            yield row_of(stage, budget, [train(stage, budget, seed) for seed in SEEDS])


COLUMNS = {
    "operations": "", "parameters": "", "steps": "", "passes": "", "seconds": "s", "metric": "", "score": "",
    "score_sd": "",
}  # fmt: skip

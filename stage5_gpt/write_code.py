"""A small code assistant: `python write_code.py --prompt "# return the larger of two numbers"`.

It writes several functions, looks whether each is Python, uses only names that exist, keeps to style, and gives the
examples of its docstring; what it runs, it runs in a process that may do little (sandbox.py). Then it shows the best.

    python write_code.py --prompt "def larger(a, b):\n    \"\"\"Return the larger of a and b.\"\"\""
    python write_code.py --evaluate 40 --report code.json

The second one scores the model on functions of the library that it has not read, and on small tasks with hidden
examples. The functions go to standard output, everything said about them to standard error.
"""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from my_llm.cli import BaseConfig, main

if TYPE_CHECKING:
    from my_llm.language.writer import Writer


@dataclasses.dataclass(frozen=True)
class WriteCodeConfig(BaseConfig):
    """Let a GPT that has read Python write functions, and show the best."""

    checkpoint: Path = Path("checkpoints/best_gpt_gpt2.pt")
    """language model that train.py wrote: --preset code"""
    prompt: str = ""
    """a comment that says what the function should do, or how it begins; \\n is a line end"""
    candidates: int = 8
    """how many to write"""
    show: int = 1
    """how many of them to show, the best first"""
    length: int = 160
    """tokens of each at most"""
    temperature: float = 0.6
    """below 1 bolder, above 1 more varied"""
    execute: bool = True
    """also run what was written, within limits"""
    evaluate: int = 0
    """score the model on so many functions of the library that it has not read, and on the tasks; 0: no"""
    report: Path | None = None
    """also write the scores to this JSON file"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "candidates": (1, 1000), "show": (1, 1000), "length": (1, 100_000),
        "temperature": (0, 100), "evaluate": (0, math.inf),
    }  # fmt: skip


def run(config: WriteCodeConfig) -> None:
    """Answer one question, or score."""
    from my_llm.device import set_up
    from my_llm.errors import ConfigError
    from stage5_gpt.language import load_writer
    from stage5_gpt.sandbox import can_run

    if bool(config.prompt) == bool(config.evaluate):
        raise ConfigError("either a --prompt, or --evaluate", next_step='--prompt "# return the larger of two numbers"')
    if config.execute and not can_run():
        raise ConfigError("this system cannot limit a process", valid="Linux, macOS", next_step="--no_execute")
    if config.evaluate and not config.execute:
        raise ConfigError("tasks are scored by running the answers", next_step="leave --no_execute out")
    if config.report and not config.evaluate:
        raise ConfigError("--report needs scores", next_step="--evaluate 40")
    device = set_up(config.device, config.threads, config.seed)
    writer = load_writer(config.checkpoint, device, config.precision)
    (score if config.evaluate else answer)(config, writer)


def answer(config: WriteCodeConfig, writer: "Writer") -> None:
    """Show the best of several functions."""
    from my_llm.cli import printable
    from my_llm.terminal import say
    from stage5_gpt.assistant import answers, look
    from stage5_gpt.code_tasks import of_comment

    asked = of_comment(config.prompt)
    bodies = answers(
        writer, asked, config.candidates, length=config.length, temperature=config.temperature, seed=config.seed
    )
    checked = look(asked, bodies, run=config.execute)
    for number, one in enumerate(checked[: config.show]):
        print(("\n" if number else "") + printable(one.source), end="")
        facts = [f"is {'' if one.compiles else 'no '}Python"]
        if one.compiles:
            facts.append("all names are known" if one.known else "has names from nowhere")
            facts.append(f"style {one.style:.0%}")
        if one.compiles and config.execute:
            examples = f"; examples {one.tried.attempted - one.tried.failed} of {one.tried.attempted}"
            facts.append(("runs" if one.tried.ran else "does not run") + (examples if one.tried.attempted else ""))
        say(", ".join(facts))
    compiled = sum(one.compiles for one in checked)
    say(f"{config.candidates} written, {len(checked)} different, {compiled} are Python; read before you use it")


def score(config: WriteCodeConfig, writer: "Writer") -> None:
    """Scores beside those of people, of chance, and of an n-gram model."""
    from my_llm.data.catalog import load_text
    from my_llm.evaluation import write_report
    from stage5_gpt.scoring_code import COLUMNS, rows_of

    rows = rows_of(
        writer, load_text("python_library"), functions=config.evaluate, candidates=config.candidates,
        length=config.length, temperature=config.temperature, seed=config.seed,
    )  # fmt: skip
    print(f"{'% of':24}" + "".join(f"{name.replace('_', ' '):>12}" for name in COLUMNS))
    for row in rows:
        print(f"{row['case']:24}" + "".join(f"{row.get(name, '–'):>12}" for name in COLUMNS))
    print(f"{rows[0]['n']} functions; solved: of {rows[0]['tasks']} tasks with hidden examples")
    write_report(config.report, {"stage": "stage5_gpt", "rows": rows})


if __name__ == "__main__":
    main(WriteCodeConfig, run)

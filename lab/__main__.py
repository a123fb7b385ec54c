"""`my-llm <command>`, the same as `python -m lab <command>`: one word for everything that looks at the whole house."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from my_llm.errors import nearest


class Command(NamedTuple):
    """What a word of the command line does, and the function `module:name(arguments) -> exit code` that does it."""

    what: str
    function: str


COMMANDS = {
    "tour": Command("train a small model of every stage and write runs/tour/report.html", "tour:main"),
    "report": Command("write the report of the last tour again", "report:main"),
    "compare": Command("compare every generation of models: the ladder", "compare:main"),
    "check-run": Command("say whether a training looks normal: my-llm check-run runs/stage1_mlp/...", "check_run:main"),
    "doctor": Command("print what a bug report needs, and what to mend", "doctor:main"),
    "tables": Command("write the numbers of results/ into the pages; --check only looks", "tables:main"),
    "milestones": Command("train and score the milestones of the README over several seeds", "milestones:main"),
    "bench": Command("measure speed on this machine", "bench:main"),
    "bench-reliability": Command("kill, damage, deceive: the long run", "bench:reliability"),
    "docs": Command("build the pages as a site in site/ that needs no network", "docs:main"),
    "check": Command("layout, lint, types, architecture, stale tables", "__main__:check"),
    "notebooks": Command("execute every notebook from top to bottom", "notebooks:main"),
}


def main() -> None:
    """Run the command that sys.argv names and exit with its code."""
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if name in ("-h", "--help", "help"):
        print(help_text())
        sys.exit(0)
    if name not in COMMANDS:
        near = nearest(name, COMMANDS)
        hint = f"did you mean {near}?" if near else f"valid: {', '.join(COMMANDS)}"
        print(f"my-llm: unknown command {name!r}; {hint}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"my-llm {name}", *arguments]  # what help and errors call the program
    module, function = COMMANDS[name].function.split(":")
    try:
        try:
            code = getattr(import_module(f"lab.{module}"), function)(arguments)
        finally:  # also after --help, which exits
            sys.stdout.flush()
    except BrokenPipeError:
        from my_llm.cli import unheard

        code = unheard()
    sys.exit(code)


def help_text() -> str:
    """All commands."""
    rows = [f"  {name:<18} {command.what}" for name, command in COMMANDS.items()]
    return "\n".join(["my-llm <command> [arguments]; the same as: python -m lab <command>", "", *rows])


def check(arguments: Sequence[str]) -> int:
    """Judge the repository without running it."""
    from lab.check import check as judge

    return judge()


if __name__ == "__main__":
    main()

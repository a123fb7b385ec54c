"""Every command on every page is understood by its script: it is read as if it were run, and nothing is trained.

The READMEs' commands are run in full by test_readme_commands.py.
"""

import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pages import ROOT, code_blocks

from my_llm import cli
from my_llm.errors import UserError

PAGES = sorted(ROOT.glob("docs/en/*.md"))
SCRIPT = re.compile(r"(?:[A-Z_]+=\S+ )*python3? (\S+\.py)\b(.*)")
PLACEHOLDER = re.compile(r"<.*>|…|\.\.\.|YYYY|\$")


class Command(NamedTuple):
    """A script, the folder that it is called in, and its arguments."""

    folder: Path
    script: Path
    arguments: list[str]


class Understood(Exception):
    """The script has read its arguments; it need not run."""


def home_of(page: Path) -> Path:
    """Where the reader of a page is: in its stage, or in the repository's folder."""
    return next(ROOT.glob(f"{page.stem.split('_')[0]}_*/"), ROOT)


def commands(text: str, folder: Path) -> list[Command | str]:
    """Those of all bash blocks; a block may begin where the one before has ended, or in the repository's folder."""
    found: list[Command | str] = []
    for block in code_blocks(text):
        if block.language != "bash":
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            for part in line.removeprefix("$ ").split(" && "):
                words = part.split()
                if words[:1] == ["cd"]:
                    folder = next(one for one in (ROOT / words[1], (folder / words[1]).resolve()) if one.is_dir())
                elif said := SCRIPT.match(part):
                    place = next((one for one in (folder, ROOT) if (one / said[1]).is_file()), None)
                    arguments = shlex.split(said[2], comments=True)
                    found.append(Command(place, place / said[1], arguments) if place else f"no script: {part}")
    return found


def complaint(command: Command, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the script says of its arguments; nothing if it takes them."""

    def understand(config_class: Any, *_: Any) -> None:
        cli.parse(config_class, sys.argv[1:])
        raise Understood

    if any(PLACEHOLDER.search(word) for word in command.arguments) or "my_llm.cli" not in command.script.read_text():
        return ""
    monkeypatch.setattr(cli, "main", understand)
    monkeypatch.setattr(sys, "argv", [str(command.script), *command.arguments])
    monkeypatch.chdir(command.folder)
    try:
        runpy.run_path(str(command.script), run_name="__main__")
    except Understood:
        return ""
    except UserError as error:
        return f"{command.script.name}: {error.line()}"
    return f"{command.script.name} reads no arguments"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch):
    found = commands(page.read_text("utf-8"), home_of(page))
    wrong = [one if isinstance(one, str) else complaint(one, monkeypatch) for one in found]
    assert [one for one in wrong if one] == []


def test_wrong_commands_are_caught(monkeypatch: pytest.MonkeyPatch):
    page = "```bash\ncd stage5_gpt\npython train.py --colour red\npython train.py --layers many\npython no.py\n```\n"
    first, second, third = commands(page, ROOT)
    assert isinstance(first, Command) and "colour" in complaint(first, monkeypatch)
    assert isinstance(second, Command) and "many" in complaint(second, monkeypatch)
    assert third == "no script: python no.py"

"""Every command in the ```bash blocks of the READMEs does what it says: it is run, in order, and must exit with 0.

Training is cut to two steps on a small corpus that needs no network; what would take minutes (experiments, notebooks)
is only asked whether it knows its flags. Commands that set up or leave the repository (pip, start.py, make, torchrun)
are checked for the files and names that they mention. A command that this test does not know fails it.
"""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import ROOT, code_blocks

import start
from lab.__main__ import COMMANDS as LAB
from my_llm.data.corpora import multi30k, numbers_en_fr

READMES = [ROOT / "README.md", *sorted(ROOT.glob("stage[1-9]_*/README.md"))]
EMBEDDED = {"stage1_mlp": "python_docs"}  # other stages: auto, which is one of those that `write_corpora` makes
# the default's validation alone would take a minute; a test of its own compiles
SMALL = {"stage5_gpt": ["--layers", "1", "--heads", "2", "--model", "32", "--context", "256", "--no_compile"]}
LONG = {"experiments.py", "visualize.py", "compare.py", "start.py"}  # minutes, or an installation
HARMLESS = {"git", "source", "export", "ls", "which", "uv"}


class Call(NamedTuple):
    """One Python script to run: in which folder of the repository, with which arguments, and how."""

    folder: str
    script: Path
    arguments: tuple[str, ...]
    only_flags: bool


def command_lines(text: str) -> list[str]:
    """The commands of all bash blocks, one per line: continued lines joined, chains split, comments gone."""
    blocks = "\n".join(block.text for block in code_blocks(text) if block.language == "bash")
    lines = blocks.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.removeprefix("$ ").split("&&")]
    bare = [shlex.join(shlex.split(part, comments=True)) for part in parts]
    return [line for line in bare if line]


def plan(text: str, folder: str) -> list[Call | str]:
    """What to run for a page that is read in `folder` (a path in the repository); complaints stand as text."""
    steps: list[Call | str] = []
    for line in command_lines(text):
        words = shlex.split(line)
        while "=" in words[0] and words[0].split("=")[0].isupper():  # VARIABLE=value command
            words.pop(0)
        match words:
            case ["cd", target]:
                folder = target if (ROOT / target).is_dir() and target != ".." else str(Path(folder, target))
                folder = os.path.normpath(folder)
                if not (ROOT / folder).is_dir() and target != "my_llm":
                    steps.append(f"no folder: {line}")
            case ["python" | "python3" | "py", script, *arguments] if script.endswith(".py"):
                steps.append(call(folder, script, arguments))
            case _:
                steps.extend(complaints(words, folder))
    return steps


def call(folder: str, script: str, arguments: list[str]) -> Call | str:
    """A script with its arguments, made small enough for a test."""
    path = (ROOT / folder / script).resolve()
    if not path.is_file():
        return f"no script {script} in {folder}"
    if path.name == "start.py":
        name = arguments[0] if arguments else "tour"
        return Call(folder, path, ("--help",), False) if name in start.COMMANDS else f"start.py has no command {name}"
    words = list(arguments)
    stage = path.parent.name
    if path.name == "train.py" and "--dataset" not in words:
        words += ["--dataset", "auto"]
    if "--dataset" in words:
        words[words.index("--dataset") + 1] = EMBEDDED.get(stage, "auto")
    if path.name in ("train.py", "finetune.py"):
        words += ["--max_steps", "2"]
    if path.name == "train.py" and "--config" not in words:
        words += SMALL.get(stage, [])
    placeholder = any(re.search(r"<.*>|…|\.\.\.|YYYY", word) for word in words)
    download = path.name == "download_data.py" and "--list" not in words
    return Call(folder, path, tuple(words), placeholder or download or path.name in LONG)


def complaints(words: list[str], folder: str) -> list[str]:
    """What a command that is not run names wrongly."""
    line = shlex.join(words)
    match words:
        case ["pip", "install", "-r", name] | ["python", "-m", "pip", "install", "-r", name]:
            found = (ROOT / folder / name).is_file()
        case ["pip", "install", *_] | ["python" | "python3", "-m", "venv" | "pip", *_]:
            found = True
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text().splitlines()
            found = all(f"{target}:" in makefile for target in targets)
        case ["torchrun", *rest]:
            found = any((ROOT / folder / word).is_file() for word in rest if word.endswith(".py"))
        case ["my-llm", name, *_] | ["python" | "python3", "-m", "lab", name, *_]:
            found = name in LAB
        case _:
            found = words[0] in HARMLESS
    return [] if found else [f"unknown command, or it names something that is not there: {line}"]


def write_corpora(folder: Path) -> None:
    """A text of 60,000 characters where Tiny Shakespeare would be, and 900 pairs of numbers in place of Multi30k."""
    text = "\n".join(page.read_text("utf-8") for page in sorted((ROOT / "docs" / "en").glob("stage*.md")))
    (folder / "multi30k").mkdir(parents=True)
    (folder / "tiny_shakespeare.txt").write_text(text[:60_000], "utf-8")
    pairs = numbers_en_fr.read(()).train
    for place, name in enumerate(multi30k.FILES):  # the parts, each in both languages
        lines = [pair[place % 2] for pair in pairs[place // 2 : 900 : 3]]
        (folder / "multi30k" / name).write_bytes(gzip.compress("\n".join(lines).encode()))


def execute(step: Call, home: Path, driver: subprocess.Popen[str] | None = None) -> tuple[int, str]:
    """Runs a script as the page says, in a folder that stands for the page's one, with all output under `home`.

    Returns:
        Its exit code, and all that it has written.
    """
    folder = home / step.folder
    folder.mkdir(parents=True, exist_ok=True)
    if (presets := ROOT / step.folder / "presets").is_dir():
        shutil.copytree(presets, folder / "presets", dirs_exist_ok=True)
    variables = {
        "MY_LLM_DATA": str(home / "data"),
        "MY_LLM_HOME": str(home),
        "MY_LLM_RESULTS": str(home / "results"),
        "PYTHONUTF8": "1",
    }
    arguments = [*step.arguments, *(["--help"] if step.only_flags else [])]
    told = "the network refused a connection\n"
    if driver is None:
        done = subprocess.run(
            [sys.executable, str(step.script), *arguments], cwd=folder, env=os.environ | variables, input=told,
            timeout=300, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout
    asked = {"script": str(step.script), "arguments": arguments, "folder": str(folder), "variables": variables}
    assert driver.stdin and driver.stdout
    driver.stdin.write(json.dumps(asked | {"input": told}) + "\n")
    driver.stdin.flush()
    answer = json.loads(driver.stdout.readline())
    return answer["code"], answer["output"]


@pytest.fixture(scope="module")
def driver() -> Iterator[subprocess.Popen[str] | None]:
    """Runs scripts without the import of torch; None where an interpreter cannot be forked."""
    if not hasattr(os, "fork"):
        yield None
        return
    line = [sys.executable, "-X", "utf8", str(Path(__file__).with_name("script_driver.py"))]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for the output of all pages, so that a command that stands on two of them is run once."""
    folder = tmp_path_factory.mktemp("home")
    write_corpora(folder / "data")
    return folder


DONE: set[Call] = set()


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_the_page_run(page: Path, home: Path, driver: subprocess.Popen[str] | None):
    steps = plan(page.read_text("utf-8"), page.parent.relative_to(ROOT).as_posix())
    assert [step for step in steps if isinstance(step, str)] == []
    for step in steps:
        if isinstance(step, Call) and step not in DONE:
            code, output = execute(step, home, driver)
            command = f"{step.script.relative_to(ROOT)} {shlex.join(step.arguments)}"
            assert code == 0, f"{command}: exit {code}\n{output}"
            DONE.add(step)


# --- The reader of commands, tried ----------------------------------------------------------------------------------

PAGE = """
```bash
pip install -r requirements.txt   # once
cd stage1_mlp && python train.py --dataset ag_news \\
    --epochs 20
$ MY_LLM_DATA=/data python train.py --resume ../runs/<run>
cd ..
python scripts/download_data.py --all
python3 start.py test
make check
```
```text
python no_such.py
```
"""


def test_commands_are_read_and_made_small():
    train, scripts = ROOT / "stage1_mlp" / "train.py", ROOT / "scripts" / "download_data.py"
    small = ("--dataset", "python_docs", "--epochs", "20", "--max_steps", "2")
    resume = ("--resume", "../runs/<run>", "--dataset", "python_docs", "--max_steps", "2")
    assert plan(PAGE, ".") == [
        Call("stage1_mlp", train, small, False),
        Call("stage1_mlp", train, resume, True),
        Call(".", scripts, ("--all",), True),
        Call(".", ROOT / "start.py", ("--help",), False),
    ]


@pytest.mark.parametrize(
    "line",
    ["python no_such.py", "make coffee", "python3 start.py tuor", "pip install -r none.txt", "cd stage0", "curl x",
     "python -m lab no-such"],
)  # fmt: skip
def test_a_command_that_cannot_work_is_caught(line: str):
    assert len([step for step in plan(f"```bash\n{line}\n```\n", ".") if isinstance(step, str)]) == 1


def test_a_flag_that_does_not_exist_is_caught(tmp_path: Path, driver: subprocess.Popen[str] | None):
    (step,) = plan("```bash\npython scripts/download_data.py --list --colour\n```\n", ".")
    assert isinstance(step, Call)
    answers = [execute(step, tmp_path), execute(step, tmp_path, driver)]
    assert answers[0] == answers[1], "the driver says what the script says"
    assert answers[0][0] == 2 and "--colour" in answers[0][1]


# --- the guides: what they say is in the READMEs, which are run -------------------------------------------------------

GUIDES = [
    *(ROOT / f"docs/en/{name}.md" for name in ("tracks", "data", "safety", "compare", "showcase")),
    *sorted([*ROOT.glob("docs/en/bridge_*.md"), *ROOT.glob("docs/en/howto_*.md")]),
]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_commands_of_the_guides_name_what_is_there(page: Path):
    assert [step for step in plan(page.read_text("utf-8"), ".") if isinstance(step, str)] == []


def test_the_tracks_use_commands_of_the_readmes_only():
    known = {line for readme in READMES for line in command_lines(readme.read_text("utf-8"))}
    assert not set(command_lines(GUIDES[0].read_text("utf-8"))) - known

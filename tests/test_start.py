"""start.py on a small stand-in for the repository: real environments, real pip, no index, nothing heavy."""

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import start

# A build backend without requirements: pip can install the stand-in with no index at all. It waits while `slow` exists.
BACKEND = """
import pathlib, time, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    pathlib.Path("building").touch()
    while pathlib.Path("slow").exists():
        time.sleep(0.05)
    name = "stand_in-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        info = "stand_in-1.0.dist-info/"
        about = ["Metadata-Version: 2.1", "Name: stand-in", "Version: 1.0", "Provides-Extra: dev", ""]
        kind = ["Wheel-Version: 1.0", "Generator: x", "Root-Is-Purelib: true", "Tag: py3-none-any", ""]
        wheel.writestr(info + "METADATA", "\\n".join(about))
        wheel.writestr(info + "WHEEL", "\\n".join(kind))
        wheel.writestr(info + "RECORD", "")
    return name
build_wheel = build_editable
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
CHILD = "import os, sys\nprint('child', sys.prefix, os.getcwd(), sys.argv[1:])\nsys.exit(7)\n"


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A repository with start.py, a package without dependencies, and a `lab` and a `pytest` that exit with 7."""
    root = tmp_path / "my llm é 学习"
    (root / "lab").mkdir(parents=True)
    shutil.copy(start.__file__, root / "start.py")
    texts = {
        "requirements.txt": "-e .\n",
        "pyproject.toml": PROJECT,
        "backend.py": BACKEND,
        "lab/__main__.py": CHILD,
        "pytest.py": CHILD,
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def command(root: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command line and variables of start.py in the stand-in, with no index and no configuration of pip."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "MY_LLM_"))}
    quiet = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return [sys.executable, str(root / "start.py"), *arguments], {**kept, **quiet}


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line, variables = command(root, *arguments)
    return subprocess.run(line, env=variables, capture_output=True, encoding="utf-8", timeout=120, cwd=root.parent)


def contents(folder: Path) -> dict[Path, int]:
    """Every file with the time of its last change."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_the_first_run_installs_the_second_changes_nothing_and_a_failed_one_is_repaired(stand_in: Path):
    first = run(stand_in, "tour", "--max_steps", "2")
    assert first.returncode == 7, first.stderr  # the exit code is the child's
    assert "Making the environment .venv" in first.stdout and "done in" in first.stdout
    folder = stand_in / ".venv"
    assert f"child {folder} {stand_in} ['tour', '--max_steps', '2']" in first.stdout
    assert (folder / "my_llm.stamp").is_file() and not (folder / "my_llm.unfinished").exists()

    before, clock = contents(folder), os.times()
    again = run(stand_in)
    assert again.returncode == 7 and again.stdout.startswith("child"), "the second run had something to do"
    assert again.stdout.rstrip().endswith("['tour']")  # no argument means the tour
    assert contents(folder) == before
    used = os.times().children_user + os.times().children_system - clock.children_user - clock.children_system
    assert used < 0.5  # seconds of computing, two starts of Python included; on a busy machine they last longer

    (stand_in / "requirements.txt").write_text("-e .\nno-such-package==1.0\n")
    failed = run(stand_in, "doctor")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1 and "Traceback" not in failed.stderr
    assert "no source for no-such-package==1.0" in failed.stderr and "MY_LLM_PIP_ARGS" in failed.stderr
    assert not (folder / "my_llm.stamp").exists()

    (stand_in / "requirements.txt").write_text("-e .\n")
    repaired = run(stand_in, "doctor")
    assert repaired.returncode == 7 and "making it anew" in repaired.stdout
    assert (folder / "my_llm.stamp").is_file()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_installing_leaves_no_stamp_and_exits_130(stand_in: Path):
    (stand_in / "slow").touch()
    line, variables = command(stand_in, "test")
    pipe = subprocess.PIPE

    def hear_ctrl_c() -> (
        None
    ):  # a test run in the background may have been told to ignore it, and children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    options = {"stdout": pipe, "stderr": pipe, "encoding": "utf-8", "preexec_fn": hear_ctrl_c}
    with subprocess.Popen(line, env=variables, **options) as child:
        deadline = time.monotonic() + 60
        while not (stand_in / "building").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        errors = child.communicate(timeout=60)[1]
        (stand_in / "slow").unlink()  # lets pip's own child end, if it still waits
    assert child.returncode == 130
    assert "stopped" in errors and "Traceback" not in errors
    folder = stand_in / ".venv-test"  # the tests have an environment of their own
    assert (folder / "my_llm.unfinished").exists() and not (folder / "my_llm.stamp").exists()


def test_the_tests_get_the_tools_and_pip_gets_the_extra_arguments(stand_in: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[list[str]] = []
    monkeypatch.setattr(start, "ROOT", stand_in)
    monkeypatch.setattr(start, "run_quietly", lambda line, log, what: calls.append(line) or 0)
    monkeypatch.setenv("MY_LLM_PIP_ARGS", "--find-links 'a folder'")
    assert start.prepare(start.COMMANDS["test"]) == start.interpreter(stand_in / ".venv-test")
    make, install = calls
    assert make[1:] == ["-m", "venv", str(stand_in / ".venv-test")]
    assert install[-6:] == ["-r", "requirements.txt", "-e", ".[dev]", "--find-links", "a folder"]


def test_an_environment_of_a_python_that_is_gone_is_made_anew(stand_in: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start, "ROOT", stand_in)
    monkeypatch.setattr(start, "run_quietly", lambda line, log, what: 0)
    folder = stand_in / ".venv"
    python = start.interpreter(folder)
    python.parent.mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    (folder / "old-file").touch()
    (folder / "my_llm.stamp").write_text(start.fingerprint())
    python.write_text("no program")
    assert start.version_of(python) == ""
    start.prepare(start.COMMANDS["tour"])
    assert not (folder / "old-file").exists()


def test_a_folder_that_is_no_environment_is_left_alone(stand_in: Path):
    (stand_in / ".venv").mkdir()
    (stand_in / ".venv" / "letter.txt").write_text("mine")
    answer = run(stand_in)
    assert answer.returncode == 2 and "no virtual environment; next: move it away" in answer.stderr
    assert (stand_in / ".venv" / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml"])
def test_the_fingerprint_follows_every_file_it_depends_on(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, changed: str
):
    monkeypatch.setattr(start, "ROOT", stand_in)
    before = start.fingerprint()
    assert start.fingerprint() == before
    (stand_in / changed).write_text("# changed")
    assert start.fingerprint() != before


def test_the_fingerprint_follows_the_python(stand_in: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start, "ROOT", stand_in)
    before = start.fingerprint()
    monkeypatch.setattr(sys, "version", "3.99.0")
    assert start.fingerprint() != before


def test_an_old_python_gets_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for system, step in {"linux": "sudo apt install", "darwin": "brew install", "win32": "winget install"}.items():
        monkeypatch.setattr(sys, "platform", system)
        line = start.complaint_about_python((3, 10, 4))
        assert "3.11 or newer, this is 3.10.4" in line and step in line and "\n" not in line
    assert start.complaint_about_python((3, 11, 0)) == ""


def test_an_old_python_can_read_the_file():
    source = Path(start.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    assert "from __future__" not in source
    annotations = [node.annotation for node in ast.walk(tree) if isinstance(node, ast.arg | ast.AnnAssign)]
    evaluated_early = [node for node in annotations if isinstance(node, ast.Subscript | ast.BinOp)]
    assert annotations and not evaluated_early  # `list[str]` and `A | B` fail in old Pythons unless they are quoted


def test_a_python_without_venv_names_the_package(monkeypatch: pytest.MonkeyPatch):
    assert start.complaint_about_modules() == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    assert f"sudo apt install python3.{sys.version_info.minor}-venv" in start.complaint_about_modules()


def test_the_reasons_of_pip_become_one_line():
    assert "the disk is full" in start.reason("ERROR: [Errno 28] No space left on device\n")
    assert "Permission" not in start.reason("ERROR: Permission denied: '/x'\n")
    assert start.reason("something else\n") == ""


def test_help_and_wrong_commands(capsys: pytest.CaptureFixture[str]):
    assert start.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in start.COMMANDS) and "MY_LLM_PIP_ARGS" in text
    assert start.main(["tuor"]) == 2
    assert "did you mean tour?" in capsys.readouterr().err


def test_the_makefile_has_the_same_commands():
    lines = (Path(start.__file__).parent / "Makefile").read_text().splitlines()
    targets = [line.removesuffix(":") for line in lines if line.endswith(":") and not line.startswith(".")]
    assert sorted(targets) == sorted(start.COMMANDS)
    assert [line.split()[-1] for line in lines if line.startswith("\t")] == targets

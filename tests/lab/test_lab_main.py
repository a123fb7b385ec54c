"""`my-llm` names its commands at once, and a wrong one costs one line."""

import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from lab.__main__ import COMMANDS, help_text

ROOT = Path(__file__).resolve().parents[2]


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lab", *arguments], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_lists_the_commands_without_torch(arguments: list[str]):
    answer = lab(*arguments)
    assert answer.returncode == 0 and answer.stdout == help_text() + "\n"
    assert all(f"\n  {name} " in answer.stdout for name in COMMANDS)
    code = "import sys, lab.__main__; print('torch' in sys.modules, 'numpy' in sys.modules)"
    started = time.perf_counter()
    light = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert light.stdout.split() == ["False", "False"] and time.perf_counter() - started < 1


@pytest.mark.parametrize(("name", "words"), [("docter", "did you mean doctor?"), ("xyzzy", "valid: tour, report")])
def test_an_unknown_command_is_one_line_and_exit_code_2(name: str, words: str):
    answer = lab(name)
    assert answer.returncode == 2 and answer.stdout == "" and answer.stderr.count("\n") == 1 and words in answer.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
@pytest.mark.parametrize("command", [["-u", "-m", "lab", "doctor"], ["-m", "lab", "tables", "--help"]])
def test_a_closed_output_is_no_traceback(command: list[str]):
    """`my-llm doctor | head -1`; without -u it is heard at the end only."""
    read, write = os.pipe()
    os.close(read)
    answer = subprocess.run([sys.executable, *command], stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(write)
    assert answer.returncode == 141 and answer.stderr == ""


def test_a_misspelt_flag_of_a_command_names_the_nearest():
    answer = lab("tables", "--chekc")
    assert answer.returncode == 2 and "did you mean --check?" in answer.stderr
    assert answer.stderr.startswith("my-llm tables: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_leads_to_a_function(name: str):
    module, function = COMMANDS[name].function.split(":")
    assert callable(getattr(import_module(f"lab.{module}"), function))


def test_start_py_knows_the_same_commands():
    sys.path.insert(0, str(ROOT))
    try:
        start = import_module("start")
    finally:
        sys.path.remove(str(ROOT))
    passed_on = {row.arguments[2] for row in start.COMMANDS.values() if row.arguments[:2] == ["-m", "lab"]}
    assert len(passed_on) >= 7 and passed_on <= set(COMMANDS)

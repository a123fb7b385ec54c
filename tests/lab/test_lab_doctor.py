"""The doctor tells everything in 80 columns, goes on when something is missing, and gives no secret away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.doctor import QUESTIONS, RULES, advice, main, private

ROOT = Path(__file__).resolve().parents[2]
HEALTHY = {
    "torch": (2, 13), "matrix_path": "torch's default", "cores": 4, "allowed": 4.0, "load": 0.1, "threads": 4,
    "fp32": 400.0, "bf16": 800.0, "disk": 100.0, "memory": 16.0, "data_missing": False,
}  # fmt: skip


def test_all_is_told_in_80_columns_and_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("HUB_TOKEN", "sk-secret-1234")
    monkeypatch.setenv("DB_PASSWORD", "hunter2-hunter2")
    monkeypatch.setenv("MY_LLM_DATA", "https://me:sk-secret-1234@example.org/data?sig=abcdef0123&user=me")
    monkeypatch.setenv("MY_LLM_PIP_ARGS", "--index-url https://u:pypipassword@mirror.example.org/simple")
    monkeypatch.setenv("OMP_NUM_THREADS", "hunter2-hunter2")
    assert main() == 0
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= 80
    for secret in ("secret-1234", "hunter2", "abcdef0123", "pypipassword", "me:"):
        assert secret not in shown
    assert str(Path.home()) + os.sep not in shown
    for label in QUESTIONS:
        assert f"\n{label:<14}" in f"\n{shown}"
    assert "could not be found out" not in shown
    assert "fp32" in shown and "GFLOP/s" in shown and "GB/s" in shown and "python_docs (embedded)" in shown
    assert "MY_LLM_DATA points to nothing" in " ".join(shown.split())


def test_it_works_without_torch_and_says_so():
    """A torch that cannot be imported, as after a broken installation."""
    code = "import sys; sys.modules['torch'] = None; from lab.doctor import main; sys.exit(main())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0 and "Traceback" not in answer.stderr
    assert "torch is missing or broken" in answer.stdout and "processor" in answer.stdout
    assert max(len(line) for line in answer.stdout.splitlines()) <= 80


def test_a_healthy_machine_gets_no_advice():
    assert advice(HEALTHY) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"torch": (2, 9)}, "older than 2.10"),
        ({"matrix_path": "torch's default, about half the speed on this CPU: no C compiler"}, "Install a C compiler"),
        ({"matrix_path": "torch's default (switched off by MY_LLM_MATRIX_PATH)"}, "Unset MY_LLM_MATRIX_PATH"),
        ({"threads": 1}, "Only one thread computes although there are 4 cores"),
        ({"threads": 64, "allowed": 2.0}, "64 threads for 2 cores"),
        ({"load": 9.0}, "keep the cores busy"),
        ({"fp32": 20.0}, "far slower than on most CPUs: 20 GFLOP/s"),
        ({"disk": 0.5}, "Only 0.5 GB"),
        ({"memory": 2.0}, "Memory is small: 2.0 GiB"),
        ({"read_only": ["home"]}, "MY_LLM_HOME"),
        ({"read_only": ["cache"]}, "MY_LLM_CACHE"),
        ({"data_missing": True}, "MY_LLM_DATA points to nothing"),
    ],
)
def test_what_is_unusual_is_named_with_its_remedy(facts: dict[str, object], words: str):
    found = advice({**HEALTHY, **facts})
    assert len(found) == 1 and words in found[0]


def test_what_could_not_be_found_out_is_not_judged():
    assert advice({"torch": (2, 13)}) == [] and len(advice({})) == 1 and len(RULES) == 13


def test_secrets_are_starred_and_the_home_folder_is_shortened(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEY", "very-private")
    assert private("x very-private y https://a:b@host/p?token=t1&x=2") == "x *** y https://***host/p?***&***"
    assert private(str(Path.home() / "data")) == f"~{os.sep}data"

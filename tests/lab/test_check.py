"""`make check` runs every step, tells the output of those that failed, and its exit code says whether any did."""

import pytest

from lab import check

GOOD, BAD = ["platform"], ["no_such_module"]  # `python -m platform` prints the system; the other one cannot start


def test_every_step_runs_and_a_failure_shows_its_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(check, "STEPS", {"first": BAD, "second": GOOD})
    assert check.check() == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["first", "FAILED"]
    assert "No module named no_such_module" in lines[1]
    assert lines[2].split()[:2] == ["second", "ok"]
    assert lines[3:] == ["failed: first"]


def test_all_good_is_one_line_a_step(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(check, "STEPS", {"first": GOOD, "second": GOOD})
    assert check.check() == 0
    assert len(capfd.readouterr().out.splitlines()) == 3

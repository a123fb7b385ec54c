"""The tour goes on where a stage fails, stops where the learner stops it, and its real scripts fit its report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pages import standing

from lab import report
from lab.tour import REPORT, TOUR, Stop, run

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
import json, os, sys
from pathlib import Path
folder = Path(os.environ["MY_LLM_HOME"], "runs", "stage2_good", "1-tour")
folder.mkdir(parents=True, exist_ok=True)
(folder / "environment.json").write_text("{}")
scores = {"model": "good", "task": "t", "data": "fine text\\x1b[31m", "source": "rule", "accuracy": 0.5}
Path(sys.argv[1]).write_text(json.dumps(scores))
"""


def a_stop(stage: str, script: str, folder: Path) -> Stop:
    (folder / stage).mkdir()
    (folder / stage / "train.py").write_text(script)
    return Stop(stage, [["train.py", REPORT]], lambda scores: f"{scores['accuracy']:.1f} of it", "the fall")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(report.SECTIONS, "stage2_good", ("Good", "好", lambda scores, metrics, facts: "its section"))
    return tmp_path / "home"


def test_a_stage_that_fails_costs_one_line_and_the_others_go_on(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
):
    stops = [a_stop("stage1_mlp", "raise SystemExit(2)", tmp_path), a_stop("stage2_good", GOOD, tmp_path)]
    stops[0].commands.append(["evaluate.py"])  # is not tried
    assert run(stops, tmp_path) == 1
    shown = capfd.readouterr()
    assert (
        shown.err.strip() == "stage1_mlp failed: train.py ended with exit code 2; next: run the command above by itself"
    )
    assert "$ cd stage2_good && python train.py ../home/runs/tour/stage2_good.json" in shown.out
    table = [line for line in shown.out.splitlines() if "│" in line]
    assert len(table) == 1 and "stage2 " in table[0] and "0.5 of it" in table[0]
    assert "The text of stage2_good: fine text[31m, from rule." in shown.out and "\x1b[31m" not in shown.out
    assert max(len(line) for line in shown.out.splitlines() if "│" in line or "┃" in line) <= 80
    page = home / "runs" / "tour" / "report.html"
    assert shown.out.rstrip().endswith(page.as_uri())
    text = page.read_text(encoding="utf-8")
    assert "This stage failed" in text and "its section" in text
    capfd.readouterr()
    assert run(stops[1:], tmp_path) == 0  # and again, over what the first tour left


def test_a_stage_that_writes_no_scores_has_failed(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert run([a_stop("stage1_mlp", "pass", tmp_path)], tmp_path) == 1
    shown = capfd.readouterr()
    assert "stage1_mlp failed: train.py wrote no scores" in shown.err and "┃" not in shown.out


SLOW = """
import signal, sys, time
from pathlib import Path
def save(*args):
    time.sleep(0.5)
    Path(__file__).with_name("saved").touch()
    sys.exit(130)
signal.signal(signal.SIGINT, save)
Path(__file__).with_name("started").touch()
time.sleep(60)
"""
DRIVER = """
import sys
from pathlib import Path
from my_llm.cli import execute
from lab.tour import Stop, TourConfig, run
root = Path(sys.argv[1])
stops = [Stop(stage, [["train.py"]], str, "it") for stage in ("stage1_mlp", "stage2_good")]
sys.exit(execute(TourConfig, lambda config: run(stops, root), []))
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal as a POSIX terminal does")
def test_ctrl_c_lets_the_stage_save_and_ends_the_tour_with_130(tmp_path: Path):
    for stage in ("stage1_mlp", "stage2_good"):
        a_stop(stage, SLOW, tmp_path)
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    tour = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (tmp_path / "stage1_mlp" / "started").exists():
        assert time.monotonic() < end and tour.poll() is None
        time.sleep(0.05)
    os.killpg(tour.pid, signal.SIGINT)
    _, errors = tour.communicate(timeout=30)
    assert tour.returncode == 130 and "Traceback" not in errors
    assert (tmp_path / "stage1_mlp" / "saved").exists() and not (tmp_path / "stage2_good" / "started").exists()


def test_every_stage_has_its_stop_and_its_section():
    assert [stop.stage for stop in TOUR] == standing()
    assert [section for section in report.SECTIONS if section != "stage2_good"] == standing()


def test_the_real_scripts_fit_the_report(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Two steps of training on the embedded corpus, scored and shown."""
    monkeypatch.setenv("MY_LLM_OFFLINE", "1")
    monkeypatch.delenv("MY_LLM_DATA", raising=False)
    train, evaluate = TOUR[0].commands
    short = TOUR[0]._replace(commands=[[*train, "--max_steps", "2"], evaluate])
    assert run([short], ROOT) == 0
    shown = capfd.readouterr().out
    assert "% right" in shown and "python_docs" in shown and "checkpoints/best_model.pt --threads 1" in shown
    asked, answers = shown.split("$ my-llm check-run ")[1].split("\n\n")[:2]
    assert "-tour" in asked and answers.startswith(f"{asked}: ") and "(finished)" in answers
    scores = json.loads((home / "runs" / "tour" / "stage1_mlp.json").read_text(encoding="utf-8"))
    page = (home / "runs" / "tour" / "report.html").read_text(encoding="utf-8")
    assert f"{100 * scores['accuracy']:.1f}&nbsp;%" in page and "This stage failed" not in page


def test_the_language_model_of_the_tour_writes_before_and_after(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Two steps on a text of 20,000 characters, scored and shown; a full tour takes 1,500 of the same kind."""
    (tmp_path / "tiny_shakespeare.txt").write_text("To be, or not to be; that is: the question.\n" * 455)
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path))
    train, evaluate = TOUR[1].commands
    assert int(train[train.index("--max_steps") + 1]) >= 3 * int(train[train.index("--eval_every") + 1])
    short = TOUR[1]._replace(commands=[[*train, "--max_steps", "2"], evaluate])
    assert run([short], ROOT) == 0
    shown, said = capfd.readouterr()
    scores = json.loads((home / "runs" / "tour" / "stage2_rnn_lstm.json").read_text(encoding="utf-8"))
    (row,) = [line for line in shown.splitlines() if "│ stage2 " in line]
    assert "LSTM, language" in row and "tiny_shakespeare" in row  # 80 columns cut no name
    assert "perplexity" in row and f"{scores['perplexity']:.2f}" in shown
    assert said.index("after 0 steps it writes") < said.index("after 2 steps it writes")
    assert "checkpoints/best_lstm_char.pt" in shown and "The text of stage2_rnn_lstm: tiny_shakespeare" in shown
    page = (home / "runs" / "tour" / "report.html").read_text(encoding="utf-8")
    assert "after 0 steps" in page and "after 2 steps" in page and "2 步之后" in page
    assert f">{scores['perplexity']:.2f}<" in page and "This stage failed" not in page


def test_the_transformer_of_the_tour_is_drawn_with_all_its_heads(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Two steps, translated with a map, scored and shown."""
    monkeypatch.setenv("MY_LLM_OFFLINE", "1")
    monkeypatch.delenv("MY_LLM_DATA", raising=False)
    train, look, evaluate = TOUR[3].commands
    short = [*train, "--max_steps", "2", "--eval_every", "2"], look, [*evaluate, "--beam_size", "1"]
    assert run([TOUR[3]._replace(commands=[*short])], ROOT) == 0
    shown = capfd.readouterr().out
    (row,) = [line for line in shown.splitlines() if line.startswith("│ stage4 ")]
    assert "Transformer," in row and "numbers_en_fr" in row and "…" not in row  # 80 columns cut no name
    assert "source: the third of May nineteen ninety-one" in shown
    assert (home / "runs" / "tour" / "stage4_transformer.png").read_bytes().startswith(b"\x89PNG")
    scores = json.loads((home / "runs" / "tour" / "stage4_transformer.json").read_text(encoding="utf-8"))
    page = (home / "runs" / "tour" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="maps"') == len(scores["heads"]) == 3
    assert f"{scores['parameters']:,}" in page and "This stage failed" not in page

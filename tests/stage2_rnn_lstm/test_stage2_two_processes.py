"""train.py under torchrun: each process carries the state of its own streams; together they are one process.

All trainings of two processes happen in one call of torchrun, because starting two processes takes longer than they do.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill_driver import same_end

from my_llm.errors import ConfigError
from my_llm.journal import read_metrics
from stage2_rnn_lstm.data import Streams

ROOT = Path(__file__).resolve().parents[2]

# "one" and "two" have no dropout: two processes draw other masks than one. A text of 7 streams: 4 and 3 a process.
DRIVER = """
import dataclasses, os, signal, sys
from pathlib import Path
import my_llm.run
from my_llm.device import rank, world
from my_llm.run import Run, Stopped
from my_llm.language import writer
from stage2_rnn_lstm import train

writer.SAMPLE = 10
sys.argv = ["train.py"]
config = train.TrainConfig(batch_size=7, length=9, embedding=5, hidden=11, layers=2, lr=0.02, threads=1, epochs=3)
log = Run.log

def press(run, step):
    log(run, step)
    if step.index == 10 and rank() == 1:
        os.kill(os.getpid(), signal.SIGINT)  # only one of them hears it

same = dataclasses.replace(config, dropout=0.0, run_name="one" if world() == 1 else "two")
train.run(same)
if world() > 1:
    train.run(dataclasses.replace(config, run_name="whole"))
    Run.log = press
    try:
        train.run(dataclasses.replace(config, run_name="stopped"))
    except Stopped as stop:
        assert "step 11 of" in str(stop) and ("nproc_per_node=2" in str(stop)) == (rank() == 0), stop
    else:
        raise SystemExit("not stopped")
    Run.log = log
    (folder,) = (my_llm.run.home() / "runs" / "stage2_rnn_lstm").glob("*-stopped")
    train.run(train.TrainConfig(resume=folder))
"""


def start(home: Path, *command: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "MY_LLM_HOME": str(home), "MY_LLM_DATA": str(home), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, *command, str(home / "driver.py")]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        line, env=variables | {"PYTHONPATH": paths}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder) if "loss" in line]


@pytest.mark.skipif(sys.platform != "linux", reason="signals and gloo as on Linux")
def test_two_processes_equal_one_and_resume_exactly(tmp_path: Path):
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "tiny_shakespeare.txt").write_text("to be or not to be, that is the question\n" * 15)
    many = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for process in [start(tmp_path), start(tmp_path, *many)]:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    runs = {folder.name.split("-")[-1]: folder for folder in (tmp_path / "runs" / "stage2_rnn_lstm").iterdir()}
    assert sorted(runs) == ["one", "stopped", "two", "whole"]
    steps = 3 * ((553 - 9) // (7 * 9))  # of 15 · 41 = 615 characters 553 are to learn from: 8 windows an epoch
    assert len(losses(runs["one"])) == steps
    assert losses(runs["two"]) == pytest.approx(losses(runs["one"]), abs=1e-5)
    one, two = ([line for line in read_metrics(runs[name]) if "validation_loss" in line] for name in ("one", "two"))
    assert [line["step"] for line in two] == [line["step"] for line in one] == [7, 15, 23]
    assert [line["perplexity"] for line in two] == pytest.approx([line["perplexity"] for line in one], rel=1e-4)
    assert same_end(runs["whole"], runs["stopped"])
    facts = json.loads((runs["stopped"] / "environment.json").read_text(encoding="utf-8"))
    assert facts["processes"] == 2


def test_every_process_needs_a_stream(tmp_path: Path):
    import torch

    with pytest.raises(ConfigError, match=r"too many processes for the batch; got 'rank 1, world 3'.*at most 2"):
        Streams(torch.arange(100), 2, 5, rank=1, world=3)
    assert len(Streams(torch.arange(100), 2, 5, rank=1, world=2)(0).inputs) == 1

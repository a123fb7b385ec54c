"""train.py under torchrun: one run directory, the loss of one process, and an exact resume.

All trainings of two processes happen in one call of torchrun, because starting two processes takes longer than they do.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill_driver import same_end

from my_llm.journal import read_metrics

ROOT = Path(__file__).resolve().parents[2]

# "one" and "two" have no dropout: two processes draw other masks than one. 350 texts: the last batch of six is odd.
DRIVER = """
import dataclasses, os, signal, sys
import my_llm.run
from my_llm.data import catalog
from my_llm.device import rank, world
from my_llm.run import Run, Stopped
from stage1_mlp import train

sys.argv = ["train.py"]
corpus = catalog.load("python_docs")
small = dataclasses.replace(corpus, train=corpus.train[:350], validation=corpus.validation[:50])
catalog.load = lambda *args, **kwargs: small
config = train.TrainConfig(dataset="python_docs", batch_size=65, epochs=3, threads=1)
log = Run.log

def press(run, step):
    log(run, step)
    if step.index == 8 and rank() == 1:
        os.kill(os.getpid(), signal.SIGINT)  # only one of them hears it

train.run(dataclasses.replace(config, dropout=0.0, run_name="one" if world() == 1 else "two"))
if world() > 1:
    train.run(dataclasses.replace(config, run_name="whole"))
    Run.log = press
    try:
        train.run(dataclasses.replace(config, run_name="stopped"))
    except Stopped as stop:
        assert "step 9 of" in str(stop) and ("nproc_per_node=2" in str(stop)) == (rank() == 0), stop
    else:
        raise SystemExit("not stopped")
    Run.log = log
    (folder,) = (my_llm.run.home() / "runs" / "stage1_mlp").glob("*-stopped")
    train.run(train.TrainConfig(resume=folder))
"""


def start(home: Path, *command: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "MY_LLM_HOME": str(home), "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *command, str(home / "driver.py")], env=variables | {"PYTHONPATH": paths}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="signals and gloo as on Linux")
def test_two_processes_equal_one_and_resume_exactly(tmp_path: Path):
    (tmp_path / "driver.py").write_text(DRIVER)
    many = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for process in [start(tmp_path), start(tmp_path, *many)]:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    runs = {folder.name.split("-")[-1]: folder for folder in (tmp_path / "runs" / "stage1_mlp").iterdir()}
    assert sorted(runs) == ["one", "stopped", "two", "whole"]
    one, two = ([line["loss"] for line in read_metrics(runs[name]) if "loss" in line] for name in ("one", "two"))
    assert len(one) == 3 * 6 and two == pytest.approx(one, abs=1e-5)
    assert same_end(runs["whole"], runs["stopped"])

"""train.py under torchrun: two processes share each batch; together they are one process.

All trainings of two processes happen in one call of torchrun, because starting two processes takes longer than they do.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kill_driver import same_end
from stage5_world import write_corpora

from my_llm import checkpoint
from my_llm.journal import read_metrics

ROOT = Path(__file__).resolve().parents[2]

# "one" and "two" have no dropout: two processes draw other masks than one.
DRIVER = """
import os, signal, sys
import my_llm.run
from my_llm.cli import parse
from my_llm.device import rank, world
from my_llm.run import Run, Stopped
from stage5_gpt import planning, train
from stage5_world import SMALL

sys.argv = ["train.py"]
planning.measure_matmul = lambda dtype, seconds: 100.0

def start(optimizer, name, *flags):
    more = ["--eval_every", "4", "--max_steps", "8", "--lr", "0.01", "--run_name", f"{name}_{optimizer}"]
    train.run(parse(train.TrainConfig, [*SMALL, "--optimizer", optimizer, *more, *flags]))

def press(run, step):
    log(run, step)
    if step.index == 5 and rank() == 1:
        os.kill(os.getpid(), signal.SIGINT)  # only one of them hears it

log, my_llm.run.draw_curves = Run.log, lambda folder: None
for optimizer in ("adamw", "muon"):
    start(optimizer, "one" if world() == 1 else "two", "--accumulate", "2", "--checkpointing")
if world() > 1:
    start("muon", "whole", "--dropout", "0.2")
    Run.log = press
    try:
        start("muon", "stopped", "--dropout", "0.2")
    except Stopped as stop:
        assert "step 6 of" in str(stop) and ("nproc_per_node=2" in str(stop)) == (rank() == 0), stop
    else:
        raise SystemExit("not stopped")
    Run.log = log
    (folder,) = (my_llm.run.home() / "runs" / "stage5_gpt").glob("*-stopped_muon")
    train.run(train.TrainConfig(resume=folder))
"""


def start(home: Path, *command: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "MY_LLM_HOME": str(home), "MY_LLM_DATA": str(home), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, *command, str(home / "driver.py")]
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        line, env=variables | {"PYTHONPATH": paths}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.skipif(sys.platform != "linux", reason="signals and gloo as on Linux")
def test_two_processes_equal_one_and_resume_exactly(tmp_path: Path):
    (tmp_path / "driver.py").write_text(DRIVER)
    write_corpora(tmp_path)
    many = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for process in [start(tmp_path), start(tmp_path, *many)]:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    runs = {path.name.split("-")[-1]: path for path in (tmp_path / "runs" / "stage5_gpt").iterdir()}
    assert len(runs) == 6
    for optimizer in ("adamw", "muon"):
        one, two = (list(read_metrics(runs[f"{name}_{optimizer}"])) for name in ("one", "two"))
        losses = [[line["loss"] for line in lines if "loss" in line] for lines in (one, two)]
        tolerance = 1e-4 if optimizer == "adamw" else 5e-3  # Muon computes in bf16
        assert len(losses[0]) == 8 and losses[1] == pytest.approx(losses[0], abs=tolerance)
    weights = checkpoint.load(runs["whole_muon"] / "last.pt")["model"]
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert same_end(runs["whole_muon"], runs["stopped_muon"])

"""train.py under torchrun: one run directory, the loss of one process, and an exact resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from my_llm import checkpoint
from my_llm.journal import read_metrics

SCRIPT = Path(__file__).resolve().parents[2] / "stage1_mlp" / "train.py"
FLAGS = ["--dataset", "python_docs", "--batch_size", "65", "--max_steps", "54"]  # 51 steps an epoch, the last one odd


def start(home: Path, processes: int, *flags: str) -> subprocess.Popen[str]:
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    environment = {**os.environ, "MY_LLM_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *many, str(SCRIPT), *flags]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def train(home: Path, processes: int, *flags: str) -> Path:
    run = start(home, processes, *flags)
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    (folder,) = (home / "runs" / "stage1_mlp").iterdir()
    return folder


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder) if "loss" in line]


def stop_after_some_steps(home: Path) -> Path:
    """Start two processes, send one of them Ctrl-C in the middle, and return the run directory."""
    run = start(home, 2, *FLAGS)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        folder = next((home / "runs" / "stage1_mlp").glob("*"), None)
        if folder and len(losses(folder)) >= 3:
            break
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=120)
    assert folder is not None
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="signals and gloo as on Linux")
def test_two_processes_equal_one_and_resume_exactly(tmp_path: Path):
    one = train(tmp_path / "one", 1, *FLAGS, "--dropout", "0")
    two = train(tmp_path / "two", 2, *FLAGS, "--dropout", "0")
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)

    whole = train(tmp_path / "whole", 2, *FLAGS)
    stopped = stop_after_some_steps(tmp_path / "stopped")
    done = checkpoint.load(stopped / "last.pt")["progress"]["step"]
    assert 3 <= done < 54, "the run was not stopped in the middle"
    resumed = train(tmp_path / "stopped", 2, "--resume", str(stopped))
    assert json.dumps(losses(resumed)) == json.dumps(losses(whole))
    ends = [checkpoint.load(folder / "last.pt")["model"] for folder in (whole, resumed)]
    assert all(ends[0][name].equal(ends[1][name]) for name in ends[0])

"""train.py under torchrun: two processes share each batch; together they are one process.

All trainings of two processes happen in one call of torchrun, because starting two processes takes longer than they do.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill_driver import same_end
from stage4_world import FLAGS, write_corpora

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
from stage4_transformer import train
from stage4_world import FLAGS, SMALL

sys.argv = ["train.py"]

def start(task, name, *flags):
    more = ["--eval_every", "4", "--max_steps", "8", "--average", "2", "--lr", "0.01", "--run_name", f"{name}_{task}"]
    train.run(parse(train.TrainConfig, [*SMALL, *FLAGS[task], *more, *flags]))

def press(run, step):
    log(run, step)
    if step.index == 5 and rank() == 1:
        os.kill(os.getpid(), signal.SIGINT)  # only one of them hears it

log, my_llm.run.draw_curves = Run.log, lambda folder: None
for task in FLAGS:
    dropouts = [] if task == "classify" else ["--dropout", "0"]  # it forgets words as well: one and two are not alike
    start(task, "one" if world() == 1 else "two", *dropouts)
if world() > 1:
    start("translate", "whole")
    Run.log = press
    try:
        start("translate", "stopped")
    except Stopped as stop:
        assert "step 6 of" in str(stop) and ("nproc_per_node=2" in str(stop)) == (rank() == 0), stop
    else:
        raise SystemExit("not stopped")
    Run.log = log
    (folder,) = (my_llm.run.home() / "runs" / "stage4_transformer").glob("*-stopped_translate")
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
    runs = {path.name.split("-")[-1]: path for path in (tmp_path / "runs" / "stage4_transformer").iterdir()}
    assert len(runs) == 2 * len(FLAGS) + 2
    for task in ("translate", "language_model"):
        one, two = (list(read_metrics(runs[f"{name}_{task}"])) for name in ("one", "two"))
        losses = [[line["loss"] for line in lines if "loss" in line] for lines in (one, two)]
        assert len(losses[0]) == 8 and losses[1] == pytest.approx(losses[0], abs=1e-4)
        means = [checkpoint.load(runs[f"{name}_{task}"] / "last.pt")["carried"] for name in ("one", "two")]
        assert [len(mean) for mean in means] == [1, 2] and len(means[1][1]["last"]) == 2
    assert same_end(runs["whole_translate"], runs["stopped_translate"])

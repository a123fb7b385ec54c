"""train.py under torchrun: two processes share each batch; together they are one process.

All trainings of two processes happen in one call of torchrun, because starting two processes takes longer than they do.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill_driver import same_end
from stage3_world import PARTS, write_corpus

from my_llm.journal import read_metrics

ROOT = Path(__file__).resolve().parents[2]

# "one" and "two" have no dropout: two processes draw other masks than one. "whole" mixes in what the model would say.
DRIVER = """
import dataclasses, os, signal, sys
import my_llm.run
from my_llm.device import rank, world
from my_llm.run import Run, Stopped
from my_llm.translation.batches import PairBatches
from stage3_attention_seq2seq import train

sys.argv = ["train.py"]
config = train.TrainConfig(
    dataset="multi30k_en_fr", batch_size=56, vocab_size=330, embedding=10, hidden=12, layers=2, lr=0.02, threads=1,
    eval_every=4, max_steps=8,
)
log, whole = Run.log, PairBatches.__call__

def half(batches, index):
    batch = whole(batches, index)
    assert len(batch.source) <= 56 // world(), "a process takes its part only"
    return batch

def press(run, step):
    log(run, step)
    if step.index == 5 and rank() == 1:
        os.kill(os.getpid(), signal.SIGINT)  # only one of them hears it

PairBatches.__call__ = half
my_llm.run.draw_curves = lambda folder: None
for attention in ("bahdanau", "local"):
    name = f"{'one' if world() == 1 else 'two'}_{attention}"
    train.run(dataclasses.replace(config, dropout=0.0, attention_type=attention, run_name=name))
if world() > 1:
    mixed = dataclasses.replace(config, teacher_forcing=0.5)
    train.run(dataclasses.replace(mixed, run_name="whole"))
    Run.log = press
    try:
        train.run(dataclasses.replace(mixed, run_name="stopped"))
    except Stopped as stop:
        assert "step 6 of" in str(stop) and ("nproc_per_node=2" in str(stop)) == (rank() == 0), stop
    else:
        raise SystemExit("not stopped")
    Run.log = log
    (folder,) = (my_llm.run.home() / "runs" / "stage3_attention_seq2seq").glob("*-stopped")
    train.run(train.TrainConfig(resume=folder))
"""


def start(home: Path, *command: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "MY_LLM_HOME": str(home), "MY_LLM_DATA": str(home), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, *command, str(home / "driver.py")]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        line, env=variables | {"PYTHONPATH": paths}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.skipif(sys.platform != "linux", reason="signals and gloo as on Linux")
def test_two_processes_equal_one_and_resume_exactly(tmp_path: Path):
    (tmp_path / "driver.py").write_text(DRIVER)
    write_corpus(tmp_path)
    many = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for process in [start(tmp_path), start(tmp_path, *many)]:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    runs = {path.name.split("-")[-1]: path for path in (tmp_path / "runs" / "stage3_attention_seq2seq").iterdir()}
    assert len(runs) == 6 and PARTS["train"] % 56  # the batches of an epoch are not of equal size
    for attention in ("bahdanau", "local"):
        one, two = (list(read_metrics(runs[f"{name}_{attention}"])) for name in ("one", "two"))
        losses = [[line["loss"] for line in lines if "loss" in line] for lines in (one, two)]
        assert len(losses[0]) == 8 and losses[1] == pytest.approx(losses[0], abs=1e-5)
        bleu = [[(line["step"], line["bleu"]) for line in lines if "bleu" in line] for lines in (one, two)]
        assert [step for step, _ in bleu[0]] == [step for step, _ in bleu[1]] == [3, 7]
    assert same_end(runs["whole"], runs["stopped"])
    facts = json.loads((runs["stopped"] / "environment.json").read_text(encoding="utf-8"))
    assert facts["processes"] == 2

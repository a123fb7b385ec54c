"""Kill it at any moment: the resumed run ends bit-identical. `make bench-reliability` runs ten times as many kills."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.reliability
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
@pytest.mark.parametrize("stage", ["stage1_mlp", "stage2_rnn_lstm", "stage3_attention_seq2seq"])
def test_a_killed_training_resumes_to_the_same_bits(
    stage: str, tmp_path: Path, record_property: Callable[[str, object], None]
):
    kills = int(os.environ.get("MY_LLM_KILLS", 10))
    record_property("trials", kills)  # for `make bench-reliability`, which counts them
    command = [sys.executable, str(Path(__file__).with_name("kill_driver.py")), stage, str(tmp_path), str(kills), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 20 * kills)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] == kills and counts["aimed"] > 0
    assert counts["identical"] == counts["runs"]

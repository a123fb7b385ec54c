"""The machine's settings: valid choices, and the same numbers on every matrix path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from my_llm import device, machine
from my_llm.errors import ConfigError

PRODUCT = """
from my_llm.device import prepare_matrix_path
print(prepare_matrix_path())
import torch
torch.manual_seed(0)
a, b = torch.randn(256, 512), torch.randn(512, 128)
print((a @ b - (a.double() @ b.double())).abs().max().item())
"""


def product(**environment: str) -> tuple[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PRODUCT], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    words, error = done.stdout.strip().split("\n")
    return words, float(error)


def test_every_matrix_path_is_exact(tmp_path: Path):
    """fp32 products of 512 terms are right to about √512 · 2⁻²⁴ · 3 ≈ 4e-6 whichever path computes them."""
    paths = ["default", "auto", "onednn"]
    if sys.platform == "linux" and (shutil.which("cc") or shutil.which("gcc")):
        paths.append("shim")
    for path in paths:
        words, error = product(MY_LLM_MATRIX_PATH=path, MY_LLM_CACHE=str(tmp_path))
        assert 0 < error < 2e-4, path
        assert ("AVX-512" in words) or path != "shim"
    assert len(list(tmp_path.glob("matrix_path_*.so"))) == ("shim" in paths)


@pytest.mark.skipif(sys.platform != "linux", reason="the shim exists on Linux only")
def test_without_a_compiler_the_default_path_is_taken_and_said(tmp_path: Path):
    words, _ = product(MY_LLM_MATRIX_PATH="shim", MY_LLM_CACHE=str(tmp_path), PATH=str(tmp_path))
    assert "half the speed" in words and "compiler" in words


def test_an_unwritable_cache_is_no_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    words, _ = product(MY_LLM_MATRIX_PATH="shim", MY_LLM_CACHE=str(tmp_path / "file"))
    assert "default" in words


def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_LLM_MATRIX_PATH", "fast")
    with pytest.raises(ConfigError, match="'fast'.*valid: auto, default, shim, onednn"):
        device.prepare_matrix_path()
    with pytest.raises(ConfigError, match="valid: auto, .*cpu"):
        device.choose_device("tpu")
    with pytest.raises(ConfigError, match="negative"):
        device.set_threads(-1)


def test_precision_follows_the_device():
    cpu = torch.device("cpu")
    assert device.resolve_precision("auto", cpu) == "fp32"
    assert device.resolve_precision("bf16", cpu) == "bf16"
    with device.autocast("bf16", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_environment_is_plain_data_without_this_machines_paths():
    import json

    text = json.dumps(machine.environment())
    assert "torch" in text and str(Path.home()) not in text


def test_measured_rates_are_plausible():
    assert 0.1 < machine.measure_matmul(torch.float32, size=256, seconds=0.05) < 1e5
    assert 0.1 < machine.measure_bandwidth(megabytes=16) < 1e4

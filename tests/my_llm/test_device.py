"""The machine's settings: valid choices, and the same numbers on every matrix path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from my_llm import device
from my_llm.errors import ConfigError

PRODUCT = """
from my_llm import device
print(device.prepare_matrix_path(), "| matmul by oneDNN:", device._use_onednn)
import torch
torch.manual_seed(0)
a, b = torch.randn(256, 512), torch.randn(512, 128)
print(max((way(a, b) - (a.double() @ b.double())).abs().max().item() for way in (torch.matmul, device.matmul)))
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
        assert ("matmul by oneDNN: True" in words) == (path == "onednn") or path == "auto"
    assert len(list(tmp_path.glob("matrix_path_*.so"))) == ("shim" in paths)


@pytest.mark.skipif(sys.platform != "linux", reason="the shim exists on Linux only")
def test_without_a_compiler_the_default_path_is_taken_and_said(tmp_path: Path):
    words, _ = product(MY_LLM_MATRIX_PATH="shim", MY_LLM_CACHE=str(tmp_path), PATH=str(tmp_path))
    assert "half the speed" in words and "compiler" in words
    assert "matmul by oneDNN: True" in words  # the products that matter most take another way round


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


LAYOUTS = {
    "as it is": lambda matrix: matrix,
    "transposed in memory": lambda matrix: matrix.t().contiguous().t(),
    "every other of a larger one": lambda matrix: matrix.repeat_interleave(2, 0).repeat_interleave(2, 1)[::2, ::2],
}


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 1, 1), (1, 7, 11), (13, 1, 2)])
@pytest.mark.parametrize("layout_a", LAYOUTS)
@pytest.mark.parametrize("layout_b", LAYOUTS)
def test_matmul_and_a_packed_factor_multiply(
    onednn: bool, shape: tuple[int, int, int], layout_a: str, layout_b: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(device, "_use_onednn", onednn)
    torch.manual_seed(0)
    rows, inner, columns = shape
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 0.1)):
        a = LAYOUTS[layout_a](torch.randn(rows, inner).to(dtype))
        b = LAYOUTS[layout_b](torch.randn(inner, columns).to(dtype))
        expected = a.double() @ b.double()
        torch.testing.assert_close(device.matmul(a, b).double(), expected, rtol=0, atol=tolerance)
        packed = device.right_factor(b, rows)
        for product in (packed(a), packed(a.clone())):
            assert product.dtype == dtype
            torch.testing.assert_close(product.double(), expected, rtol=0, atol=tolerance)


def test_onednn_is_used_where_it_was_chosen(monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object) -> None:
        raise AssertionError("oneDNN")

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", refuse)
    a = torch.ones(2, 2)
    for chosen in (False, True):
        monkeypatch.setattr(device, "_use_onednn", chosen)
        assert torch.equal(device.matmul(a.double(), a.double()), 2 * a.double())
        assert torch.equal(device.right_factor(a.double(), 2)(a.double()), 2 * a.double())
        if chosen:
            with pytest.raises(AssertionError, match="oneDNN"):
                device.matmul(a, a)
            with pytest.raises(AssertionError, match="oneDNN"):
                device.right_factor(a, 2)(a)
        else:
            assert torch.equal(device.matmul(a, a), 2 * a)
            assert torch.equal(device.right_factor(a, 2)(a), 2 * a)

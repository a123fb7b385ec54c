"""A checkpoint is whole or refused, and saving never harms what was there."""

import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from my_llm import checkpoint
from my_llm.errors import CheckpointError

CONTENT = {"kind": "test", "model": {"weight": torch.arange(6.0).view(2, 3)}, "words": ["a", "é", "中"], "rate": 0.1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.pt"
    checkpoint.save(target, CONTENT)
    return target


def test_round_trip(path: Path):
    content = checkpoint.load(path, "test")
    assert torch.equal(content["model"]["weight"], CONTENT["model"]["weight"])
    assert content["words"] == CONTENT["words"] and content["rate"] == 0.1
    assert [file.name for file in path.parent.iterdir()] == ["model.pt"]


def damage(raw: bytes, rng: random.Random) -> bytes:
    """Truncate, flip one bit, zero a block, or swap two blocks; always really different from `raw`."""
    while True:
        kind, size = rng.choice(["truncate", "flip", "zero", "swap"]), rng.randint(1, 64)
        at, other = rng.randrange(len(raw)), rng.randrange(len(raw))
        bad = bytearray(raw)
        if kind == "truncate":
            del bad[at:]
        elif kind == "flip":
            bad[at] ^= 1 << rng.randrange(8)
        elif kind == "zero":
            bad[at : at + size] = bytes(len(bad[at : at + size]))
        else:
            bad[at : at + size], bad[other : other + size] = raw[other : other + size], raw[at : at + size]
        if bytes(bad) != raw:
            return bytes(bad)


@pytest.mark.reliability
def test_every_damaged_file_is_refused_in_one_line(path: Path, record_property: Callable[[str, object], None]):
    raw, rng = path.read_bytes(), random.Random(0)
    trials = int(os.environ.get("MY_LLM_DAMAGED", 100))
    record_property("trials", trials)  # for `make bench-reliability`, which counts them
    for _ in range(trials):
        path.write_bytes(damage(raw, rng))
        with pytest.raises(CheckpointError) as caught:
            checkpoint.load(path)
        line = caught.value.line()
        assert "model.pt" in line and "\n" not in line
        assert "damaged" in line or "not a my_llm checkpoint" in line


def test_the_digest_is_checked_before_parsing(path: Path, monkeypatch: pytest.MonkeyPatch):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("parsed a damaged file"))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_hostile_payload_with_a_valid_digest_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"kind": "test", "model": Bomb()}, buffer)
    payload = buffer.getvalue()
    (tmp_path / "evil.pt").write_bytes(checkpoint._first_line(payload) + payload)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_a_file_of_another_program_and_a_missing_file_are_one_line(tmp_path: Path):
    torch.save({"kind": "test"}, tmp_path / "plain.pt")
    with pytest.raises(CheckpointError, match=r"not a my_llm checkpoint.*plain\.pt"):
        checkpoint.load(tmp_path / "plain.pt")
    with pytest.raises(CheckpointError, match=r"cannot open.*absent\.pt"):
        checkpoint.load(tmp_path / "absent.pt")


def test_another_kind_is_refused(path: Path):
    with pytest.raises(CheckpointError, match=r"another kind.*'test'.*valid: stage2"):
        checkpoint.load(path, "stage2/language_model")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_no_litter(path: Path, monkeypatch: pytest.MonkeyPatch, failing: str):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.save(path, {**CONTENT, "rate": 0.2})
    monkeypatch.undo()
    assert checkpoint.load(path)["rate"] == 0.1
    assert [file.name for file in path.parent.iterdir()] == ["model.pt"]


def test_saving_into_something_that_is_no_folder_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot save"):
        checkpoint.save(tmp_path / "file" / "model.pt", CONTENT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("bias"), "missing bias"),
        (lambda weights: weights.update(extra=torch.zeros(1)), "unknown extra"),
        (lambda weights: weights.update(weight=torch.zeros(3, 2)), r"weight .*\(3, 2\).*valid: \(2, 3\)"),
        (lambda weights: weights.update(weight=torch.zeros(2, 3).double()), "float64"),
        (lambda weights: weights.update(weight=torch.full((2, 3), torch.nan)), "not finite"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(change, words: str):
    model = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = {name: tensor + 1 for name, tensor in before.items()}
    change(weights)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load_weights(model, weights, "x.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_random_numbers_continue_where_they_were():
    state = checkpoint.random_state()
    first = torch.rand(5)
    checkpoint.restore_random_state(state)
    assert torch.equal(torch.rand(5), first)


def test_one_process_is_all_processes():
    value = {"state": (torch.ones(2), 3)}
    assert checkpoint.of_all_processes(value) == [value]


TWO = """
import sys
from pathlib import Path
import torch
from my_llm import checkpoint
from my_llm.device import join_world, rank
join_world(torch.device("cpu"))
values = checkpoint.of_all_processes({"rank": rank(), "state": (torch.full((rank() + 1, 2), float(rank())),)})
content = {"kind": "test", "values": values, "none": checkpoint.of_all_processes(None)}
checkpoint.save(Path(sys.argv[1], f"{rank()}.pt"), content)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="gloo as on Linux")
def test_every_process_gets_the_values_of_all_in_the_order_of_the_ranks(tmp_path: Path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node=2",
            str(script),
            str(tmp_path),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        timeout=240,
    )
    for rank in (0, 1):
        content = checkpoint.load(tmp_path / f"{rank}.pt", "test")
        assert content["none"] == [None, None]
        assert [value["rank"] for value in content["values"]] == [0, 1]
        for number, value in enumerate(content["values"]):
            assert torch.equal(value["state"][0], torch.full((number + 1, 2), float(number)))

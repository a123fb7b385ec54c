"""Facts about the machine are plain data without secrets; rates are plausible."""

import json
import os
from pathlib import Path

import pytest
import torch

from my_llm import device, machine


def test_environment_is_plain_data_without_this_machines_paths():
    facts = machine.environment()
    text = json.dumps(facts)
    assert str(Path.home()) not in text and os.uname().nodename not in text
    assert set(facts) == {"hardware", "versions"}
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["hardware"]["threads"] == torch.get_num_threads()
    assert facts["hardware"]["matrix_path"] == device.matrix_path()


def test_the_cpu_has_a_name_and_memory():
    assert machine.cpu_name()
    memory = machine.memory_gib()
    assert memory is None or 0.1 < memory < 2**20


def test_a_system_that_tells_nothing_is_no_error(monkeypatch: pytest.MonkeyPatch):
    def silent(*arguments: object, **options: object) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", silent)
    monkeypatch.setattr(os, "sysconf", silent)
    assert machine.memory_gib() is None
    assert machine.cpu_name()
    assert machine.environment()["hardware"]["memory_gib"] is None


def test_measured_rates_are_plausible():
    assert 0.1 < machine.measure_matmul(torch.float32, size=256, seconds=0.05) < 1e5
    assert 0.1 < machine.measure_bandwidth(megabytes=16) < 1e4

"""Kill it at any moment: the resumed run ends bit-identical. `make bench-reliability` runs ten times as many kills.

And whatever is done to a model's file, it is loaded whole or refused in one line: damage that the digest sees, and
files with a right digest whose inside is hostile.
"""

import dataclasses
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from my_llm import checkpoint
from my_llm.errors import CheckpointError
from stage4_transformer import classifying, language, translating
from stage4_transformer import train as stage4
from stage5_gpt import language as writing
from stage5_gpt import train as stage5

STAGES = ["stage1_mlp", "stage2_rnn_lstm", "stage3_attention_seq2seq", "stage4_transformer", "stage5_gpt"]
SMALL: dict[str, Any] = {
    "model": 8,
    "heads": 2,
    "layers": 1,
    "hidden": 8,
    "batch_size": 4,
    "max_steps": 1,
    "threads": 1,
}
MODELS: dict[str, tuple[Any, dict[str, Any], Callable[..., Any]]] = {  # who trains it, settings, who reads it
    "translate": (stage4, {"task": "translate", "dataset": "numbers_en_fr", "vocab_size": 280},
                  translating.load_translator),
    "classify": (stage4, {"task": "classify", "dataset": "python_docs"}, classifying.load_labeller),
    "language_model": (stage4, {"task": "language_model", "dataset": "python_library", "length": 8},
                       language.load_writer),
    "gpt": (stage5, {"dataset": "python_library", "context": 8, "ngrams": 2, "ngram_rows": 16}, writing.load_writer),
}  # fmt: skip
CPU = torch.device("cpu")


@pytest.mark.reliability
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
@pytest.mark.parametrize("stage", STAGES)
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


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[..., Any]]:
    """The checkpoint of a training of one step, and what reads it."""
    train, settings, load = MODELS[request.param]
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("MY_LLM_HOME", str(home))
        patch.setattr("my_llm.run.draw_curves", lambda folder: None)  # curves.png would take most of the time
        train.run(dataclasses.replace(train.TrainConfig(), **SMALL, **settings))
    torch.set_num_threads(threads)
    (path,) = home.glob("stage*/checkpoints/*.pt")
    load(path, CPU)  # as it is, it is good
    return path, load


def refused(path: Path, load: Callable[..., Any]) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(CheckpointError) as caught:
        load(path, CPU)
    line = caught.value.line()
    assert str(path) in line and "\n" not in line
    return line


@pytest.mark.reliability
def test_every_damaged_model_is_refused_in_one_line(
    model: tuple[Path, Callable[..., Any]], tmp_path: Path, record_property: Callable[[str, object], None]
):
    whole, load, rng = model[0].read_bytes(), model[1], random.Random(0)
    trials = int(os.environ.get("MY_LLM_DAMAGED", 100))
    record_property("trials", trials)
    for _ in range(trials):
        bad, place = bytearray(whole), rng.randrange(len(whole))
        if rng.random() < 0.5:
            bad[place] ^= 1 << rng.randrange(8)
        else:
            del bad[place : place + rng.choice([1, 100, len(whole)])]
        (tmp_path / "bad.pt").write_bytes(bad)
        line = refused(tmp_path / "bad.pt", load)
        assert "damaged" in line or "not a my_llm checkpoint" in line


class Bomb:
    """What a hostile file would have Python do."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def hostile(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Contents that are no model, or not the one that they say they are."""
    for key in content:
        yield {**content, key: Bomb()}
    for key in ("kind", "data", "settings", "progress", "model_config", "tokenizer", "model"):
        yield {name: value for name, value in content.items() if name != key}
    for key in ("kind", "model_config", "tokenizer", "model"):  # the others are for the reader
        yield {**content, key: None}
    yield {**content, "kind": "stage3_attention_seq2seq/translator"}
    config, weights = content["model_config"], content["model"]
    changes: list[dict[str, Any]] = [
        {"model": 16}, {"heads": 3}, {"layers": -1}, {"layers": 2}, {"hidden": 0}, {"vocab_size": 7}, {"dropout": 2.0},
        {"positions": "absent"}, {"order": "absent"}, {"norm": 5}, {"more": 1},
    ]  # fmt: skip
    for change in changes:
        yield {**content, "model_config": {**config, **change}}
    name = "embedding.weight"
    for wrong in ({}, {**weights, "more": torch.zeros(1)}, {**weights, name: weights[name][:-1]},
                  {**weights, name: weights[name].double()}, {**weights, name: weights[name] * torch.nan}):  # fmt: skip
        yield {**content, "model": wrong}


@pytest.mark.reliability
def test_no_hostile_model_is_loaded_and_none_is_executed(
    model: tuple[Path, Callable[..., Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
):
    path, load = model
    monkeypatch.chdir(tmp_path)
    files = []
    for number, content in enumerate(hostile(checkpoint.load(path))):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        files.append(tmp_path / f"{number}.pt")
        files[-1].write_bytes(checkpoint._first_line(buffer.getvalue()) + buffer.getvalue())
    for file in files:
        refused(file, load)
    assert not (tmp_path / "executed").exists()
    record_property("trials", len(files))

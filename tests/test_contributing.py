"""The worked examples of CONTRIBUTING.md work as they stand there: one file and one row, one function and one row."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import get_args, get_type_hints

import pytest
import torch
from pages import ROOT, code_blocks

from my_llm import schedules
from my_llm.data import catalog, rows
from stage1_mlp import models
from stage1_mlp.train import TrainConfig

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
READER, ROW, VARIANT = [block.text for block in code_blocks(PAGE) if block.language == "python"]
IMPORTS = """import torch
from jaxtyping import Float
from torch import Tensor
from stage1_mlp.models.activations import tanh
"""


def module_of(source: str, path: Path) -> ModuleType:
    """The module that a learner would get by saving this source."""
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_corpus_is_one_file_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    label_of = {f"headline {number}": ("serious", "funny")[number % 2] for number in range(40)}
    folder = tmp_path / "headlines"
    folder.mkdir()
    lines = [f"{label}\t{text}" for text, label in label_of.items()]
    (folder / "headlines.tsv").write_text("\n".join(lines), encoding="utf-8")
    headlines = module_of(READER, tmp_path / "headlines.py")
    row = eval(ROW, {**vars(rows), "headlines": headlines})
    monkeypatch.setitem(catalog.CATALOG, row.name, row)
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path))
    corpus = catalog.load("headlines")
    assert len(corpus.test) == 8 and len(corpus.train) + len(corpus.validation) == 32  # a fifth of 40 is held out
    examples = [*corpus.train, *corpus.validation, *corpus.test]
    assert {example.text: corpus.labels[example.label] for example in examples} == label_of


def test_a_variant_is_one_function_and_one_row(tmp_path: Path):
    mish = module_of(IMPORTS + VARIANT, tmp_path / "variant.py").mish
    x = torch.linspace(-9, 9, 37, dtype=torch.float64)
    torch.testing.assert_close(mish(x), torch.nn.functional.mish(x), atol=1e-12, rtol=0)
    for name in ("ACTIVATIONS", "LOSSES", "OPTIMIZERS", "INITIALIZERS", "SCHEDULES"):
        assert f"`{name}`" in PAGE
        assert isinstance(getattr(models, name, None) or getattr(schedules, name), dict)


@pytest.mark.parametrize(
    ("flag", "table"),
    [("activation", models.ACTIVATIONS), ("optimizer", models.OPTIMIZERS), ("schedule", schedules.SCHEDULES)],
)
def test_the_command_line_offers_every_variant(flag: str, table: dict[str, object]):
    assert set(get_args(get_type_hints(TrainConfig)[flag])) == set(table)

"""The repository keeps the rules of house_rules.py, and every rule is tried on planted violations: a rule that cannot
be broken protects nothing.
"""

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from house_rules import CHECKERS, LIGHT, Checker

ROOT = Path(__file__).resolve().parents[1]

PLANTED: dict[str, list[tuple[str, str]]] = {
    "floor_holds_no_module": [
        ("my_llm/a.py", "class A(nn.Module): pass"),
        ("my_llm/a.py", "class A(torch.nn.Linear): pass"),
    ],
    "nobody_reads_ahead": [
        ("my_llm/a.py", "from stage1_mlp.models import MLP"),
        ("my_llm/a.py", "def f():\n    import lab"),
        ("stage1_mlp/a.py", "from stage2_rnn_lstm.models import LSTM"),
        ("stage3_x/a.py", "import lab.tables"),
    ],
    "stages_are_entered_by_their_door": [
        ("stage2_rnn_lstm/a.py", "from stage1_mlp.models.mlp import MLP"),
        ("stage2_rnn_lstm/a.py", "from stage1_mlp.data import batches"),
        ("stage2_rnn_lstm/a.py", "import stage1_mlp.models.mlp"),
        ("scripts/a.py", "from stage1_mlp import data"),
    ],
    "models_know_no_data_and_no_scripts": [
        ("stage1_mlp/models/a.py", "from stage1_mlp.data import x"),
        ("stage1_mlp/models/a.py", "from my_llm.data.catalog import load"),
        ("stage1_mlp/models/a.py", "from stage1_mlp import train"),
    ],
    "nobody_imports_a_script": [
        ("lab/a.py", "from stage1_mlp.train import run"),
        ("lab/a.py", "from stage1_mlp import evaluate"),
        ("stage1_mlp/evaluate.py", "import stage1_mlp.train"),
    ],
    "floor_keeps_its_inner_order": [
        ("my_llm/errors.py", "from my_llm.cli import main"),
        ("my_llm/text/a.py", "from my_llm.data import catalog"),
        ("my_llm/data/a.py", "import my_llm.training"),
        ("my_llm/device.py", "from my_llm import text"),
    ],
    "imports_are_absolute": [
        ("stage1_mlp/a.py", "from models import MLP"),
        ("stage1_mlp/a.py", "import data"),
        ("stage1_mlp/a.py", "from . import models"),
        ("my_llm/a.py", "from .errors import UserError"),
    ],
    "pickle_has_one_home": [
        ("my_llm/a.py", "import pickle"),
        ("lab/a.py", "from pickle import loads"),
        ("lab/a.py", "np.load(f, allow_pickle=True)"),
    ],
    "checkpoints_have_one_door": [
        ("lab/a.py", "torch.load(path)"),
        ("lab/a.py", "from torch import load"),
        ("lab/a.py", "f = torch.load"),
    ],
    "no_text_becomes_code": [
        ("lab/a.py", "eval(text)"),
        ("lab/a.py", "exec(text)"),
        ("lab/a.py", "subprocess.run(line, shell=True)"),
        ("lab/a.py", "os.system(line)"),
    ],
    "masks_use_no_large_number": [("stage4_x/a.py", "x.masked_fill(m, -1e9)"), ("lab/a.py", "y = -100000.0")],
    "library_layers_stay_in_official": [
        ("stage2_rnn_lstm/models/lstm.py", "nn.LSTM(3, 5)"),
        ("stage4_x/models/a.py", "class A(nn.TransformerEncoder): pass"),
    ],
    "files_and_functions_fit_the_eye": [
        ("lab/a.py", "x = 1\n" * 281),
        ("lab/a.py", "def f():\n" + "    x = 1\n" * 60),
    ],
    "modules_say_what_they_are": [("lab/a.py", "x = 1")],
    "light_modules_do_not_load_torch": [
        ("my_llm/cli.py", "import torch"),
        ("my_llm/text/word.py", "from torch import nn"),
        ("my_llm/data/corpora/x.py", "if True:\n    import torch.nn"),
        ("stage1_mlp/train.py", "import matplotlib.pyplot"),
    ],
}

ALLOWED = [
    ("stage2_rnn_lstm/models/a.py", '"""A."""\nfrom stage1_mlp.models import MLP\nfrom my_llm.text.word import Word\n'),
    ("stage1_mlp/train.py", '"""A."""\nfrom stage1_mlp.data import x\nfrom stage1_mlp.models.mlp import MLP\n'),
    ("lab/a.py", '"""A."""\nimport torch\nfrom stage1_mlp.data import x\nmodel.eval()\ny = -1e-9 + -float("inf")\n'),
    ("my_llm/cli.py", '"""A."""\nfrom my_llm.data.catalog import load\ndef f():\n    import torch\n'),
    ("my_llm/device.py", '"""A."""\nif TYPE_CHECKING:\n    import torch\nfrom my_llm.errors import UserError\n'),
    ("my_llm/text/vocabulary.py", '"""A."""\nimport pickle\nf = json.load\nrun(shell=False)\n'),
]


def sources() -> list[Path]:
    """Every Python file of the project but the tests."""
    folders = ["my_llm", "lab", "scripts", *(path.name for path in ROOT.glob("stage[1-9]_*"))]
    return [ROOT / "start.py", *sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("check", CHECKERS, ids=lambda check: check.__name__)
def test_the_house_keeps_the_rule(check: Checker):
    assert len(sources()) > 5
    files = [(PurePosixPath(path.relative_to(ROOT).as_posix()), path.read_text("utf-8")) for path in sources()]
    complaints = [complaint for path, source in files for complaint in check(path, source)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("check", CHECKERS, ids=lambda check: check.__name__)
def test_the_rule_catches_what_breaks_it_and_nothing_else(check: Checker):
    for path, source in PLANTED[check.__name__]:
        assert check(PurePosixPath(path), source), f"not caught in {path}: {source}"
    for path, source in ALLOWED:
        assert check(PurePosixPath(path), source) == []


def test_the_light_modules_load_without_torch():
    """What the source cannot show: an import of an import."""
    light = [path for path in sources() if path.relative_to(ROOT).as_posix().startswith(LIGHT)]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in light]
    code = f"import sys, {', '.join(names)}; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.stdout.split() == ["False", "False"], answer.stderr

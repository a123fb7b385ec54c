"""compare.py: the tables say that the three agree, fit into 80 columns, and would notice if they did not."""

import subprocess
import sys

import numpy as np
import pytest

from my_llm.cli import execute
from stage2_rnn_lstm import compare, costs, tellings
from stage2_rnn_lstm.compare import CompareConfig
from stage2_rnn_lstm.models import NUMPY_CELLS, clip
from stage2_rnn_lstm.tellings import CASES, Outcome

SMALL = CompareConfig(max_steps=2, batch_size=2, length=3, hidden=5, repeats=1)


@pytest.fixture(autouse=True)
def _threads(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # run() sets them; the next test gets them back


def test_prints_agreement_within_80_columns(capsys):
    assert compare.run(SMALL) == 0
    printed = capsys.readouterr().out
    assert "by hand = from scratch = official" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    for cell in NUMPY_CELLS:
        for option in (*CASES, "language model"):
            assert f"{cell}, {option}" in printed


@pytest.mark.parametrize("cell", NUMPY_CELLS)
@pytest.mark.parametrize("option", CASES)
def test_layers_agree(cell, option):
    outcomes = tellings.layers(cell, CASES[option], seed=1)
    assert ("by hand" in outcomes) == (option not in ("dropout", "lengths"))
    official = outcomes.pop("official")
    assert all(np.abs(gradient).max() > 1e-3 for gradient in official.gradients.values())  # zeros would prove nothing
    for ours in outcomes.values():
        assert max(tellings.differences(ours, official)) < 1e-9


@pytest.mark.parametrize("cell", NUMPY_CELLS)
def test_50_training_steps_stay_within_1e_9(cell):
    outcomes = tellings.language_models(cell, seed=0, steps=50)
    official = outcomes.pop("official")
    assert official.losses[-1] < official.losses[0] - 0.3  # it learns, so the losses are those of changing weights
    assert outcomes.keys() == {"by hand", "from scratch"}
    for ours in outcomes.values():
        assert len(ours.losses) == 50 and max(tellings.differences(ours, official)) < 1e-9


def test_notices_a_wrong_clipping(capsys, monkeypatch):
    monkeypatch.setattr(tellings, "clip", lambda gradients, limit: clip(gradients, limit * (1 + 1e-5)))
    assert compare.run(SMALL) == 1
    assert "DISAGREE" in capsys.readouterr().out


def test_notices_a_nan(capsys, monkeypatch):
    monkeypatch.setattr(tellings, "differences", lambda ours, theirs: [0.0, float("nan")])
    assert compare.run(SMALL) == 1


def test_differences_are_the_largest_of_each_kind():
    ours = Outcome({"h": np.array([1.0, 2.0])}, {"w": np.array([3.0]), "b": np.array([1.0])}, [0.5, 0.4])
    theirs = Outcome({"h": np.array([1.0, 2.5])}, {"w": np.array([3.0]), "b": np.array([3.0])}, [0.5, 0.1])
    assert tellings.differences(ours, theirs) == [0.5, 2.0, pytest.approx(0.3)]
    assert tellings.differences(ours._replace(losses=[]), theirs._replace(losses=[])) == [0.5, 2.0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the high-water mark")
def test_peak_memory_is_the_most_that_was_held_at_once():
    def call():
        for _ in range(3):
            np.ones(5 * 2**20)  # 40 MiB, freed before the next

    found = costs.peak_memory(call)
    assert found is None or 38 < found < 79


def test_costs_are_measured_for_all_three():
    found = costs.race("gru", batch_size=2, length=3, hidden=5, repeats=2, seed=0)
    assert tuple(found) == compare.TELLINGS
    assert all(cost.seconds > 0 and cost.speed > 0 for cost in found.values())


def test_no_steps_is_a_users_mistake(capsys):
    assert execute(CompareConfig, compare.run, ["--max_steps", "0"]) == 2
    assert "max_steps" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys; sys.argv = ['compare.py', '--help']\n"
        "from my_llm.cli import main; from stage2_rnn_lstm.compare import CompareConfig, run\n"
        "try: main(CompareConfig, run)\n"
        "except SystemExit: print('LOADED', 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--batch" in done.stdout and done.stdout.endswith("LOADED False False\n")

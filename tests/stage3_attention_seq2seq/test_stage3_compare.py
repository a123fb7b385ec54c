"""compare.py: the tables say that the three agree, fit into 80 columns, and would notice if they did not."""

import subprocess
import sys

import numpy as np
import pytest

from my_llm.cli import execute
from stage3_attention_seq2seq import compare, costs, tellings
from stage3_attention_seq2seq.compare import CompareConfig
from stage3_attention_seq2seq.models import NUMPY_ATTENTIONS, bahdanau_step
from stage3_attention_seq2seq.tellings import CASES, Outcome

SMALL = CompareConfig(max_steps=2, batch_size=2, length=3, hidden=4, repeats=1)


@pytest.fixture(autouse=True)
def _threads(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # run() sets them; the next test gets them back


def test_prints_agreement_within_80_columns(capsys):
    assert compare.run(SMALL) == 0
    printed = capsys.readouterr().out
    assert "by hand = from scratch = official" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert all(case in printed for case in CASES)


@pytest.mark.parametrize("case", CASES)
def test_translators_agree_in_values_gradients_and_training(case):
    outcomes = tellings.translators(CASES[case], seed=1, steps=20)
    assert ("by hand" in outcomes) == (case.split(",")[0] in NUMPY_ATTENTIONS)
    official = outcomes.pop("official")
    assert all(np.abs(gradient).max() > 1e-3 for gradient in official.gradients.values())  # zeros would prove nothing
    assert official.losses[-1] < official.losses[0] - 0.1  # it learns, so the losses are those of changing weights
    assert set(outcomes["from scratch"].gradients) == set(official.gradients)
    for ours in outcomes.values():
        assert max(tellings.differences(ours, official)) < 1e-9
    if "by hand" in outcomes:
        of_the_stage = {name for name in official.gradients if not name.startswith("encoder.")}
        assert outcomes["by hand"].gradients.keys() == of_the_stage


def test_notices_a_wrong_step_by_hand(capsys, monkeypatch):
    def wrong(decoder, x, state, keys, real):
        feature, after, tape = bahdanau_step(decoder, x, state, keys, real)
        return feature * (1 + 1e-6), after, tape

    monkeypatch.setattr(tellings, "bahdanau_step", wrong)
    assert compare.run(SMALL) == 1
    assert "DISAGREE" in capsys.readouterr().out


def test_notices_a_nan(capsys, monkeypatch):
    monkeypatch.setattr(tellings, "farthest", lambda ours, theirs: float("nan"))
    assert compare.run(SMALL) == 1


def test_differences_are_the_largest_of_each_kind():
    ours = Outcome({"h": np.array([1.0, 2.0])}, {"w": np.array([3.0])}, [0.5, 0.4])
    theirs = Outcome({"h": np.array([1.0, 2.5])}, {"w": np.array([1.0]), "more": np.array([9.0])}, [0.5, 0.1])
    assert tellings.differences(ours, theirs) == [0.5, 2.0, pytest.approx(0.3)]
    assert tellings.differences(ours._replace(losses=[]), theirs) == [0.5, 2.0]


def test_costs_are_measured_for_all_three():
    found = costs.race("luong_general", batch_size=2, length=3, hidden=4, repeats=2, seed=0)
    assert tuple(found) == compare.TELLINGS
    assert all(cost.seconds > 0 and cost.speed > 0 for cost in found.values())
    assert found["official"].speed == 1


def test_no_steps_is_a_users_mistake(capsys):
    assert execute(CompareConfig, compare.run, ["--max_steps", "0"]) == 2
    assert "max_steps" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys; sys.argv = ['compare.py', '--help']\n"
        "from my_llm.cli import main; from stage3_attention_seq2seq.compare import CompareConfig, run\n"
        "try: main(CompareConfig, run)\n"
        "except SystemExit: print('LOADED', 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--batch" in done.stdout and done.stdout.endswith("LOADED False False\n")

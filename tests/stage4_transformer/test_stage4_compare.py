"""compare.py: the tables say that all tellings agree, fit into 80 columns, and would notice if they did not."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from my_llm.cli import execute
from stage4_transformer import compare, tellings_translator
from stage4_transformer.compare import CompareConfig
from stage4_transformer.models import by_hand
from stage4_transformer.tellings import Answer, Size, as_array, differences, farthest, problem
from stage4_transformer.tellings_parts import CASES, three_ways
from stage4_transformer.tellings_translator import translators

TINY = CompareConfig(max_steps=2, batch_size=2, length=3, model=4, heads=2, longest=8, repeats=1)
every_order = pytest.mark.parametrize("order", compare.ORDERS)


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # run() sets them; the next test gets them back


def test_prints_agreement_within_80_columns(capsys: pytest.CaptureFixture[str]):
    assert compare.run(TINY) == 0
    printed = capsys.readouterr().out
    assert "by hand = from scratch = official" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert all(printed.count(case) == 1 + (case in compare.TIMED) for case in CASES)
    assert all(f"translator, {order}" in printed for order in compare.ORDERS)


@pytest.mark.parametrize("case", CASES)
def test_tellings_of_a_part_agree(case: str):
    answers = {name: tell() for name, tell in CASES[case](problem(seed=1)).items()}
    assert ("by hand" in answers) == ("blockwise" not in case)
    official = answers.pop("official")
    assert all(np.abs(as_array(part)).max() > 1e-2 for part in official.gradients.values())  # zeros prove nothing
    for ours in answers.values():
        assert max(differences(ours, official)) < 1e-9


@every_order
def test_translators_agree_in_values_gradients_and_training(order: str):
    tellings, trainings = translators(order, seed=1)
    assert tuple(tellings) == tuple(trainings) == compare.TELLINGS
    answers = {name: tell() for name, tell in tellings.items()}
    assert all(np.abs(as_array(part)).max() > 1e-2 for part in answers["official"].gradients.values())
    losses = {name: np.array(train(20)) for name, train in trainings.items()}
    for ours in compare.TELLINGS[:2]:
        assert max(differences(answers[ours], answers["official"])) < 1e-9
        np.testing.assert_allclose(losses[ours], losses["official"], rtol=0, atol=1e-9)
    assert losses["official"][-1] < losses["official"][0] - 0.5  # it learns: these are losses of changing weights


@every_order
def test_the_losses_of_a_training_differ_where_a_step_does(order: str, monkeypatch: pytest.MonkeyPatch):
    _, trainings = translators(order)
    theirs = trainings["official"](5)
    monkeypatch.setattr(tellings_translator, "LEARNING_RATE", tellings_translator.LEARNING_RATE * (1 + 1e-6))
    assert np.abs(np.subtract(trainings["by hand"](5), theirs)).max() > 1e-8


def test_the_three_ways_of_attention_agree():
    answers = {name: tell() for name, tell in three_ways(problem(Size(target=150, source=150))).items()}
    fused = answers.pop("fused")
    assert set(answers) == {"plain", "blockwise"}
    assert all(max(differences(ours, fused)) < 1e-9 for ours in answers.values())


def test_padding_and_future_are_in_the_problem():
    given = problem()
    assert given.lengths[0] == given.size.source and given.lengths.min() < given.size.source
    assert given.padding.sum() == given.lengths.sum()
    assert given.causal.sum() == 7 * 8 / 2


@pytest.mark.parametrize("wrong", ["attention", "layer_norm"])
def test_notices_a_wrong_formula_by_hand(wrong: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any):
    right = getattr(by_hand, wrong)

    def a_little_off(*args: Any, **kwargs: Any) -> Any:
        output, kept = right(*args, **kwargs)
        return output * (1 + 1e-6), kept

    monkeypatch.setattr(by_hand, wrong, a_little_off)
    assert compare.run(TINY) == 1
    assert "DISAGREE" in capsys.readouterr().out


def test_notices_a_nan(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stage4_transformer.tellings.farthest", lambda ours, theirs: float("nan"))
    assert compare.run(TINY) == 1


def test_differences_are_the_largest_of_each_kind():
    ours = Answer(np.array([1.0, 2.0]), {"w": np.array([3.0]), "b": np.array([[1.0]])})
    theirs = Answer(torch.tensor([1.0, 2.5]), {"w": torch.tensor([1.0]), "b": torch.tensor([[1.0]])})
    assert differences(ours, theirs) == [0.5, 2.0]
    assert np.isnan(farthest({"w": np.array([np.nan]), "b": np.zeros(1)}, {"w": np.zeros(1), "b": np.zeros(1)}))
    with pytest.raises(AssertionError):
        farthest({"w": np.zeros(1)}, {"w": np.zeros((1, 1))})
    with pytest.raises(AssertionError):
        farthest({"w": np.zeros(1)}, {"w": np.zeros(1), "forgotten": np.zeros(1)})


@pytest.mark.parametrize("flags", [["--max_steps", "0"], ["--longest", "0"]])
def test_no_steps_is_a_users_mistake(flags: list[str], capsys: pytest.CaptureFixture[str]):
    assert execute(CompareConfig, compare.run, flags) == 2
    assert flags[0].removeprefix("--") in capsys.readouterr().err


def test_heads_that_do_not_divide_the_width_are_a_users_mistake(capsys: pytest.CaptureFixture[str]):
    assert execute(CompareConfig, compare.run, ["--model", "10", "--heads", "4", "--max_steps", "1"]) == 2
    assert "width 10, 4 heads" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys; sys.argv = ['compare.py', '--help']\n"
        "from my_llm.cli import main; from stage4_transformer.compare import CompareConfig, run\n"
        "try: main(CompareConfig, run)\n"
        "except SystemExit: print('LOADED', 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--batch" in done.stdout and done.stdout.endswith("LOADED False False\n")

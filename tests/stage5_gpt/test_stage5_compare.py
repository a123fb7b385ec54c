"""compare.py: the tables say that all tellings agree, fit into 80 columns, and would notice if they did not."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from my_llm.cli import execute
from stage5_gpt import compare, tellings, tellings_parts
from stage5_gpt.compare import CompareConfig, last_of
from stage5_gpt.models import by_hand
from stage5_gpt.tellings import Answer, as_array, differences, farthest, problem
from stage5_gpt.tellings_parts import CASES, muon, writing

TINY = CompareConfig(max_steps=3, batch_size=2, length=3, model=4, heads=2, layers=1, repeats=1)
THREE = {"by hand", "from scratch", "official"}


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # run() sets them; the next test gets them back


def without_transformers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tellings, "find_spec", lambda name: None)


def test_prints_agreement_within_80_columns(capsys: pytest.CaptureFixture[str]):
    assert compare.run(TINY) == 0
    printed = capsys.readouterr().out
    assert "by hand = from scratch = official" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert all(sum(line.startswith(f"{case}  ") for line in printed.splitlines()) == 2 for case in CASES)
    assert "cached = uncached" in printed and "Muon = torch.optim.Muon" in printed


def test_without_transformers_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    without_transformers(monkeypatch)
    assert compare.run(TINY) == 0
    printed = capsys.readouterr().out
    assert "transformers is not installed: pip install" in printed
    assert printed.count("–") == 4 * len(CASES)
    assert all(len(line) <= 80 for line in printed.splitlines())


@pytest.mark.parametrize("case", CASES)
def test_our_tellings_agree_with_torchs(case: str, monkeypatch: pytest.MonkeyPatch):
    without_transformers(monkeypatch)
    told = CASES[case](problem(seed=1))
    assert told.keys() == THREE and list(told)[-1] == "official"
    answers = {name: last_of(tell, 3) for name, tell in told.items()}
    reference = answers.pop("official")
    assert all(np.abs(as_array(part)).max() > 1e-3 for part in reference.gradients.values())  # zeros prove nothing
    for ours in answers.values():
        assert max(differences(ours, reference)) < 1e-9


@pytest.mark.parametrize("case", CASES)
def test_transformers_agrees_with_torch(case: str):
    pytest.importorskip("transformers", reason="the extra `export` is not installed")
    told = CASES[case](problem(seed=1))
    assert told.keys() == THREE | {"transformers"}
    assert max(differences(last_of(told["transformers"], 3), last_of(told["official"], 3))) < 1e-9


def test_every_weight_is_in_the_gradients(monkeypatch: pytest.MonkeyPatch):
    without_transformers(monkeypatch)
    given = problem()
    every = dict(given.model.named_parameters()).keys()
    block = {name.removeprefix("blocks.0.") for name in every if name.startswith("blocks.0.")}
    assert CASES["block"](given)["official"]().gradients.keys() == block | {"x"}
    for case in ("model", "loss"):
        assert CASES[case](given)["official"]().gradients.keys() == every
    answer = CASES["AdamW step"](given)["official"]()
    assert answer.values.keys() == answer.gradients.keys() == every


def test_each_step_goes_on_from_the_last(monkeypatch: pytest.MonkeyPatch):
    without_transformers(monkeypatch)
    told = CASES["AdamW step"](problem())
    start = CASES["AdamW step"](problem())["by hand"]
    for name in THREE - {"from scratch"}:  # whose answer is the model itself
        first = {key: as_array(value).copy() for key, value in told[name]().values.items()}
        assert farthest(first, told[name]().values) > 1e-4, name
    assert farthest(last_of(start, 2).values, told["by hand"]().values) > 1e-4


def test_a_step_of_another_size_is_seen(monkeypatch: pytest.MonkeyPatch):
    without_transformers(monkeypatch)
    theirs = last_of(CASES["AdamW step"](problem())["official"], 3)
    monkeypatch.setattr(tellings_parts, "RATE", tellings_parts.RATE * (1 + 1e-4))
    assert differences(last_of(CASES["AdamW step"](problem())["by hand"], 3), theirs)[0] > 1e-8


def test_writing_with_a_cache_says_the_same():
    given = problem(seed=2)
    cached, uncached = (tell().values for tell in writing(given).values())
    assert farthest(cached, uncached) < 1e-12
    assert farthest(uncached, {"": given.model(given.tokens)[0]}) < 1e-12


def test_a_step_of_muon_is_torchs():
    ours, theirs = (last_of(tell, 3).values for tell in muon(problem()).values())
    first = next(iter(muon(problem()).values()))().values
    assert len(ours) == 8 and farthest(ours, theirs) < compare.ROUGHLY < farthest(ours, first)


@pytest.mark.parametrize("wrong", ["block", "gpt"])
def test_notices_a_wrong_formula_by_hand(wrong: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any):
    without_transformers(monkeypatch)
    right = getattr(by_hand, wrong)

    def a_little_off(*args: Any, **kwargs: Any) -> Any:
        output, kept = right(*args, **kwargs)
        return output * (1 + 1e-6), kept

    monkeypatch.setattr(by_hand, wrong, a_little_off)
    assert compare.run(TINY) == 1
    assert "DISAGREE" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["cache", "muon", "nan"])
def test_notices_the_other_differences(where: str, monkeypatch: pytest.MonkeyPatch):
    found = {"cache": (1e-6, 0.0), "muon": (0.0, 1e-2), "nan": (float("nan"), 0.0)}[where]
    monkeypatch.setattr(compare, "print_differences", lambda config: 0.0)
    monkeypatch.setattr(compare, "print_costs", lambda config: None)
    monkeypatch.setattr(compare, "print_two_ways", lambda config: found)
    assert compare.run(TINY) == 1
    monkeypatch.setattr(compare, "print_two_ways", lambda config: (0.0, 0.0))
    assert compare.run(TINY) == 0


def test_differences_are_the_largest_of_each_kind():
    ours = Answer({"": np.array([1.0, 2.0])}, {"w": np.array([3.0]), "b": np.array([[1.0]])})
    theirs = Answer({"": torch.tensor([1.0, 2.5])}, {"w": torch.tensor([1.0]), "b": torch.tensor([[1.0]])})
    assert differences(ours, theirs) == [0.5, 2.0]
    assert np.isnan(farthest({"w": np.array([np.nan]), "b": np.zeros(1)}, {"w": np.zeros(1), "b": np.zeros(1)}))
    with pytest.raises(AssertionError):
        farthest({"w": np.zeros(1)}, {"w": np.zeros((1, 1))})
    with pytest.raises(AssertionError):
        farthest({"w": np.zeros(1)}, {"w": np.zeros(1), "forgotten": np.zeros(1)})


def test_heads_that_do_not_divide_the_width_are_a_users_mistake(capsys: pytest.CaptureFixture[str]):
    assert execute(CompareConfig, compare.run, ["--model", "10", "--heads", "4"]) == 2
    printed = capsys.readouterr()
    assert "width 10, 4 heads" in printed.err and not printed.out


def test_help_needs_no_torch():
    code = (
        "import sys; sys.argv = ['compare.py', '--help']\n"
        "from my_llm.cli import main; from stage5_gpt.compare import CompareConfig, run\n"
        "try: main(CompareConfig, run)\n"
        "except SystemExit: print('LOADED', 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--batch" in done.stdout and done.stdout.endswith("LOADED False False\n")

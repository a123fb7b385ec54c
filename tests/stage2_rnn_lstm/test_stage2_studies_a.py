"""The first studies of stage 2 run to their end, write valid tables and figures, and what they compute is right."""

import contextlib
import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from my_llm import cli, ledger
from my_llm.data.corpora.language import LanguageText
from my_llm.text import CharTokenizer
from stage2_rnn_lstm import experiments
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig, LSTMLayer, lstm_step
from stage2_rnn_lstm.studies import StudyConfig, common, gates, gradients, memory, signals, tracking

OURS = ("gradients", "clipping", "copy_task", "adding_task", "forget_gate", "tracking_cells")
CODE = 'def Get(self, x=[1, (2, 3)]):\n    """Doc\'s text."""\n    return "a\\"b" + \'c#d\'  # it\'s Good\n'


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of its own, so that no test touches the published numbers or figures."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    return tmp_path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little text, short sequences: what is left takes a second."""
    corpus = LanguageText("little", "python", CODE * 60, CODE * 20, "", "written here", "0" * 64)
    tokenizer = CharTokenizer.train([corpus.train])
    parts = [torch.tensor(tokenizer.encode(part)) for part in (corpus.train, corpus.validation)]
    text = common.Characters(corpus, tokenizer, *parts)
    for module in (gradients, gates, tracking):
        monkeypatch.setattr(module, "load_characters", lambda config: text)
        monkeypatch.setattr(module, "HIDDEN", 8)
    monkeypatch.setattr(memory, "DISTANCES", (2, 5))
    monkeypatch.setattr(memory, "LENGTHS", (4, 6))
    monkeypatch.setattr(gates, "SPAN", 200)


@pytest.mark.parametrize("name", OURS)
def test_a_study_writes_its_table_and_its_figure_and_says_what_is_seen(name: str, results: Path, small: None):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        flags = f"--studies {name} --max_steps 2 --seeds 2 --threads 1"
        code = cli.execute(StudyConfig, experiments.run, flags.split())
    assert (code, err.getvalue()) == (0, "")
    table = ledger.read(results / "results" / "stage2_rnn_lstm" / f"{name}.json")
    assert len(table["rows"]) >= 4 and table["seed"] == [0, 1]
    assert table["command"].startswith(f"python stage2_rnn_lstm/experiments.py --studies {name}")
    assert table["sha256"] == ("" if "task" in name else "0" * 64)
    assert all(len(row) > 1 for row in table["rows"])
    figure = results / "docs" / "figures" / f"stage2_{name}.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    assert str(figure) in out.getvalue() and "seen    " in out.getvalue()
    assert max(len(line) for line in out.getvalue().splitlines() if line[:1] in "│┃") <= 80


def test_an_unknown_study_is_refused_before_anything_runs(results: Path):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert cli.execute(StudyConfig, experiments.run, ["--studies", "copy_task", "clippin"]) == 2
    assert "did you mean clipping?" in err.getvalue()


def test_help_does_not_load_torch():
    code = (
        "import sys, contextlib, io\nfrom my_llm import cli\nfrom stage2_rnn_lstm import experiments\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    cli.parse(experiments.StudyConfig, ['--help'])\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules, 'numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "False"]


# --- gradients --------------------------------------------------------------------------------------------------------


def silent_model(cell: str, hidden: int = 7) -> LanguageModel:
    """Input weights and biases are zero, so the state stays zero and tanh' is 1: the network is linear."""
    torch.manual_seed(0)
    model = LanguageModel(LanguageModelConfig(5, cell=cell, embedding=3, hidden=hidden)).double()
    nn.init.normal_(model.head.weight)
    layer = model.recurrent.layers[0]
    nn.init.zeros_(layer.weight_ih)
    nn.init.zeros_(layer.bias)
    return model


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.2])
def test_the_gradient_of_a_linear_rnn_is_a_power_of_its_scale(scale: float):
    model = silent_model("rnn")
    nn.init.orthogonal_(model.recurrent.layers[0].weight_hh, gain=scale)  # times `scale`, it keeps lengths
    excerpts = torch.randint(5, (3, gradients.LAGS + 5), generator=torch.Generator().manual_seed(1))
    (curve,) = gradients.gradients_back(model, excerpts)
    expected = scale ** torch.arange(gradients.LAGS + 1, dtype=torch.float64)
    torch.testing.assert_close(curve / curve[0], expected, rtol=1e-9, atol=0)


def test_the_gradient_at_lag_0_is_that_of_the_output_layer():
    model = silent_model("rnn")
    excerpts = torch.randint(5, (3, gradients.LAGS + 5), generator=torch.Generator().manual_seed(1))
    (curve,) = gradients.gradients_back(model, excerpts)
    wrong = torch.full((3, 5), 0.2, dtype=torch.float64)  # the state is 0: all five are equally likely
    wrong[torch.arange(3), excerpts[:, -1]] -= 1  # p - y
    assert float(curve[0]) == pytest.approx(float((wrong @ model.head.weight.detach()).norm(dim=1).mean()), rel=1e-9)


def test_the_cell_of_an_lstm_loses_a_forget_gate_a_step():
    model = silent_model("lstm")
    layer = model.recurrent.layers[0]
    nn.init.zeros_(layer.weight_hh)
    layer.bias.data[7:14] = math.log(3)  # σ(log 3) = 3/4
    excerpts = torch.randint(5, (3, gradients.LAGS + 5), generator=torch.Generator().manual_seed(1))
    h, c = gradients.gradients_back(model, excerpts)
    torch.testing.assert_close(c[:20] / c[0], 0.75 ** torch.arange(20, dtype=torch.float64), rtol=1e-9, atol=0)
    assert float(h[1]) == 0.0  # without recurrent weights nothing reads h


def test_the_entropy_of_frequencies():
    assert gradients.unigram_nats(torch.tensor([0, 1, 0, 1, 3, 3])) == pytest.approx(math.log(3))


def test_clipping_rescues_a_descent(small: None):
    text = gradients.load_characters(StudyConfig())
    free = gradients.descend(text, "rnn", 1000.0, None, max_steps=12, seed=0)
    held = gradients.descend(text, "rnn", 1000.0, 1e-4, max_steps=12, seed=0)
    assert free.final > gradients.unigram_nats(text.train) > 0 and free.largest > held.largest
    assert held.final < free.final


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_copy_batch_says_what_is_to_be_recalled():
    x, y = memory.copy_batch(3, 5, torch.Generator().manual_seed(0))
    assert x.shape == (2 + 3 + 2, 5, 17) and y.shape == (5, 2)
    kinds = x.argmax(dim=2)
    assert torch.equal(kinds[:2].t(), y) and (y < 8).all()
    assert ((kinds[2:5] >= 8) & (kinds[2:5] < 16)).all() and (kinds[5:] == 16).all()
    assert torch.equal(x.sum(dim=2), torch.ones(7, 5))


def test_an_adding_batch_marks_one_number_in_each_half():
    x, y = memory.adding_batch(7, 200, torch.Generator().manual_seed(0))
    numbers, marks = x.unbind(2)
    assert torch.equal(marks[:3].sum(0), torch.ones(200)) and torch.equal(marks[3:].sum(0), torch.ones(200))
    torch.testing.assert_close((numbers * marks).sum(0), y[:, 0])
    assert float(y.var()) == pytest.approx(1 / 6, abs=0.05)


def test_scores_of_perfect_and_of_blind_answers():
    copy, add = memory.copying(4), memory.adding(6)
    _, y = copy.draw(11, torch.Generator().manual_seed(0))
    answers = torch.cat([torch.zeros(11, 6, 8), 9.0 * nn.functional.one_hot(y, 8).float()], dim=1)
    assert float(copy.score(answers, y)) == 100.0 and copy.solved(100.0) and not copy.solved(98.0)
    assert float(copy.loss(torch.zeros(11, 8, 8), y)) == pytest.approx(22 * math.log(8), rel=1e-5)
    _, y = add.draw(4096, torch.Generator().manual_seed(0))
    assert float(add.score(torch.ones(4096, 6, 1), y)) == pytest.approx(1 / 6, abs=0.01)
    assert float(add.score(y[:, None], y)) == 0.0


@pytest.mark.parametrize("case", memory.CASES)
def test_the_networks_have_equally_many_parameters(case: str):
    model = memory.Reader(case, 17, 8)
    cells = sum(parameter.numel() for parameter in model.recurrent.parameters())
    assert cells == pytest.approx(memory.PARAMETERS, rel=0.03)


def test_a_short_distance_is_learnt_and_the_search_stops_when_hopeless():
    solved = memory.attempt(memory.copying(1), "rnn", max_steps=300, seed=0)
    assert solved.step is not None and solved.score >= 99
    found = memory.attempts(StudyConfig(seeds=1), memory.copying, (1, 2, 3), 1, lambda percent: True)
    assert {case: list(mine) for case, mine in found.items()} == {case: [1] for case in memory.CASES}


def test_rows_and_the_farthest_distance_by_hand():
    yes, no = memory.Attempt(99.5, 100), memory.Attempt(20.0, None)
    found = {"rnn": {5: [yes, memory.Attempt(100.0, 200)], 20: [yes, no]}, "lstm": {5: [no, no]}}
    assert memory.farthest(found) == "rnn up to 5; lstm at none of them"
    first, second, third = memory.rows_of(found, "accuracy", 2)
    assert (first["solved"], first["steps"], first["accuracy"]) == ("2 of 2", 150, 99.75)
    assert (second["solved"], second["steps"]) == ("1 of 2", 100)
    assert third["solved"] == "0 of 2" and "steps" not in third


# --- gates and cells --------------------------------------------------------------------------------------------------


def test_forget_gates_are_those_of_the_steps():
    torch.manual_seed(0)
    layer, x = LSTMLayer(3, 5), torch.randn(7, 2, 3)
    h, c = layer(x)[1]
    forget = gates.forget_gates(layer, x, h)
    state = layer.initial_state(x)
    for t, a in enumerate(layer.project(x)):
        before = state
        state = lstm_step(a, before, layer.weight_hh)
        louder = (before[0], before[1] + 1)  # c' = f c + i u: what one more in c adds is f
        torch.testing.assert_close(lstm_step(a, louder, layer.weight_hh)[1] - state[1], forget[t], atol=1e-5, rtol=0)
    torch.testing.assert_close(state[1], c[-1])


def test_how_long_a_memory_lasts():
    forget = torch.tensor([[[0.5, 0.9]], [[0.5, 0.9]]])
    torch.testing.assert_close(gates.time_constants(forget), torch.tensor([2.0, 10.0]))


def test_the_mean_gate_of_the_chosen_characters():
    forget = torch.tensor([[[0.1, 0.3], [0.5, 0.7]], [[0.2, 0.4], [1.0, 1.0]]])  # (T, B, H)
    reading = gates.Reading(forget, forget, torch.tensor([[0, 2], [1, 3]]))
    assert gates.mean_gate(reading, np.array([True, False, True, False])) == pytest.approx((0.2 + 0.6) / 2)


def test_kinds_of_characters():
    assert [gates.class_of(c) for c in "aQ \n!中1"] == [
        "small letter", "capital letter", "space", "newline", "punctuation", "small letter", "other"
    ]  # fmt: skip


def test_a_planted_cell_is_found_and_noise_is_not():
    generator = torch.Generator().manual_seed(0)
    signal = (torch.rand(200, 6, generator=generator) > 0.5).float()
    cells = torch.randn(200, 6, 9, generator=generator)
    lost = tracking.follow(cells, signal)
    assert lost.best < 0.2 and lost.probe < 0.2
    cells[..., 4] = -3 * signal + 0.1 * cells[..., 4]
    match = tracking.follow(cells, signal)
    assert match.cell == 4 and match.best > 0.98 and match.probe > 0.98
    spread = cells.clone()
    spread[..., 4] = cells[..., 4] - 5 * cells[..., 2]  # the signal is in no cell alone, but in a sum of two
    assert tracking.follow(spread, signal).best < 0.5 and tracking.follow(spread, signal).probe > 0.9


def test_correlations_by_numpy():
    x, y = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), torch.arange(50.0)
    expected = [np.corrcoef(column, y)[0, 1] for column in x.t()]
    np.testing.assert_allclose(tracking.correlations(x, y), expected, atol=1e-5)
    assert float(tracking.correlations(torch.ones(5, 1), torch.arange(5.0))[0]) == 0.0


def test_the_liveliest_piece():
    signal = torch.zeros(10, 3)
    signal[5, 2] = signal[6, 2] = 1.0
    first, column = tracking.liveliest(signal, 4)
    assert column == 2 and signal[first : first + 4, 2].sum() == 2


def marked(name: str, text: str = CODE) -> str:
    """The characters at which a signal is on."""
    return "".join(c for c, on in zip(text, signals.signals_of(text, "python")[name], strict=True) if on)


def test_signals_of_code():
    assert marked("inside a string") == '"""Doc\'s text.' + '"a\\"b' + "'c#d"  # the closing quote is outside
    assert marked("inside a comment") == "# it's Good"
    assert marked("capitalised word") == "GetDocGood"
    depth = signals.signals_of("f([1], (2)) # (", "python")["open brackets"]
    assert depth.tolist() == [0, 1, 2, 2, 1, 1, 1, 2, 2, 1, 0, 0, 0, 0, 0]


def test_signals_of_text():
    found = signals.signals_of("Ab cD\nE", "en")
    assert list(found) == ["line position", "capitalised word"]
    assert found["line position"].tolist() == [1, 2, 3, 4, 5, 0, 1]
    assert found["capitalised word"].tolist() == [1, 1, 0, 0, 0, 0, 1]

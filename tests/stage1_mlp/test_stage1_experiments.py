"""The studies of stage 1 run on the embedded corpus, write valid tables and figures, and their measures are right."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from my_llm import cli, ledger, studies
from my_llm.errors import ConfigError, NotFiniteError
from my_llm.studies import study_of
from stage1_mlp import experiments
from stage1_mlp.models.layers import INITIALIZERS
from stage1_mlp.models.losses import LOSSES, cross_entropy
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.optimizers import SGD
from stage1_mlp.studies import StudyConfig, common, regularization, shape, training, trials

OURS = [name for name, module in experiments.STUDIES.items() if module in ("training", "regularization", "shape")]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of its own, so that no test touches the published numbers or figures."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    return tmp_path


def execute(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of experiments.py."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.execute(StudyConfig, experiments.run, arguments)
    return code, out.getvalue(), err.getvalue()


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_a_study_writes_its_table_and_its_figure_and_says_what_is_seen(name: str, results: Path):
    code, out, err = execute(*f"--studies {name} --dataset python_docs --max_steps 2 --seeds 1 --threads 1".split())
    assert (code, err) == (0, "")
    table = ledger.read(results / "results" / "stage1_mlp" / f"{name}.json")
    assert len(table["rows"]) >= 4 and table["sha256"] and table["seed"] == [0]
    assert table["command"] == (
        f"python stage1_mlp/experiments.py --studies {name} --dataset python_docs --seeds 1 --max_steps 2"
    )
    assert all(0 <= row["accuracy"] <= 100 for row in table["rows"] if "accuracy" in row)
    assert sum("accuracy" in row for row in table["rows"]) >= len(table["rows"]) - 1
    figure = results / "docs" / "figures" / f"stage1_{name}.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    assert str(figure) in out and "seen    " in out
    assert max(len(line) for line in out.splitlines() if line[:1] in "│┃") <= 80


def test_every_name_leads_to_a_function():
    assert all(callable(study_of("stage1_mlp", name, experiments.STUDIES)) for name in OURS)


def test_an_unknown_study_is_refused_before_anything_runs(results: Path):
    code, out, err = execute("--studies", "losses", "optimisers")
    assert (code, out) == (2, "")
    assert "did you mean optimizers?" in err


@pytest.mark.parametrize(("flag", "value"), [("seeds", 0), ("precision", "bf16")])
def test_a_setting_that_cannot_be_honoured_is_refused(flag: str, value: object):
    with pytest.raises(ConfigError):
        common.load_dense(StudyConfig(dataset="python_docs", **{flag: value}))  # pyright: ignore[reportArgumentType]


def test_help_does_not_load_torch():
    code = (
        "import sys, contextlib, io\nfrom my_llm import cli\nfrom stage1_mlp import experiments\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    cli.parse(experiments.StudyConfig, ['--help'])\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


# --- features, training, scores ---------------------------------------------------------------------------------------


def test_the_weights_of_words():
    idf = common.frequent_words(["a a b", "a c"], 2)
    assert list(idf) == ["a", "b"]
    assert idf["a"] == pytest.approx(1.0)  # in both texts: log(3/3) + 1
    assert idf["b"] == pytest.approx(1.405465, abs=1e-6)  # in one: log(3/2) + 1


def test_a_bag_of_words_by_arithmetic():
    x = common.bags_of_words(["A b a", "nothing known", "b"], {"a": 1.0, "b": 2.0})
    log2, log3 = 0.693147, 1.098612  # log(1 + count)
    length = (log3**2 + (2 * log2) ** 2) ** 0.5
    expected = torch.tensor([[log3 / length, 2 * log2 / length], [0, 0], [0, 1]])
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=0)


def test_dense_features_of_a_corpus_have_length_one():
    data = common.load_dense(StudyConfig(dataset="python_docs"))
    for split, examples in zip(
        (data.train, data.validation, data.test), (data.corpus.train, data.corpus.validation, data.corpus.test)
    ):
        assert split.x.shape == (len(examples), len(data.words)) and split.x.dtype == torch.float32
        norms = split.x.norm(dim=1)
        assert ((norms - 1).abs() < 1e-5).logical_or(norms == 0).all() and (norms > 0).float().mean() > 0.99
        assert split.y.tolist() == [example.label for example in examples]


def rule_data(n: int = 101) -> common.Split:
    """Two classes that a line separates."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return common.Split(x, (x[:, 0] > 0).long())


def test_training_learns_a_simple_rule_and_repeats_itself():
    split, ends = rule_data(), []
    for _ in range(2):
        torch.manual_seed(0)
        model = MLP(MLPConfig(3, (7,), 2))
        steps = common.train_dense(model, split, torch.optim.Adam(model.parameters(), 0.03), max_steps=60, seed=0)
        ends.append(trials.learn(model, steps, split, every=25))
    assert ends[0] == ends[1]
    assert [point.step for point in ends[0]] == [25, 50, 60]
    assert ends[0][-1].scores.accuracy > 95 and ends[0][-1].train_loss < ends[0][0].train_loss


def test_an_epoch_shows_every_example_once():
    split, seen = rule_data(96), []

    def remember(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(logits.detach())
        return cross_entropy(logits, target)

    model = MLP(MLPConfig(3, (), 2))
    frozen = SGD(model.parameters(), lr=0.0)
    steps = common.train_dense(model, split, frozen, max_steps=3, seed=0, batch_size=32, loss=remember)
    assert len(list(steps)) == 3
    expected = model(split.x).detach()
    torch.testing.assert_close(torch.cat(seen).sort(dim=0).values, expected.sort(dim=0).values)


def test_scoring_leaves_the_mode_as_it_was_and_uses_no_dropout():
    split = rule_data()
    model = MLP(MLPConfig(3, (50,), 2, dropout=0.5)).train()
    assert common.evaluate(model, split) == common.evaluate(model, split)
    assert model.training


def test_fair_runs_takes_the_best_rate_and_survives_one_that_diverges():
    def train(rate: float, seed: int) -> tuple[MLP, list[trials.Point]]:
        if rate == 3.0:
            raise NotFiniteError("diverged")
        return MLP(MLPConfig(3, (), 2)), [trials.Point(1, seed, common.Scores(90 - 10 * abs(rate - 2), 0.5))]

    runs = trials.fair_runs(StudyConfig(seeds=3), train, (1.0, 2.0, 3.0))
    assert runs.rate == 2.0 and runs.tried == {1.0: 80.0, 2.0: 90.0, 3.0: 0.0}
    assert len(runs.models) == 3 and runs.curve(lambda point: point.train_loss) == ([1.0], [1.0])  # (0 + 1 + 2) / 3
    with pytest.raises(NotFiniteError):
        trials.fair_runs(StudyConfig(), train, (3.0,))


# --- measures of single studies ---------------------------------------------------------------------------------------


def test_calibration_error_by_arithmetic():
    confidence, right = torch.tensor([0.95, 0.95, 0.55, 0.55]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    # bins: |0.95 - 1.0| · 2/4 + |0.55 - 0.5| · 2/4 = 0.05
    assert training.calibration_error(confidence, right) == pytest.approx(5.0, abs=1e-4)
    assert training.reliability_curve(confidence, right, groups=2)[1] == pytest.approx([50.0, 100.0])


def test_one_vs_rest_is_asked_by_sigmoid_and_all_others_by_softmax():
    model = MLP(MLPConfig(3, (), 2))
    split = rule_data()
    logits = model(split.x).detach()
    by_sigmoid, _ = training.confidence_and_truth(model, split, LOSSES["binary_cross_entropy"])
    by_softmax, right = training.confidence_and_truth(model, split, LOSSES["hinge"])
    torch.testing.assert_close(by_sigmoid, logits.sigmoid().amax(dim=1))
    torch.testing.assert_close(by_softmax, logits.softmax(dim=1).amax(dim=1))
    assert 100 * float(right.mean()) == pytest.approx(common.evaluate(model, split).accuracy)


def test_health_of_first_weights():
    split = common.Split(torch.randn(64, 32), torch.randint(0, 2, (64,)))
    stds = {}
    for name in INITIALIZERS:
        torch.manual_seed(0)
        health = shape.examine(MLP(MLPConfig(32, (64,) * 5, 2, initialization=name)), split)
        assert [tuple(layer.shape) for layer in health.gradients] == [(64, 64)] * 5
        stds[name] = float(health.activations[-1].std() / health.activations[0].std())
        if name == "zeros":
            assert shape.dead_units(health.activations) == 100
    assert 0.3 < stds["he"] < 3
    assert stds["small"] < 1e-4 and stds["large"] > 1e2


def test_the_gradient_that_examine_hears_is_that_of_the_activation():
    torch.manual_seed(0)
    model, split = MLP(MLPConfig(3, (5,), 2)), rule_data(11)
    health = shape.examine(model, split)
    probability = model.output(health.activations[0]).softmax(dim=1)
    by_hand = (probability - torch.nn.functional.one_hot(split.y, 2)) @ model.output.weight  # (p - y) W
    torch.testing.assert_close(health.gradients[0], by_hand)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dead_units_are_zero_for_every_example():
    layers = [torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 3.0]]), torch.zeros(2, 5)]
    assert shape.dead_units(layers) == pytest.approx((100 / 3 + 100) / 2)  # one unit of three, five of five


def test_update_ratios_are_the_change_over_the_weights():
    data = regularization.few_examples(common.load_dense(StudyConfig(dataset="python_docs")))
    assert len(data.train.y) == regularization.FEW
    measured = shape.update_ratios(common.new_mlp(data, 0, hidden=(7, 5)), data, 0.1, 0, steps=1)
    model = common.new_mlp(data, 0, hidden=(7, 5))
    before = [block.linear.weight.detach().clone() for block in model.hidden]  # pyright: ignore
    for _ in common.train_dense(model, data.train, SGD(model.parameters(), lr=0.1), max_steps=1, seed=0):
        after = [block.linear.weight.detach() for block in model.hidden]  # pyright: ignore
        assert measured == pytest.approx([float((new - old).norm() / old.norm()) for old, new in zip(before, after)])
    assert min(measured) > 0


def test_inputs_of_the_initialisation_study_have_mean_square_one():
    data = common.with_unit_variance(common.load_dense(StudyConfig(dataset="python_docs")))
    known = data.train.x[data.train.x.norm(dim=1) > 0]
    torch.testing.assert_close(known.square().mean(dim=1), torch.ones(len(known)), atol=1e-4, rtol=0)


def test_mean_and_spread():
    assert studies.mean_and_spread("accuracy", [80.0, 82.0, 84.0]) == {"accuracy": 82.0, "accuracy_sd": 2.0}
    assert studies.mean_and_spread("accuracy", [80.0]) == {"accuracy": 80.0, "accuracy_sd": 0.0}


def test_the_recorded_command_names_only_what_differs_from_the_default():
    config = StudyConfig(studies=("losses", "dropout"), dataset="ag_news", threads=1)
    assert studies.command_of(config, "losses", needs_text=True) == (
        "python stage1_mlp/experiments.py --studies losses --dataset ag_news"
    )
    assert (
        studies.command_of(config, "genetic", needs_text=False) == "python stage1_mlp/experiments.py --studies genetic"
    )

"""The first studies of stage 4 (order, positions, cost, heads, shape, windows): they run, and compute what they say."""

import contextlib
import io
import itertools
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from my_llm import cli, ledger
from my_llm.data.catalog import LanguageText, Pair, Translation, load_pairs
from my_llm.errors import UserError
from my_llm.studies import study_of
from my_llm.text import EOS, CharTokenizer
from my_llm.translation.batches import train_tokenizer
from stage4_transformer import experiments
from stage4_transformer.models import attention
from stage4_transformer.studies import StudyConfig, common, cost, heads, order, positions, shape, windows

NAMES = ("order", "positions", "cost", "heads", "shape", "windows")
MEASURED = cost.measured  # before the fixture replaces it


@pytest.fixture(scope="module")
def small() -> Iterator[common.Sentences]:
    """Few sentences and a short text for all tests: studies share their trainings."""
    whole = load_pairs("numbers_en_fr")
    corpus = Translation("little", ("en", "fr"), whole.train[:200], whole.validation[:8], [], "made here", "0" * 64)
    text = common.Sentences(corpus, train_tokenizer(corpus.train, 400), corpus.train, corpus.validation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "_load_sentences", lambda dataset: text)
        patch.setattr(common, "_load_characters", lambda name: characters())
        for module, values in SMALL.items():
            for name, value in values.items():
                patch.setattr(module, name, value)
        yield text


SMALL: dict[Any, dict[str, Any]] = {
    common: {"BATCH": 8, "WINDOWS": 2},
    order: {"SENTENCES": 8, "RATES": (0.001, 0.01), "LAYERS": (1, 2)},
    positions: {"LISTS": 60, "TESTS": 3, "SCORED": 300},
    cost: {"LENGTHS": (64, 128), "LONG": 64, "ENOUGH": 0.01, "measured": cost.measure},
    heads: {"HEADS": (1, 4, 16)},
    shape: {"LAYERS": (1, 2, 4)},
    windows: {"LONG": 128},
}
SMALL[order]["CASES"] = [case for case in order.CASES if case.layers == 2]


def characters() -> common.Characters:
    """A text of 3,000 characters."""
    said = "to be, or not to be, that is the question: " * 70
    tokenizer = CharTokenizer.train([said])
    corpus = LanguageText("hamlet", "en", said, said[:500], "", "made here", "0" * 64)
    return common.Characters(corpus, tokenizer, torch.tensor(tokenizer.encode(said)), torch.arange(4, 14).repeat(40))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of its own, so that no test touches the published numbers or figures."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    return tmp_path


def called(*flags: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.execute(StudyConfig, experiments.run, list(map(str, flags)))
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_study_writes_its_table_and_its_figure_and_says_what_is_seen(name: str, results: Path, small):
    seeds = 2 if name == "heads" else 1
    code, out, err = called("--studies", name, "--max_steps", 2, "--seeds", seeds, "--threads", 1)
    assert (code, err) == (0, "")
    table = ledger.read(results / "results" / "stage4_transformer" / f"{name}.json")
    assert len(table["rows"]) >= 3 and table["seed"] == [0, 1][:seeds]
    assert table["sha256"] == ("" if name == "cost" else "0" * 64)
    flags = "--seeds 2 --max_steps 2" if seeds == 2 else "--max_steps 2"
    assert table["command"] == f"python stage4_transformer/experiments.py --studies {name} {flags}"
    assert all(len(row) > 1 for row in table["rows"])
    figure = results / "docs" / "figures" / f"stage4_{name}.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    assert str(figure) in out and "seen    " in out
    assert max(len(line) for line in out.splitlines() if line[:1] in "│┃") <= 80


@pytest.mark.parametrize("name", experiments.STUDIES)
def test_every_study_is_a_function_with_a_question(name: str):
    assert "?" in (study_of(StudyConfig.stage, name, experiments.STUDIES).__doc__ or "")


def test_what_a_study_cannot_honour_is_refused(small):
    code, _, err = called("--studies", "head")
    assert code == 2 and "did you mean heads?" in err
    for flags in (("--seeds", 0), ("--precision", "bf16")):
        assert called("--studies", "cost", *flags)[0] == 2


def test_help_does_not_load_torch():
    code = (
        "import sys, contextlib, io\nfrom my_llm import cli\nfrom stage4_transformer import experiments\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    cli.parse(experiments.StudyConfig, ['--help'])\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules, 'numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "False"]


def test_the_same_training_is_made_once(small: common.Sentences):
    first = common.trained(small, common.Setting(4, 0, model=16, hidden=16, points=2))
    assert common.trained(small, common.Setting(4, 0, model=16, hidden=16, points=2)) is first
    plain = common.trained(small, common.Setting(4, 0, model=16, hidden=16))
    assert plain is not first and plain.curve == []
    assert torch.equal(
        first.translator.model.head.weight, plain.translator.model.head.weight
    )  # looking changes nothing
    assert [moment.step for moment in first.curve] == [2, 4]
    assert first.curve[0].seconds < first.curve[1].seconds == first.seconds
    assert first.curve[1].exact == first.translator.scores(small.validation)["exact"]
    assert not first.translator.model.training
    assert first.parameters == sum(p.numel() for p in first.translator.model.parameters())


def test_the_loss_is_that_of_the_last_steps(small: common.Sentences):
    text, model = characters(), common.new_language_model(characters(), 0, model=16, hidden=16)
    before = common.nats_per_character(model, text.train)
    learnt = common.train_on_text(model, text, common.Recipe(20, 0, rate=0.01))
    assert learnt.seconds > 0 and not model.training
    after = common.nats_per_character(model, text.train)
    assert learnt.loss == pytest.approx(after, rel=0.15) and after < before - 0.3


def test_a_training_takes_one_thread_whatever_the_program_has(small: common.Sentences, monkeypatch: pytest.MonkeyPatch):
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        model = common.new_language_model(characters(), 0, model=16, hidden=16)
        monkeypatch.setattr(
            model, "mask", lambda *given: seen.append(torch.get_num_threads()) or type(model).mask(model, *given)
        )
        common.train_on_text(model, characters(), common.Recipe(2, 0))
        cost.milliseconds_of(lambda: seen.append(torch.get_num_threads()))
        assert set(seen) == {1} and len(seen) > 2 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_waiting_costs_no_milliseconds():
    assert cost.milliseconds_of(lambda: time.sleep(0.02)) < 10


def test_scores_are_means_over_seeds(small: common.Sentences):
    found = [common.trained(small, common.Setting(2, seed, model=16, hidden=16)) for seed in (0, 1)]
    row = common.scored(found, small.validation)
    assert row["loss"] == pytest.approx(sum(each.loss for each in found) / 2, abs=1e-3)
    assert row["loss_sd"] == pytest.approx(abs(found[0].loss - found[1].loss) / math.sqrt(2), abs=1e-3)


# --- order ------------------------------------------------------------------------------------------------------------


def test_the_loss_of_frequencies_is_the_entropy_of_the_target_tokens(small: common.Sentences):
    tokens = [token for pair in small.train for token in [*small.tokenizer.encode(pair.target), EOS]]
    shares = [count / len(tokens) for count in Counter(tokens).values()]
    assert order.nats_of_frequencies(small) == pytest.approx(-sum(share * math.log(share) for share in shares))


def test_a_run_has_trained_a_tenth_below_the_frequencies():
    case = order.Case("post", "without", 6)
    row = order.row_of(case, {0.001: [2.0, 3.0], 0.1: [3.55, math.inf]}, alone=4.0)
    assert row == {
        "case": "post, without warm-up, 6 layers",
        "rate_0.001": 2.5,
        "best": 2.5,
        "trained": 75.0,
        "runs": 4,
    }
    lost = order.row_of(case, {0.1: [math.inf]}, alone=4.0)
    assert lost == {"case": str(case), "trained": 0.0, "runs": 1}
    assert order._told(row) == f"{case}: 75 % (best loss 2.50)"
    assert order._told(lost) == f"{case}: 0 % (diverged at every rate)"


def test_a_training_that_diverges_has_no_loss(small: common.Sentences):
    case = order.Case("post", "without", 1)
    assert 0 < order.loss_of(small, case, 0.01, 2, 0) < 20
    assert order.loss_of(small, case, math.inf, 2, 0) == math.inf


# --- positions --------------------------------------------------------------------------------------------------------


def test_lists_have_the_length_that_is_asked_for():
    pairs = [Pair("one", "un"), Pair("twenty one", "vingt et un"), Pair("a b c", "x y z")]
    made = positions.lists(pairs, 40, 7, 9, seed=0)
    assert {positions.words_of(pair) for pair in made} == {7, 8, 9}
    assert made == positions.lists(pairs, 40, 7, 9, seed=0) != positions.lists(pairs, 40, 7, 9, seed=1)
    told = {pair.source: pair.target for pair in pairs}
    for pair in made:
        parts = pair.source.split(positions.COMMA)
        assert pair.target == positions.COMMA.join(told[part] for part in parts)


def test_bins_follow_each_other(small: common.Sentences):
    bins = positions.asked(small, 4, 10)
    lengths = [list(map(positions.words_of, pairs)) for pairs in bins.values()]
    assert [*bins] == ["x1", "x2", "x3", "x4"] and {len(words) for words in lengths} == {4}
    for times, words in enumerate(lengths):
        assert 10 * times < min(words) and max(words) <= 10 * (times + 1)


def test_beyond_the_table_learned_positions_have_no_score(small: common.Sentences):
    bins = {"short": [Pair("one", "un")], "long": [Pair("one hundred, " * 9, "cent")]}
    scores = {}
    for name in ("learned", "rotary"):
        setting = common.Setting(2, 0, model=16, hidden=16, positions=name, max_length=40)
        scores[name] = positions.scores_of(common.trained(small, setting).translator, bins)
    assert [*scores["learned"]] == ["short"] and [*scores["rotary"]] == ["short", "long"]


# --- cost -------------------------------------------------------------------------------------------------------------


def test_a_slope_is_the_power_of_the_length():
    lengths = (1024, 2048, 4096)
    assert cost.slope(lengths, [3.0 * length**2 for length in lengths]) == pytest.approx(2)
    rows: list[common.Row] = [{"tokens": length, "forward": 5.0 * length} for length in lengths]
    assert cost.slopes("plain", rows) == {"case": "plain, slope", "forward_slope": 1.0}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by Linux only")
def test_a_child_process_measures_the_scores_that_the_plain_formula_holds():
    found = MEASURED("plain", 512)
    at_once = cost.mebibytes(512, 1)  # 8 heads x 512² x 4 bytes = 8 MiB
    assert 2 * at_once <= found["forward_memory"] + 1 < 3 * at_once + 1
    assert found["step_memory"] > found["forward_memory"] and min(found["step"], found["forward"]) > 0


def test_a_measurement_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cost, "CHILD", "raise MemoryError('no room')")
    with pytest.raises(UserError, match="plain attention of 8,192 tokens: MemoryError: no room"):
        MEASURED("plain", 8192)


def test_a_step_that_would_need_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cost, "MOST", cost.mebibytes(64, 3))
    assert set(cost.measure("plain", 64)) <= {"forward", "forward_memory"}
    assert "step" in cost.measure("fused", 64)


# --- shape and windows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 4, 8])
def test_shapes_have_equally_many_parameters(layers: int):
    size = shape.size_of(lambda: shape.new_model(128, 2, 600))
    width = shape.width_for(size, lambda width: shape.new_model(width, layers, 600), shape.WIDTHS)
    assert shape.size_of(lambda: shape.new_model(width, layers, 600)) == pytest.approx(size, rel=0.09)
    assert width == 128 or layers != 2


@pytest.mark.parametrize(("steps", "width"), [(11, 3), (7, 1)])
def test_patterns_by_their_definition(steps: int, width: int):
    near, far = windows.window(steps, width), windows.strided(steps, width)
    for i, j in itertools.product(range(steps), repeat=2):
        assert near[i, j] == (0 <= i - j < width)
        assert far[i, j] == (i >= j and (i - j < width or (i - j) % width == 0))
    assert windows.share(lambda steps: windows.window(steps, 2), 4) == pytest.approx(70)  # 7 of 10


@pytest.mark.parametrize("width", [1, 4, 12])
def test_the_banded_window_is_the_masked_one(width: int):
    query, key, value = torch.randn(3, 2, 3, 12, 5, dtype=torch.float64)
    theirs, _ = attention(query, key, value, windows.window(12, width))
    torch.testing.assert_close(windows.banded_attention(query, key, value, width), theirs, rtol=1e-12, atol=1e-12)


def test_a_sparse_model_sees_what_its_pattern_has():
    config = windows.TransformerLMConfig(vocab_size=7, model=8, heads=2, layers=1, hidden=8, max_length=12)
    model = windows.SparseLM(config, lambda steps: windows.strided(steps, 4)).eval()
    tokens = torch.randint(7, (1, 12))
    last = model(tokens)[0][0, -1]
    for place in range(11):
        other = tokens.clone()
        other[0, place] = (tokens[0, place] + 1) % 7
        seen = 11 - place < 4 or (11 - place) % 4 == 0
        assert torch.allclose(model(other)[0][0, -1], last) != seen

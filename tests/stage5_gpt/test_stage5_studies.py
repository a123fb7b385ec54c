"""The studies of stage 5: they run, and write what they say."""

import contextlib
import io
from pathlib import Path

import pytest
import torch

from my_llm import cli, ledger
from my_llm.data.catalog import Example, LanguageText, TextClassification
from my_llm.language.batches import tokenizer_for
from my_llm.studies import study_of
from stage5_gpt import experiments
from stage5_gpt.models import GPT
from stage5_gpt.studies import StudyConfig, common, decoding, encoder, leak, recipes, rivals, shapes, sorting

SAID = "to be, or not to be, that is the question: whether it is nobler\n" * 400
OURS = (
    "leak", "size", "depth", "heads", "context", "rivals", "optimizers", "batch", "ngrams", "tokenizers", "decoding",
    "encoder", "sorting",
)  # fmt: skip
LOAD_NEWS = encoder.load_news  # before `results` puts a small corpus in its place
EMPTY = {"optimizers": "steps_to", "batch": "tokens_to"}  # two steps reach no target


def little(dataset: str, vocab_type: str) -> common.Text:
    corpus = LanguageText("hamlet", "en", SAID, SAID[:600], "", "made here", "0" * 64)
    tokenizer = tokenizer_for(corpus, vocab_type, 300)
    train, validation = (torch.tensor(tokenizer.encode(part)) for part in (SAID, SAID[:600]))
    return common.Text(corpus, tokenizer, train, validation, 600)


def few_news(name: str) -> encoder.News:
    texts = [Example(f"{word} number {number}", label) for number in range(20) for label, word in enumerate("ab")]
    corpus = TextClassification("letters", ("a", "b"), texts, texts[:6], texts[:10], "made here", "0" * 64)
    tokenizer = encoder.GPT2Tokenizer.train([SAID[:600]], 280)
    return encoder.News(corpus, tokenizer, torch.tensor(tokenizer.encode(SAID)))


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of its own, and a small world."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(common, "_load", little)
    monkeypatch.setattr(common, "TOKENS", 128)
    monkeypatch.setattr(encoder, "load_news", few_news)
    for module in (common, shapes, encoder):
        monkeypatch.setattr(module, "SHAPE", {**common.SHAPE, "model": 16})
    small = {
        recipes: {"BATCHES": (256, 512), "RUNS": (1, 3)},
        shapes: {
            "SIZES": ((1, 16), (2, 32)), "COMPUTE": (1e8, 3e8), "FEWEST": 2,
            "SHAPES": ((1, 24), (2, 16)), "HEADS": (1, 4), "CONTEXTS": (16, 32),
            "ASKED": 20,
        },
        decoding: {"LENGTH": 20, "TEXTS": 3, "DRAWS": 2, "MODEL": {"ngrams": 2}},
        rivals: {"RATES": (0.01, 0.02), "KINDS": ("char", "gpt2")},
        encoder: {"LABELS": (4, 10)},
        sorting: {"LABELS": (4, 10), "LENGTH": 16, "SHAPE": {**sorting.SHAPE, "model": 16}},
    }  # fmt: skip
    for module, constants in small.items():
        for name, value in constants.items():
            monkeypatch.setattr(module, name, value)
    return tmp_path


def called(*flags: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.execute(StudyConfig, experiments.run, list(map(str, flags)))
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", OURS)
def test_a_study_writes_its_table_and_its_figure(name: str, results: Path):
    steps = 40 if name == "decoding" else 2  # fewer write nothing but spaces
    code, out, err = called("--studies", name, "--max_steps", steps, "--seeds", 1 + (name == "heads"), "--threads", 1)
    assert (code, err) == (0, "")
    table = ledger.read(results / "results" / "stage5_gpt" / f"{name}.json")
    assert len(table["rows"]) >= 2 and all(len(row) > 1 for row in table["rows"])
    figure = results / "docs" / "figures" / f"stage5_{name}.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    assert "seen    " in out and "?" in (study_of("stage5_gpt", name, experiments.STUDIES).__doc__ or "")
    if name == "size":  # the larger one would take one step with the smaller amount: too few
        assert [sum("loss" in key and "_sd" not in key for key in row) for row in table["rows"]] == [2, 1]
    if name in EMPTY:
        assert not any(EMPTY[name] in row for row in table["rows"]) and "–" in out


def test_what_a_study_cannot_honour_is_refused():
    for flags in (("--seeds", 0), ("--precision", "bf16")):
        assert called("--studies", "heads", *flags)[0] == 2


# --- the future -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-1, 0, 1, 10_000, None])
def test_a_token_sees_as_far_ahead_as_the_mask_says(ahead: int | None):
    torch.manual_seed(0)
    model, tokens = common.new_gpt(little("", "char"), layers=1).eval(), torch.randint(5, 20, (1, 8))
    leak.set_mask(model, ahead)
    for further in (0, 1, 2):
        other = tokens.clone()
        other[0, 3 + further] += 1
        same = torch.allclose(model(other)[0][0, 3], model(tokens)[0][0, 3], atol=1e-7)
        assert same == (further > max(ahead or 0, 0))


@pytest.mark.parametrize(("ahead", "leaks"), [(-1, False), (0, False), (1, True), (10_000, True)])
def test_the_test_for_leaks_finds_them(ahead: int, leaks: bool):
    text = little("", "char")
    model = common.new_gpt(text).eval()
    leak.set_mask(model, ahead)
    assert (leak.future_seen(model, text) > 1e-5) == leaks
    leak.set_mask(model, None)
    assert leak.future_seen(model, text) < 1e-6


# --- measuring --------------------------------------------------------------------------------------------------------


def test_a_target_is_reached_by_the_mean_of_ten_thousand_tokens():
    assert common.Learnt([1.0, 2.0, 3.0], [4.0, 2.0, 0.0], 5000).reached(2.0) == 3
    assert common.Learnt([1.0, 2.0, 3.0], [4.0, 2.0, 0.0], 10_000).reached(2.0) == 2
    assert common.Learnt([1.0], [4.0], 10_000).reached(2.0) is None
    assert common.Learnt([1.0], [0.0], 100).reached(2.0) is None  # too few tokens to say


def test_the_best_says_whether_the_next_is_inside_the_noise():
    rows = [{"case": "a", "loss": 1.0, "loss_sd": 0.1}, {"case": "b", "loss": 1.1, "loss_sd": 0.0}, {"case": "c"}]
    assert "a (1)" in common.best_of(rows) and "inside" in common.best_of(rows)
    rows[1]["loss"] = 1.3
    assert "outside" in common.best_of(rows) and "highest loss has b" in common.best_of(rows, most=True)
    assert common.best_of([{"case": "c"}]) == "no row has a loss"


def test_a_row_without_a_value_has_no_point():
    _, (chart,) = common.sheet(1)
    common.dots(chart, [{"case": "a", "steps_to": 3}, {"case": "b"}], "steps_to", "black")
    assert len(chart.containers) == 1 and "not reached" in [text.get_text() for text in chart.texts]


def test_what_a_model_sees_of_the_past_is_what_it_is_asked_after(monkeypatch: pytest.MonkeyPatch):
    text = little("", "char")
    model, seen = common.new_gpt(text, context=32).eval(), []
    monkeypatch.setattr(
        GPT, "forward", lambda self, tokens: seen.append(tokens) or (torch.zeros(*tokens.shape, 9), None)
    )
    with contextlib.suppress(IndexError):
        shapes.nats_after(model, text, 16)
    last = text.validation.tolist()
    assert seen[0].shape == (20, 16) and seen[0][-1].tolist() == last[-17:-1]


def test_an_encoder_sees_both_sides_but_not_what_is_hidden():
    torch.manual_seed(0)
    model = encoder.Encoder(20, 2).eval()
    tokens = torch.randint(1, 20, (1, 6))
    other = tokens.clone()
    other[0, 5] = (tokens[0, 5] + 1) % 20
    assert (model.guess(tokens)[0, 0] - model.guess(other)[0, 0]).abs().max() > 1e-6
    lengths = torch.tensor([5])
    assert torch.allclose(model(tokens, lengths), model(other, lengths), atol=1e-6)
    loss = encoder.gap_loss(model, encoder.Batch(tokens, tokens))
    assert 1 <= loss.count <= 6 and loss.total > 0


def test_seconds_end_a_training_and_lower_its_rate():
    learnt = common.Learnt([], [], 1)
    schedule = common.by_seconds(learnt, 10.0)
    assert schedule(0) == 0.05 and schedule(30) == 1
    learnt.seconds.append(7.5)
    assert schedule(30) == 0.25


def test_of_a_corpus_that_stands_class_by_class_all_classes_are_read(monkeypatch: pytest.MonkeyPatch):
    """Only the beginning is read: 10 * LEARNT_FROM characters, of some 1,700."""
    train = [Example(f"{word} {number}", label) for label, word in enumerate(("bad", "good")) for number in range(120)]
    corpus = TextClassification("films", ("neg", "pos"), train, train[:1], train[:1], "made here", "0" * 64)
    monkeypatch.setattr(encoder, "load", lambda name: corpus)
    monkeypatch.setattr(encoder, "LEARNT_FROM", 60)
    monkeypatch.setattr(encoder, "VOCABULARY", 270)
    news = LOAD_NEWS("films")
    read = news.tokenizer.decode(news.stream.tolist())
    assert len(read) == 600 and min(read.count("bad"), read.count("good")) > 0.3 * len(read.split("\n"))

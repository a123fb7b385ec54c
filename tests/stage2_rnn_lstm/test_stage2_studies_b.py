"""The other studies of stage 2 run to their end on little text, and what their numbers rest on holds."""

import contextlib
import io
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from my_llm import cli, ledger
from my_llm.data.catalog import Example, TextClassification
from my_llm.data.corpora.language import LanguageText
from my_llm.errors import ConfigError
from my_llm.text import CharTokenizer, WordTokenizer
from stage1_mlp.models import MLPLanguageModel, MLPLanguageModelConfig
from stage2_rnn_lstm import experiments
from stage2_rnn_lstm.data import Window
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig, NGramModel
from stage2_rnn_lstm.studies import (
    StudyConfig,
    bottleneck,
    common,
    exposure,
    ladder,
    order,
    sentiment,
    shape,
    trials,
    truncation,
)

OURS = {"truncation", "shape", "ladder", "exposure", "bottleneck", "order", "sentiment"}
NAMES = [name for name, module in experiments.STUDIES.items() if module in OURS]
LINE = "The quick brown fox doesn't jump over the lazy dog;\nnor did it, on that day.\n"


def little_text() -> common.Characters:
    """77 characters, again and again."""
    corpus = LanguageText("little", "en", LINE * 50, LINE * 15, "", "written here", "0" * 64)
    tokenizer = CharTokenizer.train([corpus.train])
    train, validation = (torch.tensor(tokenizer.encode(part)) for part in (corpus.train, corpus.validation))
    return common.Characters(corpus, tokenizer, train, validation)


def little_reviews() -> TextClassification:
    """120 texts that are easy to tell apart."""
    rng, examples = random.Random(0), []
    for i in range(120):
        words = rng.choices((sentiment.BAD, sentiment.GOOD)[i % 2], k=3) + rng.choices(
            ("the", "film", "was", ",", "and", "a"), k=5
        )
        examples.append(Example(" ".join(rng.sample(words, 8)) + f" {i}", i % 2))
    return TextClassification(
        "little", ("negative", "positive"), examples[:70], examples[70:90], examples[90:], "", "1"
    )


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of its own, little text, small networks."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    text = little_text()
    for module in (truncation, shape, ladder, exposure, bottleneck):
        monkeypatch.setattr(module, "load_characters", lambda config: text)
    monkeypatch.setattr(truncation, "LENGTHS", (8, 64))
    monkeypatch.setattr(shape, "WIDTHS", (8, 16, 32))
    monkeypatch.setattr(shape, "WIDE", 24)
    monkeypatch.setattr(ladder, "PARAMETERS", 20_000)
    monkeypatch.setattr(ladder, "ORDERS", range(1, 5))
    for module, name in ((truncation, "HIDDEN"), (shape, "HIDDEN"), (exposure, "HIDDEN"), (order, "HIDDEN")):
        monkeypatch.setattr(module, name, 16)
    monkeypatch.setattr(exposure, "TEXTS", 8)
    monkeypatch.setattr(exposure, "WRITTEN", 100)
    monkeypatch.setattr(bottleneck, "WIDTHS", (8, 16))
    monkeypatch.setattr(bottleneck, "TESTS", 16)
    monkeypatch.setattr(order, "LENGTHS", (4, 8))
    monkeypatch.setattr(order.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(order.torch, "set_num_threads", lambda threads: None)  # two threads wait for a busy core
    monkeypatch.setattr(sentiment, "load", lambda name: little_reviews())
    monkeypatch.setattr(sentiment, "SHAPE", {"embedding": 8, "hidden": 8})
    return tmp_path


def test_all_nine_studies_are_registered():
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", NAMES)
def test_a_study_writes_its_table_and_its_figure_and_says_what_is_seen(name: str, results: Path):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        flags = f"--studies {name} --max_steps 2 --seeds 2 --threads 1"
        code = cli.execute(StudyConfig, experiments.run, flags.split())
    assert (code, err.getvalue()) == (0, "")
    table = ledger.read(results / "results" / "stage2_rnn_lstm" / f"{name}.json")
    assert len(table["rows"]) >= 2 and table["seed"] == [0, 1]
    assert table["command"] == (f"python stage2_rnn_lstm/experiments.py --studies {name} --seeds 2 --max_steps 2")
    assert table["sha256"] == {"order_cost": "", "sentiment": "1"}.get(name, "0" * 64)
    figure = results / "docs" / "figures" / f"stage2_{name}.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    seen = next(line for line in out.getvalue().splitlines() if line.startswith("seen    "))
    assert any(letter.isdigit() for letter in seen)


# --- trials -----------------------------------------------------------------------------------------------------------


def test_a_width_is_the_widest_that_fits():
    assert trials.width_for(100, lambda width: width**2) == 10
    assert trials.width_for(120, lambda width: width**2) == 10
    assert trials.width_for(1, lambda width: 5 * width) == 1  # nothing fits: the narrowest


def test_each_case_gets_the_rate_that_its_first_seed_likes_best():
    asked = []

    def train(rate: float, seed: int) -> trials.Outcome:
        asked.append((rate, seed))
        return trials.Outcome(abs(rate - 0.2) + seed, 1.0)

    rate, outcomes = trials.at_best_rate(StudyConfig(seeds=3), train, (0.1, 0.2, 0.4))
    assert rate == 0.2 and [outcome.nats for outcome in outcomes] == pytest.approx([0.0, 1.0, 2.0])
    assert asked == [(0.1, 0), (0.2, 0), (0.4, 0), (0.2, 1), (0.2, 2)]


# --- truncation -------------------------------------------------------------------------------------------------------


def small_model(vocab_size: int = 11, hidden: int = 7) -> LanguageModel:
    """With an output layer that says something."""
    torch.manual_seed(0)
    model = LanguageModel(LanguageModelConfig(vocab_size, embedding=5, hidden=hidden))
    nn.init.normal_(model.head.weight)
    return model


def test_a_fresh_window_does_not_know_the_one_before_and_a_carried_one_does():
    model, windows = small_model(), [Window(*torch.randint(11, (2, 3, 5)), fresh=number == 0) for number in range(2)]
    carried = CarriedLoss()
    with_state = [carried(model, window).total.item() for window in windows]
    without = [truncation.fresh_loss(model, window).total.item() for window in windows]
    assert without[0] == with_state[0] and abs(without[1] - with_state[1]) > 1e-3
    assert truncation.fresh_loss(model, windows[1]).total.item() == without[1]


def test_windowed_nats_are_those_of_every_window_alone():
    model, tokens = small_model(), torch.randint(11, (24,), generator=torch.Generator().manual_seed(1))
    total = 0.0
    for start in (0, 5, 10, 15):  # 23 targets fill four windows of 5
        logits, _ = model(tokens[None, start : start + 5])
        targets = tokens[start + 1 : start + 6]
        total -= logits[0].log_softmax(dim=1)[torch.arange(5), targets].sum().item()
    assert truncation.windowed_nats(model, tokens, 5) == pytest.approx(total / 20, rel=1e-5)


# --- ladder -----------------------------------------------------------------------------------------------------------


def test_the_mlp_reads_a_text_in_any_pieces_as_it_reads_windows():
    torch.manual_seed(0)
    model = MLPLanguageModel(MLPLanguageModelConfig(11, context=4, embedding=3, hidden=5))
    reader, tokens = ladder.WindowReader(model), torch.randint(11, (2, 9))
    whole, _ = reader(tokens)
    first, state = reader(tokens[:, :2])
    second, state = reader(tokens[:, 2:3], state)
    third, _ = reader(tokens[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second, third], dim=1), whole)
    for end in range(4, 10):
        torch.testing.assert_close(whole[:, end - 1], model(tokens[:, end - 4 : end]))


@pytest.mark.parametrize("name", ladder.NETWORKS)
def test_the_networks_of_the_ladder_are_equally_large(name: str):
    def count(width: int) -> int:
        return common.parameters_of(ladder.NETWORKS[name](69, width))

    width = trials.width_for(ladder.PARAMETERS, count)
    assert 0.93 * ladder.PARAMETERS < count(width) <= ladder.PARAMETERS < count(width + 1)


def test_a_training_ends_when_its_time_is_over():
    text = little_text()
    model = ladder.NETWORKS["rnn"](text.tokenizer.vocab_size, 16)
    trials.warm_up()
    trained = ladder.train_for(0.4, model, text, 0.01, 0, most=0)
    assert 0.4 <= trained.outcome.seconds < 0.8 and trained.characters % 2048 == 0 and trained.characters > 0
    assert trained.points[-1][1] < trained.points[0][1] and len(trained.points) <= ladder.POINTS
    assert trained.points[-1][0] == pytest.approx(trained.outcome.seconds, abs=0.1)


# --- teacher forcing --------------------------------------------------------------------------------------------------


def test_without_own_guesses_the_inputs_stay_and_with_them_only_the_first_does():
    model, tokens = small_model(), torch.randint(11, (5, 13), generator=torch.Generator().manual_seed(1))
    assert torch.equal(exposure.read_own(model, tokens, None, 0.0), tokens)
    own = exposure.read_own(model, tokens, None, 1.0)
    assert torch.equal(own[:, 0], tokens[:, 0]) and float((own == tokens).float().mean()) < 0.5


def test_own_guesses_follow_from_what_was_read_before():
    model, tokens = small_model(), torch.randint(11, (5, 13), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.head.weight.mul_(1e6)  # so sure of itself that a draw is the likeliest
        state = model(tokens[:, :4])[1]
        own = exposure.read_own(model, tokens[:, 4:], state, 1.0)
        likeliest = model(own, state)[0].argmax(dim=2)
    assert torch.equal(own[:, 1:], likeliest[:, :-1])


def test_the_share_of_own_guesses_rises_and_the_state_is_that_of_what_was_read(monkeypatch: pytest.MonkeyPatch):
    shares = []

    def read(model: LanguageModel, tokens: torch.Tensor, state: object, share: float) -> torch.Tensor:
        shares.append((share, state is None))
        return tokens * 0

    monkeypatch.setattr(exposure, "read_own", read)
    model, loss_fn = small_model(), exposure.ScheduledSampling(lambda index: index / 2)
    windows = [Window(*torch.randint(11, (2, 3, 5)), fresh=number == 0) for number in range(3)]
    losses = [loss_fn(model, window).total.item() for window in windows]
    assert shares == [(0.5, False), (1.0, False)]
    plain = CarriedLoss()
    zeros = [windows[0], *(window._replace(inputs=window.inputs * 0) for window in windows[1:])]
    assert losses == [plain(model, window).total.item() for window in zeros]


def test_free_text_continues_the_prompt_and_its_states_are_those_of_reading_it():
    text = little_text()
    model, prompts = small_model(text.tokenizer.vocab_size), text.train[:24].view(2, 12)
    free = exposure.write(model, text, prompts, 9, seed=0)
    assert free.texts.shape == (2, 9) and free.states.shape == (9, 2, 7)
    states = exposure.read(model, torch.cat([prompts, free.texts], dim=1), 12)
    torch.testing.assert_close(states, free.states)
    assert exposure.shifts(states, free.states, 3) == pytest.approx([0.0] * 3, abs=0.5)
    assert min(exposure.shifts(states + 10 * states.std(), free.states, 3)) > 3


def test_the_judge_and_the_pieces_by_hand():
    tokens = torch.tensor([[0, 1, 0, 1], [0, 1, 1, 1]])
    judge = NGramModel.fit(torch.tensor([0, 1] * 20), 2, 2)
    found = exposure.judged(judge, tokens[:, :2], tokens[:, 2:])
    expected = torch.stack([judge.score(row)[2:] for row in tokens]).mean(dim=0)
    torch.testing.assert_close(found, expected)
    assert exposure.pieces(torch.tensor([1.0, 3.0, 5.0, 7.0, 100.0]), 2) == [2.0, 6.0]


def test_words_that_may_have_been_cut_do_not_count():
    assert exposure.words_of("ck brown fox doesn't 'jump' ov") == ["brown", "fox", "doesn't", "jump"]
    text = little_text()
    rows = torch.tensor([text.tokenizer.encode(words) for words in ("xx fox dog quick yy", "xx fox god quikk yy")])
    assert exposure.known_share(text, rows) == pytest.approx(100 * 4 / 6)


# --- bottleneck -------------------------------------------------------------------------------------------------------


def test_all_that_the_decoder_knows_is_the_state():
    torch.manual_seed(0)
    model = bottleneck.Repeater(11, 7)
    one, other = torch.randint(11, (2, 3, 5))
    state = model.encode(one)
    assert [memory.shape for memory in state] == [(3, 7)] * 2
    model.encode = lambda tokens: state  # type: ignore[method-assign]
    assert torch.equal(model.repeat(one), model.repeat(other))


def test_a_token_is_predicted_from_those_before_it_and_the_state_alone():
    torch.manual_seed(0)
    model, tokens = bottleneck.Repeater(11, 7), torch.randint(11, (3, 5))
    state = model.encode(tokens)
    model.encode = lambda tokens: state  # type: ignore[method-assign]
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 11
    same = (model(tokens) == model(changed)).all(dim=2).all(dim=0)
    assert same.tolist() == [True, True, True, True, False]


def test_greedy_writing_agrees_with_reading_what_was_written():
    torch.manual_seed(0)
    model, tokens = bottleneck.Repeater(11, 7), torch.randint(11, (3, 5))
    state, said = model.encode(tokens), model.repeat(tokens).clone()
    model.encode = lambda tokens: state  # type: ignore[method-assign]
    assert torch.equal(model(said).argmax(dim=2), said)


def test_a_repeater_learns_short_pieces():
    text = little_text()
    torch.manual_seed(0)
    model = bottleneck.Repeater(text.tokenizer.vocab_size, 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bottleneck, "LONGEST", 3)
        bottleneck.train_repeater(model, text.train, 150, 0)
        patch.setattr(bottleneck, "LENGTHS", (2, 40))
        found = bottleneck.scores(model, text.validation)
    assert found[2][0] > 80 > found[40][0] and found[2][1] > 70 > 1 > found[40][1]


# --- order ------------------------------------------------------------------------------------------------------------


def test_multiply_adds_are_counted_by_hand_and_alike():
    models = order.same_cost_models(hidden=32)
    # LSTM: 4H (E + H) + H V = 128 · (64 + 32) + 32 · 69
    assert order.multiply_adds(models["lstm"]) == 128 * 96 + 32 * 69
    # WaveNet: 12 layers of 2C · 2C + C · 2C, then C · C and C · V
    c = models["wavenet"].config.channels  # type: ignore[union-attr]
    assert order.multiply_adds(models["wavenet"]) == 12 * 6 * c**2 + c**2 + 69 * c  # type: ignore[operator]
    counts = [order.multiply_adds(model) for model in models.values()]
    assert max(counts) < 1.2 * min(counts)


def test_all_take_turns_and_the_number_of_threads_is_put_back():
    turns, before = [], torch.get_num_threads()
    steps = {name: lambda name=name: turns.append((name, torch.get_num_threads())) for name in "ab"}
    found = order.take_turns(steps, rounds=2, threads=(1, 2))
    assert turns == [("a", 1), ("b", 1), ("a", 2), ("b", 2)] * 3
    assert set(found) == {("a", 1), ("b", 1), ("a", 2), ("b", 2)} and min(found.values()) >= 0
    assert torch.get_num_threads() == before


def test_the_first_round_only_warms_up():
    calls = []

    def slow_at_first():
        calls.append(time.sleep(0.0 if calls else 0.2))

    assert order.take_turns({"a": slow_at_first}, rounds=1, threads=(1,))["a", 1] < 0.09


def test_rates_and_speed_up_by_hand():
    model = nn.Linear(100, 100, bias=False)  # 10,000 multiply-adds
    row = order.row_of("product", 10, model, {(("product", 10), 1): 0.004, (("product", 10), 2): 0.0025})
    # 6 · 10,000 · 16 · 10 = 9.6 million operations
    assert (row["one_thread"], row["two_threads"], row["speed_up"]) == (4.0, 2.5, 1.6)
    assert (row["rate"], row["rate_two"]) == (2.4, 3.8)


def test_one_core_cannot_show_what_a_second_brings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(order.os, "cpu_count", lambda: 1)
    with pytest.raises(ConfigError, match="2 cores"):
        order.order_cost(StudyConfig())
    monkeypatch.setattr(order.os, "cpu_count", lambda: 2)
    with pytest.raises(ConfigError, match="cuda"):
        order.order_cost(replace(StudyConfig(), device="cuda"))


# --- sentiment --------------------------------------------------------------------------------------------------------


def test_a_bag_counts_words_and_known_pairs_and_has_length_1():
    pairs = sentiment.frequent_pairs([[4, 5, 4, 5], [5, 4]], vocab_size=10, size=1)
    assert pairs == {(4, 5): 10}
    ids, weights = sentiment.bag([4, 5, 4, 5, 6], pairs)
    assert sorted(ids) == [4, 5, 6, 10]
    found = dict(zip(ids, weights))
    assert sum(weight**2 for weight in weights) == pytest.approx(1.0)
    assert found[4] == found[10] == pytest.approx(found[6] * (1 + torch.tensor(2.0).log().item()))


def test_rows_of_bags_are_the_bags():
    tokenizer = WordTokenizer.train(["a b c"])
    features = sentiment.features_of(tokenizer, {})
    bags = features(["a", "b c", "", "c a b"])
    ids, offsets, weights = sentiment.rows_of(bags, [3, 1])
    assert offsets.tolist() == [0, 3]
    assert torch.equal(ids, torch.cat([features(["c a b"]).ids, features(["b c"]).ids]))
    assert weights.tolist() == pytest.approx([3**-0.5] * 3 + [2**-0.5] * 2)


def test_who_reads_not_turns_and_who_counts_it_is_right_half_of_the_time():
    def reader(texts):
        score = [(("not" in t) != any(word in t.split() for word in sentiment.GOOD)) - 0.5 for t in texts]
        return torch.tensor([[-s, s] for s in score])

    def counter(texts):
        return torch.tensor([[0.0, -1.0 * ("not" in t.split())] for t in texts])

    assert sentiment.turned(reader) == 100 and sentiment.turned(counter) == 50
    assert sentiment.turned(lambda texts: -reader(texts)) == 0


def test_a_shuffled_text_has_the_same_words():
    text = "one two three four five six"
    disorder = sentiment.shuffled(text, random.Random(0))
    assert disorder != text and sorted(disorder.split()) == sorted(text.split())


@pytest.mark.parametrize("fit", ["naive_bayes", "mlp", "bilstm"])
def test_the_classifiers_learn_what_is_easy(fit: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sentiment, "SHAPE", {"embedding": 16, "hidden": 8, "dropout": 0.0, "word_dropout": 0.0})
    corpus, config = little_reviews(), StudyConfig(max_steps=40)
    features = sentiment.features_of(WordTokenizer.train([e.text for e in corpus.train]), {})
    if fit == "bilstm":
        logits = sentiment.fit_lstm(corpus, config, 0)
    elif fit == "mlp":
        logits = sentiment.fit_mlp(features, corpus, config, 0)
    else:
        logits = sentiment.fit_linear(fit, features, corpus, config, 0)
    answers = logits([example.text for example in corpus.test]).argmax(dim=1)
    assert float((answers == torch.tensor([e.label for e in corpus.test])).float().mean()) > 0.9

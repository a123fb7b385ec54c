"""The studies of limits, learning, search and baselines run on a tiny corpus, and what their claims rest on holds."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from my_llm import ledger
from my_llm.data.catalog import Example, TextClassification
from my_llm.studies import study_of
from stage1_mlp import experiments
from stage1_mlp.models.losses import cross_entropy
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.studies import StudyConfig, baselines, common, language, limits, search, supervision, tasks, xor

TINY = StudyConfig(dataset="tiny", max_steps=2, seeds=1)
OURS = {"learning", "tasks", "xor", "search", "limits", "language", "supervision", "baselines"}
NAMES = [name for name, module in experiments.STUDIES.items() if module in OURS]


def tiny_corpus() -> TextClassification:
    """180 texts of two classes, each with words of its own and words of both."""
    rng = random.Random(0)
    topics = ("Goal team Match coach", "Share bank PROFIT price")
    examples = []
    for i in range(180):
        words = rng.choices(topics[i % 2].split(), k=5) + rng.choices(
            ["the", "a", "of", "in", "day", "said"], k=6 + i % 5
        )
        examples.append(Example(" ".join(rng.sample(words, len(words))), i % 2))
    return TextClassification(
        "tiny", ("sport", "money"), examples[:120], examples[120:140], examples[140:], "rule", "0"
    )


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A ledger and a corpus of their own."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(common, "load", lambda name: tiny_corpus())
    common._load_dense.cache_clear()
    yield tmp_path
    common._load_dense.cache_clear()


def test_all_nine_studies_are_registered():
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", NAMES)
def test_a_study_writes_table_and_figure(name: str, results: Path, capsys: pytest.CaptureFixture[str]):
    study_of("stage1_mlp", name, experiments.STUDIES)(TINY)
    table = ledger.read(results / "results" / "stage1_mlp" / f"{name}.json")
    figure = results / "docs" / "figures" / f"stage1_{name}.png"
    needs_text = name not in ("three_steps", "xor", "long_inputs")
    dataset = "--dataset tiny " if needs_text else ""
    assert table["command"] == f"python stage1_mlp/experiments.py --studies {name} {dataset}--seeds 1 --max_steps 2"
    assert len(table["rows"]) >= 3 and bool(table["sha256"]) == needs_text
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    assert "seen    " in capsys.readouterr().out


# --- limits -----------------------------------------------------------------------------------------------------------


def test_shuffling_changes_the_text_but_not_its_bag():
    examples = tiny_corpus().test
    disorder = limits.shuffled(examples, random.Random(0))
    texts, others = [example.text for example in examples], [example.text for example in disorder]
    idf = common.frequent_words(texts, 50)
    assert sum(text.lower() != other for text, other in zip(texts, others)) > 30
    assert torch.equal(common.bags_of_words(texts, idf), common.bags_of_words(others, idf))
    assert not torch.equal(limits.slots(texts, list(idf), 8), limits.slots(others, list(idf), 8))


def test_the_order_task_is_balanced_and_its_twins_share_their_bag():
    examples = limits.who_comes_first(50, random.Random(0))
    for one, other in zip(examples[::2], examples[1::2], strict=True):
        words, twin = one.text.split(), other.text.split()
        assert (one.label, other.label) == (0, 1) and sorted(words) == sorted(twin) and len(words) == 8
        assert words.index("dog") < words.index("man") and twin.index("man") < twin.index("dog")


def test_the_colour_stands_where_it_should_and_nowhere_else():
    for position, example in enumerate(limits.find_the_colour(range(16), random.Random(0))):
        words = example.text.split()
        assert [i for i, word in enumerate(words) if word in limits.COLOURS] == [position]
        assert words[position] == limits.COLOURS[example.label]


def test_slots_end_where_they_end():
    tokens = limits.slots(["b a b c", "A", "b a x"], ["a", "b"], 3)
    assert tokens.tolist() == [[2, 1, 2], [1, 0, 0], [2, 1, 0]]


def test_a_perceptron_solves_and_and_never_xor():
    assert xor.run_perceptron(xor.TABLES["AND"], 50, seed=0).mistakes[-1] == 0
    assert min(xor.run_perceptron(xor.TABLES["XOR"], 200, seed=0).mistakes) >= 1
    solved = [xor.run_mlp(xor.TABLES["XOR"], 200, seed, hidden=8) for seed in range(3)]
    assert [run.mistakes[-1] for run in solved] == [0, 0, 0]
    assert solved[0].predict(xor.INPUTS).tolist() == [0, 1, 1, 0]


# --- learning ---------------------------------------------------------------------------------------------------------


def test_tags_tell_how_a_word_was_written():
    (split,) = tasks.tagged_words(["The BBC said A 3"], ["said", "the"])
    assert split.y.tolist() == [1, 2, 0, 1, 0]
    assert split.x.tolist()[0] == [0, 0, 2, 0, 1] and split.x.tolist()[2] == [2, 0, 1, 0, 0]


def test_windows_are_followed_by_their_next_character():
    split = tasks.windows("abcabcabcabc?abc", "abc")
    assert split.x.shape == (3, tasks.CHARACTERS)
    assert split.x[0].tolist() == [1, 2, 3] * 4 and split.y.tolist() == [1, 2, 3]


def test_few_labels_are_balanced_and_come_from_the_corpus():
    y = torch.arange(60) % 3
    few = supervision.few_labels(common.Split(torch.arange(60.0)[:, None], y), 5, seed=1)
    assert torch.bincount(few.y).tolist() == [5, 5, 5]
    assert torch.equal(few.x[:, 0].long() % 3, few.y) and len(few.x.unique()) == 15


def test_only_confident_guesses_become_labels():
    model = MLP(MLPConfig(1, (), 2))
    with torch.no_grad():
        model.output.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    sure = supervision.confident_guesses(model, torch.tensor([[-2.0], [0.1], [2.0]]))
    assert sure.x[:, 0].tolist() == [-2, 2] and sure.y.tolist() == [0, 1]  # p = 1 / (1 + e⁻⁴) = 0.98


def test_reward_alone_points_where_the_label_points():
    torch.manual_seed(0)
    logits, target = torch.zeros(4000, 3, requires_grad=True), torch.full((4000,), 2)
    supervision.reward_only(logits, target).mean().backward()
    by_reward = logits.grad.sum(dim=0)  # pyright: ignore[reportOptionalMemberAccess]
    # gradient of -p(right) by the logits at p = 1/3: -p (1 - p) for the right class, +p² for the others
    torch.testing.assert_close(by_reward, torch.tensor([1 / 9, 1 / 9, -2 / 9]), atol=0.02, rtol=0)


def test_naming_the_words_of_a_text_costs_their_surprise():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    loss = supervision.words_of_text(logits, torch.tensor([[0.3, 0.0, 0.7, 0.0]]))
    assert loss.item() == pytest.approx(np.log(4))


def test_counting_by_arithmetic():
    train = np.array([1, 2, 3, 1, 2, 1])
    assert language.unigram(train, 4).tolist() == [0.1, 0.4, 0.3, 0.2]  # (count + 1) / (6 + 4)
    # after 1 always 2; after 2 once 3, once 1; after 3 always 1
    assert language.bigram_shares(train, np.array([1, 2, 3, 2])).tolist() == [1.0, 0.5, 0.0]


def test_every_counted_distribution_adds_up_to_one():
    train, words = np.array([1, 2, 3, 1, 2, 1, 3, 3]), 4
    everything = [language.counted(train, train, np.array([1, word]), words) for word in range(words)]
    for case in ("uniform", "unigram", "bigram"):
        assert sum(float(counts[case][0]) for counts in everything) == pytest.approx(1.0)
    assert language.perplexity_of(np.full(7, 1 / 5)) == pytest.approx(5.0)


def test_the_language_model_starts_from_the_frequencies_of_the_words():
    torch.manual_seed(0)
    tokens = torch.randint(0, 7, (400,))
    model = language.train_language_model(StudyConfig(max_steps=1), tokens, 7, context=3, seed=0)
    p = language.learned(model, tokens[:50])
    assert p.shape == (49,)
    np.testing.assert_allclose(p, language.unigram(tokens.numpy(), 7)[tokens[1:50].numpy()], rtol=0.15)


def test_unknown_words_and_ends_are_tokens():
    tokens = language.tokens_of([Example("The dog x", 0), Example("dog", 1)], ["the", "dog"])
    assert tokens.tolist() == [1, 2, 3, 0, 1, 3, 1]


# --- search and baselines ---------------------------------------------------------------------------------------------


def small_task() -> common.Split:
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    return common.Split(x, (x[:, 0] > 0).long())


def test_both_searches_start_at_the_same_weights_and_see_the_same_loss():
    task = small_task()
    model, twin = search.new_model(task, 3), search.new_model(task, 3)
    vector = torch.nn.utils.parameters_to_vector(model.parameters()).detach().double().numpy()
    direct = cross_entropy(twin(task.x), task.y).mean().item()
    assert search.loss_of_vector(model, task)(vector) == pytest.approx(direct, abs=1e-6)
    assert search.by_gradient(twin, task, 30)[1][0] == pytest.approx(direct, abs=1e-6)


def test_searches_count_every_evaluation_and_never_get_worse():
    task = small_task()
    for evaluations, losses in (
        search.by_evolution(search.new_model(task, 0), task, 600, seed=0),
        search.by_gradient(search.new_model(task, 0), task, 600),
    ):
        assert 550 < evaluations[-1] <= 600 and evaluations == sorted(evaluations)
        assert losses == sorted(losses, reverse=True) and losses[-1] < 0.9 * losses[0]
    assert search.overtakes(([3.0, 6.0, 9.0], [2.0, 1.0, 0.5]), end=1.5) == 6


def test_the_telling_words_are_those_that_differ_between_classes(results: Path):
    data = common.load_dense(TINY)
    columns = {tuple(data.train.x[:, data.words.index(word)].tolist()) for word in ("team", "share", "bank", "goal")}
    chosen = search.telling_words(data, 8)
    assert columns <= {tuple(column.tolist()) for column in chosen.x.T}


def test_baselines_and_mlp_read_the_same_bags():
    texts = ["goal team goal", "bank profit", "team bank goal"]
    features = baselines.fit_features([Example(text, i % 2) for i, text in enumerate(texts * 3)], 50)
    bags = features.encode(texts)
    rows = baselines.as_rows(bags, len(features))
    table = torch.randn(len(features), 2)
    expected = torch.nn.functional.embedding_bag(
        bags.ids, table, bags.offsets, mode="sum", per_sample_weights=bags.weights
    )
    torch.testing.assert_close(rows.times(table), expected)

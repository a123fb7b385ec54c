"""The second half of stage 4's studies: they run to their end, and what they compute is what they say."""

import contextlib
import dataclasses
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from my_llm import checkpoint, cli, ledger
from my_llm.data.catalog import Example, LanguageText, TextClassification, Translation, load_pairs
from my_llm.errors import DataError
from my_llm.text import EOS, PAD, CharTokenizer
from my_llm.translation.alignment import partners
from my_llm.translation.batches import PairBatches, encode_sources, train_tokenizer
from my_llm.translation.translator import Translator
from stage4_transformer import experiments
from stage4_transformer.models import Maps, causal_mask
from stage4_transformer.studies import StudyConfig, common, equal, families, looking, news, recall, translation
from stage4_transformer.translating import KIND

TOPICS = ("the team won a match of football", "the bank sold its shares of oil")


def examples(count: int) -> list[Example]:
    return [Example(f"{TOPICS[number % 2]} {'again ' * (number % 5)}{number}", number % 2) for number in range(count)]


@pytest.fixture(scope="module")
def text() -> common.Sentences:
    whole = load_pairs("numbers_en_fr")
    corpus = Translation("little", ("en", "fr"), whole.train[:100], whole.validation[:6], [], "made here", "0" * 64)
    return common.Sentences(corpus, train_tokenizer(corpus.train, 400), corpus.train, corpus.validation)


@pytest.fixture(scope="module")
def small(text: common.Sentences) -> Iterator[common.Sentences]:
    """Little of everything, the same for all tests: studies share their trainings."""
    poem = "the sun is up and so am i\n" * 60
    corpus = LanguageText("poem", "en", poem, poem[:300], "", "made here", "0" * 64)
    tokenizer = CharTokenizer.train([poem])
    numbers = torch.tensor(tokenizer.encode(poem))
    papers = TextClassification(
        "papers", ("sport", "money"), examples(60), examples(10), examples(12), "made here", "0" * 64
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "_load_sentences", lambda dataset: text)
        patch.setattr(
            common, "_load_characters", lambda name: common.Characters(corpus, tokenizer, numbers, numbers[:300])
        )
        patch.setattr(common, "BATCH", 8)
        patch.setattr(common, "WINDOWS", 2)
        patch.setattr(families, "WINDOWS", 2)
        patch.setattr(families, "TURNS", 1)
        patch.setattr(families, "SHAPE", {"model": 16, "heads": 2, "layers": 2, "hidden": 32})
        patch.setattr(recall, "DISTANCES", (4, 70))
        patch.setattr(recall, "SCORED", 1)
        patch.setattr(translation, "PROBE", 1)
        patch.setattr(news, "load", lambda name: papers)
        yield text


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


def table_of(results: Path, name: str) -> dict[str, Any]:
    return ledger.read(results / "results" / "stage4_transformer" / f"{name}.json")


ROWS = {"families": 3, "recall": 6, "translation": 5, "looking": 24, "news": 9}


@pytest.mark.parametrize("name", ROWS)
def test_a_study_writes_its_table_and_its_figure_and_says_what_is_seen(name: str, results: Path, small):
    seeds = 2 if name == "recall" else 1
    code, out, err = called("--studies", name, "--max_steps", 2, "--seeds", seeds, "--threads", 1)
    assert (code, err) == (0, "")
    table = table_of(results, name)
    assert len(table["rows"]) == ROWS[name] and table["seed"] == [0, 1][:seeds]
    assert all(row.keys() - {"case"} <= table["columns"].keys() and len(row) > 1 for row in table["rows"])
    figure = results / "docs" / "figures" / f"stage4_{name}.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    assert str(figure) in out and "seen    " in out
    assert max(len(line) for line in out.splitlines() if line[:1] in "│┃") <= 80


# --- equal sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parameters", "width"), [(20, 4), (24, 4), (26, 5), (1, 2), (10**6, 9)])
def test_the_nearest_width_is_found_and_nothing_is_drawn(parameters: int, width: int):
    before = torch.random.get_rng_state()
    made = equal.width_for(parameters, lambda width: torch.nn.Linear(width, width), range(2, 10))  # w² + w
    assert made == width and torch.equal(torch.random.get_rng_state(), before)


def test_the_families_are_of_equal_size():
    for vocab_size in (65, 1000):
        found = families.families_of(vocab_size, common.LENGTH, common.SHAPE)
        sizes = [equal.parameters_of(family.new()) for family in found.values()]
        assert max(sizes) < 1.05 * min(sizes)
    pairs = [equal.parameters_of(make()) for make in recall.makers().values()]
    assert max(pairs) < 1.05 * min(pairs)


def test_the_translators_are_of_equal_size(text: common.Sentences):
    vocab_size, wanted = text.tokenizer.vocab_size, 700_000
    hidden = translation.hidden_for(wanted, vocab_size)
    assert equal.parameters_of(translation.new_rnn(vocab_size, hidden)) == pytest.approx(wanted, rel=0.02)


# --- families ---------------------------------------------------------------------------------------------------------


def multiply_adds(model: torch.nn.Module, *inputs: Any, **options: Any) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs, **options)
    return counter.get_total_flops() / 2


def test_operations_are_those_that_torch_counts():
    length, shape = 16, {"model": 12, "heads": 3, "layers": 2, "hidden": 20}
    found = families.families_of(11, length, shape)
    lstm, wavenet, transformer = (family.new() for family in found.values())
    counts = [
        length
        * sum(weight.numel() for weight in lstm.recurrent.parameters() if weight.dim() == 2),  # each once a token
        multiply_adds(wavenet, torch.zeros(1, length, dtype=torch.long))
        - length * wavenet.config.channels * (wavenet.config.channels + 11),  # the head
        multiply_adds(
            transformer.stack, torch.randn(1, length, 12), causal_mask(length, length), None, need_weights=True
        ),
    ]
    for count, family in zip(counts, found.values(), strict=True):
        assert count == length * family.layers * family.operations
    assert wavenet.receptive_field == length and found["wavenet"].path == "log T = 4"
    assert found["lstm"].sequential == found["lstm"].path == "T = 16"


def test_all_take_turns_and_the_fastest_counts(monkeypatch: pytest.MonkeyPatch):
    order, times = [], iter([0.0, 5.0, 5.0, 6.0, 6.0, 8.0, 8.0, 12.0])  # a: 5, b: 1, a: 2, b: 4 seconds
    monkeypatch.setattr(families, "TURNS", 2)
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    found = families.fastest(calls, tokens=10, clock=lambda: next(times))
    assert order == ["a", "b", "a", "b"]
    assert found == {"a": pytest.approx(2e5), "b": pytest.approx(1e5)}


def test_writing_reads_every_token_once(monkeypatch: pytest.MonkeyPatch):
    read = []

    class Counter(torch.nn.Module):
        def forward(self, token: torch.Tensor, state: Any) -> tuple[torch.Tensor, int]:
            read.append((int(token), state))
            return torch.eye(5)[(token + 2) % 5], len(read)  # after n comes n + 2

    families.writing(Counter(), 4)()
    assert read == [(0, None), (2, 1), (4, 2), (1, 3)]


# --- recall -----------------------------------------------------------------------------------------------------------


def test_distances_are_what_they_are_called():
    for distance, task in zip(recall.DISTANCES, recall.tasks_of(0), strict=True):
        found = torch.cat([task(number).distances for number in range(20)]).float()
        assert (found - distance).abs().max() == recall.PAIRS - 1
        assert float(found.mean()) == pytest.approx(distance, abs=0.5)
    one, other = recall.tasks_of(0)[0], recall.tasks_of(1)[0]
    assert not torch.equal(one(0).tokens, other(0).tokens)
    assert recall.makers()["wavenet"]().receptive_field == 2**recall.REACH


class Looker(torch.nn.Module):
    """Knows the answer: it finds the last token earlier in the text, and says what stood behind it."""

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, None]:
        place = (tokens[:, :-1] == tokens[:, -1:]).int().argmax(dim=1)
        answer = tokens.gather(1, place[:, None] + 1)[:, 0]
        return torch.nn.functional.one_hot(answer, 100).float()[:, None], None


def test_who_looks_back_is_right_and_who_guesses_is_not():
    assert all(recall.accuracy(Looker(), task) == 100 for task in recall.tasks_of(0))
    torch.manual_seed(0)
    assert recall.accuracy(recall.makers()["lstm"](), recall.tasks_of(0)[0]) < 60
    assert float(recall.recall_loss(Looker(), recall.tasks_of(0)[0](0)).total) > 0


def test_the_reach_ends_at_the_first_failure():
    rows = [
        {"case": f"a: {d}", "distance": d, "accuracy": r} for d, r in ((4, 99.0), (8, 95.0), (16, 50.0), (32, 95.0))
    ]
    assert recall.reached([*rows, {"case": "b: 4", "distance": 4, "accuracy": 20.0}], "a") == 8
    assert recall.reached([{"case": "b: 4", "distance": 4, "accuracy": 20.0}], "b") == 0


# --- translation ------------------------------------------------------------------------------------------------------


def test_steps_fill_the_seconds(text: common.Sentences, monkeypatch: pytest.MonkeyPatch):
    class Probed:
        seconds = 2.0

    monkeypatch.setattr(translation, "PROBE", 20)
    monkeypatch.setattr(translation, "train_rnn", lambda *given: Probed)
    assert translation.steps_in(10.0, text, 8) == 100  # 20 steps in 2 s
    assert translation.steps_in(0.01, text, 8) == 1


def test_target_tokens_are_counted(text: common.Sentences):
    batches = PairBatches(
        text.tokenizer, text.train * 2, max_length=common.LONGEST, batch_size=translation.BATCH, seed=3
    )
    first, second = (int((batches(number).target_out != PAD).sum()) for number in (0, 1))
    twice = dataclasses.replace(text, train=text.train * 2)
    assert translation.targets_read(twice, 1, 3) == first and translation.targets_read(twice, 2, 3) == first + second


def test_scores_on_the_way_are_means_over_seeds():
    curves = [[common.Moment(5, 1.0, 20.0, 0.1)], [common.Moment(7, 2.0, 40.0, 0.3), common.Moment(14, 4.0, 50.0, 0.5)]]
    blind = Fake(None, None, [])
    found = [common.TrainedTranslator(blind, 0.0, 0.0, curve) for curve in curves]
    (row,) = translation.on_the_way("x", found)
    assert row["case"] == "x, 1" and (row["step"], row["seconds"], row["bleu"], row["exact"]) == (6, 1.5, 30.0, 20.0)
    assert row["bleu_sd"] == pytest.approx(math.sqrt(200), abs=0.1)  # (10² + 10²) / (2 − 1)


# --- looking ----------------------------------------------------------------------------------------------------------


def test_places_of_planted_heads():
    same, previous, first = torch.eye(4), torch.eye(4).roll(-1, 1), torch.zeros(4, 4)
    previous[0] = torch.tensor([1.0, 0, 0, 0])
    previous[1:] = torch.eye(4)[:3]
    first[:, 0] = 1.0
    even = torch.full((4, 4), 0.25)
    found = looking.places_of(torch.stack([same, previous, first, even]))
    assert found.tolist() == [
        [1.0, 0.0, 0.0, 0.25, 0.25],  # each column, the first and the last as well, is somebody's own place
        [0.25, 0.75, 0.0, 0.5, 0.0],
        [0.25, 0.25, 0.0, 1.0, 0.0],
        [0.25, 0.1875, 0.1875, 0.25, 0.25],  # three of four rows have a neighbour
    ]
    assert looking.entropies(torch.stack([same, even])).tolist() == pytest.approx([0.0, math.log(4)])


class Fake(Translator):
    """Looks as it is told."""

    def __init__(self, tokenizer: Any, maps: Maps, source: Sequence[int]):
        self.tokenizer, self.told = tokenizer, (maps, list(source))

    def look(self, text: str, tokens: Sequence[int]) -> Any:
        return self.told


def test_planted_heads_agree_or_not(text: common.Sentences):
    numbers = load_pairs("numbers_en_fr")
    sentence = "one thousand seven hundred fifty-four"
    pair = next(pair for pair in (*numbers.train, *numbers.validation) if pair.source == sentence)
    source, target = encode_sources(text.tokenizer, [pair.source])[0], [*text.tokenizer.encode(pair.target), EOS]

    def words(ids: Sequence[int]) -> list[int]:
        return [sum(text.tokenizer.decode([t]).startswith(" ") for t in ids[: i + 1]) for i in range(len(ids))]

    truth, english = partners(pair), words(source)
    cross = torch.zeros(1, 1, 2, len(target), len(source))
    for row, word in enumerate(words(target)):
        right = min(truth[word])
        cross[0, 0, 0, row, english.index(right)] = 1.0
        cross[0, 0, 1, row, -1] = 1.0  # the second head looks at <eos>
    own = torch.eye(len(source)).expand(1, 1, 2, -1, -1)
    maps = Maps(own, torch.eye(len(target)).expand(1, 1, 2, -1, -1), cross)
    found = looking.shares_of(Fake(text.tokenizer, maps, source), [pair, pair], aligned=True)
    assert found["cross"][:, -1].tolist() == [1.0, 0.0] and found["cross"][1, 4] == 1.0
    assert found["encoder"].shape == (2, 6) and found["encoder"][:, 0].tolist() == [1.0, 1.0]
    row = looking.row_of("x", [0.5, 0.25, 0.125, 0.0, 0.0, 1.2345, 0.75])
    assert (row["same"], row["previous"], row["entropy"], row["agrees"]) == (50.0, 25.0, 1.23, 75.0)


def test_looking_takes_a_trained_translator(results: Path, small: common.Sentences, monkeypatch: pytest.MonkeyPatch):
    translator = common.trained(small, common.Setting(1, 0, model=16, heads=2, layers=1, hidden=16)).translator
    path = results / "best.pt"
    facts = {"data": {"name": "little", "sha256": "", "source": ""}, "settings": {}, "progress": {"seconds": 1.0}}
    checkpoint.save(path, {"kind": KIND, "model": translator.model.state_dict(), **translator.parts(), **facts})
    monkeypatch.setattr(looking, "load_pairs", lambda name: {"little": small.corpus}[name])
    monkeypatch.setattr(looking, "ALIGNED", "little")
    code, _, err = called("--studies", "looking", "--model_path", path, "--threads", 1)
    assert (code, err) == (0, "")
    table = table_of(results, "looking")
    assert "trained on little" in table["title"] and f"--model_path {path}" in table["command"]
    assert [row["case"] for row in table["rows"]] == [
        *(f"{name} 1.{head}" for name in ("encoder", "decoder", "cross") for head in (1, 2)), looking.BLIND,
    ]  # fmt: skip
    assert all(("agrees" in row) == row["case"].startswith(("cross", "the")) for row in table["rows"])
    code, _, err = called("--studies", "looking", "--model_path", results / "none.pt", "--threads", 1)
    assert code == 2 and len(err.splitlines()) == 1


# --- news -------------------------------------------------------------------------------------------------------------


def test_shares_are_stratified_and_nested():
    whole = examples(100)
    tenth, third = news.share_of(whole, 10), news.share_of(whole, 30)
    assert (len(tenth), len(third), len(news.share_of(whole, 100))) == (10, 30, 100)
    assert set(tenth) < set(third) and sum(example.label for example in tenth) == 5


def test_a_bag_of_words_knows_no_order_and_no_padding():
    torch.manual_seed(0)
    model = news.BagOfWords(news.BagOfWordsConfig(vocab_size=13, classes=3)).eval()
    tokens, lengths = torch.tensor([[5, 7, 7, 9], [6, 0, 0, 0]]), torch.tensor([4, 1])
    found = model(tokens, lengths)
    torch.testing.assert_close(model(torch.tensor([[9, 7, 5, 7]]), torch.tensor([4])), found[:1])
    torch.testing.assert_close(model(torch.tensor([[6]]), torch.tensor([1])), found[1:])
    network = model.network
    hidden = (network.table[[5, 7, 7, 9]].sum(dim=0) / 2 + network.bias).relu()  # √4 = 2
    torch.testing.assert_close(network.mlp(hidden[None]), found[:1])


def test_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch):
    corpus = TextClassification("papers", ("sport", "money"), examples(64), examples(8), examples(8), "here", "0" * 64)
    kept, answers = [], iter([0.5, 0.9, 0.7])

    def prepare(*given: Any, **named: Any) -> Any:
        task = made(*given, **named)

        def validate() -> dict[str, float]:
            kept.append({name: value.clone() for name, value in task.model.state_dict().items()})
            return {"accuracy": next(answers)}

        kept.append(task.model)
        return task._replace(validate=validate)

    made = news.prepare
    monkeypatch.setattr(news, "prepare", prepare)
    result, size = news.measure(news.CONTENDERS["mlp"], corpus, 3, StudyConfig(), 0)
    model, _, second, third = kept
    assert all(torch.equal(value, second[name]) for name, value in model.state_dict().items())
    assert not torch.equal(second["network.bias"], third["network.bias"])
    assert size == equal.parameters_of(model) and 0 <= result.accuracy <= 100 and result.seconds > 0


def test_a_crossing_is_where_the_challenger_stays_above():
    def rows(*scores: tuple[float, float]) -> list[common.Row]:
        return [
            {"case": f"{name}, {texts} %", "texts": texts, "accuracy": score}
            for texts, pair in zip((10, 30, 100), scores, strict=True)
            for name, score in zip(("mlp", "lstm"), pair, strict=True)
        ]

    assert news.crossing(rows((80, 70), (85, 84), (88, 89)), "lstm") == 100
    assert news.crossing(rows((80, 81), (85, 84), (88, 89)), "lstm") == 100  # what came before was chance
    assert news.crossing(rows((80, 81), (85, 86), (88, 89)), "lstm") == 10
    assert news.crossing(rows((80, 70), (85, 84), (88, 88)), "lstm") is None


def test_the_news_that_are_always_there_stand_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def load(name: str) -> TextClassification:
        if name == "ag_news":
            raise DataError("no source of ag_news")
        return TextClassification(name, ("a",), [], [], [], "made here", "0" * 64)

    monkeypatch.setattr(news, "load", load)
    assert news.load_news("auto").name == "python_docs" and "no source of ag_news" in capsys.readouterr().out
    assert news.load_news("bbc_news").name == "bbc_news"
    with pytest.raises(DataError):
        news.load_news("ag_news")


def test_the_corpus_decides_what_can_be_known(results: Path, small: common.Sentences):
    other = dataclasses.replace(small, corpus=dataclasses.replace(small.corpus, name="numbers_en_fr"))
    found = common.trained(small, common.Setting(1, 0, model=16, heads=2, layers=1, hidden=16)).translator
    for text, width in ((small, 6), (other, 7)):
        shares = looking.shares_of(found, text.validation, text.corpus.name == looking.ALIGNED)
        assert shares["cross"].shape == (2, width) and shares["decoder"].shape == (2, 6)

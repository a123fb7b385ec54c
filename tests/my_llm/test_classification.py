"""Sorting texts with any network: it learns, its checkpoint comes back, and what evaluate.py says of it is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from my_llm import checkpoint
from my_llm.classification import (
    Batch,
    TextSorter,
    classification_loss,
    first_and_last,
    latency,
    load_sorter,
    measure,
    prepare,
)
from my_llm.data.corpora.classification import Example, TextClassification
from my_llm.errors import CheckpointError, ConfigError, DataError
from my_llm.text import UNK, WordTokenizer
from my_llm.training import train_steps

CPU = torch.device("cpu")
KIND = "a_stage/classifier"
ORDER = {"batch_size": 8, "seed": 0}
FACTS = {"data": {"name": "toy", "sha256": "0"}, "settings": {"model_type": "bag"}, "progress": {"seconds": 1.0}}


@dataclass(frozen=True)
class BagConfig:
    vocab_size: int
    classes: int
    width: int = 3

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError("--width must be positive", got=self.width)


class Bag(nn.Module):
    """The mean of the words' rows."""

    def __init__(self, config: BagConfig):
        super().__init__()
        self.config = config
        self.embedding, self.output = nn.Embedding(config.vocab_size, config.width), nn.Linear(config.width, 2)
        self.dropout = nn.Dropout(0.3)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(tokens.shape[1]) < lengths[:, None]
        mean = (self.embedding(tokens) * real[..., None]).sum(dim=1) / lengths[:, None]
        return self.output(self.dropout(mean))


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)


def corpus() -> TextClassification:
    examples = [Example(f"{'the ' * (k % 5)}{('dull', 'grand')[k % 2]} film", k % 2) for k in range(30)]
    return TextClassification("toy", ("blame", "praise"), examples, examples[:7], [], "here", "0")


def new(shape: Mapping[str, Any] = {"width": 5}):
    torch.manual_seed(0)
    return prepare(corpus(), BagConfig, Bag, cross_entropy, shape=shape, order=ORDER)


def load(path: Path) -> TextSorter:
    return load_sorter(path, CPU, kind=KIND, config_class=BagConfig, model_class=Bag)


def saved(path: Path, **changes: Any) -> Path:
    ready = new()
    checkpoint.save(path, {"kind": KIND, "model": ready.model.state_dict(), **ready.parts, **FACTS, **changes})
    return path


def test_any_network_learns_and_comes_back(tmp_path: Path):
    ready = new()
    before = ready.validate()
    optimizer = torch.optim.Adam(ready.model.parameters(), lr=0.05)
    losses = [step.loss for step in train_steps(ready.model, ready.batches, ready.loss_fn, optimizer, max_steps=60)]
    after = ready.validate()
    assert after["accuracy"] == 1.0 and after["validation_loss"] < 0.3 * before["validation_loss"] < 0.5
    assert losses[-1] < 0.7 * losses[0] and ready.model.training
    loaded = load(saved(tmp_path / "m.pt", model=ready.model.state_dict()))
    assert loaded.scores(corpus().validation, cross_entropy) == after and loaded.facts == FACTS
    assert loaded.predict(["a GRAND film", "dull"]) == ["praise", "blame"]
    assert (ready.per_epoch, ready.examples) == (4, 30) and "30 texts to learn from" in ready.size


def test_the_loss_is_that_of_blurred_labels():
    ready = new()
    model, batch = ready.model.eval(), ready.batches(2)
    loss = classification_loss(model, batch, cross_entropy)
    expected = functional.cross_entropy(model(*batch[:2]), batch.labels, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(loss.total, expected)
    assert loss.count == len(batch.labels) == len(batch.lengths)


def test_an_epoch_reads_every_text_once_with_its_label():
    ready = new()
    batches: list[Batch] = [ready.batches(number) for number in range(ready.per_epoch)]
    tokenizer = WordTokenizer.from_state(ready.parts["tokenizer"])
    read = [
        (tokenizer.decode(tokens[:length].tolist()), int(label))
        for batch in batches
        for tokens, length, label in zip(*batch, strict=True)
    ]
    assert sorted(read) == sorted((example.text, example.label) for example in corpus().train)


def test_long_texts_keep_their_two_ends_and_empty_ones_are_one_unknown_word():
    assert first_and_last(list(range(9)), 5) == [0, 1, 2, 7, 8]
    assert first_and_last([1, 2, 3], 5) == [1, 2, 3]
    ready = new()
    sorter = TextSorter(ready.model, WordTokenizer.from_state(ready.parts["tokenizer"]), ("a", "b"), {})
    assert [len(tokens) for tokens in sorter.encode(["the " * 1000, ""])] == [400, 1]
    assert sorter.encode([""])[0].tolist() == [UNK]


def test_the_facts_are_counted_by_hand(tmp_path: Path):
    """Of the words only dull and grand count: the model finds 3 of 5, and is surest about a wrong one."""
    sorter = load(saved(tmp_path / "m.pt"))
    assert isinstance(sorter.model, Bag)
    with torch.no_grad():
        sorter.model.embedding.weight.zero_()
        sorter.model.embedding.weight[sorter.tokenizer.encode("grand")[0], 0] = 2.0
        sorter.model.output.weight.copy_(torch.tensor([[-1.0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]))
        sorter.model.output.bias.copy_(torch.tensor([0.1, 0]))
    test = [
        Example("dull film", 1),
        Example("film", 0),
        Example("grand", 0),
        Example("grand film", 1),
        Example("dull", 0),
    ]
    texts = corpus()
    facts = measure(sorter, TextClassification("toy", texts.labels, [], [], test, "here", "1"))
    assert facts["accuracy"] == 3 / 5 and facts["confusion"] == [[2, 1], [1, 1]] and facts["n"] == 5
    assert [row["precision"] for row in facts["per_class"]] == [pytest.approx(2 / 3), 1 / 2]
    assert [row["recall"] for row in facts["per_class"]] == [pytest.approx(2 / 3), 1 / 2]
    assert facts["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    surest, other = (100 * float(torch.tensor(logits).softmax(0).max()) for logits in ([0.1 - 2, 2.0], [0.1, 0]))
    assert facts["examples"] == [f"praise at {surest:.0f} %, labelled blame: grand",
                                 f"blame at {other:.0f} %, labelled praise: dull film"]  # fmt: skip
    assert facts["split"] == "test" and not facts["same_text_as_trained"] and facts["model"] == "BAG"
    assert facts["parameters"] == sum(parameter.numel() for parameter in sorter.model.parameters())


def test_a_corpus_without_a_test_part_is_scored_on_validation_and_other_classes_are_refused(tmp_path: Path):
    sorter, texts = load(saved(tmp_path / "m.pt")), corpus()
    assert measure(sorter, texts)["split"] == "validation"
    assert measure(sorter, texts, "train")["learnt_from"]
    with pytest.raises(DataError, match="no such part"):
        measure(sorter, texts, "test")
    with pytest.raises(DataError, match="other classes"):
        measure(sorter, TextClassification("toy", ("good", "bad"), [], texts.train, [], "", ""))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "another/kind"}, "another kind of model"),
        ({"labels": ["only one"]}, "differ"),
        ({"model_config": {"vocab_size": 9, "classes": 2, "width": 0}}, "--width must be positive"),
        ({"model_config": {}}, "vocab_size"),
        ({"tokenizer": {"kind": "morse", "symbols": ["<pad>", "<unk>", "<bos>", "<eos>"]}}, "kind of tokenizer"),
        ({"model": {}}, "weights do not fit"),
        ({"settings": None, "labels": None}, "fit together"),
    ],
)
def test_what_does_not_fit_is_one_line(change: dict[str, Any], words: str, tmp_path: Path):
    with pytest.raises(CheckpointError) as caught:
        load(saved(tmp_path / "m.pt", **change))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_latency_is_that_of_a_text_alone_and_of_one_among_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A clock that a call moves on by 10 ms and 1 ms for each text: 11 ms alone, 266 / 256 ms in a batch of 256."""
    sorter, now, sizes = load(saved(tmp_path / "m.pt")), [0.0], []

    def predict(texts: Sequence[str]) -> list[str]:
        sizes.append(len(texts))
        now[0] += 0.010 + 0.001 * len(texts)
        return []

    monkeypatch.setattr(sorter, "predict", predict)
    monkeypatch.setattr("my_llm.classification.time.perf_counter", lambda: now[0])
    found = latency(sorter, ["a film"] * 600)
    assert found == {
        "latency_batch_us": pytest.approx(266 / 256 * 1000), "latency_single_ms": pytest.approx(11)
    }  # fmt: skip
    assert sizes == [256, 256, 88] * 3 + [1] * 200

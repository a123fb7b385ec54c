"""The tasks need the ability that they are named after, and who looks at the key is told from who does not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import abilities, compare
from lab.generations import GENERATIONS
from my_llm import ledger
from stage5_gpt.models import GPT


class Oracle(nn.Module):
    """Finds the first key among the last `sight` letters, by rule."""

    def __init__(self, sight: int):
        super().__init__()
        self.sight = sight

    def forward(self, texts: Tensor, state: None = None) -> tuple[Tensor, None]:
        logits = torch.zeros(*texts.shape, abilities.VOCABULARY)
        for row, text in enumerate(texts):
            keys = [one for one in text[-self.sight :].tolist() if abilities.KEYS[0] <= one < abilities.KEYS[1]]
            if keys:
                logits[row, -1, keys[0]] = 5
        return logits, None


@pytest.mark.parametrize("task", ["order", "recall"])
def test_a_task_is_what_it_says(task: str):
    asked = abilities.TASKS[task](3, 200)
    again, other = abilities.TASKS[task](3, 200), abilities.TASKS[task](4, 200)
    assert torch.equal(asked.texts, again.texts) and not torch.equal(asked.texts, other.texts)
    rows = torch.arange(200)
    assert torch.equal(asked.texts[rows, asked.places], asked.answers)
    keys = (asked.texts >= abilities.KEYS[0]) & (asked.texts < abilities.KEYS[1])
    assert keys.sum(dim=1).unique().tolist() == [2 if task == "order" else 1]
    assert torch.equal(keys.int().argmax(dim=1), asked.places), "the answer is the first of them"
    assert (asked.texts[:, -1] == abilities.ASK).all() and (asked.texts[:, :-1] != abilities.ASK).all()
    assert abilities.share(Oracle(10**6), asked) == 1
    most = asked.answers.bincount().max() / 200
    assert most < abilities.CHANCE[task] / 100 + 0.12, "nobody is right by always saying the same"


def test_pairs_are_looked_up():
    asked = abilities.pairs(3, 200)
    assert torch.equal(asked.texts, abilities.pairs(3, 200).texts) and asked.texts.shape == (200, 18)
    for text, answer, place in zip(asked.texts.tolist(), asked.answers.tolist(), asked.places.tolist()):
        told = dict(zip(text[:16:2], text[1:16:2], strict=True))
        assert len(told) == 8 and text[16] == abilities.ASK and told[text[17]] == answer == text[place]
    assert asked.answers.bincount().max() / 200 < 0.3


def test_reach_is_how_far_one_sees():
    told = abilities.recalled(Oracle(34))  # the question and 33 letters
    assert abilities.reach_of(told["shares"]) == 32 and told["shares"][2] == 1 and told["shares"][3] < 0.2
    assert told["by_weights"] is None
    assert abilities.reach_of(abilities.recalled(Oracle(10**6))["shares"]) == abilities.DISTANCES[-1]
    assert abilities.reach_of([1.0, 0.5, 1.0, 1.0, 1.0]) == 8 and abilities.reach_of([0.5, 1.0, 1.0, 1.0, 1.0]) == 0


def test_by_weights_is_the_share_of_the_best_head(monkeypatch: pytest.MonkeyPatch):
    def looks(model: nn.Module, texts: Tensor) -> Iterator[Tensor]:
        keys = (texts >= abilities.KEYS[0]) & (texts < abilities.KEYS[1])
        places = keys.int().argmax(dim=1)
        yield torch.zeros_like(places)
        yield places if sees else torch.zeros_like(places)

    monkeypatch.setattr(abilities, "looks", looks)
    sees = True
    assert abilities.by_weights(Oracle(10**6)) == 1
    sees = False
    found = abilities.by_weights(Oracle(10**6))
    assert found is not None and found < 0.1


def test_the_letter_that_matters_is_found_by_trial():
    assert abilities.by_trial(Oracle(10**6)) == 1
    assert abilities.by_trial(Oracle(1)) < 0.1


@pytest.mark.parametrize("name", ["attention alone", "Transformer", "GPT"])
def test_where_a_head_looks_is_read_from_its_own_weights(name: str):
    """A place of the text for each head, which depends on the text; the model is left as it was."""
    torch.manual_seed(0)
    model = GENERATIONS[name].make(abilities.VOCABULARY, 32).eval()
    texts = abilities.recall(5, 20).texts
    before = model(texts)[0]
    looked = torch.stack([*abilities.looks(model, texts)])
    assert looked.shape == (3 * 4, 20) and looked.min() >= 0 and looked.max() < texts.shape[1]
    assert torch.equal(model(texts)[0], before), "nothing is left behind"
    marked = int(texts[0, 7])
    with torch.no_grad():
        model.embedding.weight[marked] *= 100  # type: ignore[operator, union-attr]
    other = torch.stack([*abilities.looks(model, texts)])
    assert not torch.equal(other, looked)


def test_the_weights_of_gpt_are_those_of_its_attention():
    """With the kernel's own output: a head that looks at one place alone says what stands there."""
    torch.manual_seed(0)
    model = GENERATIONS["GPT"].make(abilities.VOCABULARY, 32).eval()
    assert isinstance(model, GPT)
    texts = abilities.recall(5, 4).texts
    seen: list[Any] = []
    attention = model.blocks[0].attention
    kernel = attention.look

    def look(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        said = kernel(query, key, value, bias)
        weights = (query[:, :, -1:] @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)
        seen.append((said[:, :, -1], (weights @ value)[:, :, 0], weights[:, :, 0].argmax(dim=2)))
        return said

    attention.look = look  # type: ignore[method-assign]
    model(texts)
    del attention.look
    said, summed, looked = seen[0]
    torch.testing.assert_close(said, summed)
    assert torch.equal(torch.stack([*abilities.looks(model, texts)])[:4], looked.T)


def test_the_table_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path))
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(abilities, "MODELS", {name: abilities.MODELS[name] for name in ("MLP", "GPT")})
    monkeypatch.setattr(abilities, "RATES", (0.01,))
    assert compare.main(["--parts", "abilities", "--max_steps", "2", "--workers", "2"]) == 0
    rows = {row["case"]: row for row in ledger.read(tmp_path / "results" / "compare" / "abilities.json")["rows"]}
    assert rows["MLP"]["order"] < 70 and "by_weights" not in rows["MLP"] and "by_weights" in rows["GPT"]
    assert compare.main(["--parts", "abilities", "--max_steps", "2", "--workers", "2"]) == 0
    assert "6 of 6 trainings are kept" in capsys.readouterr().out


def test_the_rate_is_chosen_on_other_texts_than_those_that_are_shown():
    def row(chosen_by: float, right: float) -> dict:
        seen = {"shares": [right] * 5, "reach": 8, "by_trial": right, "by_weights": None}
        return {"chosen_by": chosen_by, "right": right, **seen}

    rows = {abilities.Job(task, "MLP", rate): row(by, right) for task in abilities.TASKS
            for rate, by, right in ((0.001, 0.9, 0.5), (0.01, 0.8, 0.7))}  # fmt: skip
    (shown,) = abilities.table_of(rows, ["MLP"])
    assert shown["order"] == 50.0 and shown["recall_16"] == shown["pairs"] == 50.0

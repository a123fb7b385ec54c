"""The floor's translator with a model that could not be smaller: what it asks of it, and in what state it leaves it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from my_llm import checkpoint
from my_llm.errors import CheckpointError
from my_llm.text import BOS, EOS, BPETokenizer
from my_llm.text.bpe import BYTE_IDS
from my_llm.translation.translator import TranslationModel, Translator, restore

BYTES = BPETokenizer([])
A, B, C = (BYTE_IDS[byte] for byte in b"abc")
CPU = torch.device("cpu")
FACTS = {"data": {"name": "numbers_en_fr", "sha256": ""}, "settings": {}, "progress": {"seconds": 1.0}}


@dataclass(frozen=True)
class EchoConfig:
    vocab_size: int = BYTES.vocab_size


class Place(NamedTuple):
    """Where in its source a translation stands, packed so that only `reorder` knows how to choose rows of it."""

    packed: str

    @classmethod
    def of(cls, source: Tensor, place: Tensor) -> "Place":
        return cls(json.dumps([source.tolist(), place.tolist()]))

    def unpacked(self) -> tuple[Tensor, Tensor]:
        source, place = json.loads(self.packed)
        return torch.tensor(source), torch.tensor(place)


class Echo(nn.Module):
    """Says its source once more, surely. Notes what it was asked."""

    def __init__(self, config: EchoConfig = EchoConfig()):
        super().__init__()
        self.config, self.sure, self.asked = config, nn.Parameter(torch.tensor(50.0)), []

    def encode(self, source: Tensor, lengths: Tensor) -> Place:
        assert not self.training
        return Place.of(source, torch.zeros_like(lengths))

    def step(self, tokens: Tensor, state: Place) -> tuple[Tensor, Place]:
        source, place = state.unpacked()
        self.asked.append(tokens.shape)
        said = source.gather(1, place[:, None].clamp(max=source.shape[1] - 1))[:, 0]
        logits = nn.functional.one_hot(said, self.config.vocab_size) * self.sure
        logits[:, EOS] -= self.sure / 2  # nothing ends before its time, however wide the beam
        return logits, Place.of(source, place + 1)

    def reorder(self, state: Place, rows: Tensor) -> Place:
        return Place.of(*(part[rows] for part in state.unpacked()))

    def look(self, source: Tensor, lengths: Tensor, target_in: Tensor) -> dict[str, Any]:
        assert not self.training and torch.is_inference_mode_enabled()
        return {"source": source.tolist(), "lengths": lengths.tolist(), "target": target_in.tolist()}


def twice(tokenizer: BPETokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [[*ids, *ids, EOS] for ids in tokenizer.encode_many(texts)]


def echo(**more: Any) -> Translator[Echo]:
    return Translator(Echo(), BYTES, facts=FACTS, **more)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_any_model_that_keeps_to_the_protocol_translates(beam_size: int):
    assert isinstance(Echo(), TranslationModel)
    texts = ["abc", "", "cab", "a"]
    assert [answer.text for answer in echo().translate(texts, beam_size=beam_size)] == texts
    both = echo(encode=twice).translate(texts, beam_size=beam_size)
    assert [answer.text for answer in both] == ["abcabc", "", "cabcab", "aa"]
    assert both[0].tokens == [A, B, C, A, B, C, EOS]


def test_a_look_is_what_the_model_answers_and_the_source_as_it_was_read():
    ours = echo(encode=twice)
    ours.model.train()
    maps, source = ours.look("a", [C, B, EOS])
    assert source == [A, A, EOS]
    assert maps == {"source": [[A, A, EOS]], "lengths": [3], "target": [[BOS, C, B]]}
    assert ours.model.training


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_translation_stops_before_the_next_token_and_leaves_the_model_as_it_was(beam_size: int):
    ours = echo()
    ours.model.train()
    with pytest.raises(KeyboardInterrupt):
        ours.translate(["abcabc"], beam_size=beam_size, stop_if=lambda: len(ours.model.asked) == 3)
    assert len(ours.model.asked) == 3 and ours.model.training
    assert ours.translate(["ab"], beam_size=beam_size)[0].text == "ab"


def saved(path: Path, **changes: object) -> Path:
    ours = echo()
    checkpoint.save(path, {"kind": "echo", **FACTS, **ours.parts(), "model": ours.model.state_dict(), **changes})
    return path


def test_a_saved_translator_comes_back_with_what_else_was_saved(tmp_path: Path):
    translator, content = restore(saved(tmp_path / "m.pt", more=7), "echo", EchoConfig, Echo, CPU)
    assert content["more"] == 7 and translator.facts == FACTS and translator.precision == "fp32"
    assert translator.translate(["abc"])[0].text == "abc"


@dataclass(frozen=True)
class OtherConfig:
    vocab: int
    source_vocab: int


@pytest.mark.parametrize(
    "changes",
    [{"model_config": {"vocab_size": 7}}, {"model_config": {}}, {"kind": "other"}, {"data": {"name": "a"}},
     {"progress": {"seconds": float("inf")}}, {"tokenizer": {"kind": "char", "symbols": []}}, {"model": {}}],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], tmp_path: Path):
    with pytest.raises(CheckpointError):
        restore(saved(tmp_path / "m.pt", **changes), "echo", EchoConfig, Echo, CPU)


def test_every_vocabulary_of_a_model_is_that_of_the_tokenizer(tmp_path: Path):
    """Two sizes, of which one is wrong."""
    size = BYTES.vocab_size
    path = saved(tmp_path / "m.pt", model_config={"vocab": size, "source_vocab": size + 1})
    with pytest.raises(CheckpointError, match="vocabularies of different sizes"):
        restore(path, "echo", OtherConfig, lambda config: Echo(), CPU)

"""What a stage gets for any model: steps, pieces of text, a checkpoint read by the stage's builders."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from my_llm import checkpoint
from my_llm.data.catalog import LanguageText
from my_llm.decoding import beam_search, generate
from my_llm.errors import CheckpointError, ConfigError
from my_llm.language import scoring, writer
from my_llm.language.scoring import measure, nats_in_windows, predicted_bytes, scores_of
from my_llm.language.writer import Writer, load_writer, plain_step, publish_vocabulary, sliding_step, write_after
from my_llm.text import (
    SPECIALS,
    BPETokenizer,
    CharTokenizer,
    GPT2Tokenizer,
    WordPieceTokenizer,
    WordTokenizer,
    load_vocabulary,
    unknown_id,
)
from my_llm.training import Loss

CPU = torch.device("cpu")
TEXT = "the sea is wide\nthe sky is high\n"
CHARS = CharTokenizer.train([TEXT])
BYTES = BPETokenizer.train(["中文 été 😀 the sea " * 3], 270)


class Cached(nn.Module):
    """A model with a cache and a longest context: what comes next depends on every token that it has read."""

    def __init__(self, vocab_size: int = 11, longest: int = 10**9) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace(vocab_size=vocab_size)
        self.embedding, self.longest, self.read = nn.Embedding(vocab_size, vocab_size), longest, 0

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        known = tokens if state is None else torch.cat([state, tokens], dim=1)
        assert known.shape[1] <= self.longest, "more than it can read"
        self.read += tokens.shape[1]
        weights = torch.arange(1, known.shape[1] + 1)[:, None] ** 0.5
        summed = (self.embedding(known) * weights).cumsum(dim=1)
        return summed[:, -tokens.shape[1] :], known


def said_by(step: Any, prompt: Tensor, count: int) -> Tensor:
    return torch.stack(list(generate(step, prompt, max_new_tokens=count)), dim=1)


# --- one token --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [1, 2, 7, 8])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 30])
def test_a_sliding_step_never_reads_more_than_it_may(context: int, length: int):
    """Whatever it says, the model reads the newest tokens: from half of the context to all of it."""
    model = Cached(longest=context)
    step, state = sliding_step(model, context), None
    tokens = torch.randint(11, (2, length + 23), generator=torch.Generator().manual_seed(2))
    for known in (length, *range(length + 1, tokens.shape[1] + 1)):
        new = tokens[:, :known] if state is None else tokens[:, known - 1 : known]
        logits, state = step(new, state)
        read = state[0].shape[1]
        assert min(known, max(context // 2, 1)) <= read <= context
        torch.testing.assert_close(logits, model(tokens[:, known - read : known])[0][:, -1])


def test_within_its_context_a_sliding_step_is_the_plain_one():
    model, prompt = Cached(), torch.tensor([[1, 2, 3]])
    assert torch.equal(said_by(sliding_step(model, 40), prompt, 37), said_by(plain_step(model), prompt, 37))


def test_a_sliding_step_costs_hardly_two_tokens_a_token():
    model = Cached()
    said_by(sliding_step(model, 20), torch.tensor([[1]]), 500)
    assert 500 <= model.read <= 2 * 500


def test_beam_search_can_reorder_the_sliding_state():
    """A beam as wide as the vocabulary, two tokens long: the best of all pairs, found by trying them."""
    model, prompt = Cached(5), torch.tensor([[1, 2, 3, 4, 0, 1]])
    (found,) = beam_search(sliding_step(model, 6), prompt, width=4, max_new_tokens=2, stop=4, alpha=0.0)

    @torch.no_grad()
    def after(tokens: list[int]) -> Tensor:
        read = tokens if len(tokens) <= 6 else tokens[-3:]
        return model(torch.tensor([read]))[0][0, -1].log_softmax(-1)

    start = prompt[0].tolist()
    pairs = {(a, b): float(after(start)[a] + after([*start, a])[b]) for a in range(4) for b in range(5)}
    whole = {**{(4,): float(after(start)[4])}, **pairs}
    best = max(whole, key=lambda tokens: whole[tokens])
    assert tuple(found[0].tokens) == best and found[0].log_probability == pytest.approx(whole[best], rel=1e-5)


# --- many tokens ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(len(SPECIALS), BYTES.vocab_size - 1), max_size=12), st.sampled_from(["", "the ", "中 é"]))
def test_byte_pairs_come_as_whole_characters(numbers: list[int], prompt: str):
    """Also where the bytes are no text: joined they are the decoding of the whole."""
    own = Writer(Cached(BYTES.vocab_size), BYTES, {})
    before = BYTES.encode(prompt)
    pieces = list(own.pieces(7, iter(numbers)))
    assert own.as_read(prompt) + "".join(pieces) == BYTES.decode([*before, *numbers])
    assert own.unknown(prompt) == []


def test_a_character_of_four_tokens_comes_at_once_and_others_at_once_too():
    plain = BPETokenizer([])
    own = Writer(Cached(plain.vocab_size), plain, {})
    assert list(own.pieces(7, plain.encode("a😀b"))) == ["a", "", "", "", "😀", "b", ""]


def test_the_step_that_is_passed_in_is_the_one_that_writes():
    model = Cached(CHARS.vocab_size)

    def always(tokens: Tensor, state: Any) -> tuple[Tensor, None]:
        return torch.eye(CHARS.vocab_size)[CHARS.encode("w")].expand(len(tokens), -1), None

    assert "".join(Writer(model, CHARS, {}, step=always).write("the", length=5, temperature=0.0)) == "wwwww"
    assert "".join(Writer(model, CHARS, {}).write("the", length=5, temperature=0.0)) != "wwwww"


@pytest.mark.parametrize("training", [True, False])
def test_what_train_shows_follows_whole_lines_and_leaves_the_mode(training: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "SAMPLE", 9)
    monkeypatch.setattr(writer, "PROMPT", 20)
    model = Cached(CHARS.vocab_size).train(training)
    expected = "".join(Writer(model, CHARS, {}).write("the sea is wide\n", length=9, temperature=0.8, seed=3))
    model.train(training)
    assert write_after(TEXT, model, CHARS, 3) == expected and model.training == training


# --- checkpoints ------------------------------------------------------------------------------------------------------

BUILDERS = {
    "a/network": lambda content: Cached(content["model_config"]["vocab_size"]),
    "a/mistake": lambda content: refuse(),
}
FACTS = {"data": {"name": "t", "sha256": ""}, "settings": {"model_type": "cached"}, "progress": {"seconds": 1.0}}


def refuse() -> Any:
    raise ConfigError("--heads must divide --model", got=7)


def saved(path: Path, **changes: Any) -> Path:
    model = Cached(CHARS.vocab_size)
    parts = {"model_config": {"vocab_size": CHARS.vocab_size}, "tokenizer": CHARS.to_state()}
    checkpoint.save(path, {"kind": "a/network", "model": model.state_dict(), **parts, **FACTS, **changes})
    return path


def test_a_checkpoint_is_read_by_the_builder_of_its_kind(tmp_path: Path):
    loaded = load_writer(saved(tmp_path / "m.pt"), CPU, builders=BUILDERS, step_of=lambda model: sliding_step(model, 9))
    own = Writer(Cached(CHARS.vocab_size), CHARS, {}, step=sliding_step(Cached(CHARS.vocab_size), 9))
    texts = ["".join(one.write("the sea", length=30, seed=1)) for one in (loaded, own)]
    assert texts[0] == texts[1] and loaded.facts == FACTS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "another/kind"}, "no language model of this stage; got 'another/kind'; valid: a/network, a/mistake"),
        ({"kind": "a/mistake"}, "do not fit together"),
        ({"tokenizer": BYTES.to_state()}, f"{BYTES.vocab_size} symbols for a model of {CHARS.vocab_size}"),
        ({"model_config": {}}, "vocab_size"),
        ({"model": {}}, "weights do not fit"),
        ({"data": None, "settings": 3, "tokenizer": 4}, "one.pt"),
    ],
)
def test_what_does_not_fit_is_one_line(change: dict[str, Any], words: str, tmp_path: Path):
    with pytest.raises(CheckpointError) as caught:
        load_writer(saved(tmp_path / "one.pt", **change), CPU, builders=BUILDERS)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_vocabulary_is_published_under_the_name_of_its_kind(tmp_path: Path):
    publish_vocabulary(tmp_path / "best.pt", {"tokenizer": BYTES.to_state()})
    for suffix in (".pkl", ".json"):
        assert load_vocabulary(tmp_path / f"bpe_vocabulary{suffix}") == BYTES.to_state()


def test_evaluation_says_everything_about_a_model_with_a_context(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scoring, "ENOUGH", 30)
    corpus = LanguageText("t", "en", TEXT, TEXT * 9, "", "here", "")
    model = Cached(CHARS.vocab_size, longest=8)
    own = Writer(model, CHARS, FACTS, step=sliding_step(model, 8))
    facts = measure(own, corpus, "auto", lambda model, tokens: nats_in_windows(model, tokens, 8), seed=2)
    assert (facts["split"], facts["n"], facts["model"]) == ("validation", 9 * len(TEXT) - 1, "CACHED")
    assert facts["parameters"] == CHARS.vocab_size**2 and facts["same_text_as_trained"] and not facts["learnt_from"]
    assert facts["sample"] == "".join(own.write("\n", length=30, temperature=0.8, seed=2))
    tokens = torch.tensor(CHARS.encode(TEXT * 9))
    assert facts["mean_loss"] == pytest.approx(float(nats_in_windows(model, tokens, 8).total) / facts["n"])
    assert measure(own, corpus, "train", lambda *_: nats_in_windows(model, tokens, 8), parameters=5)["learnt_from"]


# --- what is unknown --------------------------------------------------------------------------------------------------

PIECES = WordPieceTokenizer.train([TEXT * 99], 40)


def test_an_unknown_word_of_word_pieces_is_named_once_and_known_ones_are_not():
    model = Writer(Cached(PIECES.vocab_size), PIECES, {})
    assert model.unknown("the sea is xyz, the sky xyz\n") == ["xyz", ", "] and model.unknown("the seaside") == []


def test_a_mark_at_the_end_keeps_its_space_where_words_are_cut():
    pieces = WordPieceTokenizer.train(["the sea, the sky, a " * 99], 60)
    for tokenizer in (pieces, WordTokenizer.train(["the sea, the sky, a"])):
        own = Writer(Cached(tokenizer.vocab_size), tokenizer, {})
        assert own.encode("the sea, ") == own.encode("the sea, the")[:-1] and own.unknown("the sea, ") == []


@pytest.mark.parametrize("kind", ["own", "files"])
def test_only_a_tokenizer_that_has_unk_finds_it(kind: str):
    """In GPT-2's files id 1 is a byte: nothing is unknown, whatever the text."""
    own = GPT2Tokenizer.train([TEXT], 270)
    order = [*own.vocabulary.symbols[4:], "<|endoftext|>"]
    tokenizer = own if kind == "own" else GPT2Tokenizer(own.merges, order)
    assert unknown_id(tokenizer) == (1 if kind == "own" else None)
    tokens, loss = torch.tensor([1, 1, 7, 8]), Loss(torch.tensor(3.0), 3)
    scores = scores_of(loss, 4, tokens, unknown=unknown_id(tokenizer))
    assert scores.get("unknown") == (0.5 if kind == "own" else None) and scores["validation_loss"] == 1


def test_word_pieces_never_see_double_spaces():
    assert predicted_bytes(PIECES, "the  sea\n  is ") == len("the sea\nis") and predicted_bytes(BYTES, "a  b") == 4

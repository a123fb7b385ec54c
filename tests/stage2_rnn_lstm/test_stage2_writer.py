"""The writer: every kind of model comes back from its checkpoint and writes; the short step is the model's own step."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm import checkpoint
from my_llm.decoding import generate
from my_llm.errors import CheckpointError
from my_llm.language.writer import Writer
from my_llm.sampling import greedy, sample
from my_llm.text import SPECIALS, CharTokenizer, Tokenizer, WordTokenizer
from stage2_rnn_lstm import writer as module
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig, NGramModel, WaveNet, WaveNetConfig
from stage2_rnn_lstm.writer import KIND, NGRAM_KIND, Model, build, load_writer, parts_of, quick_step, step_of, writer_of

CPU = torch.device("cpu")
TEXT = "the cat, the dog - and (the) bird's song!\nno more of the cat.\n"
CHARS, WORDS = CharTokenizer.train([TEXT]), WordTokenizer.train([TEXT])
TYPES = ["rnn", "lstm", "gru", "wavenet", "ngram"]
FACTS = {"data": {"name": "a test"}, "settings": {}, "progress": {}}


def model_of(model_type: str, tokenizer: Tokenizer) -> Model:
    """A tiny model with an opinion."""
    torch.manual_seed(0)
    size = tokenizer.vocab_size
    if model_type == "ngram":
        return NGramModel.fit(torch.tensor(tokenizer.encode(TEXT)), size, 3)
    if model_type == "wavenet":
        return WaveNet(WaveNetConfig(size, channels=5, layers=2, blocks=1))
    return lively(LanguageModel(LanguageModelConfig(size, cell=model_type, embedding=5, hidden=7, layers=2)))


def lively(model: LanguageModel) -> LanguageModel:
    """A new head is zero: all tokens are equally likely."""
    torch.nn.init.normal_(model.head.weight)
    return model


def content_of(model_type: str, tokenizer: Tokenizer = CHARS) -> dict[str, Any]:
    model = model_of(model_type, tokenizer)
    kind, weights = (NGRAM_KIND, {}) if isinstance(model, NGramModel) else (KIND, {"model": model.state_dict()})
    return {"kind": kind, **parts_of(model, model_type, tokenizer), **weights, **FACTS}


def some_writer(tokenizer: Tokenizer, model_type: str = "lstm") -> Writer:
    return writer_of(model_of(model_type, tokenizer), tokenizer, FACTS)


@pytest.mark.parametrize("tokenizer", [CHARS, WORDS], ids=["char", "word"])
@pytest.mark.parametrize("model_type", TYPES)
def test_every_model_comes_back_and_writes_what_it_wrote(model_type: str, tokenizer: Tokenizer, tmp_path: Path):
    checkpoint.save(tmp_path / "best.pt", content_of(model_type, tokenizer))
    loaded, own = load_writer(tmp_path / "best.pt", CPU), some_writer(tokenizer, model_type)
    texts = [list(one.write("the cat", length=23, seed=seed)) for one, seed in ((own, 3), (loaded, 3), (loaded, 4))]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 23
    assert loaded.facts == FACTS
    assert loaded.tokenizer.to_state() == tokenizer.to_state()


# ---------------------------------------------------------------- one step


@pytest.mark.parametrize("table", [0, 2**24])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_short_step_is_the_models_step(cell: str, layers: int, table: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TABLE", table)
    torch.manual_seed(0)
    model = lively(LanguageModel(LanguageModelConfig(11, cell=cell, embedding=5, hidden=7, layers=layers))).eval()
    tokens = torch.randint(11, (2, 13))
    with torch.no_grad():
        expected, final = model(tokens)
        step = step_of(model)
        logits, state = step(tokens[:, :3], None)
        torch.testing.assert_close(logits, expected[:, 2])
        for t in range(3, 13):
            logits, state = step(tokens[:, t : t + 1], state)
            torch.testing.assert_close(logits, expected[:, t])
    for ours, theirs in zip(state, final, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_single_token_takes_the_short_step():
    model = model_of("lstm", CHARS)
    assert isinstance(model, LanguageModel)

    def any_step(tokens: torch.Tensor, state: Any) -> Any:
        assert state is None, "only the prompt is read the long way"
        return model(tokens)[0][:, -1], model(tokens)[1]

    step = quick_step(model, any_step)
    _, state = step(torch.tensor([[5, 6, 7]]), None)
    step(torch.tensor([[8]]), state)


# ---------------------------------------------------------------- many steps


@given(
    prompt=st.text(st.sampled_from("the catdogbirdX ,.'-()\n!é"), max_size=20),
    seed=st.integers(0, 99),
    word=st.booleans(),
)
def test_pieces_joined_are_the_decoding_of_the_whole(prompt: str, seed: int, word: bool):
    tokenizer = WORDS if word else CHARS
    writer = some_writer(tokenizer)
    numbers = writer.encode(prompt)
    start = torch.tensor([numbers or tokenizer.encode("\n")])
    pick = partial(sample, temperature=1.5, generator=torch.Generator().manual_seed(seed))
    drawn = [int(token) for token in generate(writer.step, start, max_new_tokens=17, choose=pick)]
    pieces = list(writer.write(prompt, length=17, temperature=1.5, seed=seed))
    expected = tokenizer.decode(numbers + drawn)
    begun = "" if numbers else "\n"  # unseen; what follows a line end needs no space
    assert writer.as_read(prompt) + "".join(pieces) == expected
    assert begun + "".join(pieces) == tokenizer.decode(start[0].tolist() + drawn).removeprefix(writer.as_read(prompt))


@pytest.mark.parametrize("mark", [", ", " - ", " (", ") ", "! "])
def test_a_mark_at_the_prompts_end_keeps_its_space(mark: str):
    tokenizer = WordTokenizer.train([f"one{mark}two\n"])
    model = NGramModel.fit(torch.tensor(tokenizer.encode(f"one{mark}two\n" * 20)), tokenizer.vocab_size, 3)
    writer = writer_of(model, tokenizer, FACTS)
    assert tokenizer.decode(writer.encode(f"one{mark}")[1:]) == mark and len(writer.encode(f"one{mark}")) == 2
    assert writer.encode("one") == writer.encode("one ") == writer.encode("one  ") == tokenizer.encode("one")
    assert writer.as_read(f"one{mark}") == f"one{mark}"
    assert list(writer.write(f"one{mark}", length=3, temperature=0.0)) == ["two", "\n", "one"]


@pytest.mark.parametrize("prompt", ["the cat, ", "the ", "the  ", ", ", " "])
def test_every_space_of_a_prompt_is_a_character(prompt: str):
    writer = some_writer(CHARS)
    assert writer.encode(prompt) == CHARS.encode(prompt) and len(writer.encode(prompt)) == len(prompt)
    assert writer.as_read(prompt) == prompt


def test_text_comes_while_it_is_written():
    stream = some_writer(CHARS).write("the", length=10**6)  # a million would take minutes
    assert len("".join(next(stream) for _ in range(3))) == 3


def test_without_a_prompt_it_writes_what_follows_a_line_end():
    for tokenizer, blank in ((CHARS, ""), (WORDS, "  ")):
        writer = some_writer(tokenizer)
        assert list(writer.write(blank, length=11)) == list(writer.write("\n", length=11))


def test_settings_reach_the_draw():
    writer, prompt = some_writer(CHARS), torch.tensor([CHARS.encode("the")])
    best = CHARS.decode(int(t) for t in generate(writer.step, prompt, max_new_tokens=19, choose=greedy))
    assert best not in ["".join(writer.write("the", length=19, seed=seed)) for seed in range(5)], "all is drawn"
    settings: list[dict[str, Any]] = [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-5}]
    for bold in settings:
        assert "".join(writer.write("the", length=19, seed=5, **bold)) == best
    two = list(writer.write("the", length=40, top_k=2, seed=5))
    state, fresh = None, prompt
    for piece in two:
        logits, state = writer.step(fresh, state)
        fresh = torch.tensor([CHARS.encode(piece)])
        assert fresh[0, 0] in logits[0].topk(2).indices
    assert "".join(two) != best


@pytest.mark.parametrize("model_type", TYPES)
def test_special_tokens_are_never_written(model_type: str):
    model = model_of(model_type, WORDS)
    if isinstance(model, LanguageModel):
        model.head.bias.data[: len(SPECIALS)] = 50.0  # would be all that it says
    written = "".join(writer_of(model, WORDS, FACTS).write("the xylophone", length=50, temperature=5.0))
    assert len(WORDS.encode(written)) > 30 and not any(special in written for special in SPECIALS)


def test_what_is_unknown_is_named_and_shown():
    chars, words = some_writer(CHARS), some_writer(WORDS)
    assert chars.unknown("the Zoo: Z\u4f60") == ["Z", ":", "\u4f60"]
    assert chars.as_read("the Z") == "the \ufffd"
    assert words.unknown("the big, big cat (here) the") == ["big", "here"]
    assert words.unknown("(the)") == ["(", ")"]  # the text has " (" and ") ", which are other marks
    assert words.as_read("the  big cat") == "the <unk> cat"
    assert words.unknown("the cat, ") == [] and words.unknown("the cat,") == [","]  # the text has ", " only
    assert chars.unknown("") == words.unknown("the cat, the dog - and (the) bird's song!\n") == []


def test_counting_goes_on_as_the_text_did():
    tokenizer = CharTokenizer.train(["abc\n"])
    model = NGramModel.fit(torch.tensor(tokenizer.encode("abc" * 50)), tokenizer.vocab_size, 3)
    assert "".join(writer_of(model, tokenizer, FACTS).write("ab", length=7, temperature=0.0)) == "cabcabc"


# ---------------------------------------------------------------- checkpoints that are not right

DAMAGE: list[tuple[str, dict[str, Any]]] = [
    ("lstm", {"kind": "stage1_mlp/text_classifier"}),
    ("lstm", {"model_type": "gru"}),
    ("lstm", {"model_type": "transformer"}),
    ("lstm", {"model_type": ["lstm"]}),
    ("lstm", {"model_config": {}}),
    ("lstm", {"model_config": 7}),
    ("lstm", {"model_config": {"vocab_size": CHARS.vocab_size, "hidden": 8}}),
    ("lstm", {"model_config": {"vocab_size": CHARS.vocab_size, "tied": True}}),
    ("lstm", {"model_config": {"vocab_size": CHARS.vocab_size, "colour": "red"}}),
    ("lstm", {"model": {}}),
    ("lstm", {"model": None}),
    ("lstm", {"tokenizer": WORDS.to_state()}),
    ("lstm", {"tokenizer": {"kind": "morse", "symbols": list(SPECIALS)}}),
    ("lstm", {"tokenizer": None}),
    ("wavenet", {"model_config": {"vocab_size": CHARS.vocab_size, "layers": 0}}),
    ("ngram", {"ngram": {}}),
    ("ngram", {"ngram": 3}),
    ("ngram", {"tokenizer": WORDS.to_state()}),
    ("ngram", {"kind": KIND}),
]


@pytest.mark.parametrize(("model_type", "change"), DAMAGE, ids=[f"{t} {next(iter(c))}" for t, c in DAMAGE])
def test_parts_that_do_not_fit_cost_one_line(model_type: str, change: dict[str, Any], tmp_path: Path):
    path = tmp_path / "odd.pt"
    checkpoint.save(path, {**content_of(model_type), **change})
    with pytest.raises(CheckpointError) as caught:
        load_writer(path, CPU)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["model_type", "model_config", "model", "tokenizer", "data"])
def test_a_missing_part_costs_one_line(part: str, tmp_path: Path):
    content = content_of("lstm")
    del content[part]
    checkpoint.save(tmp_path / "odd.pt", content)
    with pytest.raises(CheckpointError, match=part):
        load_writer(tmp_path / "odd.pt", CPU)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path):
    content = content_of("lstm")
    content["model"]["head.bias"][3] = torch.nan
    checkpoint.save(tmp_path / "odd.pt", content)
    with pytest.raises(CheckpointError, match="not finite"):
        load_writer(tmp_path / "odd.pt", CPU)


def test_a_vocabulary_without_text_is_refused(tmp_path: Path):
    tokenizer = CharTokenizer.train([])
    checkpoint.save(tmp_path / "odd.pt", content_of("lstm", tokenizer))
    with pytest.raises(CheckpointError):
        load_writer(tmp_path / "odd.pt", CPU)


@pytest.mark.parametrize("model_type", TYPES[:-1])
def test_build_takes_what_parts_of_gives(model_type: str):
    content = content_of(model_type)
    model = build(content["model_type"], content["model_config"])
    checkpoint.load_weights(model, content["model"], "memory")
    tokens = torch.tensor([CHARS.encode("the")])
    torch.testing.assert_close(model(tokens)[0], model_of(model_type, CHARS)(tokens)[0])

"""Between a sentence and its translation: batches and saving change nothing, and a look is in reading order."""

import math
from pathlib import Path

import pytest
import torch

from my_llm import checkpoint
from my_llm.data.catalog import Pair
from my_llm.errors import CheckpointError, DataError
from my_llm.text import BOS, EOS, PAD, BPETokenizer
from my_llm.translation import translator as module
from my_llm.translation.alignment import END, align_words
from my_llm.translation.batches import encode_sources
from my_llm.translation.translator import Translator
from stage3_attention_seq2seq.data import READING
from stage3_attention_seq2seq.models import ATTENTIONS, Seq2Seq, Seq2SeqConfig
from stage3_attention_seq2seq.translator import KIND, align, load_translator, look

CPU = torch.device("cpu")
TOKENIZER = BPETokenizer.train(["a red dog sees a big cat", "un chien rouge voit un grand chat"] * 3, 280)
TEXTS = ["a red dog", "", "a big cat sees a red dog sees a big cat", "x", "a red dog"]
FACTS = {
    "data": {"name": "numbers_en_fr", "sha256": ""}, "settings": {"attention_type": "bahdanau"},
    "progress": {"seconds": 1.0},
}  # fmt: skip


def translator(attention: str = "bahdanau", *, reverse: bool = False, dropout: float = 0.0) -> Translator[Seq2Seq]:
    """With random weights, large enough that what it says depends on what it reads."""
    torch.manual_seed(1)
    size = TOKENIZER.vocab_size
    model = Seq2Seq(Seq2SeqConfig(size, size, attention, embedding=7, hidden=11, dropout=dropout, shared=True))
    for parameter in model.parameters():
        parameter.data *= 3
    model.head.bias.data[EOS] = 4  # so that some of what it says comes to an end
    return Translator(model, TOKENIZER, facts=FACTS, encode=READING[reverse])


# --- translating ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["bahdanau", "luong", "local", "none"])
def test_together_or_alone_the_translations_are_the_same(attention: str):
    """Also those that never end, which are cut at a length of their own."""
    ours = translator(attention)
    together = ours.translate(TEXTS)
    assert together == [ours.translate([text])[0] for text in TEXTS]
    assert len({answer.text for answer in together}) > 1 and together[0] == together[4]
    assert ours.translate([]) == []


def test_a_beam_of_one_is_what_the_model_finds_likeliest_and_beams_are_no_less_likely():
    ours = translator("luong")
    compared = 0
    for text in TEXTS:
        (answer,), (beam,) = ours.translate([text]), ours.translate([text], beam_size=4, length_penalty=0.0)
        source = torch.tensor(encode_sources(TOKENIZER, [text]))
        target = torch.tensor([[BOS, *answer.tokens]])
        logits = ours.model(source, torch.tensor([source.shape[1]]), target)[0][0, :-1]
        logits[:, [PAD, BOS]] = -torch.inf
        assert logits.argmax(dim=-1).tolist() == answer.tokens
        if answer.tokens[-1] != EOS:
            continue
        compared += 1
        said = logits.log_softmax(-1)[torch.arange(len(answer.tokens)), answer.tokens].sum().item()
        assert beam.log_probability is not None and beam.log_probability > said - 1e-4
    assert compared


def test_a_translation_ends_with_eos_or_is_cut_and_never_says_a_special_token():
    ours = translator()
    ours.model.head.bias.data[[PAD, BOS]] = 1e4
    ours.model.head.bias.data[EOS] = -1e4
    (answer,) = ours.translate(["a red dog"])
    assert len(answer.tokens) == 2 * len(encode_sources(TOKENIZER, ["a red dog"])[0]) + 10  # it never ends
    assert not {PAD, BOS, EOS} & set(answer.tokens)
    ours.model.head.bias.data[EOS] = 1e4
    assert ours.translate(["a red dog"]) == [("", [EOS], None)]


def test_translating_leaves_the_model_as_it_was_and_drops_nothing_out():
    ours = translator(dropout=0.9)
    for training in (True, False):
        ours.model.train(training)
        answers = [ours.translate(TEXTS, beam_size=size) for size in (1, 1, 2, 2)]
        assert answers[0] == answers[1] and answers[2] == answers[3]
        look(ours, "a red dog", answers[0][0].tokens)
        assert ours.model.training == training


def test_what_is_no_sentence_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LONGEST", 6)
    ours = translator()
    assert len(ours.translate(["zzzzz"])) == 1  # five bytes and <eos>
    with pytest.raises(DataError, match=r"too long for this model; got '7 tokens, zzzzzz …'; valid: at most 6"):
        ours.translate(["a", "zzzzzz"])


def test_scores_know_all_references_and_look_at_the_first_sentences(monkeypatch: pytest.MonkeyPatch):
    ours = translator()
    said = [answer.text for answer in ours.translate(TEXTS)]
    pairs = [Pair(text, answer) for text, answer in zip(TEXTS, said, strict=True)]
    assert ours.scores(pairs)["exact"] == 1
    other = [Pair(text, "not this", ("nor that", answer)) for text, answer in zip(TEXTS, said, strict=True)]
    assert ours.scores(other)["exact"] == 1 and ours.scores(other)["bleu"] == pytest.approx(ours.scores(pairs)["bleu"])
    assert ours.scores([*pairs[:3], Pair("a", "not this")])["exact"] == 3 / 4
    monkeypatch.setattr(module, "VALIDATED", 3)
    assert ours.scores([*pairs[:3], Pair("a", "not this")])["exact"] == 1


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", sorted(set(ATTENTIONS) - {"none"}))
@pytest.mark.parametrize("reverse", [False, True])
def test_a_look_has_the_words_in_reading_order(attention: str, reverse: bool):
    ours = translator(attention, reverse=reverse)
    (answer,) = ours.translate(["a red dog"])
    looked = look(ours, "a red dog", answer.tokens)
    assert looked is not None
    weights, source = looked
    assert source == [*TOKENIZER.encode("a red dog"), EOS] and weights.shape == (len(answer.tokens), len(source))
    read = torch.tensor(READING[reverse](TOKENIZER, ["a red dog"]))
    target = torch.tensor([[BOS, *answer.tokens[:-1]]])
    with torch.no_grad():
        raw = ours.model(read, torch.tensor([len(source)]), target)[1]
    assert raw is not None
    for place, token in enumerate(read[0, :-1].tolist()):  # no token comes twice in this sentence
        torch.testing.assert_close(weights[:, source.index(token)], raw[0, :, place])
    torch.testing.assert_close(weights[:, -1], raw[0, :, -1])
    if attention != "local":
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)))
    aligned, by_hand = align(ours, "a red dog", answer.tokens), align_words(weights, answer.tokens, source, TOKENIZER)
    assert aligned is not None and aligned.source == ["a", "red", "dog", END]
    assert torch.equal(aligned.weights, by_hand.weights) and aligned.target == by_hand.target


def test_without_attention_there_is_nothing_to_look_at():
    assert look(translator("none"), "a red dog", [EOS]) is None
    assert align(translator("none"), "a red dog", [EOS]) is None


# --- saving -----------------------------------------------------------------------------------------------------------


def saved(ours: Translator[Seq2Seq], path: Path, **changes: object) -> Path:
    parts = {**ours.parts(), "reverse": ours.encode is READING[True]}
    content = {"kind": KIND, **FACTS, **parts, "model": ours.model.state_dict(), **changes}
    checkpoint.save(path, content)
    return path


@pytest.mark.parametrize("reverse", [False, True])
def test_a_saved_translator_says_the_same(reverse: bool, tmp_path: Path):
    ours = translator(reverse=reverse)
    again = load_translator(saved(ours, tmp_path / "m.pt"), CPU)
    assert again.encode is READING[reverse] and again.facts == FACTS and again.precision == "fp32"
    for beam_size in (1, 3):
        assert again.translate(TEXTS, beam_size=beam_size) == ours.translate(TEXTS, beam_size=beam_size)


@pytest.mark.parametrize(
    "changes",
    [{"reverse": "no"}, {"tokenizer": BPETokenizer([]).to_state()}, {"tokenizer": {"kind": "char", "symbols": []}},
     {"kind": "stage2_rnn_lstm/language_model"}, {"settings": {}}, {"data": {"name": 5, "sha256": ""}},
     {"progress": {"seconds": math.nan}}],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(changes: dict, tmp_path: Path):
    with pytest.raises(CheckpointError):
        load_translator(saved(translator(), tmp_path / "m.pt", **changes), CPU)

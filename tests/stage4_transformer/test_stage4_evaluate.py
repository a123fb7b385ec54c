"""evaluate.py says of each kind of model what its task asks for; and what cached keys and values change: nothing."""

import math
from pathlib import Path

import pytest
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from stage4_world import PARTS, Call, Trained, scored, sentences

from my_llm import checkpoint
from my_llm.decoding import recompute
from my_llm.language.scoring import nats_of
from my_llm.text import BOS, EOS, PAD
from my_llm.translation.alignment import align_words
from stage4_transformer.language import load_writer, loss_of
from stage4_transformer.models import Transformer
from stage4_transformer.translating import align, blocks, load_translator

CPU = torch.device("cpu")
TEST = sentences()["test"]

# --- a translator -----------------------------------------------------------------------------------------------------


def test_a_translator_learns_the_small_language(trained: Trained, call: Call):
    facts = scored(call, trained())
    assert facts["exact"] > 0.9 and facts["split"] == "test" and facts["n"] == PARTS["test"]
    assert facts["same_text_as_trained"] and not facts["learnt_from"]
    assert (facts["stage"], facts["model"], facts["beam_size"]) == ("stage4_transformer", "Transformer", 5)
    assert facts["parameters"] == sum(t.numel() for t in load_translator(trained(), CPU).model.parameters())
    assert facts["shown"].startswith("Transformer, translation: multi30k_en_fr, test part")


def test_the_scores_are_those_of_sacrebleu(trained: Trained, call: Call):
    """Of a model that is often wrong, so that the scores are neither 0 nor 100."""
    path = trained("translate", "--max_steps", 60, "--average", 2, "--positions", "rotary", "--eval_every", 30)
    facts = scored(call, path, "--beam_size", 3, "--length_penalty", 0.5)
    ours, targets = load_translator(path, CPU), [pair.target for pair in TEST]
    for width in ("1", "3"):
        row = facts["decoding"][width]
        answers = ours.translate([pair.source for pair in TEST], beam_size=int(width), length_penalty=0.5)
        said = [answer.text for answer in answers]
        assert row["bleu"] == pytest.approx(BLEU().corpus_score(said, [targets]).score, abs=1e-9)
        assert row["chrf"] == pytest.approx(CHRF().corpus_score(said, [targets]).score, abs=1e-9)
        assert row["exact"] == pytest.approx(sum(map(str.__eq__, said, targets)) / len(TEST))
    assert 0 < facts["bleu"] < 100 and facts["bleu"] == facts["decoding"]["3"]["bleu"]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_with_and_without_cached_keys_the_translations_are_the_same(
    beam_size: int, trained: Trained, monkeypatch: pytest.MonkeyPatch
):
    ours = load_translator(trained("translate", "--max_steps", 60, "--eval_every", 30), CPU)
    texts = [pair.source for pair in TEST]
    cached = ours.translate(texts, beam_size=beam_size)

    def anew(model: Transformer, tokens: torch.Tensor, state: tuple) -> tuple:
        """All that was said so far is read again; the state is what stands there."""
        *source, said = state if len(state) == 3 else (*state, tokens[:, :0])
        logits, said = recompute(lambda read: model(*source, read))(tokens, said)
        return logits, (*source, said)

    def select(model: Transformer, state: tuple, rows: torch.Tensor) -> tuple:
        return tuple(part[rows] for part in state)

    monkeypatch.setattr(Transformer, "encode", lambda model, source, lengths: (source, lengths))
    monkeypatch.setattr(Transformer, "step", anew)
    monkeypatch.setattr(Transformer, "reorder", select)
    monkeypatch.setattr(ours, "_step", lambda tokens, state: without_specials(*ours.model.step(tokens, state)))
    plain = ours.translate(texts, beam_size=beam_size)
    assert [answer.tokens for answer in plain] == [answer.tokens for answer in cached]
    assert len({answer.text for answer in plain}) > 5
    if beam_size > 1:
        said = [[answer.log_probability for answer in answers] for answers in (plain, cached)]
        assert said[0] == pytest.approx(said[1], abs=1e-4)


def without_specials(logits: torch.Tensor, state: tuple) -> tuple:
    logits = logits.clone()
    logits[:, [PAD, BOS]] = -torch.inf
    return logits, state


def test_together_or_alone_the_translations_are_the_same(trained: Trained):
    ours, texts = load_translator(trained(), CPU), [pair.source for pair in TEST]
    for width in (1, 4):
        together = ours.translate(texts, beam_size=width)
        assert [a.tokens for a in together] == [ours.translate([text], beam_size=width)[0].tokens for text in texts]


def test_where_it_looked_is_told_for_one_head_or_on_average_in_the_last_layer_or_another(trained: Trained):
    path, pair = trained("translate", "--layers", 2, "--max_steps", 2, "--eval_every", 2), TEST[0]
    ours = load_translator(path, CPU)
    tokens = [*ours.tokenizer.encode(pair.target), EOS]
    maps, source = ours.look(pair.source, tokens)
    first, last = maps.cross[:, 0]
    for layer, head, expected in ((0, 0, last.mean(0)), (1, 2, first[1]), (0, 1, last[0]), (1, 0, first.mean(0))):
        found = align(ours, pair.source, tokens, layer, head)
        torch.testing.assert_close(found.weights, align_words(expected, tokens, source, ours.tokenizer).weights)
        assert found.target == [*pair.target.split(), "<eos>"] and found.source == [*pair.source.split(), "<eos>"]


def test_every_head_of_every_layer_is_in_the_picture_in_words(trained: Trained):
    ours, pair = load_translator(trained(), CPU), TEST[0]
    (answer,) = ours.translate([pair.source])
    encoder, decoder, cross = blocks(ours, pair.source, answer.tokens).values()
    source, target = [*pair.source.split(), "<eos>"], [*pair.target.split(), "<eos>"]
    assert encoder.rows == encoder.columns == cross.columns == source and cross.rows == decoder.rows == target
    assert decoder.columns == ["<bos>", *target[:-1]]
    for block in (encoder, decoder, cross):
        weights = torch.as_tensor(block.weights)
        assert weights.shape == (1, 2, len(block.rows), len(block.columns))
        torch.testing.assert_close(weights.sum(dim=3), torch.ones(weights.shape[:3]))
    assert torch.as_tensor(decoder.weights).triu(2).abs().max() == 0  # at most at the beginning of the same word
    expected = align(ours, pair.source, answer.tokens, 1, 2).weights
    torch.testing.assert_close(torch.as_tensor(cross.weights)[0, 1], expected)


def test_only_the_very_sentences_that_were_learnt_are_no_measure(trained: Trained, call: Call):
    own = scored(call, trained(), "--split", "train", "--beam_size", 1)
    assert own["learnt_from"] and own["n"] == PARTS["train"] and "no measure of anything" in own["shown"]
    other = scored(call, trained(), "--split", "validation", "--examples", 2, "--beam_size", 1)
    assert not other["learnt_from"] and "no measure" not in other["shown"]


# --- a classifier -----------------------------------------------------------------------------------------------------


def test_a_classifier_learns_its_rule_and_says_how_long_a_text_takes(trained: Trained, call: Call):
    facts = scored(call, trained("classify"))
    assert (facts["split"], facts["model"], facts["task"]) == ("test", "Transformer", "text classification")
    right = sum(facts["confusion"][i][i] for i in range(2))
    assert facts["accuracy"] == pytest.approx(right / facts["n"]) and facts["accuracy"] > 0.9
    assert [row["label"] for row in facts["per_class"]] == ["negative", "positive"]
    assert 0 < facts["latency_batch_us"] / 1000 < facts["latency_single_ms"] < 1000
    assert f"{facts['latency_single_ms']:.2f} ms alone" in facts["shown"]


# --- a language model -------------------------------------------------------------------------------------------------


def test_a_language_model_is_scored_in_windows_of_its_length(trained: Trained, call: Call):
    path = trained("language_model")
    facts, content = scored(call, path), checkpoint.load(path)
    assert (facts["unit"], facts["split"], facts["model"]) == ("character", "validation", "Transformer")
    assert facts["mean_loss"] == pytest.approx(content["progress"]["best"]["scores"]["validation_loss"], rel=1e-5)
    assert facts["perplexity"] == pytest.approx(math.exp(facts["mean_loss"]))
    assert facts["mean_loss"] < 0.7 * facts["frequencies_alone"]
    assert facts["sample"] in facts["shown"] and not facts["learnt_from"]
    model = load_writer(path, CPU).model
    tokens = torch.randint(4, 20, (17,))  # 16 targets: one window of the length that it knows
    torch.testing.assert_close(loss_of(model, tokens).total, nats_of(model, tokens, streams=1).total)  # type: ignore


def test_words_and_byte_pairs_are_told_by_their_unit(trained: Trained, call: Call):
    units = {"word": "word or mark", "bpe": "token"}
    for vocab_type, size in {"word": 12, "bpe": 280}.items():
        flags = ["--vocab_type", vocab_type, "--vocab_size", size, "--max_steps", 3]
        facts = scored(call, trained("language_model", *flags))
        assert facts["unit"] == units[vocab_type] and facts["vocabulary"] == size
        assert ("unknown" in facts) == ("<unk>" in facts["shown"]) == (vocab_type == "word")


def test_bf16_scores_nearly_the_same(trained: Trained, call: Call):
    exact, rough = (scored(call, trained("language_model"), "--precision", name) for name in ("fp32", "bf16"))
    assert exact["mean_loss"] != rough["mean_loss"] == pytest.approx(exact["mean_loss"], rel=0.02)
    assert scored(call, trained(), "--precision", "bf16", "--beam_size", 1)["exact"] > 0.8


# --- what belongs to another task -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["classify", "language_model"])
def test_a_beam_means_nothing_to_the_others(task: str, trained: Trained, call: Call):
    for flags in (["--beam_size", 3], ["--length_penalty", 1]):
        code, out, errors = call_evaluate(call, trained(task), *flags)
        assert (code, out) == (2, "") and len(errors) == 1 and f"{flags[0]} means nothing to" in errors[0]


@pytest.mark.parametrize("dataset", ["multi30k_en_fr", "movie_reviews", "tiny_shakespeare"])
def test_a_checkpoint_of_one_task_keeps_to_its_corpora(dataset: str, trained: Trained, call: Call):
    own = {"translate": "multi30k_en_fr", "classify": "movie_reviews", "language_model": "tiny_shakespeare"}
    for task, fits in own.items():
        code, _, errors = call_evaluate(call, trained(task), "--dataset", dataset)
        assert code == (0 if fits == dataset else 2) and (code == 0 or len(errors) == 1), errors


def test_a_part_that_is_not_there_is_one_line(trained: Trained, call: Call):
    code, _, errors = call_evaluate(call, trained("language_model"), "--split", "test")
    assert code == 2 and errors == ["train.py: tiny_shakespeare has no such part; got 'test'; valid: train, validation"]


def call_evaluate(call: Call, path: Path, *flags: object) -> tuple[int, str, list[str]]:
    from stage4_transformer import evaluate

    return call(evaluate, "--model_path", path, *flags)

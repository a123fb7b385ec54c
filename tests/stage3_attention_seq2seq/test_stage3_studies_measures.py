"""What the studies of stage 3 compute is what they say."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from my_llm.data.catalog import Pair, Translation, load_pairs
from my_llm.text import BOS, EOS
from my_llm.translation.batches import PairBatches, encode_sources, train_tokenizer
from my_llm.translation.translator import Translated, Translator
from stage3_attention_seq2seq.data import encode_reversed
from stage3_attention_seq2seq.models import Encoder, Memory, Seq2Seq, Seq2SeqConfig
from stage3_attention_seq2seq.studies import attentions, common, context, forcing, length, reading, search

DATE = Pair("May third", "le trois mai")


@pytest.fixture(scope="module")
def text() -> common.Sentences:
    whole = load_pairs("numbers_en_fr")
    corpus = Translation("little", ("en", "fr"), whole.train[:300], whole.validation[:12], [], "made here", "0" * 64)
    return common.Sentences(corpus, train_tokenizer(corpus.train, 400), corpus.train, corpus.validation)


@pytest.fixture(scope="module")
def learner(text: common.Sentences) -> common.Trained:
    """A translator that has learnt a little: it ends its sentences, and looks somewhere."""
    return common.trained(text, common.Setting("luong_general", 30, 0, hidden=32))


class Fake(Translator):
    """Says, looks and scores as it is told; its model has seven parameters."""

    def __init__(self, **told: Any):
        self.model, self.told, self.encode = torch.nn.Linear(6, 1), told, encode_sources  # type: ignore[assignment]

    def translate(self, texts: Sequence[str], **how: Any) -> list[Translated]:
        return [Translated(self.told["says"][text], []) for text in texts]

    def look(self, text: str, tokens: Sequence[int]) -> Any:
        return self.told["look"]

    def scores(self, pairs: Sequence[Pair]) -> dict[str, float]:
        return self.told["scores"]


# --- what all share ---------------------------------------------------------------------------------------------------


def test_the_same_training_is_made_once(text: common.Sentences):
    first = common.trained(text, common.Setting("none", 1, 0, hidden=8))
    assert common.trained(text, common.Setting("none", 1, 0, hidden=8)) is first
    other = common.trained(text, common.Setting("none", 1, 1, hidden=8))
    assert other is not first and first.seconds > 0
    assert first.parameters == sum(p.numel() for p in first.translator.model.parameters())
    rate, forced = (
        common.trained(text, common.Setting("none", 2, 0, hidden=8, teacher_forcing=share)).translator.model
        for share in (0.0, 1.0)
    )
    assert not torch.equal(rate.head.weight, forced.head.weight)


def test_scores_on_the_way_are_those_of_the_steps(text: common.Sentences):
    found = common.trained(text, common.Setting("none", 4, 0, hidden=8, points=2))
    plain = common.trained(text, common.Setting("none", 4, 0, hidden=8))
    assert [step for step, _ in found.curve] == [2, 4] and plain.curve == []
    assert found.curve[-1][1] == found.translator.scores(text.validation)["exact"]
    assert torch.equal(
        found.translator.model.head.weight, plain.translator.model.head.weight
    )  # looking changes nothing
    assert not found.translator.model.training
    assert found.seconds > plain.seconds / 20  # the time of every step counts


def test_nats_are_minus_the_log_probability_of_beam_search(text: common.Sentences, learner: common.Trained):
    sources = [pair.source for pair in text.validation]
    said = learner.translator.translate(sources, beam_size=3)
    found = common.nats_of(learner.translator, sources, [answer.tokens for answer in said])
    assert any(answer.tokens[-1] == EOS for answer in said)
    for nats, answer in zip(found, said, strict=True):
        assert answer.log_probability is not None
        assert nats == pytest.approx(-answer.log_probability, abs=1e-3)


def test_nats_per_token_weigh_every_token_alike(text: common.Sentences, learner: common.Trained):
    pairs, translator = text.validation[:3], learner.translator
    total, count = 0.0, 0
    for pair in pairs:
        (source,), target = encode_sources(text.tokenizer, [pair.source]), text.tokenizer.encode(pair.target)
        with torch.no_grad():
            logits, _ = translator.model(
                torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([[BOS, *target]])
            )
        logits[:, :, [0, BOS]] = -torch.inf
        total -= float(logits[0].log_softmax(1)[range(len(target) + 1), [*target, EOS]].sum())
        count += len(target) + 1
    assert forcing.nats_per_token(translator, pairs) == pytest.approx(total / count, rel=1e-4)


def test_scores_are_means_over_seeds():
    scores = ({"exact": 0.5, "bleu": 40.0}, {"exact": 0.7, "bleu": 50.0})
    found = [common.Trained(Fake(scores=score), seconds) for score, seconds in zip(scores, (1.0, 2.0), strict=True)]
    row = common.scored(found, [])
    assert (row["exact"], row["bleu"], row["seconds"], row["parameters"]) == (60.0, 45.0, 1.5, 7)
    assert row["bleu_sd"] == pytest.approx(math.sqrt(50), abs=0.1)  # ((−5)² + 5²) / (2 − 1)


# --- attentions -------------------------------------------------------------------------------------------------------


def test_sharpness_of_even_of_sure_and_of_local_weights():
    weights = torch.tensor([[0.25] * 4, [0.0, 1.0, 0.0, 0.0], [0.3, 0.3, 0.0, 0.0]])
    entropy, largest = attentions.sharpness(weights)
    torch.testing.assert_close(entropy, torch.tensor([math.log(4), 0.0, math.log(2)]))  # the last: as shares
    torch.testing.assert_close(largest, torch.tensor([0.25, 1.0, 0.3]))


def pair_of(source: str) -> Pair:
    """The pair of the corpus with this English."""
    corpus = load_pairs("numbers_en_fr")
    return next(pair for pair in (*corpus.train, *corpus.validation) if pair.source == source)


@pytest.mark.parametrize(("where", "expected"), [("right", 1.0), ("wrong", 0.0), ("end", 0.0)])
def test_planted_looks_are_judged(text: common.Sentences, where: str, expected: float):
    pair = pair_of("one thousand seven hundred fifty-four")
    source, target = [*text.tokenizer.encode(pair.source), EOS], [*text.tokenizer.encode(pair.target), EOS]

    def words(ids: Sequence[int]) -> list[int]:
        return [sum(text.tokenizer.decode([t]).startswith(" ") for t in ids[: i + 1]) for i in range(len(ids))]

    truth, english = attentions.partners(pair), words(source)
    weights = torch.zeros(len(target), len(source))
    for row, word in enumerate(words(target)):
        aim = min(truth[word]) if where == "right" else (max(truth[word]) + 1) % 5
        weights[row, len(source) - 1 if where == "end" else english.index(aim)] = 1.0
    fake = Fake(look=(weights[None], source))
    fake.tokenizer = text.tokenizer
    found = attentions.looks_of(fake, [pair])
    assert found == (0.0, 1.0, expected)


# --- length and order -------------------------------------------------------------------------------------------------


def test_buckets_hold_every_place_once():
    assert length.buckets([1, 5, 6, 30], (5, 10)) == {"1 to 5": [0, 1], "6 to 10": [2], "11 and more": [3]}
    assert length.buckets([7, 7], (5, 10)) == {"6 to 10": [0, 1]}


def test_lists_grow_evenly_and_are_the_same_again():
    pairs = [Pair("one", "un"), Pair("two", "deux"), Pair("three", "trois")]
    found = length.lists(pairs, 8, 4, seed=3)
    assert found == length.lists(pairs, 8, 4, seed=3) != length.lists(pairs, 8, 4, seed=4)
    assert [len(pair.source.split(", ")) for pair in found] == [1, 2, 3, 4, 1, 2, 3, 4]
    french = {pair.source: pair.target for pair in pairs}
    for pair in found:
        assert pair.target.split(", ") == [french[part] for part in pair.source.split(", ")]


def test_parts_count_at_their_place():
    assert length.parts_right("un, deux", "un, deux") == (2, 2)
    assert length.parts_right("deux, un", "un, deux") == (0, 2)
    assert length.parts_right("un", "un, deux, trois") == (1, 3)
    assert length.parts_right("un, deux, trois", "un") == (1, 1)
    pairs = [Pair("", "a, b, c"), Pair("", "d, e")]
    found = reading.places_right(["a, x, x", "x"], pairs)
    assert found == {"right": 20.0, "first": 50.0, "last": 0.0}  # a of five; a of a, d; none of c, e


def test_scores_by_length_by_hand():
    pairs = [Pair("one", "un"), Pair("two two two two two two", "deux, deux")]
    says = dict(zip([pair.source for pair in pairs], ("un", "deux, trois"), strict=True))
    found = length.scores_by_length(Fake(says=says), pairs)
    assert {name: right for name, (right, _) in found.items()} == {"1 to 5": 100.0, "6 to 10": 50.0}


def test_an_encoder_of_one_direction_sees_the_past_only():
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(13, 13, embedding=3, hidden=5, shared=True)).eval()
    source = torch.randint(13, (2, 7), generator=torch.Generator().manual_seed(1))
    changed, lengths = source.clone(), torch.tensor([7, 5])
    changed[:, 4] = (source[:, 4] + 1) % 13
    before = model.encoder(source, lengths)[0].shape
    for encoder in (model.encoder, reading.OneWayEncoder(model).eval()):
        same = torch.isclose(encoder(source, lengths)[0], encoder(changed, lengths)[0]).all(dim=2)
        assert same[:, :4].all() == (type(encoder) is not Encoder) and not same[:, 4].any()
    reading.one_way(model)
    model.eval()
    outputs, final = model.encoder(source, lengths)
    assert outputs.shape == before == (2, 7, 10)
    torch.testing.assert_close(final, outputs[[0, 1], [6, 4]])
    assert model.encoder.embedding is model.decoder.embedding
    assert model(source, lengths, source)[0].shape == (2, 7, 13)


def test_reversed_sources_are_learnt_from_reversed(text: common.Sentences):
    forth, back = (
        PairBatches(text.tokenizer, text.train, max_length=60, encode=encode, batch_size=1, seed=0)(0).source[0]
        for encode in (encode_sources, encode_reversed)
    )
    assert back.tolist() == [*forth.tolist()[-2::-1], EOS]
    found = common.trained(text, common.Setting("none", 1, 0, hidden=8, reverse=True))
    assert found.translator.encode is encode_reversed


# --- context ----------------------------------------------------------------------------------------------------------


def test_an_even_look_is_the_mean_of_the_real_keys():
    keys, real = torch.randn(1, 3, 2), torch.tensor([[True, True, False]])
    found, weights = context.EvenAttention(2, 2, 2)(torch.randn(1, 2), Memory(keys, None, real, keys[:, 0]))
    torch.testing.assert_close(found, keys[:, :2].mean(dim=1))
    assert weights.tolist() == [[0.5, 0.5, 0.0]]


def test_only_a_dynamic_context_changes(text: common.Sentences, learner: common.Trained):
    fixed = common.trained(text, common.Setting("none", 30, 0, hidden=32)).translator
    still = context.held_still(learner).translator
    assert context.change(fixed, text.validation) == pytest.approx(0, abs=1e-5)
    assert context.change(still, text.validation) == pytest.approx(0, abs=1e-5)
    assert context.change(learner.translator, text.validation) > 1e-4  # and the original was left as it was
    sentence = text.validation[0].source
    tokens, contexts = context.contexts_of(learner.translator, sentence)
    assert tokens == learner.translator.translate([sentence])[0].tokens
    assert contexts.shape == (len(tokens), 32)


def test_likeness_is_the_cosine():
    found = context.likeness(torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]]))
    half = math.sqrt(0.5)
    torch.testing.assert_close(found, torch.tensor([[1.0, half, 0.0], [half, 1.0, half], [0.0, half, 1.0]]))


def test_side_by_side_shows_where_they_differ():
    long, other = "b b b b b b", "c c c c c c"
    pairs = [Pair(source, "z") for source in ("a", long, other)]
    fixed, same = {"a": "x", long: "x", other: "y"}, {"a": "w", long: "x", other: "y"}
    fakes = {"fixed": Fake(says=fixed), "dynamic": Fake(says=same), "dynamic, held still": Fake(says=fixed)}
    assert [pair.source for pair, _ in context.side_by_side(fakes, pairs)] == [long, other]  # no difference: the first
    fakes["dynamic"] = Fake(says={**same, other: "z"})
    ((pair, said),) = context.side_by_side(fakes, pairs)
    assert pair.source == other and said == {"fixed": "y", "dynamic": "z", "dynamic, held still": "y"}


# --- search -----------------------------------------------------------------------------------------------------------


def test_quality_knows_other_right_answers_and_the_length():
    pairs = [Pair("", "a b c d", ("e f g h",)), Pair("", "i j k l")]
    bleu, exact, words = search.quality([Translated("e f g h", []), Translated("i j k l m m", [])], pairs)
    assert exact == 50 and words == pytest.approx(10 / 8) and 0 < bleu < 100


def test_ways_to_choose_words(text: common.Sentences, learner: common.Trained):
    sources = [text.validation[0].source] * 4
    say = {name: [answer.text for answer in way(learner.translator, sources, 0)] for name, way in search.WAYS.items()}
    assert len(set(say["greedy"])) == len(set(say["beam 5"])) == 1
    assert len(set(say["sampling at 1"])) > 1
    assert search.by_sampling(learner.translator, sources, 0, 1.0) == search.by_sampling(
        learner.translator, sources, 0, 1.0
    )

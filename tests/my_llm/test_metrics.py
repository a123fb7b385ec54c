"""Metrics: by hand on small numbers, against scikit-learn and sacrebleu on many."""

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from my_llm import metrics
from my_llm.errors import DataError

CLASSES = 5
pairs = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)


def test_classification_by_hand():
    target, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 1]
    assert metrics.accuracy(predicted, target) == 4 / 6
    confusion = metrics.confusion_matrix(predicted, target, 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 2, 0], [0, 1, 0]]  # rows = truth
    precision, recall, f1 = metrics.precision_recall_f1(confusion)
    assert precision.tolist() == [2 / 2, 2 / 4, 0]
    assert recall.tolist() == [2 / 3, 2 / 2, 0]
    assert f1.tolist() == pytest.approx([4 / 5, 4 / 6, 0])  # 2·2/(3+2), 2·2/(2+4)
    assert metrics.macro_f1(confusion) == pytest.approx((4 / 5 + 4 / 6 + 0) / 3)


def test_macro_f1_leaves_out_a_class_that_never_occurs():
    assert metrics.macro_f1([[3, 0, 0], [0, 4, 0], [0, 0, 0]]) == 1
    assert metrics.macro_f1([[3, 0, 0], [0, 4, 1], [0, 0, 0]]) < 1  # predicted once: it counts, with F1 = 0


@given(pairs)
def test_classification_equals_scikit_learn(values):
    target, predicted = np.array(values).T
    confusion = metrics.confusion_matrix(predicted, target, CLASSES)
    labels = range(CLASSES)
    assert (confusion == sklearn_metrics.confusion_matrix(target, predicted, labels=labels)).all()
    assert metrics.accuracy(predicted, target) == pytest.approx(sklearn_metrics.accuracy_score(target, predicted))
    assert metrics.macro_f1(confusion) == pytest.approx(
        sklearn_metrics.f1_score(target, predicted, average="macro", zero_division=0)
    )
    theirs = sklearn_metrics.precision_recall_fscore_support(target, predicted, labels=labels, zero_division=0)
    for ours, other in zip(metrics.precision_recall_f1(confusion), theirs):
        assert ours == pytest.approx(other)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: metrics.accuracy([1, 2], [1]),
        lambda: metrics.accuracy([], []),
        lambda: metrics.confusion_matrix([0, 3], [0, 1], 3),
        lambda: metrics.confusion_matrix([0, -1], [0, 1], 3),
        lambda: metrics.macro_f1(np.zeros((2, 2))),
        lambda: metrics.perplexity(1.0, 0),
        lambda: metrics.bits_per_byte(1.0, 0),
        lambda: metrics.bleu([], []),
        lambda: metrics.bleu(["a"], ["a", "b"]),
        lambda: metrics.chrf(["a", "b"], [["a"], []]),
    ],
)
def test_nothing_to_score_is_one_clear_line(wrong):
    with pytest.raises(DataError) as error:
        wrong()
    assert "\n" not in str(error.value)


def test_language_model_metrics_by_hand():
    uniform = 7 * math.log(27)  # seven targets, each one of 27 equally likely letters
    assert metrics.perplexity(uniform, 7) == pytest.approx(27)
    assert metrics.bits_per_byte(uniform, 7) == pytest.approx(math.log2(27))  # one byte a letter
    assert metrics.bits_per_byte(8 * math.log(2), 2) == pytest.approx(4)  # 8 bits over 2 bytes
    assert metrics.perplexity(1e6, 1) == math.inf


def test_bleu_by_hand():
    # 5 of 6 words, 3 of 5 pairs, 1 of 4 triples and 0 of 3 quadruples (→ ½ of 3) match; no brevity penalty
    score = metrics.bleu(["the cat sat on a mat"], ["the cat sat in a mat"])
    assert score == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 0.5 / 3) ** 0.25)
    # everything matches, 4 tokens for 8: BP = e^(1 - 8/4)
    assert metrics.bleu(["a b c d"], ["a b c d e f g h"]) == pytest.approx(100 * math.exp(-1))
    # "the" seven times, clipped to the two of the reference (Papineni's example): no pair matches
    assert metrics.ngrams(["the"] * 7, 1).total() == 7
    assert metrics.bleu(["the the the the the the the"], ["the cat is on the mat"]) == pytest.approx(
        100 * (2 / 7 * 0.5 / 6 * 0.25 / 5 * 0.125 / 4) ** 0.25
    )


def test_several_references_allow_the_largest_count_not_the_sum():
    # "the" twice, once in each reference: 1 of 2 counts. Words 3 of 4, pairs 1 of 3 ("a b"), then ½ of 2 and ¼ of 1
    score = metrics.bleu(["the the a b"], [["the x a b", "the y z w"]])
    assert score == pytest.approx(100 * (3 / 4 * 1 / 3 * 0.5 / 2 * 0.25 / 1) ** 0.25)
    assert score == sacrebleu.corpus_bleu(["the the a b"], [["the x a b"], ["the y z w"]]).score


def test_tokens_of_13a():
    text = 'It costs $1,000.5, "he" said: don\'t &amp; state-of-the-art 3-4.'
    expected = 'It costs $ 1,000.5 , " he " said : don\'t & state-of-the-art 3 - 4 .'
    assert metrics.tokenize_13a(text) == expected.split()


WORDS = [
    "the",
    "cat",
    "Cat",
    "sat",
    "on",
    "mat",
    "l'été",
    "中文",
    "1",
    "2.5",
    "1,000",
    "-\n",
    "&amp;",
    "&quot;",
    "<skipped>",
]
MARKS = [*".,-!()[`~_$«»é", "\n", "\t", "\u00a0", " "]
sentences = st.lists(st.sampled_from(WORDS + MARKS), max_size=14).map(" ".join) | st.text(max_size=12)


@st.composite
def corpora(draw):
    """Hypotheses and, for each, the same number of references; some equal, some cut, some empty, some unrelated."""
    count, several = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    references = draw(st.lists(st.lists(sentences, min_size=several, max_size=several), min_size=count, max_size=count))
    cut = [(draw(st.sampled_from(group)), draw(st.integers(0, 20))) for group in references]
    hypotheses = [draw(st.sampled_from([text, text[length:], ""]) | sentences) for text, length in cut]
    return hypotheses, references


@settings(max_examples=150)
@given(corpora())
def test_bleu_and_chrf_equal_sacrebleu(corpus):
    hypotheses, references = corpus
    streams = [list(stream) for stream in zip(*references)]
    assert metrics.bleu(hypotheses, references) == sacrebleu.corpus_bleu(hypotheses, streams, force=True).score
    assert metrics.chrf(hypotheses, references) == sacrebleu.corpus_chrf(hypotheses, streams).score
    if len(streams) == 1:
        assert metrics.bleu(hypotheses, streams[0]) == metrics.bleu(hypotheses, references)


def test_translations_as_they_come_out_of_a_model():
    references = [
        "Deux jeunes hommes blancs sont dehors, près de buissons.",
        "Une petite fille grimpe dans une maisonnette en bois !",
        "L'homme d'affaires paie 1 250,50 euros (taxes comprises) aujourd'hui.",
    ]
    hypotheses = [
        "Deux jeunes hommes blancs sont dehors près de buissons.",
        "Une fillette grimpe dans une maison en bois.",
        "",
    ]
    bleu, chrf = metrics.bleu(hypotheses, references), metrics.chrf(hypotheses, references)
    assert bleu == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert chrf == sacrebleu.corpus_chrf(hypotheses, [references]).score
    assert 20 < bleu < 60 and 40 < chrf < 80


@given(st.lists(sentences.map("at least four words: {}".format), min_size=1, max_size=3))
def test_the_reference_itself_scores_one_hundred(texts):
    assert metrics.bleu(texts, texts) == pytest.approx(100)
    assert metrics.chrf(texts, texts) == pytest.approx(100)

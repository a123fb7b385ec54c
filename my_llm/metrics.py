"""What the numbers in the tables mean: each metric with its formula and its source. NumPy and the standard library.

Classification: accuracy, confusion matrix, precision, recall, F1. Tagging: precision, recall, F1 of whole entities.
Language models: perplexity, bits per byte. Translation: BLEU and chrF, equal to sacrebleu's defaults to the last digit.

A number without its unit says little: a perplexity is per character, per word or per token, and only bits per byte
compares models with different vocabularies. A BLEU belongs to a test set and a tokenisation.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from my_llm.errors import DataError

References = Sequence[str] | Sequence[Sequence[str]]


# ---------------------------------------------------------------- classification


def accuracy(predicted: ArrayLike, target: ArrayLike) -> float:
    """The share of right answers, in [0, 1]: (1/N) Σ [predicted = target]. Both have shape (N,)."""
    predicted, target = _pair(predicted, target)
    return float((predicted == target).mean())


def confusion_matrix(predicted: ArrayLike, target: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts with shape (C, C): row = truth, column = prediction, diagonal = right.

    Raises:
        DataError: a class outside 0 … classes - 1.
    """
    predicted, target = _pair(predicted, target)
    for values in (predicted, target):
        if values.min() < 0 or values.max() >= classes:
            raise DataError("class out of range", got=f"{values.min()} … {values.max()}", valid=f"0 … {classes - 1}")
    return np.bincount(target * classes + predicted, minlength=classes**2).reshape(classes, classes)


def precision_recall_f1(confusion: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """Per class, each of shape (C,), with TP = diagonal:

        precision = TP / column sum     of what was called c, how much is c
        recall    = TP / row sum        of what is c, how much was found
        F1        = 2 TP / (row sum + column sum)     their harmonic mean (van Rijsbergen 1979)

    0/0 counts as 0, as in scikit-learn.
    """
    matrix = np.asarray(confusion)
    hits, truth, called = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return _divide(hits, called), _divide(hits, truth), _divide(2 * hits, truth + called)


def macro_f1(confusion: ArrayLike) -> float:
    """The plain mean of the F1 of the classes, so that a rare class weighs as much as a common one.

    A class that occurs neither in the truth nor among the predictions is left out of the mean (it cannot be judged); a
    class that occurs in only one of them counts with F1 = 0. This is scikit-learn's f1_score(average="macro").
    """
    matrix = np.asarray(confusion)
    present = matrix.sum(axis=0) + matrix.sum(axis=1) > 0
    if not present.any():
        raise DataError("no examples to score")
    return float(precision_recall_f1(matrix)[2][present].mean())


# ---------------------------------------------------------------- entities


class EntityScore(NamedTuple):
    """How well entities were found, as fractions, and how many there are."""

    precision: float
    recall: float
    f1: float
    support: int


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The entities that BIO tags describe, as (kind, first word, word after the last one).

    B-X opens an entity, I-X goes on with it. Tags may be ill-formed, as a model writes them: an I-X that does not
    continue an X opens one. That is how the conlleval script reads them (Tjong Kim Sang 2002), and with it every paper.
    Any other tag is a DataError.
    """
    found, kind, first = set(), "", 0
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, own = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not own):
            raise DataError("not a BIO tag", got=tag, valid="O, B-X, I-X")
        if kind and (prefix != "I" or own != kind):
            found.add((kind, first, position))
            kind = ""
        if own and not kind:
            kind, first = own, position
    return found


def entity_scores(predicted: Sequence[Sequence[str]], target: Sequence[Sequence[str]]) -> dict[str, EntityScore]:
    """Precision, recall and F1 of whole entities, of each kind and, under "all", of all kinds together (micro).

    Both arguments hold the tags of each sentence. An entity is right if both its ends and its kind are; half of a name
    is worth nothing. 0/0 counts as 0. No sentence, or sentences of different lengths, are a DataError.
    """
    if not target or [len(tags) for tags in predicted] != [len(tags) for tags in target]:
        raise DataError("predicted and true tags must pair up", got=f"{len(predicted)} and {len(target)} sentences")
    right, true, found = Counter(), Counter(), Counter()
    for ours, theirs in zip(map(entities, predicted), map(entities, target)):
        for counter, group in ((right, ours & theirs), (true, theirs), (found, ours)):
            counter.update(key for kind, _, _ in group for key in (kind, "all"))
    scores = {}
    for kind in sorted({"all", *true, *found}):
        hits, support, called = right[kind], true[kind], found[kind]
        shares = (hits / max(called, 1), hits / max(support, 1), 2 * hits / max(support + called, 1))
        scores[kind] = EntityScore(*shares, support)
    return scores


# ---------------------------------------------------------------- language models


def perplexity(total_nats: float, count: int) -> float:
    """exp(total / count): between how many equally likely symbols the model hesitates (Jelinek et al. 1977).

    Args:
        total_nats: Cross-entropy summed over the targets, in nats.
        count: Number of targets. Their kind (character, word, token) is the unit of the result.
    """
    if count <= 0:
        raise DataError("perplexity of nothing", got=count, valid="a count of at least 1")
    try:
        return math.exp(total_nats / count)
    except OverflowError:  # above e^709; a diverged model, not a failure of the program
        return math.inf


def bits_per_byte(total_nats: float, n_bytes: int) -> float:
    """total / (ln 2 · bytes of UTF-8 text): the size to which the model could compress the text (Shannon 1948).

    Independent of the vocabulary, so it compares characters with words with tokens.
    """
    if n_bytes <= 0:
        raise DataError("bits per byte of an empty text", got=n_bytes, valid="at least 1 byte")
    return total_nats / math.log(2) / n_bytes


# ---------------------------------------------------------------- translation

BLEU_ORDER = 4
CHRF_ORDER, CHRF_BETA = 6, 2


def bleu(hypotheses: Sequence[str], references: References) -> float:
    """Corpus BLEU in [0, 100], cased, on detokenised text (Papineni et al. 2002).

        BLEU = 100 · BP · (p1 · p2 · p3 · p4)^¼,     BP = min(1, e^(1 - r/h))

    p_n: the share of the hypotheses' n-grams that occur in a reference, each counted at most as often as there; counts
    are summed over the corpus before dividing. h: tokens of all hypotheses; r: tokens of the reference nearest in
    length to each. An order without a match counts as 1/2 match, the next such as 1/4, … (Chen and Cherry 2014, NIST).
    Equals sacrebleu: case:mixed|eff:no|tok:13a|smooth:exp.

    Args:
        hypotheses: One translation per sentence.
        references: For each sentence the right translation, or a sequence of several right ones.

    Raises:
        DataError: nothing to score, or the two sequences differ in length.
    """
    matches, totals = np.zeros(BLEU_ORDER, dtype=int), np.zeros(BLEU_ORDER, dtype=int)
    length = reference_length = 0
    for hypothesis, several in zip(hypotheses, _several(hypotheses, references)):
        tokens, targets = tokenize_13a(hypothesis), [tokenize_13a(reference) for reference in several]
        length += len(tokens)
        reference_length += min((abs(len(tokens) - len(target)), len(target)) for target in targets)[1]
        for order in range(BLEU_ORDER):
            counts, allowed = ngrams(tokens, order + 1), Counter()
            for target in targets:
                allowed |= ngrams(target, order + 1)  # the largest count over the references
            matches[order] += (counts & allowed).total()
            totals[order] += counts.total()
    if not matches.any() or not totals.all():
        return 0.0
    brevity = min(1.0, math.exp(1 - reference_length / length))
    return brevity * math.exp(sum(math.log(p) for p in _smoothed(matches, totals)) / BLEU_ORDER)


def chrf(hypotheses: Sequence[str], references: References) -> float:
    """Corpus chrF2 in [0, 100]: F-score over character n-grams, n = 1 … 6, white space removed (Popović 2015).

        chrF = 100 · (1 + β²) P R / (β² P + R),     β = 2: recall counts twice as much as precision

    P and R: precision and recall, counted over the corpus for each n, then averaged over the n that occur. Of several
    references the one with the best chrF of that sentence counts. Needs no tokeniser and forgives a wrong word ending,
    so it suits languages with many forms. Equals sacrebleu: case:mixed|eff:yes|nc:6|nw:0|space:no.
    """
    total = np.zeros((CHRF_ORDER, 3), dtype=int)
    for hypothesis, several in zip(hypotheses, _several(hypotheses, references)):
        total += max((_character_matches(hypothesis, reference) for reference in several), key=_chrf_score)
    return _chrf_score(total)


def tokenize_13a(text: str) -> list[str]:
    """The tokens of the WMT script mteval-v13a: marks apart, but 1,000.5 whole, so that every paper counts alike."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(entity, character)
    text = re.sub(r"([!-&(-+/:-@\[-`{-~])", r" \1 ", f" {text} ")  # ASCII marks except ' , - .
    text = re.sub(r"([^0-9])([.,])", r"\1 \2 ", text)
    text = re.sub(r"([.,])([^0-9])", r" \1 \2", text)
    return re.sub(r"([0-9])(-)", r"\1 \2 ", text).split()


def ngrams(symbols: Sequence[str], order: int) -> Counter:
    """How often each run of `order` neighbours occurs; a string gives strings, a list gives tuples."""
    keys = (symbols[i : i + order] for i in range(len(symbols) - order + 1))
    return Counter(keys if isinstance(symbols, str) else map(tuple, keys))


def _smoothed(matches: NDArray, totals: NDArray) -> list[float]:
    """The four precisions in percent; the first order without a match counts as 1/2 match, the next as 1/4, …"""
    precisions, divisor = [], 1.0
    for match, total in zip(matches.tolist(), totals.tolist()):
        divisor = divisor if match else 2 * divisor
        precisions.append(100.0 * match / total if match else 100.0 / (divisor * total))
    return precisions


def _character_matches(hypothesis: str, reference: str) -> NDArray[np.int64]:
    """For each n the counts (hypothesis, reference, both), shape (6, 3)."""
    hypothesis, reference = "".join(hypothesis.split()), "".join(reference.split())
    rows = []
    for order in range(1, CHRF_ORDER + 1):
        ours, theirs = ngrams(hypothesis, order), ngrams(reference, order)
        # a reference too short for this order says nothing about the hypothesis
        rows.append((ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()))
    return np.array(rows)


def _chrf_score(counts: NDArray) -> float:
    rows = [row for row in counts.tolist() if row[0] and row[1]]
    if not any(both for _, _, both in rows):
        return 0.0
    precision = recall = 0.0
    for ours, theirs, both in rows:  # not sum(): since Python 3.12 it rounds differently from sacrebleu's loop
        precision += both / ours
        recall += both / theirs
    precision, recall, weight = precision / len(rows), recall / len(rows), CHRF_BETA**2
    return 100 * ((1 + weight) * precision * recall / (weight * precision + recall))


def _several(hypotheses: Sequence[str], references: References) -> list[Sequence[str]]:
    """The references of each sentence as a sequence, after checking that there are any."""
    if not hypotheses or len(hypotheses) != len(references):
        raise DataError(
            "hypotheses and references must pair up", got=f"{len(hypotheses)} and {len(references)}", valid="equal, ≥ 1"
        )
    several = [[entry] if isinstance(entry, str) else entry for entry in references]
    if not all(several):
        raise DataError("a sentence without a reference", got=f"sentence {[bool(s) for s in several].index(False)}")
    return several


def _pair(predicted: ArrayLike, target: ArrayLike) -> tuple[NDArray, NDArray]:
    predicted, target = np.asarray(predicted), np.asarray(target)
    if predicted.shape != target.shape or predicted.ndim != 1 or not predicted.size:
        raise DataError(
            "predictions and targets must pair up", got=f"{predicted.shape}, {target.shape}", valid="(N,) both"
        )
    return predicted, target


def _divide(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)

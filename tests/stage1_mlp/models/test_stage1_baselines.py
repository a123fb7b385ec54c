"""Baselines: sparse products, and each classifier against scikit-learn on the same data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from my_llm.errors import DataError
from stage1_mlp.models.baselines import (
    BASELINES,
    Bags,
    cross_entropy_and_slope,
    decision_tree,
    gini,
    linear_svm,
    logistic_regression,
    naive_bayes,
    squared_hinge_and_slope,
    truth,
)

B, V, C = 120, 31, 3


def corpus(seed=0):
    """Texts of 8 words; each class prefers its own ten words. Returns bags, the same as a dense table, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(C, size=B)
    dense = np.zeros((B, V), dtype=np.float32)
    for i, label in enumerate(labels):
        own = rng.random(8) < 0.45
        words = np.where(own, 10 * label + rng.integers(10, size=8), rng.integers(V, size=8))
        np.add.at(dense[i], words, 1)
    return sparse(dense), dense, torch.tensor(labels)


def sparse(dense):
    return Bags.pack([(np.flatnonzero(row).tolist(), row[row > 0].tolist()) for row in dense], dense.shape[1])


def rows_of_length_one(dense):
    return dense / np.linalg.norm(dense, axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=7))
def test_products_equal_dense_ones(texts):
    dense = torch.zeros(len(texts), 7)
    for row, words in zip(dense, texts, strict=True):
        for word in words:
            row[word] += 2.0
    bags = sparse(dense.numpy())
    matrix, grad = torch.randn(7, 3), torch.randn(len(texts), 3)
    torch.testing.assert_close(bags.times(matrix), dense @ matrix, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bags.transposed().times(grad), dense.T @ grad, rtol=1e-5, atol=1e-5)
    chosen = torch.tensor([5, 0, 3])
    assert torch.equal(bags.presence(chosen), dense[:, chosen] > 0)


def test_naive_bayes_equals_sklearn():
    from sklearn.naive_bayes import MultinomialNB

    bags, dense, labels = corpus()
    ours, theirs = naive_bayes(bags, labels, C), MultinomialNB(alpha=1.0).fit(dense, labels.numpy())
    np.testing.assert_allclose(ours.weights.numpy().T, theirs.feature_log_prob_, atol=1e-5)
    np.testing.assert_allclose(ours.bias.numpy(), theirs.class_log_prior_, atol=1e-5)
    assert ours.predict(bags).tolist() == theirs.predict(dense).tolist()


def test_naive_bayes_arithmetic():
    bags = Bags.pack([([0], [3.0]), ([1], [1.0])], words=2)
    model = naive_bayes(bags, torch.tensor([0, 1]), 2)
    expected = torch.tensor([[4 / 5, 1 / 3], [1 / 5, 2 / 3]])  # (3+1)/(3+2), (0+1)/(1+2); (0+1)/(3+2), (1+1)/(1+2)
    torch.testing.assert_close(model.weights.exp(), expected)


def test_logistic_regression_reaches_sklearns_optimum():
    from sklearn.linear_model import LogisticRegression

    _, dense, labels = corpus()
    dense = rows_of_length_one(dense)
    ours = logistic_regression(sparse(dense), labels, C, penalty=1e-3, iterations=100)
    theirs = LogisticRegression(C=1 / (1e-3 * B), tol=1e-10, max_iter=10_000).fit(dense, labels.numpy())
    np.testing.assert_allclose(ours.weights.numpy().T, theirs.coef_, atol=0.02)


def test_linear_svm_reaches_sklearns_optimum():
    from sklearn.svm import LinearSVC

    _, dense, labels = corpus()
    dense = rows_of_length_one(dense)
    penalty = 1e-2
    ours = linear_svm(sparse(dense), labels, C, penalty=penalty, iterations=100)
    svm = LinearSVC(C=1 / (penalty * B), dual=False, intercept_scaling=100, tol=1e-9, max_iter=10_000)
    theirs = svm.fit(dense.astype(float), labels.numpy())

    def objective(weights, bias):
        scores = torch.tensor(dense @ weights + bias, dtype=torch.float64)
        loss, _ = squared_hinge_and_slope(scores, truth(labels, C).double())
        return float(loss) + penalty / 2 * float((weights**2).sum())

    best = objective(theirs.coef_.T, theirs.intercept_)
    assert objective(ours.weights.numpy(), ours.bias.numpy()) == pytest.approx(best, rel=1e-4)
    np.testing.assert_allclose(ours.weights.numpy().T, theirs.coef_, atol=0.02)


@pytest.mark.parametrize("objective", [cross_entropy_and_slope, squared_hinge_and_slope])
def test_slopes_equal_autograd(objective):
    torch.manual_seed(0)
    scores = torch.randn(7, C, dtype=torch.float64, requires_grad=True)
    target = truth(torch.tensor([0, 1, 2, 2, 1, 0, 0]), C).double()
    loss, slope = objective(scores, target)
    (expected,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(slope.detach(), expected, rtol=0, atol=1e-9)


def test_decision_tree_fits_like_sklearns():
    from sklearn.tree import DecisionTreeClassifier

    bags, dense, labels = corpus()
    present = dense > 0
    for depth, min_leaf in ((1, 1), (3, 1), (30, 5)):
        ours = decision_tree(bags, labels, C, depth=depth, min_leaf=min_leaf)
        theirs = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=min_leaf, random_state=0)
        theirs.fit(present, labels.numpy())
        right = (ours.predict(bags) == labels).double().mean().item()
        assert right == pytest.approx(theirs.score(present, labels.numpy()), abs=0.03)  # ties may fall either way
    deep = decision_tree(bags, labels, C, min_leaf=1)
    assert (deep.predict(bags) == labels).all()


def test_decision_tree_learns_xor():
    bags = Bags.pack([([], []), ([0], [1.0]), ([1], [1.0]), ([0, 1], [1.0, 1.0])], words=2)
    labels = torch.tensor([0, 1, 1, 0])
    assert decision_tree(bags, labels, 2, min_leaf=1).predict(bags).tolist() == labels.tolist()


def test_gini_arithmetic():
    counts = torch.tensor([[4.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    assert gini(counts).tolist() == [0.0, 2.0, 0.0]  # 4 (1 − 1), 4 (1 − ¼ − ¼), nothing


@pytest.mark.parametrize("name", BASELINES)
def test_one_slot_and_it_generalises(name):
    bags, _, labels = corpus()
    model = BASELINES[name](bags, labels, C)
    fresh, _, truth_labels = corpus(seed=1)
    right = (model.predict(fresh) == truth_labels).double().mean().item()
    assert right > (0.6 if name == "decision_tree" else 0.75)


@pytest.mark.parametrize("name", BASELINES)
def test_texts_are_judged_one_by_one(name):
    bags, dense, labels = corpus()
    model = BASELINES[name](bags, labels, C)
    together = model.predict(bags)
    assert [model.predict(sparse(dense[i : i + 1])).item() for i in range(10)] == together[:10].tolist()


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], []])
def test_impossible_labels_are_refused(labels):
    with pytest.raises(DataError, match="labels"):
        truth(torch.tensor(labels, dtype=torch.int64), 3)

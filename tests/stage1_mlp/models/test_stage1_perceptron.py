"""The perceptron: learns what a line can separate, within Novikoff's bound, and nothing else."""

import numpy as np

from stage1_mlp.models.perceptron import Perceptron

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def test_one_mistake_moves_the_weights_by_the_input():
    neuron = Perceptron(3, learning_rate=0.5)
    assert neuron.learn_one(np.array([1.0, -2.0, 4.0]), 1)  # 0 > 0 is false, so it answers 0: a mistake
    np.testing.assert_array_equal(neuron.weights, [0.5, -1.0, 2.0])  # 0 + 0.5 · (1 − 0) · x
    assert neuron.bias == 0.5
    assert not neuron.learn_one(np.array([1.0, -2.0, 4.0]), 1)  # 0.5 + 2 + 8 + 0.5 > 0: right, nothing moves
    np.testing.assert_array_equal(neuron.weights, [0.5, -1.0, 2.0])


def test_learns_and_and_or():
    for table in ([0, 0, 0, 1], [0, 1, 1, 1]):
        neuron = Perceptron(2)
        assert neuron.fit(CORNERS, np.array(table))[-1] == 0
        assert neuron.predict(CORNERS).tolist() == table


def test_never_learns_xor():
    mistakes = Perceptron(2).fit(CORNERS, np.array([0, 1, 1, 0]), epochs=300)
    assert len(mistakes) == 300
    assert min(mistakes) > 0


def test_separable_data_converges_within_novikoffs_bound():
    rng = np.random.default_rng(0)
    line = np.array([3.0, -1.0, 2.0, 0.5]) / np.linalg.norm([3.0, -1.0, 2.0, 0.5, 0.7])
    offset = 0.7 / np.linalg.norm([3.0, -1.0, 2.0, 0.5, 0.7])  # (line, offset) has length 1
    x = rng.standard_normal((500, 4))
    x = x[abs(x @ line + offset) > 0.1]  # margin γ of at least 0.1
    target = (x @ line + offset > 0).astype(int)
    mistakes = Perceptron(4).fit(x, target, epochs=1000)
    longest = np.sqrt((x**2).sum(axis=1).max() + 1)  # the bias is an input that is always 1
    assert mistakes[-1] == 0
    assert 0 < sum(mistakes) <= (longest / 0.1) ** 2

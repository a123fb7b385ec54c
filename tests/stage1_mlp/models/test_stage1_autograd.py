"""Autograd on numbers: gradients equal finite differences and torch's; deep graphs; a drawing."""

import math
import random
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stage1_mlp.models.autograd import Value, ValueMLP, ancestors_first, draw, layout

NUMBERS = st.floats(0.3, 3.0)


def formula(a, b, exp, log, tanh, relu):
    """Uses every operation, and some numbers twice."""
    c = a * b + 2.0 - b / a + (1.0 - a) + 3.0 / b
    d = tanh(c) * relu(a - b) + relu(b - a) ** 2 + exp(-a) + log(b * b)
    return d * d + 0.5 * c - d


@given(a=NUMBERS, b=NUMBERS)
def test_gradients_equal_torch(a, b):
    x, y = Value(a), Value(b)
    ours = formula(x, y, Value.exp, Value.log, Value.tanh, Value.relu)
    ours.backward()
    u, v = (torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in (a, b))
    theirs = formula(u, v, torch.exp, torch.log, torch.tanh, torch.relu)
    theirs.backward()
    assert ours.data == pytest.approx(theirs.item(), abs=1e-9)
    assert u.grad is not None and v.grad is not None
    assert (x.grad, y.grad) == pytest.approx((u.grad.item(), v.grad.item()), rel=1e-9, abs=1e-9)


def test_gradients_equal_finite_differences():
    def value(a, b):
        return formula(Value(a), Value(b), Value.exp, Value.log, Value.tanh, Value.relu).data

    x, y = Value(0.7), Value(1.9)
    formula(x, y, Value.exp, Value.log, Value.tanh, Value.relu).backward()
    h = 1e-6
    assert x.grad == pytest.approx((value(0.7 + h, 1.9) - value(0.7 - h, 1.9)) / (2 * h), abs=1e-6)
    assert y.grad == pytest.approx((value(0.7, 1.9 + h) - value(0.7, 1.9 - h)) / (2 * h), abs=1e-6)


def test_a_number_used_twice_gets_both_gradients():
    x = Value(3.0)
    (x * x + x).backward()
    assert x.grad == 7.0  # 2 · 3 + 1


def test_backward_twice_does_not_add_up():
    x = Value(3.0)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad == 6.0


def test_parents_come_before_children_each_once():
    a = Value(1.0)
    b = a + a
    c = b * a
    order = ancestors_first(c)
    assert order == [a, b, c]


def test_a_sum_longer_than_pythons_recursion():
    x = Value(1.0)
    total = Value(0.0)
    for _ in range(2 * sys.getrecursionlimit()):
        total = total + x
    total.backward()
    assert x.grad == 2 * sys.getrecursionlimit()


def test_network_equals_torch():
    net = ValueMLP((2, 3, 1), seed=1)
    loss = (net([0.5, -1.5])[0] - 1.0) ** 2
    loss.backward()
    (w1, b1), (w2, b2) = (
        (
            torch.tensor(
                [[w.data for w in neuron.weights] for neuron in layer], dtype=torch.float64, requires_grad=True
            ),
            torch.tensor([neuron.bias.data for neuron in layer], dtype=torch.float64, requires_grad=True),
        )
        for layer in net.layers
    )
    x = torch.tensor([0.5, -1.5], dtype=torch.float64)
    theirs = ((w2 @ torch.tanh(w1 @ x + b1) + b2)[0] - 1) ** 2
    theirs.backward()
    assert loss.data == pytest.approx(theirs.item(), abs=1e-12)
    for ours, grad in zip(net.layers[0], w1.grad, strict=True):
        assert [w.grad for w in ours.weights] == pytest.approx(grad.tolist(), abs=1e-12)
    assert len(list(net.parameters())) == 2 * 3 + 3 + 3 + 1


def test_wrong_number_of_inputs_is_noticed():
    with pytest.raises(ValueError):
        ValueMLP((2, 3, 1))([1.0, 2.0, 3.0])


def test_learns_xor():
    net = ValueMLP((2, 4, 1), seed=2)
    examples = [((-1.0, -1.0), -1.0), ((-1.0, 1.0), 1.0), ((1.0, -1.0), 1.0), ((1.0, 1.0), -1.0)]
    for _ in range(150):
        loss = sum(((net(x)[0] - target) ** 2 for x, target in examples), Value(0.0))
        loss.backward()
        for p in net.parameters():
            p.data -= 0.05 * p.grad
    assert all(net(x)[0].data * target > 0.5 for x, target in examples)


def test_the_same_seed_gives_the_same_network():
    weights = [[p.data for p in ValueMLP((2, 3, 1), seed).parameters()] for seed in (0, 0, 1)]
    assert weights[0] == weights[1] != weights[2]
    assert random.Random(0).gauss(0, 2**-0.5) == weights[0][0]


def test_layout_puts_every_number_left_of_its_uses_and_nobody_on_top_of_another():
    net = ValueMLP((2, 3, 1))
    loss = net([1.0, -1.0])[0] ** 2
    places = layout(loss)
    assert all(places[parent][0] < places[value][0] for value in places for parent, _ in value.edges)
    assert len(set(places.values())) == len(places) == len(ancestors_first(loss))


def test_draws_a_png(tmp_path):
    y = (Value(2.0, label="x") * 3.0 + 1.0).tanh()
    y.backward()
    draw(y, tmp_path / "graph.png")
    data = (tmp_path / "graph.png").read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 3000
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    assert width > 2 * height  # four columns, two rows


def test_one_number_alone_can_be_drawn(tmp_path):
    draw(Value(math.pi), tmp_path / "one.png")
    assert (tmp_path / "one.png").exists()

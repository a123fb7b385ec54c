"""The MLP from scratch: contract, invariants, and that it learns what the perceptron cannot."""

import pytest
import torch

from my_llm.errors import ConfigError
from stage1_mlp.models.losses import cross_entropy
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.optimizers import Adam

CONFIG = MLPConfig(inputs=5, hidden=(11, 3), outputs=7, normalization="batch", dropout=0.5)


def train(model, x, target, steps, lr=0.02):
    optimizer = Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(x), target).mean().backward()
        optimizer.step()
    return cross_entropy(model(x), target).mean().item()


def test_shapes_and_names():
    model = MLP(CONFIG)
    assert model(torch.randn(2, 5)).shape == (2, 7)
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == {
        "hidden.0.linear.weight": (11, 5),
        "hidden.0.linear.bias": (11,),
        "hidden.0.norm.gamma": (11,),
        "hidden.0.norm.beta": (11,),
        "hidden.1.linear.weight": (3, 11),
        "hidden.1.linear.bias": (3,),
        "hidden.1.norm.gamma": (3,),
        "hidden.1.norm.beta": (3,),
        "output.weight": (7, 3),
        "output.bias": (7,),
    }


def test_without_hidden_layers_it_is_linear():
    model = MLP(MLPConfig(inputs=5, hidden=(), outputs=7))
    x = torch.randn(2, 5)
    torch.testing.assert_close(model(x), x @ model.output.weight.T + model.output.bias)


def test_in_evaluation_an_answer_depends_on_its_own_input_only():
    torch.manual_seed(0)
    model = MLP(CONFIG).double()
    x = torch.randn(13, 5, dtype=torch.float64)
    model(x)
    model.eval()
    order = torch.randperm(13)
    torch.testing.assert_close(model(x[order]), model(x)[order], rtol=0, atol=1e-12)
    torch.testing.assert_close(model(x[:1]), model(x)[:1], rtol=0, atol=1e-12)


def test_in_training_a_permuted_batch_gives_permuted_logits():
    model = MLP(MLPConfig(5, (11,), 7, normalization="batch")).double()
    x, order = torch.randn(13, 5, dtype=torch.float64), torch.randperm(13)
    torch.testing.assert_close(model(x[order]), model(x)[order], rtol=0, atol=1e-12)


def test_the_seed_decides_the_weights():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(MLP(CONFIG).output.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "rele"}, "did you mean relu"),
        ({"initialization": "hee"}, "did you mean he"),
        ({"normalization": "bach"}, "did you mean batch"),
        ({"hidden": (3, 0)}, "every layer needs a unit"),
        ({"dropout": 1.0}, "dropout rate"),
    ],
)
def test_refuses_what_cannot_work(change, message):
    with pytest.raises(ConfigError, match=message):
        MLP(MLPConfig(**({"inputs": 5, "hidden": (3,), "outputs": 7} | change)))


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu", "silu"])
def test_learns_xor(activation):
    torch.manual_seed(0)
    x, target = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 1, 1, 0])
    model = MLP(MLPConfig(2, (8,), 2, activation=activation, initialization="xavier"))
    train(model, x, target, 150, lr=0.05)
    assert model(x).argmax(dim=1).tolist() == target.tolist()


def test_without_hidden_layers_it_cannot_learn_xor():
    x, target = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 1, 1, 0])
    assert train(MLP(MLPConfig(2, (), 2)), x, target, 100) > 0.69  # ln 2 = 0.6931: no better than a coin


def test_overfits_one_batch_of_random_labels():
    torch.manual_seed(0)
    x, target = torch.randn(31, 5), torch.randint(7, (31,))
    assert train(MLP(MLPConfig(5, (64, 64), 7, normalization="batch")), x, target, 100) < 0.02

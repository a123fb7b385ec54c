import pytest
import torch
from torch.nn.functional import cross_entropy

from my_llm.errors import ConfigError
from stage1_mlp.data import NgramFeatures
from stage1_mlp.models.mlp import Block
from stage1_mlp.models.optimizers import AdamW
from stage1_mlp.models.text_classifier import TextClassifier, TextClassifierConfig, weighted_bag

IDS = torch.tensor([4, 0, 6, 2, 4])  # three texts over 7 n-grams: {4, 0}, {} and {6, 2, 4}
OFFSETS = torch.tensor([0, 2, 2])
WEIGHTS = torch.tensor([0.5, -1.0, 2.0, 0.25, 3.0], dtype=torch.float64)


def dense() -> torch.Tensor:
    x = torch.zeros(3, 7, dtype=torch.float64)
    x[0, 4], x[0, 0], x[2, 6], x[2, 2], x[2, 4] = WEIGHTS
    return x


def classifier(**settings) -> TextClassifier:
    torch.manual_seed(0)
    model = TextClassifier(TextClassifierConfig(features=7, classes=5, **settings)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_the_bag_is_the_product_with_a_sparse_matrix_in_value_and_gradient():
    table = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    bag, product = weighted_bag(table, IDS, OFFSETS, WEIGHTS), dense() @ table
    torch.testing.assert_close(bag, product, rtol=0, atol=1e-12)
    direction = torch.randn_like(bag)
    (of_bag,) = torch.autograd.grad(bag, table, direction)
    (of_product,) = torch.autograd.grad(product, table, direction)
    torch.testing.assert_close(of_bag, of_product, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hidden", [(11,), (11, 3)])
def test_it_is_an_mlp_on_the_sparse_input(hidden):
    model = classifier(hidden=hidden, activation="tanh")
    x = torch.tanh(dense() @ model.table + model.bias)
    for block in model.mlp.hidden:
        assert isinstance(block, Block)
        x = torch.tanh(x @ block.linear.weight.T + block.linear.bias)
    expected = x @ model.mlp.output.weight.T + model.mlp.output.bias
    logits = model(IDS, OFFSETS, WEIGHTS)
    assert logits.shape == (3, 5)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)


def test_an_empty_bag_is_answered_by_the_biases_alone():
    model = classifier()
    empty = model(IDS[:0], torch.tensor([0]), WEIGHTS[:0])
    torch.testing.assert_close(empty[0], model(IDS, OFFSETS, WEIGHTS)[1])
    assert torch.isfinite(empty).all()


def test_dropout_only_in_training():
    model = classifier(hidden=(101,), dropout=0.9)
    assert torch.equal(model(IDS, OFFSETS, WEIGHTS), model(IDS, OFFSETS, WEIGHTS))
    model.train()
    assert not torch.equal(model(IDS, OFFSETS, WEIGHTS), model(IDS, OFFSETS, WEIGHTS))


@pytest.mark.parametrize("settings", [{"hidden": ()}, {"hidden": (3, 0)}, {"activation": "rely"}, {"dropout": 1.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        TextClassifier(TextClassifierConfig(features=7, classes=5, **settings))


def test_it_learns_a_rule_from_words_and_pairs():
    texts = [
        "good",
        "so good",
        "really good",
        "not good",
        "not good at all",
        "bad",
        "so bad",
        "not bad",
        "not bad at all",
    ]
    labels = torch.tensor([1, 1, 1, 0, 0, 0, 0, 1, 1])
    torch.manual_seed(0)
    features = NgramFeatures.fit(texts, labels.tolist())
    model = TextClassifier(TextClassifierConfig(len(features), classes=2, dropout=0.0))
    optimizer, bags = AdamW(model.parameters(), lr=0.03), features.encode(texts)
    for _ in range(100):
        optimizer.zero_grad()
        cross_entropy(model(*bags), labels).backward()
        optimizer.step()
    unseen = features.encode(["it was good", "it was not good", "it was bad", "it was not bad"])
    assert model(*unseen).argmax(dim=1).tolist() == [1, 0, 0, 1]

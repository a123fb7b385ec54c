import pytest
import torch
from torch.nn.functional import cross_entropy

from my_llm.errors import ConfigError
from my_llm.text import PAD, UNK
from stage2_rnn_lstm.models import CELLS, SequenceClassifier, SequenceClassifierConfig
from stage2_rnn_lstm.models.classifier import forget_words, mean_over_time

TOKENS = torch.tensor([[5, 6, 7, 8, 9], [9, 4, PAD, PAD, PAD], [7, PAD, PAD, PAD, PAD]])
LENGTHS = torch.tensor([5, 2, 1])


def classifier(**settings) -> SequenceClassifier:
    torch.manual_seed(0)
    shape = {"embedding": 3, "hidden": 7, "dropout": 0.0, "word_dropout": 0.0}
    return SequenceClassifier(SequenceClassifierConfig(11, 2, **(shape | settings))).double()


def test_the_mean_is_over_real_steps():
    outputs = torch.tensor([[[-3.0]], [[-1.0]], [[7.0]]])  # (T=3, B=1, H=1); the last step is padding
    assert mean_over_time(outputs, torch.tensor([2])).tolist() == [[-2.0]]
    assert mean_over_time(outputs, torch.tensor([3])).tolist() == [[1.0]]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
def test_padding_changes_nothing(cell, layers):
    model = classifier(cell=cell, layers=layers)
    logits = model(TOKENS, LENGTHS)
    assert logits.shape == (3, 2)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(TOKENS[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(logits[row : row + 1], alone, rtol=0, atol=1e-12)


def test_gradient_reaches_every_real_word_and_no_padding():
    model = classifier()
    model(TOKENS, LENGTHS).sum().backward()
    gradient = model.embedding.weight.grad
    assert gradient is not None
    touched = gradient.abs().sum(dim=1) > 0
    assert touched.nonzero().flatten().tolist() == [4, 5, 6, 7, 8, 9]


def test_order_matters():
    model = classifier()
    logits = model(torch.tensor([[5, 6, 7], [7, 6, 5]]), torch.tensor([3, 3]))
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_word_dropout_forgets_its_share_and_no_padding():
    torch.manual_seed(0)
    tokens = torch.full((100, 100), 7)
    tokens[:, 50:] = PAD
    forgotten = forget_words(tokens, 0.3)
    assert (forgotten[:, 50:] == PAD).all()
    assert set(forgotten[:, :50].unique().tolist()) == {UNK, 7}
    assert (forgotten[:, :50] == UNK).double().mean() == pytest.approx(0.3, abs=0.03)
    model = classifier(word_dropout=0.5)
    torch.testing.assert_close(model.eval()(TOKENS, LENGTHS), model(TOKENS, LENGTHS))
    assert not torch.equal(model.train()(TOKENS, LENGTHS), model(TOKENS, LENGTHS))


@pytest.mark.parametrize("setting", [{"dropout": 1.0}, {"word_dropout": -0.1}])
def test_a_rate_out_of_range_is_one_clear_line(setting):
    with pytest.raises(ConfigError, match="dropout rate out of range"):
        classifier(**setting)


def test_it_learns_which_of_two_words_came_first():
    """No bag of words can: both classes hold the same words."""
    torch.manual_seed(1)
    tokens = torch.randint(6, 11, (128, 8))
    labels = torch.arange(128) % 2
    places = torch.stack([torch.randperm(8)[:2].sort().values for _ in labels])  # (N, 2)
    rows = torch.arange(128)
    tokens[rows, places[rows, labels]], tokens[rows, places[rows, 1 - labels]] = 4, 5
    lengths, model = torch.full((128,), 8), classifier(hidden=8, embedding=8).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        loss = cross_entropy(model(tokens, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(tokens, lengths).argmax(dim=1) == labels).double().mean() > 0.95

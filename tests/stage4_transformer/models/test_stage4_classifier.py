"""The classifier: padding, torch's own, words that are forgotten, and two rules that no bag of words can learn."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.errors import ConfigError
from my_llm.text import PAD
from stage4_transformer.models.classifier import TransformerClassifier, TransformerClassifierConfig
from stage4_transformer.models.official import OfficialClassifier, gradients, to_official
from stage4_transformer.models.positions import POSITIONS

V, C, D = 11, 3, 14
TOKENS = torch.tensor([[5, 6, 7, 8, 9], [9, 4, PAD, PAD, PAD], [7, PAD, PAD, PAD, PAD]])
LENGTHS = torch.tensor([5, 2, 1])
SMALL = TransformerClassifierConfig(
    vocab_size=V, classes=C, model=12, heads=2, layers=2, hidden=D, word_dropout=0.0, max_length=8
)
every_position = pytest.mark.parametrize("positions", POSITIONS)


def close(a: object, b: object, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(**options: Any) -> TransformerClassifier:
    torch.manual_seed(0)
    model = TransformerClassifier(replace(SMALL, **options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.4)
    return model.double()


# --- contract ---------------------------------------------------------------------------------------------------------


@every_position
def test_shapes(positions: str):
    assert random_model(positions=positions)(TOKENS, LENGTHS).shape == (3, C)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "vocab_size and classes must be at least 1"),
        ({"vocab_size": 0}, "vocab_size and classes must be at least 1"),
        ({"word_dropout": 1.0}, "dropout rate out of range; got '1.0'"),
        ({"dropout": -0.5}, "dropout rate out of range; got '-0.5'"),
        ({"heads": 5}, "equally"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        TransformerClassifier(replace(SMALL, **options))
    assert "\n" not in str(caught.value)


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["none", "sinusoidal", "learned"])
@pytest.mark.parametrize("order", ["pre", "post"])
def test_torchs_encoder_agrees_in_values_and_gradients(positions: str, order: str):
    model = random_model(positions=positions, order=order)
    copy, results = to_official(model), []
    assert isinstance(copy, OfficialClassifier) and isinstance(copy.encoder, nn.TransformerEncoder)
    for telling in (model, copy):
        logits = telling(TOKENS, LENGTHS)
        cross_entropy(logits, torch.tensor([2, 0, 1])).backward()
        results.append((logits, gradients(telling)))
    assert results[0][1].keys() == dict(model.named_parameters()).keys()
    close(*results, 1e-9)


# --- gradient ---------------------------------------------------------------------------------------------------------


def test_gradients_against_finite_differences():
    model = random_model(layers=1, positions="rotary")

    def told(*weights: Tensor) -> Tensor:  # `weights` are those of model
        return model(TOKENS, LENGTHS)

    assert torch.autograd.gradcheck(told, tuple(model.parameters()), fast_mode=True)


@every_position
def test_gradient_reaches_every_real_word_and_no_padding(positions: str):
    model = random_model(positions=positions)
    model(TOKENS, LENGTHS)[:, 0].sum().backward()
    assert model.embedding.weight.grad is not None
    assert (model.embedding.weight.grad != 0).any(dim=1).nonzero().flatten().tolist() == [4, 5, 6, 7, 8, 9]


# --- invariants -------------------------------------------------------------------------------------------------------


@every_position
def test_padding_changes_nothing(positions: str):
    model = random_model(positions=positions)
    logits = model(TOKENS, LENGTHS)
    noise = torch.where(torch.arange(5) < LENGTHS[:, None], TOKENS, torch.randint(4, V, (3, 5)))
    assert torch.equal(model(noise, LENGTHS), logits)
    close(model(torch.cat([noise, noise[:, :3]], dim=1), LENGTHS), logits)
    for row, length in enumerate(LENGTHS.tolist()):
        close(model(TOKENS[row : row + 1, :length], LENGTHS[row : row + 1]), logits[row : row + 1])


@every_position
def test_only_without_positions_is_a_text_a_bag_of_words(positions: str):
    model, order = random_model(positions=positions), torch.tensor([3, 0, 4, 1, 2])
    moved = (model(TOKENS[:1, order], LENGTHS[:1]) - model(TOKENS[:1], LENGTHS[:1])).abs().max()
    assert moved < 1e-12 if positions == "none" else moved > 1e-4


def test_dropouts_act_in_training_only():
    for options in ({"word_dropout": 0.5}, {"dropout": 0.5}):
        torch.manual_seed(0)
        model = random_model(**options)
        assert not torch.equal(model(TOKENS, LENGTHS), model(TOKENS, LENGTHS))
        model.encoder.eval()  # what is left: forgetting words, or the dropout before the head
        assert not torch.equal(model(TOKENS, LENGTHS), model(TOKENS, LENGTHS))
        close(model.eval()(TOKENS, LENGTHS), random_model()(TOKENS, LENGTHS))


# --- it learns --------------------------------------------------------------------------------------------------------


def trained(tokens: Tensor, labels: Tensor, **options: Any) -> float:
    """How many of the texts it gets right in the end."""
    torch.manual_seed(0)
    config = replace(SMALL, classes=2, model=16, hidden=32, layers=1, **options)
    model, lengths = TransformerClassifier(config), torch.full((len(tokens),), tokens.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(50):
        loss = cross_entropy(model(tokens, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (model(tokens, lengths).argmax(dim=1) == labels).double().mean().item()


@every_position
def test_it_learns_which_of_two_words_came_first(positions: str):
    """Both classes hold the same words: ALiBi, which tells only how far they are apart, cannot know, nor can none."""
    torch.manual_seed(1)
    tokens, labels, rows = torch.full((128, 8), 6), torch.arange(128) % 2, torch.arange(128)
    places = torch.stack([torch.randperm(8)[:2].sort().values for _ in labels])  # (N, 2)
    tokens[rows, places[rows, labels]], tokens[rows, places[rows, 1 - labels]] = 4, 5
    right = trained(tokens, labels, positions=positions)
    assert right == 0.5 if positions == "none" else right < 0.7 if positions == "alibi" else right > 0.9


def test_it_learns_one_batch_by_heart():
    torch.manual_seed(1)
    assert trained(torch.randint(4, V, (24, 5)), torch.randint(0, 2, (24,))) == 1

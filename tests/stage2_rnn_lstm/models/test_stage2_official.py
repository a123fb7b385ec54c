"""The official layers: made of torch.nn, equal to ours with every option, and weights travel both ways without loss."""

import pytest
import torch
from torch import nn

from stage2_rnn_lstm.models.cells import CELLS
from stage2_rnn_lstm.models.language_model import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.models.official import (
    OFFICIAL,
    OfficialLanguageModel,
    language_model_gradients,
    load_official,
    official,
    official_forward,
    official_gradients,
    official_layers,
    still_second_biases,
    theirs,
    to_levels,
    to_numpy,
    to_official,
)
from stage2_rnn_lstm.models.recurrent import Recurrent, detached

T, B, D, H, V = 7, 5, 3, 11, 13
OPTIONS = [
    {},
    {"layers": 2},
    {"bidirectional": True},
    {"layers": 3, "bidirectional": True},
    {"layers": 3, "dropout": 0.4},
    {"layers": 2, "dropout": 0.4, "bidirectional": True},
    {"dropout": 0.4},  # one layer: nothing between
]
EACH_CELL = pytest.mark.parametrize("cell", CELLS)


def ours(cell, **options):
    torch.manual_seed(0)
    recurrent = Recurrent(D, H, cell=cell, **options).double()
    for p in recurrent.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return recurrent


def random_like(state):
    return tuple(tuple(torch.randn_like(memory).requires_grad_() for memory in layer) for layer in state)


def flat(state):
    return [memory for layer in state for memory in layer]


@EACH_CELL
def test_it_is_made_of_official_layers(cell):
    module = official(ours(cell, layers=2, dropout=0.3, bidirectional=True))
    assert type(module) is {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell] is OFFICIAL[cell]
    assert (module.input_size, module.hidden_size, module.num_layers) == (D, H, 2)
    assert module.dropout == 0.3 and module.bidirectional


@EACH_CELL
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("start", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("lengths", [None, [7, 2, 5, 1, 7]], ids=["whole", "lengths"])
def test_equal_with_every_option(cell, options, start, lengths):
    if lengths and options.get("dropout"):
        options = options | {"dropout": 0.0}  # packed, torch draws a mask of another shape
    scratch = ours(cell, **options)
    module, x = official(scratch), torch.randn(T, B, D, dtype=torch.float64)
    lengths = None if lengths is None else torch.tensor(lengths)
    state = random_like(scratch(x)[1]) if start else None
    results = []
    for forward, gradients in (
        (scratch, lambda: {name: p.grad for name, p in scratch.named_parameters()}),
        (lambda *inputs: official_forward(module, *inputs), lambda: official_gradients(module)),
    ):
        leaf = x.clone().requires_grad_()
        initial = None if state is None else tuple(tuple(m.detach().requires_grad_() for m in s) for s in state)
        torch.manual_seed(1)  # the same dropout masks
        outputs, final = forward(leaf, initial, lengths)
        torch.manual_seed(2)
        values = [outputs, *flat(final)]
        torch.autograd.backward(values, [torch.randn_like(value) for value in values])
        results.append(
            (values, {"x": leaf.grad, **dict(enumerate(m.grad for m in flat(initial or ()))), **gradients()})
        )
    (values, grads), (official_values, official_grads) = results
    assert len(values) == len(official_values) and grads.keys() == official_grads.keys()
    for found, expected in zip(values, official_values, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    for name, found in grads.items():
        torch.testing.assert_close(found, official_grads[name], rtol=0, atol=1e-9)


def test_dropout_is_really_drawn():
    module, x = official(ours("lstm", layers=2, dropout=0.4)), torch.randn(T, B, D, dtype=torch.float64)
    assert not torch.equal(official_forward(module, x)[0], official_forward(module, x)[0])


@EACH_CELL
@pytest.mark.parametrize("options", [{"layers": 2}, {"bidirectional": True}], ids=str)
def test_weights_of_a_foreign_model_with_two_biases_arrive(cell, options):
    torch.manual_seed(3)
    module = official_layers(D, H, cell=cell, **options).double()  # both biases random
    assert all(weights["bias_hh"].abs().min() > 0 for weights in theirs(module))
    scratch, x = ours(cell, **options), torch.randn(T, B, D, dtype=torch.float64)
    load_official(scratch, module)
    torch.testing.assert_close(scratch(x)[0], official_forward(module, x)[0], rtol=0, atol=1e-12)


@EACH_CELL
def test_round_trip_is_exact(cell):
    first, second = ours(cell, layers=2, bidirectional=True), Recurrent(D, H, cell=cell, layers=2, bidirectional=True)
    load_official(second.double(), official(first))
    for (name, value), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(value, other), name


def test_where_each_gate_goes():
    scratch = Recurrent(1, 1, cell="lstm").double()
    scratch.layers[0].bias.data = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)  # i f o g
    assert official(scratch).bias_ih_l0.tolist() == [1, 2, 4, 3]  # i f g o
    scratch = Recurrent(1, 1, cell="gru")
    scratch.layers[0].bias.data, scratch.layers[0].bias_hh.data = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0])
    module = official(scratch)
    assert module.bias_ih_l0.tolist() == [1, 2, 3] and module.bias_hh_l0.tolist() == [0, 0, 4]


def test_mode_precision_and_independence():
    scratch = ours("gru").eval()
    module = official(scratch)
    assert not module.training and module.weight_ih_l0.dtype == torch.float64
    levels, before = to_levels(scratch), scratch.layers[0].bias.detach().clone()
    levels[0][0]["bias"] += 1
    module.bias_ih_l0.data += 1
    assert torch.equal(scratch.layers[0].bias, before)


def test_unequal_sizes_are_refused():
    with pytest.raises(ValueError, match="zip"):
        load_official(ours("lstm", layers=2), official_layers(D, H))
    with pytest.raises(RuntimeError):
        load_official(ours("lstm"), official_layers(D, H + 1))


@EACH_CELL
def test_stilled_biases_learn_once(cell):
    """One step of gradient descent moves torch's sum of biases twice as far as ours, unless the second is still."""
    moved = {}
    for still in (False, True):
        scratch, x = ours(cell), torch.randn(T, B, D, dtype=torch.float64)
        module = official(scratch)
        if still:
            still_second_biases(module)
        module(x)[0].sum().backward()
        gradient = module.bias_ih_l0.grad
        torch.optim.SGD(module.parameters(), 1.0).step()
        trained = ours(cell)
        load_official(trained, module)
        share = (ours(cell).layers[0].bias - trained.layers[0].bias)[:H] / gradient[:H]
        moved[still] = share.detach()
    torch.testing.assert_close(moved[False], torch.full((H,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(moved[True], torch.ones(H, dtype=torch.float64))


def test_still_gru_keeps_the_bias_inside_the_reset_product():
    scratch, x = ours("gru"), torch.randn(T, B, D, dtype=torch.float64)
    module = official(scratch)
    still_second_biases(module)
    module(x)[0].sum().backward()
    scratch(x)[0].sum().backward()
    assert (module.bias_hh_l0.grad[: 2 * H] == 0).all()
    torch.testing.assert_close(module.bias_hh_l0.grad[2 * H :], scratch.layers[0].bias_hh.grad, rtol=0, atol=1e-9)


# --- language models --------------------------------------------------------------------------------------------------


@EACH_CELL
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_language_models_agree(cell, tied):
    torch.manual_seed(0)
    config = LanguageModelConfig(V, cell, embedding=H, hidden=H, layers=2, dropout=0.3, tied=tied)
    scratch = LanguageModel(config).double()
    nn.init.normal_(scratch.head.weight)
    copy, tokens, results = to_official(scratch), torch.randint(V, (B, T)), []
    assert isinstance(copy, OfficialLanguageModel) and (copy.head.weight is copy.embedding.weight) == tied
    for model in (scratch, copy):
        torch.manual_seed(1)
        logits, state = model(tokens)
        logits, state = model(tokens, detached(state))
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        results.append(([logits, *flat(state)], language_model_gradients(model)))
    (values, grads), (official_values, official_grads) = results
    assert values[0].shape == (B, T, V) and grads.keys() == official_grads.keys()
    for found, expected in zip(values, official_values, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    for name, found in grads.items():
        torch.testing.assert_close(found, official_grads[name], rtol=0, atol=1e-9)


@EACH_CELL
def test_to_numpy_says_the_same(cell):
    scratch = LanguageModel(LanguageModelConfig(V, cell, embedding=D, hidden=H, layers=2)).double()
    nn.init.normal_(scratch.head.weight)
    tokens = torch.randint(V, (B, T))
    hand = to_numpy(scratch)
    torch.testing.assert_close(torch.tensor(hand.forward(tokens.numpy())[0]), scratch(tokens)[0], rtol=0, atol=1e-9)
    before = scratch.head.bias.detach().clone()
    hand.parameters["head.bias"] += 1
    assert torch.equal(scratch.head.bias, before)

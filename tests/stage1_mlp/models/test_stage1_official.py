"""The official twin: made of torch.nn, and weights travel to it and back without loss."""

import numpy as np
import pytest
import torch
from torch import nn

from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.official import OfficialMLP, copy_weights, to_numpy, to_official

CONFIG = MLPConfig(5, (11, 3), 7, activation="gelu", normalization="batch", dropout=0.3)


def trained():
    torch.manual_seed(0)
    model = MLP(CONFIG).double()
    model(torch.randn(13, 5, dtype=torch.float64))  # moves the running statistics
    for p in model.parameters():
        p.data += torch.randn_like(p)
    return model


def test_it_is_made_of_official_layers():
    kinds = [type(module) for module in OfficialMLP(CONFIG).modules()]
    assert kinds.count(nn.Linear) == 3 and kinds.count(nn.BatchNorm1d) == 2
    assert kinds.count(nn.Dropout) == 2 and kinds.count(nn.GELU) == 2


def test_every_number_arrives():
    model = trained()
    official = to_official(model)
    theirs = official.state_dict()
    for ours, name in (
        (model.hidden[1].norm.gamma, "hidden.1.norm.weight"),
        (model.hidden[1].norm.running_variance, "hidden.1.norm.running_var"),
        (model.output.bias, "output.bias"),
    ):
        assert torch.equal(theirs[name], ours)
    x = torch.randn(2, 5, dtype=torch.float64)
    torch.testing.assert_close(official.eval()(x), model.eval()(x), rtol=0, atol=1e-12)


def test_copies_are_independent():
    model = trained()
    before = model.output.weight.detach().clone()
    hand, official = to_numpy(model), to_official(model)
    hand.parameters["output.weight"] += 1
    official.output.weight.data += 1
    assert torch.equal(model.output.weight, before)


def test_round_trip_through_numpy():
    model, other = trained(), MLP(CONFIG).double()
    copy_weights(to_numpy(model).parameters, other)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_mode_is_kept_and_shapes_must_match():
    assert not to_official(trained().eval()).training
    with pytest.raises(RuntimeError):
        copy_weights({"output.bias": np.zeros(6)}, trained())

"""Optimisers: each follows torch's for 100 steps, survives a save, and keeps the contract of torch.optim."""

import copy

import pytest
import torch

from stage1_mlp.models.optimizers import OPTIMIZERS, SGD, Adam

OFFICIAL = {
    "sgd": lambda p, **more: torch.optim.SGD(p, **more),
    "momentum": lambda p, **more: torch.optim.SGD(p, momentum=0.9, **more),
    "nesterov": lambda p, **more: torch.optim.SGD(p, momentum=0.9, nesterov=True, **more),
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def start():
    """Two parameters, and one that never gets a gradient."""
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in ((3, 5), (7,), (2,))]


def descend(optimizer, parameters, steps, first=0):
    """Steps on a valley whose curvatures differ by 100, seen through noise; the rate falls as under a schedule."""
    curvature = torch.logspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5)
    for index in range(first, first + steps):
        noise = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(index))
        optimizer.zero_grad()
        loss = (curvature * (parameters[0] - 1) ** 2 + 0.1 * noise * parameters[0]).sum() + parameters[1].cos().sum()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - index / 200)
        optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_follows_torch_for_100_steps(name, weight_decay):
    ours, theirs = start(), start()
    descend(OPTIMIZERS[name](ours, lr=0.02, weight_decay=weight_decay), ours, 100)
    descend(OFFICIAL[name](theirs, lr=0.02, weight_decay=weight_decay), theirs, 100)
    assert (ours[0] - start()[0]).abs().max() > 0.1  # it has moved
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_default_settings_are_torchs(name):
    ours, theirs = start(), start()
    our_optimizer = OPTIMIZERS[name](ours)
    official = OFFICIAL[name](theirs, lr=our_optimizer.defaults["lr"])
    descend(our_optimizer, ours, 5)
    descend(official, theirs, 5)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_and_loaded_optimiser_goes_on_exactly(name):
    whole = start()
    descend(OPTIMIZERS[name](whole, lr=0.02), whole, 20)
    parts = start()
    before = OPTIMIZERS[name](parts, lr=0.02)
    descend(before, parts, 9)
    after = OPTIMIZERS[name](parts, lr=0.5)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    descend(after, parts, 11, first=9)
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[1], parts[1])


@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (3, 2, 2)])
def test_blocks_change_nothing(shape, monkeypatch):
    results = []
    for block in (1, 4, 65_536):
        monkeypatch.setattr("stage1_mlp.models.optimizers.BLOCK", block)
        torch.manual_seed(0)
        x = torch.nn.Parameter(torch.randn(shape))
        optimizer = OPTIMIZERS["adamw"]([x], lr=0.1)
        for _ in range(3):
            x.grad = torch.randn(shape)
            optimizer.step()
        results.append(x.detach())
    assert torch.equal(results[0], results[2]) and torch.equal(results[1], results[2])
    assert results[0].shape == shape


def test_groups_have_their_own_settings():
    fast, slow, _ = start()
    optimizer = SGD([{"params": [fast], "lr": 1.0}, {"params": [slow]}], lr=0.5)
    fast.grad, slow.grad = torch.ones(3, 5, dtype=torch.float64), torch.ones(7, dtype=torch.float64)
    expected = fast.detach() - 1.0, slow.detach() - 0.5
    optimizer.step()
    torch.testing.assert_close((fast.detach(), slow.detach()), expected)


def test_without_gradient_nothing_moves():
    parameters = start()
    OPTIMIZERS["adamw"](parameters, lr=0.1).step()
    torch.testing.assert_close(parameters, start(), rtol=0, atol=0)


def test_closure_is_called_with_gradients_on():
    (x, *_) = start()
    optimizer = Adam([x], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (x**2).sum()
        loss.backward()
        return float(loss.detach())

    first = optimizer.step(closure)
    second = optimizer.step(closure)
    assert first is not None and second is not None and second < first


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_learns_a_line(name):
    torch.manual_seed(1)
    x = torch.randn(64, 2)
    target = x @ torch.tensor([1.0, -2.0])
    w = torch.nn.Parameter(torch.zeros(2))
    optimizer = OPTIMIZERS[name]([w], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        ((x @ w - target) ** 2).mean().backward()
        optimizer.step()
    assert ((x @ w - target) ** 2).mean() < 0.05

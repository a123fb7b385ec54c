"""Muon: the polynomial brings singular values to 1, the steps are torch's own, the rest is AdamW, state comes back."""

import copy

import pytest
import torch
from torch import Tensor, nn

from stage5_gpt.models import Muon, orthogonalized


@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 16, 5), (3, 5, 16)], ids=str)
def test_orthogonalized_keeps_directions_and_makes_lengths_alike(shape: tuple[int, int, int]):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    assert s.max() / s.min() > 2  # they were not alike
    found = torch.linalg.svdvals(orthogonalized(matrices))
    assert found.min() > 0.5 and found.max() < 1.3
    alike = u @ v
    cosine = (orthogonalized(matrices) * alike).sum((1, 2)) / orthogonalized(matrices).norm(dim=(1, 2))
    assert (cosine / alike.norm(dim=(1, 2)) > 0.95).all()


def test_a_matrix_of_zeros_stays_one():
    assert not orthogonalized(torch.zeros(1, 3, 5)).any()


def steps_of(optimizers: list[torch.optim.Optimizer], weights: list[Tensor], count: int = 5) -> None:
    draw = torch.Generator().manual_seed(1)
    for _ in range(count):
        gradient = torch.randn(weights[0].shape, generator=draw)
        for optimizer, weight in zip(optimizers, weights, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)], ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_its_steps_are_those_of_torch(shape: tuple[int, int], decay: float):
    ours, theirs = (nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0))) for _ in range(2))
    mine = Muon([{"params": [ours], "orthogonal": True, "lr": 0.02}], weight_decay=decay)
    steps_of([mine, torch.optim.Muon([theirs], lr=0.02, weight_decay=decay)], [ours, theirs])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # bf16 inside


def test_matrices_of_one_shape_do_not_mix():
    torch.manual_seed(0)
    together = [nn.Parameter(torch.randn(4, 6)) for _ in range(3)]
    apart = [nn.Parameter(weight.detach().clone()) for weight in together]
    many = Muon([{"params": together, "orthogonal": True, "lr": 0.1}])
    for one, other in zip(together, apart, strict=True):
        one.grad = torch.randn(4, 6)
        other.grad = one.grad.clone()
        Muon([{"params": [other], "orthogonal": True, "lr": 0.1}]).step()
    many.step()
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", [(6, 4), (5,)], ids=str)
def test_the_rest_is_adamw(shape: tuple[int, ...]):
    ours, theirs = (nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0))) for _ in range(2))
    settings = {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1}
    steps_of([Muon([{"params": [ours]}], **settings), torch.optim.AdamW([theirs], **settings)], [ours, theirs])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_row_that_is_not_met_stands_still():
    """Rows learn as if each were a parameter of its own that has a gradient now and then."""
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(4, 3))
    apart = [nn.Parameter(row.detach().clone()) for row in table]
    together = Muon([{"params": [table], "rows": True, "lr": 0.1}])
    alone = [Muon([{"params": [row], "lr": 0.1}]) for row in apart]
    first = table.detach().clone()
    for met in ([0, 1], [1], [1, 2], [0]):
        table.grad = torch.zeros(4, 3)
        table.grad[met] = torch.randn(len(met), 3)
        together.step()
        for row in met:
            apart[row].grad = table.grad[row].clone()
            alone[row].step()
    torch.testing.assert_close(table, torch.stack([*apart]))
    assert torch.equal(table[3], first[3]) and not torch.equal(table[2], first[2])


def test_what_has_no_gradient_stays():
    weight = nn.Parameter(torch.ones(3, 3))
    Muon([{"params": [weight], "orthogonal": True, "lr": 1.0}], weight_decay=0.1).step()
    assert torch.equal(weight, torch.ones(3, 3))


def test_it_goes_on_from_its_state():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4))
    groups = lambda m: [  # noqa: E731
        {"params": [w for w in m.parameters() if w.ndim > 1], "orthogonal": True, "lr": 0.1},
        {"params": [w for w in m.parameters() if w.ndim < 2]},
    ]
    twin = copy.deepcopy(model)
    first, second = Muon(groups(model)), Muon(groups(twin))

    def step(network: nn.Module, optimizer: Muon, seed: int) -> None:
        optimizer.zero_grad()
        network(torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizer.step()

    for seed in range(3):
        step(model, first, seed)
        step(twin, second, seed)
    third = Muon(groups(twin))
    third.load_state_dict(copy.deepcopy(second.state_dict()))
    step(model, first, 9)
    step(twin, third, 9)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)

"""Stacked, bidirectional, padded: equal to torch's layers, and padding changes nothing."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from my_llm.decoding import select_rows
from stage2_rnn_lstm.models.cells import CELLS
from stage2_rnn_lstm.models.official import official, official_forward, official_gradients
from stage2_rnn_lstm.models.recurrent import Recurrent, detached, last_step, reversed_steps, take

T, B, D, H = 7, 5, 3, 2
LENGTHS = torch.tensor([3, 7, 1, 5, 7])

every_cell = pytest.mark.parametrize("cell", CELLS)
shapes = pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, False), (1, True), (2, True)])


def close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def random_layers(cell: str, **options: Any) -> Recurrent:
    """Biases as well: zeros would hide where they go."""
    torch.manual_seed(0)
    recurrent = Recurrent(D, H, cell=cell, **options).double()
    for parameter in recurrent.parameters():
        nn.init.normal_(parameter, std=0.7)
    return recurrent


def random_state(recurrent: Recurrent) -> tuple[tuple[Tensor, ...], ...]:
    return tuple(tuple(double(B, H) for _ in range(layer.memories)) for layer in recurrent.layers)


# --- contract ---------------------------------------------------------------------------------------------------------


@every_cell
@shapes
def test_shapes(cell: str, layers: int, bidirectional: bool):
    recurrent = Recurrent(D, H, cell=cell, layers=layers, bidirectional=bidirectional)
    directions = 2 if bidirectional else 1
    outputs, state = recurrent(torch.randn(T, B, D), lengths=LENGTHS)
    assert outputs.shape == (T, B, H * directions)
    assert len(state) == len(recurrent.layers) == layers * directions
    assert all(memory.shape == (B, H) for layer in state for memory in layer)
    assert {len(layer) for layer in state} == {2 if cell == "lstm" else 1}


# --- parity -----------------------------------------------------------------------------------------------------------


@every_cell
@shapes
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("started", [False, True])
def test_values_and_gradients_equal_torchs(
    cell: str, layers: int, bidirectional: bool, lengths: Tensor | None, started: bool
):
    ours = random_layers(cell, layers=layers, bidirectional=bidirectional)
    theirs = official(ours)
    state = random_state(ours) if started else None
    x = double(T, B, D)
    results = []
    for forward in (ours, lambda *arguments: official_forward(theirs, *arguments)):
        read = x.clone().requires_grad_()
        outputs, final = forward(read, state, lengths)
        loss = (outputs * torch.linspace(-1, 2, outputs.numel()).view_as(outputs)).sum()
        (loss + sum(memory.square().sum() for layer in final for memory in layer)).backward()
        results.append((outputs, final, read.grad))
    close(results[0], results[1], 1e-9)
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    close(gradients, official_gradients(theirs), 1e-9)


# --- invariants -------------------------------------------------------------------------------------------------------


@every_cell
@shapes
def test_padding_changes_nothing_not_even_a_gradient(cell: str, layers: int, bidirectional: bool):
    recurrent = random_layers(cell, layers=layers, bidirectional=bidirectional)
    real = (torch.arange(T)[:, None] < LENGTHS)[:, :, None]  # (T, B, 1)
    x = double(T, B, D)
    noise = torch.where(real, 0.0, 100 * double(T + 4, B, D)[:T])
    results = []
    for read in (x, x + noise, torch.cat([x + noise, noise[:4]])):  # other padding; more padding
        read = read.clone().requires_grad_()
        outputs, final = recurrent(read, lengths=LENGTHS)
        assert (outputs[:T].masked_select(~real) == 0).all() and (outputs[T:] == 0).all()
        recurrent.zero_grad()
        (outputs.square().sum() + sum(memory.sum() for layer in final for memory in layer)).backward()
        assert read.grad is not None
        assert (read.grad[:T].masked_select(~real) == 0).all() and (read.grad[T:] == 0).all()
        weights = [parameter.grad for parameter in recurrent.parameters()]
        results.append((outputs[:T], final, read.grad[:T], weights))
    close(results[1], results[0])
    close(results[2], results[0])


@every_cell
@shapes
def test_batched_with_padding_equals_each_sequence_alone(cell: str, layers: int, bidirectional: bool):
    recurrent, x = random_layers(cell, layers=layers, bidirectional=bidirectional), double(T, B, D)
    outputs, final = recurrent(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, state = recurrent(x[:length, [row]])
        close(outputs[:length, [row]], alone)
        close(select_rows(final, torch.tensor([row])), state)  # the state has the batch first


@every_cell
def test_whole_sequences_need_no_lengths(cell: str):
    recurrent, x = random_layers(cell, layers=2, bidirectional=True), double(T, B, D)
    close(recurrent(x), recurrent(x, lengths=torch.full((B,), T)))


@every_cell
def test_the_state_handed_over_makes_windows_equal_one_pass(cell: str):
    recurrent, x = random_layers(cell, layers=2), double(T, B, D)
    whole, final = recurrent(x)
    parts, state = [], None
    for window in x.split([2, 1, 4]):
        output, state = recurrent(window, state)
        parts.append(output)
    close(torch.cat(parts), whole)
    close(state, final)


@every_cell
@shapes
def test_one_direction_sees_no_future_and_two_do(cell: str, layers: int, bidirectional: bool):
    recurrent, x = random_layers(cell, layers=layers, bidirectional=bidirectional), double(T, B, D)
    changed = x.clone()
    changed[4:] += 1
    before, after = recurrent(x)[0][:4], recurrent(changed)[0][:4]
    assert (before != after).any() == bidirectional
    if layers == 1:
        assert torch.equal(before[:, :, :H], after[:, :, :H])  # the forward half of the only level


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_reversing_twice_changes_nothing(lengths: list[int]):
    x = torch.arange(7 * len(lengths)).view(7, len(lengths), 1).float()
    order = reversed_steps(x, torch.tensor(lengths))
    once = take(x, order)
    assert torch.equal(take(once, order), x)
    for row, length in enumerate(lengths):
        assert torch.equal(once[:length, row], x[:length, row].flip(0))
        assert torch.equal(once[length:, row], x[length:, row])
        assert torch.equal(last_step(x, torch.tensor(lengths))[row], x[length - 1, row])


def test_dropout_is_between_layers_only():
    torch.manual_seed(0)
    x = double(T, B, D)
    one, two = (random_layers("gru", layers=layers, dropout=0.5) for layers in (1, 2))
    assert torch.equal(one(x)[0], one(x)[0])
    assert not torch.equal(two(x)[0], two(x)[0])
    assert torch.equal(two.layers[0](x)[0], two.layers[0](x)[0]) and (two(x)[0] != 0).all()
    assert torch.equal(two.eval()(x)[0], two(x)[0])


@pytest.mark.parametrize("nested", [True, False])
def test_detached_is_a_copy_of_the_last_step_without_history(nested: bool):
    """A view of the last step would keep, and write into every checkpoint, the states of all steps."""
    _, state = random_layers("lstm", layers=2)(double(T, B, D))
    state = state if nested else state[0]  # a model may as well have plain tuples
    copy = detached(state)
    close(copy, tuple(tuple(m.detach() for m in layer) for layer in state) if nested else tuple(state))
    for memory in [m for layer in copy for m in layer] if nested else copy:
        assert not memory.requires_grad and memory.untyped_storage().nbytes() == B * H * 8


def test_detached_moves_a_state_to_a_device():
    assert detached(((torch.ones(2, 3),),), torch.device("meta"))[0][0].device.type == "meta"


# --- it learns --------------------------------------------------------------------------------------------------------


@every_cell
def test_two_directions_learn_what_only_the_future_tells(cell: str):
    """Every step must say the last real input of its sentence: one direction cannot do better than a coin, 0.69."""
    torch.manual_seed(0)
    losses = []
    for bidirectional in (False, True):
        recurrent = Recurrent(1, 8, cell=cell, bidirectional=bidirectional)
        head = nn.Linear(8 * recurrent.directions, 1)
        optimizer = torch.optim.Adam([*recurrent.parameters(), *head.parameters()], lr=0.05)
        for _ in range(60):
            bits, lengths = torch.randint(0, 2, (5, 64, 1)).float(), torch.randint(3, 6, (64,))
            target = bits[lengths - 1, torch.arange(64)].expand(2, 64, 1)  # of the first two steps
            answers = head(recurrent(2 * bits - 1, lengths=lengths)[0])[:2]
            loss = nn.functional.binary_cross_entropy_with_logits(answers, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.6 and losses[1] < 0.1

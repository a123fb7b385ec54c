"""One step and one layer of RNN, LSTM and GRU: the formulas, torch's own cells, and what the start promises."""

import math

import pytest
import torch
from torch import Tensor, nn

from stage2_rnn_lstm.models.cells import CELLS, GRULayer, LSTMLayer, RNNLayer, gru_step, lstm_step, rnn_step
from stage2_rnn_lstm.models.official import swap_gates

T, B, D, H = 5, 3, 2, 7
every_cell = pytest.mark.parametrize("cell", CELLS)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def random_layer(cell: str) -> RNNLayer:
    """Biases as well: zeros would hide where they go."""
    layer = CELLS[cell](D, H).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


# --- contract ---------------------------------------------------------------------------------------------------------


@every_cell
def test_shapes_and_names(cell: str):
    layer = CELLS[cell](D, H)
    outputs, states = layer(torch.randn(T, B, D))
    assert [memory.shape for memory in states] == [(T, B, H)] * (2 if cell == "lstm" else 1)
    assert torch.equal(outputs, states[0])
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[cell]
    expected = {"weight_ih": (gates * H, D), "weight_hh": (gates * H, H), "bias": (gates * H,)}
    expected |= {"bias_hh": (H,)} if cell == "gru" else {}
    assert {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()} == expected


@every_cell
def test_an_input_without_its_three_axes_is_refused(cell: str):
    with pytest.raises(Exception, match="Type-check error"):
        CELLS[cell](D, H)(torch.randn(T, D))


# --- parity -----------------------------------------------------------------------------------------------------------


def test_a_step_by_arithmetic():
    """One unit, all weights 0, all gates sigmoid(0) = 1/2."""
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    h, c = lstm_step(torch.tensor([[0.0, 0.0, 0.0, 2.0]]), (zero, one), torch.zeros(4, 1))
    assert c.item() == pytest.approx(0.5 * 1 + 0.5 * math.tanh(2))
    assert h.item() == pytest.approx(0.5 * math.tanh(c.item()))
    (h,) = gru_step(torch.tensor([[0.0, 0.0, 2.0]]), (one,), torch.zeros(3, 1), torch.tensor([3.0]))
    assert h.item() == pytest.approx(0.5 * math.tanh(2 + 0.5 * 3) + 0.5 * 1)
    (h,) = rnn_step(torch.tensor([[2.0]]), (one,), torch.tensor([[3.0]]))
    assert h.item() == pytest.approx(math.tanh(2 + 3))


def test_the_gates_stand_in_the_order_that_is_written():
    """A gate at ±50 is open or shut: LSTM input, forget, output, candidate; GRU reset, update, candidate."""
    one, open_, shut, no_weight = torch.ones(1, 1), 50.0, -50.0, torch.zeros(4, 1)
    cases = [((shut, open_, open_), 1.0), ((open_, shut, open_), math.tanh(2)), ((shut, shut, open_), 0.0)]
    for gates, memory in cases:
        h, c = lstm_step(torch.tensor([[*gates, 2.0]]), (one, one), no_weight)
        assert c.item() == pytest.approx(memory) and h.item() == pytest.approx(math.tanh(memory))
    h, c = lstm_step(torch.tensor([[shut, open_, shut, 2.0]]), (one, one), no_weight)
    assert (h.item(), c.item()) == (pytest.approx(0), 1)
    bias = torch.tensor([3.0])
    for gates, state in [((open_, open_), 1.0), ((open_, shut), math.tanh(2 + 3)), ((shut, shut), math.tanh(2))]:
        (h,) = gru_step(torch.tensor([[*gates, 2.0]]), (one,), torch.zeros(3, 1), bias)
        assert h.item() == pytest.approx(state)


def theirs(layer: RNNLayer) -> nn.RNNCellBase:
    """torch's cell with the weights of a layer."""
    kind = {RNNLayer: nn.RNNCell, LSTMLayer: nn.LSTMCell, GRULayer: nn.GRUCell}[type(layer)]
    cell, order = kind(D, H).double(), nn.LSTM(1, 1) if isinstance(layer, LSTMLayer) else nn.RNN(1, 1)
    with torch.no_grad():
        cell.weight_ih.copy_(swap_gates(order, layer.weight_ih))
        cell.weight_hh.copy_(swap_gates(order, layer.weight_hh))
        cell.bias_ih.copy_(swap_gates(order, layer.bias))
        cell.bias_hh.zero_()
        if isinstance(layer, GRULayer):
            cell.bias_hh[2 * H :] = layer.bias_hh
    return cell


@every_cell
def test_a_step_equals_torchs_cell_in_values_and_gradients(cell: str):
    torch.manual_seed(0)
    layer = random_layer(cell)
    official = theirs(layer)
    x = double(B, D).requires_grad_()
    start = tuple(double(B, H).requires_grad_() for _ in range(layer.memories))
    weights = [double(B, H) for _ in start]
    ours = layer.step(layer.project(x[None])[0], start)
    other = official(x, start if cell == "lstm" else start[0])
    results = []
    for states in (ours, other if cell == "lstm" else (other,)):
        total = torch.stack([(weight * state).sum() for weight, state in zip(weights, states, strict=True)]).sum()
        results.append([*states, *torch.autograd.grad(total, [x, *start])])
    for a, b in zip(*results, strict=True):
        close(a, b)


# --- gradient ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "gates", "memories"), [(rnn_step, 1, 1), (lstm_step, 4, 2), (gru_step, 3, 1)])
def test_the_gradient_of_a_step_against_finite_differences(step, gates: int, memories: int):
    torch.manual_seed(0)
    tensors = [double(2, gates * 3), double(gates * 3, 3), *(double(2, 3) for _ in range(memories))]
    tensors += [double(3)] if step is gru_step else []

    def flat(a: Tensor, weight: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        return step(a, rest[:memories], weight, *rest[memories:])

    assert torch.autograd.gradcheck(flat, [tensor.requires_grad_() for tensor in tensors])


# --- invariants -------------------------------------------------------------------------------------------------------


@every_cell
def test_a_changed_future_leaves_the_past_unchanged(cell: str):
    layer, x = random_layer(cell), double(T, B, D)
    changed = x.clone()
    changed[3:] += 1
    before, after = layer(x)[0], layer(changed)[0]
    assert torch.equal(before[:3], after[:3])
    assert (before[3:] != after[3:]).all()


@every_cell
def test_windows_equal_one_pass_and_so_do_single_steps(cell: str):
    layer, x = random_layer(cell), double(T, B, D)
    whole = layer(x)[1]
    for size in (1, 2):
        parts, state = [], None
        for window in x.split(size):
            _, states = layer(window, state)
            parts.append(states)
            state = tuple(memory[-1] for memory in states)
        for number, memory in enumerate(whole):
            close(torch.cat([part[number] for part in parts]), memory)


@every_cell
def test_batched_equals_single_and_a_permuted_batch_is_permuted(cell: str):
    layer, x, order = random_layer(cell), double(T, B, D), torch.tensor([2, 0, 1])
    together = layer(x)[0]
    close(torch.cat([layer(x[:, [row]])[0] for row in range(B)], dim=1), together)
    close(layer(x[:, order])[0], together[:, order])


@every_cell
def test_the_start_is_orthogonal_and_the_biases_are_0(cell: str):
    layer = CELLS[cell](D, H).double()
    for block in layer.weight_hh.chunk(layer.gates):
        close(block @ block.t(), torch.eye(H, dtype=torch.float64), 1e-6)
    others = layer.bias.view(layer.gates, H)[[gate for gate in range(layer.gates) if (cell, gate) != ("lstm", 1)]]
    assert (others == 0).all()
    assert layer.weight_ih.abs().max() <= math.sqrt(6 / (D + layer.gates * H)) and layer.weight_ih.std() > 0


@pytest.mark.parametrize("bias", [-3.0, 1.0, 5.0])
def test_the_forget_gate_starts_open(bias: float):
    """Without inputs and weights the memory is multiplied by sigmoid(bias) at every step."""
    layer = LSTMLayer(D, H) if bias == 1 else LSTMLayer(D, H, forget_bias=bias)
    assert (layer.bias[H : 2 * H] == bias).all()
    nn.init.zeros_(layer.weight_hh)
    _, (_, c) = layer(torch.zeros(T, B, D), (torch.zeros(B, H), torch.ones(B, H)))
    close(c[-1], torch.full((B, H), (1 + math.exp(-bias)) ** -T), 1e-6)


@every_cell
def test_mixed_precision_stays_close_and_a_step_gives_what_a_sequence_gives(cell: str):
    torch.manual_seed(0)
    layer, x = CELLS[cell](D, H), torch.randn(T, B, D)
    exact = layer(x)[1]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(x)[1]
        first = layer(x[:1])[1]
    for a, b, c in zip(mixed, exact, first, strict=True):
        assert not torch.equal(a.float(), b)  # it really was bf16
        close(a.float(), b, 0.03)
        close(c[0].float(), b[0], 0.03)


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_states_stay_fp32_even_behind_a_product_in_bf16(cell: str, steps: int):
    layer, before = CELLS[cell](D, H), nn.Linear(D, D)
    with torch.autocast("cpu", torch.bfloat16):
        x = before(torch.randn(steps, B, D))
        _, states = layer(x)
    assert x.dtype == torch.bfloat16 and {memory.dtype for memory in states} == {torch.float32}
    torch.stack([memory.sum() for memory in states]).sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)


def test_step_by_step_in_bf16_is_no_rougher_than_all_at_once():
    """Gates and states are fp32 in both; only the products are rounded. Gates in bf16 would add half of the error."""
    torch.manual_seed(0)
    layer, x = LSTMLayer(5, 32), torch.randn(100, B, 5)
    exact = layer(x)[1]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        whole, state, steps = layer(x)[1], layer.initial_state(x), []
        for t in range(len(x)):
            state = layer.step(layer.project(x[t : t + 1])[0], state)
            steps.append(state)
    single = tuple(torch.stack(memory) for memory in zip(*steps, strict=True))
    for one, many, truth in zip(single, whole, exact, strict=True):
        close(one, many, 2e-2)
        errors = [(rough - truth).square().mean().sqrt().item() for rough in (one, many)]
        assert errors[0] > 1e-5 and 0.8 < errors[0] / errors[1] < 1.25  # rounded, and equally well


# --- it learns --------------------------------------------------------------------------------------------------------


@every_cell
def test_it_learns_to_repeat_what_it_read_two_steps_before(cell: str):
    torch.manual_seed(0)
    layer, head = CELLS[cell](1, 16), nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.03)
    loss = torch.tensor(torch.inf)
    for _ in range(120):
        bits = torch.randint(0, 2, (8, 32, 1)).float()
        loss = nn.functional.binary_cross_entropy_with_logits(head(layer(bits)[0][2:]), bits[:-2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # a coin would cost 0.69

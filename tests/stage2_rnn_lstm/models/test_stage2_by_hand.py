"""By hand: every backward against finite differences, the layers against the other two tellings, and it learns."""

import numpy as np
import pytest
import torch

from stage2_rnn_lstm.models import by_hand
from stage2_rnn_lstm.models.by_hand import NUMPY_CELLS, stack, stack_backward
from stage2_rnn_lstm.models.by_hand_language_model import NumpyLanguageModel, clip, token_cross_entropy
from stage2_rnn_lstm.models.language_model import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.models.official import official, official_forward, official_gradients, to_levels, to_numpy
from stage2_rnn_lstm.models.recurrent import Recurrent

T, B, D, H = 5, 2, 3, 7
RNG = np.random.default_rng(0)
CELLS = pytest.mark.parametrize("cell", NUMPY_CELLS)
SHAPES = pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 1), (1, 2), (3, 2)])


def slope(function, x, step=1e-6):
    """∂function/∂x for every number of x, by central differences; the error is of the order step² = 1e-12."""
    result = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        result[place] = (function(up) - function(down)) / (2 * step)
    return result


def draw(cell, inputs=D, hidden=H, dtype=np.float64):
    """The weights of one layer."""
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell] * hidden
    shapes = {"weight_ih": (gates, inputs), "weight_hh": (gates, hidden), "bias": (gates,)}
    shapes |= {"bias_hh": (hidden,)} if cell == "gru" else {}
    return {name: (RNG.standard_normal(shape) * 0.6).astype(dtype) for name, shape in shapes.items()}


def states(cell, count=1, hidden=H):
    return [tuple(RNG.standard_normal((B, hidden)) for _ in range(NUMPY_CELLS[cell].states)) for _ in range(count)]


def tower(cell, layers, directions, hidden=H):
    return [[draw(cell, hidden * directions if i else D, hidden) for _ in range(directions)] for i in range(layers)]


def test_sigmoid():
    z = np.array([-1e4, -800.0, -1.0, 0.0, 1.0, 800.0, 1e4])
    np.testing.assert_allclose(by_hand.sigmoid(z), torch.tensor(z).sigmoid(), rtol=0, atol=1e-15)


@CELLS
@SHAPES
def test_shapes(cell, layers, directions):
    levels, x = tower(cell, layers, directions), RNG.standard_normal((T, B, D))
    outputs, final, tapes = stack(NUMPY_CELLS[cell], levels, x)
    dx, initial, gradients = stack_backward(NUMPY_CELLS[cell], levels, tapes, outputs)
    assert outputs.shape == (T, B, H * directions) and dx.shape == x.shape
    assert len(final) == len(initial) == len(gradients) == len(tapes) == layers * directions
    assert {memory.shape for state in (*final, *initial) for memory in state} == {(B, H)}
    for ours, weights in zip(gradients, (layer for level in levels for layer in level), strict=True):
        assert {name: value.shape for name, value in ours.items()} == {n: v.shape for n, v in weights.items()}


@CELLS
def test_float32_stays_float32(cell):
    levels, x = [[draw(cell, dtype=np.float32)]], RNG.standard_normal((T, B, D)).astype(np.float32)
    outputs, final, tapes = stack(NUMPY_CELLS[cell], levels, x)
    dx, initial, gradients = stack_backward(NUMPY_CELLS[cell], levels, tapes, outputs)
    found = [outputs, dx, *final[0], *initial[0], *gradients[0].values()]
    assert {value.dtype for value in found} == {np.dtype(np.float32)}


@CELLS
def test_one_step_backward(cell):
    step, step_backward, memories = NUMPY_CELLS[cell]
    weights, state, grad = draw(cell), states(cell)[0], states(cell)[0]
    a = RNG.standard_normal((B, len(weights["bias"])))
    da, du, direct = step_backward(grad, state, step(a, state, weights)[1])

    def loss(a, state):
        return sum((g * s).sum() for g, s in zip(grad, step(a, state, weights)[0], strict=True))

    np.testing.assert_allclose(da, slope(lambda v: loss(v, state), a), atol=1e-8)
    for i in range(memories):
        expected = slope(lambda v, i=i: loss(a, (*state[:i], v, *state[i + 1 :])), state[i])
        found = direct[i] + (du @ weights["weight_hh"] if i == 0 else 0)  # (4)
        np.testing.assert_allclose(found, expected, atol=1e-8)


@CELLS
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 2)])
def test_through_time_against_finite_differences(cell, layers, directions):
    levels, x = tower(cell, layers, directions, 2), RNG.standard_normal((3, B, D))
    start, grad_final = states(cell, layers * directions, 2), states(cell, layers * directions, 2)
    grad = RNG.standard_normal((3, B, 2 * directions))

    def loss(levels=levels, x=x, start=start):
        outputs, final, _ = stack(NUMPY_CELLS[cell], levels, x, start)
        ends = zip(sum(final, ()), sum(grad_final, ()), strict=True)
        return (outputs * grad).sum() + sum((memory * g).sum() for memory, g in ends)

    _, _, tapes = stack(NUMPY_CELLS[cell], levels, x, start)
    dx, initial, gradients = stack_backward(NUMPY_CELLS[cell], levels, tapes, grad, grad_final)
    np.testing.assert_allclose(dx, slope(lambda v: loss(x=v), x), atol=1e-7)
    for number in range(layers * directions):
        for i, found in enumerate(initial[number]):

            def with_memory(v, number=number, i=i):
                changed = [list(state) for state in start]
                changed[number][i] = v
                return loss(start=[tuple(state) for state in changed])

            np.testing.assert_allclose(found, slope(with_memory, start[number][i]), atol=1e-7)
        level, direction = divmod(number, directions)
        for name, found in gradients[number].items():
            value = levels[level][direction][name]

            def with_weight(v, level=level, direction=direction, name=name):
                changed = [[dict(layer) for layer in row] for row in levels]
                changed[level][direction][name] = v
                return loss(levels=changed)

            np.testing.assert_allclose(found, slope(with_weight, value), atol=1e-7, err_msg=f"{number} {name}")


@CELLS
@SHAPES
@pytest.mark.parametrize("steps", [1, 11])
def test_the_three_tellings_agree(cell, layers, directions, steps):
    torch.manual_seed(0)
    scratch = Recurrent(D, H, cell=cell, layers=layers, bidirectional=directions == 2).double()
    for p in scratch.parameters():
        p.data += 0.3 * torch.randn_like(p)
    x = RNG.standard_normal((steps, B, D))
    start, grad_final = states(cell, layers * directions), states(cell, layers * directions)
    grad = RNG.standard_normal((steps, B, H * directions))
    levels = to_levels(scratch)
    outputs, final, tapes = stack(NUMPY_CELLS[cell], levels, x, start)
    dx, initial, gradients = stack_backward(NUMPY_CELLS[cell], levels, tapes, grad, grad_final)
    values = [outputs, *sum(final, ())]
    theirs = official(scratch)
    ours = {f"layers.{i}.{name}": value for i, layer in enumerate(gradients) for name, value in layer.items()}
    for forward in (scratch, lambda *inputs: official_forward(theirs, *inputs)):
        tx = torch.tensor(x, requires_grad=True)
        tstart = tuple(tuple(torch.tensor(m, requires_grad=True) for m in state) for state in start)
        toutputs, tfinal = forward(tx, tstart)
        tvalues = [toutputs, *sum(tfinal, ())]
        for found, expected in zip(values, tvalues, strict=True):
            np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=1e-9)
        torch.autograd.backward(tvalues, [torch.tensor(g) for g in (grad, *sum(grad_final, ()))])
        for found, leaf in zip((dx, *sum(initial, ())), (tx, *sum(tstart, ())), strict=True):
            np.testing.assert_allclose(found, leaf.grad, rtol=0, atol=1e-9)
        expected = (
            {n: p.grad for n, p in scratch.named_parameters()} if forward is scratch else official_gradients(theirs)
        )
        assert ours.keys() == expected.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-9, err_msg=name)


@CELLS
def test_the_future_does_not_reach_the_past(cell):
    levels, x = tower(cell, 2, 1), RNG.standard_normal((T, B, D))
    changed = x.copy()
    changed[3] += 1
    outputs, _, tapes = stack(NUMPY_CELLS[cell], levels, x)
    other, _, _ = stack(NUMPY_CELLS[cell], levels, changed)
    np.testing.assert_array_equal(outputs[:3], other[:3])
    assert (outputs[3:] != other[3:]).all()
    grad = np.zeros_like(outputs)
    grad[2] = 1  # a loss that reads step 2 alone
    dx, _, _ = stack_backward(NUMPY_CELLS[cell], levels, tapes, grad)
    assert (dx[3:] == 0).all() and (dx[:3] != 0).all()


@CELLS
def test_two_windows_are_one_text(cell):
    levels, x, grad = tower(cell, 2, 1), RNG.standard_normal((T, B, D)), RNG.standard_normal((T, B, H))
    outputs, final, tapes = stack(NUMPY_CELLS[cell], levels, x)
    dx, initial, gradients = stack_backward(NUMPY_CELLS[cell], levels, tapes, grad)
    first, middle, first_tapes = stack(NUMPY_CELLS[cell], levels, x[:2])
    second, end, second_tapes = stack(NUMPY_CELLS[cell], levels, x[2:], middle)
    np.testing.assert_allclose(np.concatenate((first, second)), outputs, atol=1e-12)
    np.testing.assert_allclose(end[1][0], final[1][0], atol=1e-12)
    dx2, to_middle, late = stack_backward(NUMPY_CELLS[cell], levels, second_tapes, grad[2:])
    dx1, to_start, early = stack_backward(NUMPY_CELLS[cell], levels, first_tapes, grad[:2], to_middle)
    np.testing.assert_allclose(np.concatenate((dx1, dx2)), dx, atol=1e-12)
    np.testing.assert_allclose(to_start[0][0], initial[0][0], atol=1e-12)
    for i, name in ((0, "weight_hh"), (1, "bias")):  # a weight that is used twice gets the sum
        np.testing.assert_allclose(early[i][name] + late[i][name], gradients[i][name], atol=1e-12)


@CELLS
def test_sequences_of_a_batch_do_not_meet(cell):
    levels, x = tower(cell, 2, 2), RNG.standard_normal((T, B, D))
    outputs, _, _ = stack(NUMPY_CELLS[cell], levels, x)
    for b in range(B):
        alone, _, _ = stack(NUMPY_CELLS[cell], levels, x[:, b : b + 1])
        np.testing.assert_allclose(alone[:, 0], outputs[:, b], atol=1e-12)


def test_why_the_lstm_remembers():
    """40 steps without input: the RNN's gradient is its weight to the 40th, the LSTM's the forget gate to the 40th."""
    x, none = np.zeros((40, B, D)), np.zeros((40, B, H))
    rnn = {"weight_ih": np.zeros((H, D)), "weight_hh": 0.5 * np.eye(H), "bias": np.zeros(H)}  # h = 0, so tanh′ = 1
    _, _, tapes = stack(NUMPY_CELLS["rnn"], [[rnn]], x)
    _, initial, _ = stack_backward(NUMPY_CELLS["rnn"], [[rnn]], tapes, none, [(np.ones((B, H)),)])
    np.testing.assert_allclose(initial[0][0], 0.5**40, rtol=1e-12)
    lstm = {"weight_ih": np.zeros((4 * H, D)), "weight_hh": np.zeros((4 * H, H)), "bias": np.zeros(4 * H)}
    lstm["bias"][H : 2 * H] = 5  # f = 1 / (1 + e⁻⁵) = 0.9933
    _, _, tapes = stack(NUMPY_CELLS["lstm"], [[lstm]], x)
    grad = (np.zeros((B, H)), np.ones((B, H)))
    _, initial, _ = stack_backward(NUMPY_CELLS["lstm"], [[lstm]], tapes, none, [grad])
    np.testing.assert_allclose(initial[0][1], (1 / (1 + np.exp(-5))) ** 40, rtol=1e-12)  # 0.76


# --- the language model -----------------------------------------------------------------------------------------------


def language_model(cell, vocab_size=11, embedding=D, hidden=H, layers=2):
    torch.manual_seed(0)
    config = LanguageModelConfig(vocab_size, cell, embedding=embedding, hidden=hidden, layers=layers)
    model = LanguageModel(config).double()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return to_numpy(model)


@CELLS
def test_language_model_against_finite_differences(cell):
    model, tokens, targets = language_model(cell, hidden=2), RNG.integers(4, size=(B, T)), RNG.integers(11, size=(B, T))
    start = states(cell, 2, 2)
    logits, state = model.forward(tokens, start)
    assert logits.shape == (B, T, 11) and len(state) == 2
    gradients = model.backward(token_cross_entropy(logits, targets)[1])
    assert gradients.keys() == model.parameters.keys()
    assert (gradients["embedding.weight"][4:] == 0).all()  # tokens that were not read
    for name, found in gradients.items():

        def loss(value, name=name):
            changed = NumpyLanguageModel(model.parameters | {name: value}, cell=cell)
            return token_cross_entropy(changed.forward(tokens, start)[0], targets)[0]

        np.testing.assert_allclose(found, slope(loss, model.parameters[name]), atol=1e-8, err_msg=name)


def test_clip_shortens_and_keeps_the_direction():
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    clipped, norm = clip(gradients, 1.0)
    assert norm == 5  # √(3² + 4²)
    np.testing.assert_allclose(clipped["a"], [0.6, 0])
    np.testing.assert_allclose(clipped["b"], [[0.8]])
    assert clip(gradients, 5.0)[0]["b"] is gradients["b"]


@CELLS
def test_memorises_a_sentence(cell):
    text = "to be, or not to be: that is"
    characters = sorted(set(text))
    tokens = np.array([[characters.index(character) for character in text]])
    model = language_model(cell, len(characters), 8, 32, 1)
    for _ in range(200):
        logits, _ = model.forward(tokens[:, :-1])
        _, grad = token_cross_entropy(logits, tokens[:, 1:])
        model.step(clip(model.backward(grad), 1.0)[0], 0.5)
    read, state = tokens[:, :1], None
    written = [int(read[0, 0])]
    while len(written) < len(text):  # token by token, with the state carried
        logits, state = model.forward(read, state)
        read = logits[:, -1:].argmax(axis=2)
        written.append(int(read[0, 0]))
    assert "".join(characters[token] for token in written) == text

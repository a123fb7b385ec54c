"""WaveNet: equal to nn.Conv1d, blind to the future, sees exactly its receptive field, cached = uncached, learns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, pad

from my_llm.decoding import beam_search, generate, recompute
from my_llm.errors import ConfigError
from stage2_rnn_lstm.models.wavenet import CausalConvolution, WaveNet, WaveNetConfig, gate, two_places

V, D, B, T = 11, 5, 2, 13


def wavenet(layers: int = 3, blocks: int = 2, dropout: float = 0.0, vocab_size: int = V, channels: int = D) -> WaveNet:
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig(vocab_size, channels, layers, blocks, dropout)).double()
    for parameter in model.parameters():  # biases too
        nn.init.normal_(parameter, std=0.7)
    return model


def some_tokens(batch: int = B, length: int = T) -> torch.Tensor:
    return torch.randint(0, V, (batch, length), generator=torch.Generator().manual_seed(1))


# --- contract ------------------------------------------------------------------------------------------------------


def test_shapes_and_what_it_says_of_itself():
    model = WaveNet(WaveNetConfig(V, D, layers=3, blocks=2))
    logits, state = model(some_tokens())
    assert logits.shape == (B, T, V)
    assert model.config.dilations == (1, 2, 4, 1, 2, 4)
    assert [tuple(queue.shape) for queue in state] == [(B, dilation, D) for dilation in (1, 2, 4, 1, 2, 4)]
    assert model.receptive_field == 15  # 1 + 2 · (1 + 2 + 4)


def test_two_places_and_the_gate_by_hand():
    x = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
    assert two_places(x, 2).tolist() == [[[1.0, 3.0], [2.0, 4.0]]]
    # tanh(0) σ(5) = 0, and tanh(large) σ(0) = 1/2
    torch.testing.assert_close(gate(torch.tensor([[[0.0, 100.0, 5.0, 0.0]]])), torch.tensor([[[0.0, 0.5]]]))


def test_sizes_and_rates_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        WaveNetConfig(V, blocks=0)
    with pytest.raises(ConfigError, match="dropout"):
        WaveNet(WaveNetConfig(V, D, dropout=1.0))


# --- parity --------------------------------------------------------------------------------------------------------


def official_convolution(ours: CausalConvolution) -> nn.Conv1d:
    outputs, twice = ours.linear.weight.shape
    conv = nn.Conv1d(twice // 2, outputs, kernel_size=2, dilation=ours.dilation).double()
    conv.weight.data = torch.stack(ours.linear.weight.detach().chunk(2, dim=1), dim=2)  # (F, D, 2)
    conv.bias = nn.Parameter(ours.linear.bias.detach().clone())
    return conv


@pytest.mark.parametrize("dilation", [1, 2, 5, 16])
def test_the_convolution_is_the_official_one(dilation):
    torch.manual_seed(0)
    ours = CausalConvolution(3, 7, dilation).double()
    nn.init.normal_(ours.linear.bias)
    theirs = official_convolution(ours)
    x, past = torch.randn(B, T, 3).double().requires_grad_(), torch.randn(B, dilation, 3).double().requires_grad_()
    y, queue = ours(x, past)
    both = torch.cat([past, x], dim=1)
    expected = theirs(both.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-9)
    assert torch.equal(queue, both[:, T:])
    weights = torch.randn_like(y)
    mine = torch.autograd.grad((y * weights).sum(), [x, past, ours.linear.weight, ours.linear.bias])
    other = torch.autograd.grad((expected * weights).sum(), [x, past, theirs.weight, theirs.bias])
    torch.testing.assert_close(mine[:2], other[:2], rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.stack(mine[2].chunk(2, dim=1), dim=2), other[2], rtol=0, atol=1e-9)
    torch.testing.assert_close(mine[3], other[3], rtol=0, atol=1e-9)


class OfficialWaveNet(nn.Module):
    """The model of the paper's figure 4 out of nn.Conv1d, channels first, with every 1×1 convolution on its own."""

    def __init__(self, ours: WaveNet):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(ours.embedding.detach().clone(), freeze=False)
        self.convolutions = nn.ModuleList(official_convolution(layer.convolution) for layer in ours.layers)
        self.changes, self.skips, self.head = nn.ModuleList(), nn.ModuleList(), nn.Sequential(nn.ReLU())
        for layer in ours.layers:
            weight, bias = layer.mix.weight.detach(), layer.mix.bias.detach()
            self.changes.append(self.pointwise(weight[:D], bias[:D]))
            self.skips.append(self.pointwise(weight[D:], bias[D:]))
        for linear in (ours.hidden, ours.output):
            self.head += nn.Sequential(self.pointwise(linear.weight.detach(), linear.bias.detach()), nn.ReLU())
        self.head.pop(-1)

    @staticmethod
    def pointwise(weight: torch.Tensor, bias: torch.Tensor) -> nn.Conv1d:
        conv = nn.Conv1d(weight.shape[1], weight.shape[0], kernel_size=1).double()
        conv.weight, conv.bias = nn.Parameter(weight[:, :, None].clone()), nn.Parameter(bias.clone())
        return conv

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x, total = self.embedding(tokens).transpose(1, 2), 0.0  # (B, D, T)
        for convolution, change, skip in zip(self.convolutions, self.changes, self.skips, strict=True):
            content, openness = convolution(pad(x, (convolution.dilation[0], 0))).chunk(2, dim=1)
            z = torch.tanh(content) * torch.sigmoid(openness)
            x, total = x + change(z), total + skip(z)
        return self.head(total / len(self.skips) ** 0.5).transpose(1, 2)


def test_the_model_is_the_official_one_in_values_and_gradients():
    ours = wavenet()
    theirs, tokens, target = OfficialWaveNet(ours), some_tokens(), some_tokens().flip(1)
    logits = ours(tokens)[0]
    expected = theirs(tokens)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)
    for result in (logits, expected):
        cross_entropy(result.flatten(0, 1), target.flatten()).backward()
    torch.testing.assert_close(ours.embedding.grad, theirs.embedding.weight.grad, rtol=0, atol=1e-9)
    for layer, convolution, skip in zip(ours.layers, theirs.convolutions, theirs.skips, strict=True):
        by_place = torch.stack(layer.convolution.linear.weight.grad.chunk(2, dim=1), dim=2)
        torch.testing.assert_close(by_place, convolution.weight.grad, rtol=0, atol=1e-9)
        torch.testing.assert_close(layer.mix.weight.grad[D:], skip.weight.grad[:, :, 0], rtol=0, atol=1e-9)
    for layer, change in list(zip(ours.layers, theirs.changes, strict=True))[:-1]:
        torch.testing.assert_close(layer.mix.weight.grad[:D], change.weight.grad[:, :, 0], rtol=0, atol=1e-9)
    assert theirs.changes[-1].weight.grad is None  # nobody reads what the last layer changes: for us a gradient of 0
    assert not ours.layers[-1].mix.weight.grad[:D].any()


# --- invariants ----------------------------------------------------------------------------------------------------


def test_no_future_leak():
    model, tokens = wavenet(), some_tokens()
    for position in range(T):
        other = tokens.clone()
        other[:, position] = (other[:, position] + 1) % V
        same = torch.isclose(model(tokens)[0], model(other)[0], rtol=0, atol=0).all(dim=(0, 2))
        assert same[:position].all()
        assert not same[position]


@pytest.mark.parametrize(("layers", "blocks", "field"), [(1, 1, 2), (3, 1, 8), (2, 3, 10), (4, 1, 16)])
def test_the_receptive_field_is_exact(layers, blocks, field):
    """1 + blocks · (2^layers − 1): the oldest token inside matters, and the first one outside does not."""
    model = wavenet(layers, blocks)
    assert model.receptive_field == field
    tokens = some_tokens(length=field + 1)
    last = model(tokens)[0][:, -1]
    for position, matters in ((0, False), (1, True)):  # `field` positions before the last one is outside
        other = tokens.clone()
        other[:, position] = (other[:, position] + 1) % V
        assert torch.equal(model(other)[0][:, -1], last) is not matters


@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_in_pieces_equals_at_once(cuts):
    """Pieces shorter and longer than a dilation; one token at a time is among them."""
    model, tokens = wavenet(), some_tokens(length=sum(cuts))
    whole, end = model(tokens)
    state, parts = None, []
    for piece in tokens.split(cuts, dim=1):
        logits, state = model(piece, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-9)
    torch.testing.assert_close(state, end, rtol=0, atol=1e-9)


def test_batched_equals_single():
    model, tokens = wavenet(), some_tokens(batch=3)
    torch.testing.assert_close(model(tokens[1:2])[0][0], model(tokens)[0][1], rtol=0, atol=1e-9)


def test_decoding_with_queues_equals_decoding_anew():
    model, prompt = wavenet(), some_tokens(length=4)

    def step(tokens, state):
        logits, state = model(tokens, state)
        return logits[:, -1], state

    def whole(tokens):
        return model(tokens)[0]

    cached, anew = (
        torch.stack(list(generate(way, prompt, max_new_tokens=25)), dim=1) for way in (step, recompute(whole))
    )
    assert torch.equal(cached, anew)
    beams = [beam_search(way, prompt, width=3, max_new_tokens=6, stop=0) for way in (step, recompute(whole))]
    assert [[beam.tokens for beam in row] for row in beams[0]] == [[beam.tokens for beam in row] for row in beams[1]]


def test_dropout_only_in_training():
    model, tokens = wavenet(dropout=0.5), some_tokens()
    assert not torch.equal(model(tokens)[0], model(tokens)[0])
    model.eval()
    assert torch.equal(model(tokens)[0], model(tokens)[0])


# --- it learns -----------------------------------------------------------------------------------------------------


def test_it_learns_a_rule_that_reaches_far_back_if_its_field_does():
    """Each token repeats the one 7 places before it: a field of 8 knows (the loss goes to 0), one of 4 cannot."""
    torch.manual_seed(0)
    seen, losses = torch.randint(0, 4, (32, 7)), {}
    text = seen.repeat(1, 4)  # (32, 28)
    for layers in (2, 3):
        model = WaveNet(WaveNetConfig(4, 16, layers=layers, blocks=1))
        logits = model(text[:, :-1])[0]
        assert cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()) < 2.5  # near ln 4 = 1.39: a sane start
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(150):
            fresh = torch.randint(0, 4, (32, 7)).repeat(1, 4)
            loss = cross_entropy(model(fresh[:, :-1])[0][:, 6:].flatten(0, 1), fresh[:, 7:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[layers] = cross_entropy(model(text[:, :-1])[0][:, 6:].flatten(0, 1), text[:, 7:].flatten()).item()
    assert losses[3] < 0.05
    assert losses[2] > 1.0

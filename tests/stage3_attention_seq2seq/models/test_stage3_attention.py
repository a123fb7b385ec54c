"""The attentions alone: the formulas, the mask, many queries at once, the window, and every gradient."""

import math

import pytest
import torch
from torch import Tensor, nn

from my_llm.decoding import select_rows
from stage3_attention_seq2seq.models.attention import ATTENTIONS, Attention, LocalAttention, Memory, masked_softmax
from stage3_attention_seq2seq.models.decoder import DECODERS

B, S, T, H, F = 3, 7, 2, 5, 11
LENGTHS = torch.tensor([4, 7, 1])
REAL = torch.arange(S) < LENGTHS[:, None]  # (B, S)

every_attention = pytest.mark.parametrize("name", ATTENTIONS)
weighing = pytest.mark.parametrize("name", [name for name in ATTENTIONS if name != "none"])
summing_to_1 = pytest.mark.parametrize("name", [name for name in ATTENTIONS if name not in ("none", "local")])


def close(a: object, b: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def random_attention(name: str) -> Attention:
    torch.manual_seed(0)
    attention = ATTENTIONS[name](H, H, F).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.7)
    return attention


def remembered(attention: Attention, keys: Tensor | None = None, real: Tensor = REAL) -> Memory:
    torch.manual_seed(1)
    drawn, summary = double(B, S, H), double(B, H)
    return attention.remember(drawn if keys is None else keys, real, summary)


# --- contract ---------------------------------------------------------------------------------------------------------


@every_attention
def test_shapes(name: str):
    attention = random_attention(name)
    memory = remembered(attention)
    for times in ((), (T,)):
        context, weights = attention(double(B, *times, H), memory)
        assert context.shape == (B, *times, H)
        assert weights is None if name == "none" else weights.shape == (B, *times, S)


def test_parameters_by_name():
    shapes = {
        name: {key: tuple(value.shape) for key, value in kind(2, 3, 5).named_parameters()}
        for name, kind in ATTENTIONS.items()
    }
    general = {"weight": (2, 3)}
    additive = {"weight_query": (5, 2), "weight_key": (5, 3), "score": (5,)}
    assert shapes == {
        "none": {},
        "bahdanau": additive,
        "luong_dot": {},
        "luong_general": general,
        "luong": general,
        "luong_concat": additive,
        "local": general | {"weight_position": (5, 2), "position": (5,)},
    }
    assert DECODERS.keys() == ATTENTIONS.keys()


@every_attention
def test_decoding_can_select_rows_of_a_memory(name: str):
    attention, rows = random_attention(name), torch.tensor([2, 0, 0, 1])
    memory, query = remembered(attention), double(B, H)
    context, weights = attention(query, memory)
    chosen = select_rows(memory, rows)
    assert type(chosen) is Memory
    picked = attention(query[rows], chosen)
    close(picked[0], context[rows])
    close(picked[1], None if weights is None else weights[rows])


# --- parity -----------------------------------------------------------------------------------------------------------


def score(name: str, attention: Attention, q: Tensor, k: Tensor) -> Tensor:
    """One query and one key, as the papers write it."""
    w = dict(attention.named_parameters())
    if name == "luong_dot":
        return q @ k
    if name in ("luong_general", "luong", "local"):
        return q @ w["weight"] @ k
    if name == "bahdanau":
        return w["score"] @ torch.tanh(w["weight_query"] @ q + w["weight_key"] @ k)
    both = torch.cat([w["weight_query"], w["weight_key"]], dim=1)  # W of W [q; k]
    return w["score"] @ torch.tanh(both @ torch.cat([q, k]))


@summing_to_1
def test_the_formula_sentence_by_sentence_and_key_by_key(name: str):
    attention, query = random_attention(name), double(B, H)
    memory = remembered(attention)
    context, weights = attention(query, memory)
    for b, length in enumerate(LENGTHS.tolist()):
        scores = torch.stack([score(name, attention, query[b], memory.keys[b, s]) for s in range(length)])
        alpha = scores.exp() / scores.exp().sum()
        close(weights[b, :length], alpha)
        close(context[b], sum(alpha[s] * memory.keys[b, s] for s in range(length)))


def test_local_is_the_formula_and_nothing_outside_the_window():
    attention, query = random_attention("local"), double(B, H)
    assert isinstance(attention, LocalAttention)
    attention.window = 2  # instead of 5, so that a sentence of 7 is wider than the window
    memory = remembered(attention)
    _, weights = attention(query, memory)
    outside = 0
    for b, length in enumerate(LENGTHS.tolist()):
        p = length * torch.sigmoid(attention.position @ torch.tanh(attention.weight_position @ query[b])).item()
        window = [s for s in range(length) if abs(s - p) <= 2]
        outside += length - len(window)
        powers = {s: score("local", attention, query[b], memory.keys[b, s]).exp().item() for s in window}
        for s in range(S):
            gauss = math.exp(-((s - p) ** 2) / (2 * (2 / 2) ** 2))  # σ = window / 2
            expected = powers[s] / sum(powers.values()) * gauss if s in window else 0
            assert weights[b, s].item() == pytest.approx(expected, abs=1e-12)
    assert outside >= 3


def test_weights_by_arithmetic():
    """Scores log 1, log 2, log 5 and a padding: 1/8, 2/8, 5/8, 0."""
    scores = torch.tensor([[[0.0, math.log(2), math.log(5), 100.0]]], dtype=torch.float64)
    real = torch.tensor([[[True, True, True, False]]])
    close(masked_softmax(scores, real), torch.tensor([[[0.125, 0.25, 0.625, 0]]], dtype=torch.float64))


def test_no_attention_is_the_summary():
    attention = random_attention("none")
    memory = remembered(attention)
    assert attention(double(B, H), memory) == (memory.summary, None)
    assert torch.equal(attention(double(B, T, H), memory)[0], torch.stack([memory.summary] * T, dim=1))


# --- gradient ---------------------------------------------------------------------------------------------------------


@every_attention
def test_gradients_against_finite_differences(name: str):
    """Also through the place of the window, as long as no token crosses its edge."""
    attention, query = random_attention(name), double(B, T, H).requires_grad_()
    if isinstance(attention, LocalAttention):
        attention.window = 3
        edges = (torch.arange(S) - attention.centre(query, REAL)[:, :, None]).abs() - attention.window
        assert (edges.abs() > 1e-3).all() and (edges[REAL[:, None].expand_as(edges)] > 0).any()
    keys, summary = double(B, S, H).requires_grad_(), double(B, H).requires_grad_()

    def looked(query: Tensor, keys: Tensor, summary: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        results = attention(query, attention.remember(keys, REAL, summary))  # `weights` are those of attention
        return tuple(result for result in results if result is not None)

    assert torch.autograd.gradcheck(looked, (query, keys, summary, *attention.parameters()))


def test_the_window_learns_where_to_stand():
    """∂L/∂v_p is not 0: the Gaussian tells p which way to go."""
    attention = random_attention("local")
    attention(double(B, H), remembered(attention))[0].sum().backward()
    assert isinstance(attention, LocalAttention)
    assert attention.position.grad is not None and (attention.position.grad != 0).all()
    assert attention.weight_position.grad is not None and (attention.weight_position.grad != 0).all()


# --- invariants -------------------------------------------------------------------------------------------------------


@every_attention
def test_many_queries_at_once_are_as_many_single_ones(name: str):
    attention, query = random_attention(name), double(B, T, H)
    memory = remembered(attention)
    context, weights = attention(query, memory)
    for t in range(T):
        one, alpha = attention(query[:, t], memory)
        close(one, context[:, t])
        close(alpha, None if weights is None else weights[:, t])


@weighing
def test_weights_are_positive_on_real_tokens_and_0_on_padding(name: str):
    attention = random_attention(name)
    _, weights = attention(double(B, T, H), remembered(attention))
    real = REAL[:, None].expand_as(weights)
    assert (weights[~real] == 0).all()
    if name == "local":
        assert (weights >= 0).all() and (weights.sum(dim=2) > 0).all() and (weights.sum(dim=2) < 1).all()
    else:
        assert (weights[real] > 0).all()
        close(weights.sum(dim=2), torch.ones(B, T, dtype=torch.float64))


@weighing
def test_padding_changes_nothing_not_even_a_gradient(name: str):
    attention, query, grad = random_attention(name), double(B, T, H), double(B, T, H)
    keys, noise = double(B, S, H), 100 * double(B, S + 4, H)
    other = torch.where(REAL[:, :, None], keys, noise[:, :S])
    results = []
    for read in (keys, other, torch.cat([other, noise[:, S:]], dim=1)):  # other padding; more padding
        read, asked = read.clone().requires_grad_(), query.clone().requires_grad_()
        real = torch.arange(read.shape[1]) < LENGTHS[:, None]
        attention.zero_grad()
        context, weights = attention(asked, remembered(attention, read, real))
        ((context * grad).sum() + weights[:, :, 0].square().sum()).backward()
        assert read.grad is not None and (read.grad[~real] == 0).all() and (weights[:, :, S:] == 0).all()
        gradients = [asked.grad, read.grad[:, :S], *(parameter.grad for parameter in attention.parameters())]
        results.append((context, weights[:, :, :S], gradients))
    close(results[1], results[0])
    close(results[2], results[0])


@weighing
def test_a_sentence_without_a_token_gives_0_and_no_nan(name: str):
    attention = random_attention(name)
    real = REAL.clone()
    real[1] = False
    keys, query = double(B, S, H).requires_grad_(), double(B, T, H).requires_grad_()
    context, weights = attention(query, remembered(attention, keys, real))
    assert (context[1] == 0).all() and (weights[1] == 0).all() and context[0].abs().min() > 0
    (context.sum() + weights.square().sum()).backward()
    gradients = [keys.grad, query.grad, *(parameter.grad for parameter in attention.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert (keys.grad[1] == 0).all() and (query.grad[1] == 0).all()


@summing_to_1
def test_the_order_of_the_keys_does_not_matter(name: str):
    attention, query, order = random_attention(name), double(B, H), torch.randperm(S)
    memory = remembered(attention)
    context, weights = attention(query, memory)
    other, permuted = attention(query, attention.remember(memory.keys[:, order], REAL[:, order], memory.summary))
    close(other, context)
    close(permuted, weights[:, order])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_mask_does_not_overflow(dtype: torch.dtype):
    """Not even where the real scores are at the lower end of the number format."""
    lowest = torch.finfo(dtype).min
    scores = torch.tensor([[[lowest, lowest / 2, 0.0], [lowest, 0.0, 0.0], [1.0, 1.0, 1.0]]], dtype=dtype)
    real = torch.tensor([[[True, True, False], [True, False, False], [False, False, False]]])
    weights = masked_softmax(scores, real)
    assert weights.dtype == dtype and weights.isfinite().all()
    assert weights[0, 0].tolist() == [0, 1, 0] and (weights[0, 1, 1:] == 0).all() and (weights[0, 2] == 0).all()


@weighing
def test_mixed_precision_stays_close(name: str):
    attention = random_attention(name).float()
    query, keys, summary = torch.randn(B, T, H), torch.randn(B, S, H), torch.randn(B, H)
    exact = attention(query, attention.remember(keys, REAL, summary))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attention(query, attention.remember(keys, REAL, summary))
    assert not torch.equal(mixed[0].float(), exact[0])  # it really was bf16
    close(mixed[0].float(), exact[0], 0.1)
    close(mixed[1].float(), exact[1], 0.05)


@summing_to_1
def test_the_first_glance_is_at_everything(name: str):
    """With states as small as those of a new network, all tokens get about the same."""
    torch.manual_seed(0)
    attention = ATTENTIONS[name](64, 64, 64)
    keys, query = 0.3 * torch.randn(9, S, 64), 0.3 * torch.randn(9, 64)
    _, weights = attention(query, attention.remember(keys, torch.ones(9, S, dtype=torch.bool), query))
    assert weights.max() < 0.9 and (weights.std(dim=1) > 0).all()
    assert weights.mean(dim=0).sub(1 / S).abs().max() < 0.1


# --- it learns --------------------------------------------------------------------------------------------------------


@summing_to_1
def test_it_learns_to_find_the_key_that_the_query_names(name: str):
    """Keys are [name; content], the query is a name turned by a fixed rotation; the answer is the content."""
    torch.manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(8, 8))[0]
    ask, attention = nn.Linear(8, 16), ATTENTIONS[name](16, 16, 32)
    optimizer = torch.optim.Adam([*ask.parameters(), *attention.parameters()], lr=0.02)
    for _ in range(150):
        names, content = torch.eye(8)[torch.rand(32, 8).argsort(dim=1)[:, :5]], torch.randn(32, 5, 8)
        which = torch.randint(0, 5, (32,))
        query = ask(names[torch.arange(32), which] @ rotation)
        memory = attention.remember(torch.cat([3 * names, content], dim=2), torch.ones(32, 5) > 0, query)
        context, _ = attention(query, memory)
        loss = (context[:, 8:] - content[torch.arange(32), which]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # a look at all five alike costs 0.8

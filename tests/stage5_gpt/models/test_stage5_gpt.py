"""GPT: shapes, no future, the cache, grouped queries, the start, every part, and it learns a text by heart."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from my_llm.decoding import beam_search, generate, recompute, select_rows
from my_llm.device import autocast
from my_llm.errors import ConfigError
from stage4_transformer.models import POSITIONS
from stage5_gpt.models import ACTIVATIONS, GPT, NORMS, NOT_ASKED, CausalSelfAttention, GPTConfig
from stage5_gpt.models.attention import written_out

V, B, T, D, H = 13, 3, 7, 24, 6
SMALL = GPTConfig(vocab_size=V, model=D, heads=H, layers=2, context=11)
VARIANTS: list[dict[str, Any]] = [
    *({"positions": name} for name in POSITIONS),
    *({"activation": name} for name in ACTIVATIONS),
    *({"norm": name, "bias": False} for name in NORMS),
    *({"groups": groups, "query_key_norm": True, "positions": "rotary"} for groups in (1, 2, 3)),
    {"groups": 2, "positions": "alibi", "tied": False, "hidden": 17},
    {"ngrams": 3, "ngram_rows": 7, "positions": "rotary"},
]
every_variant = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))


def close(a: object, b: object, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(**options: Any) -> GPT:
    """No weight is 0 as it is at the start: that would hide mistakes."""
    torch.manual_seed(0)
    model = GPT(replace(SMALL, **options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.4)
    return model.double()


def some_tokens(length: int = T, batch: int = B) -> Tensor:
    return torch.randint(0, V, (batch, length), generator=torch.Generator().manual_seed(1))


# --- contract ---------------------------------------------------------------------------------------------------------


@every_variant
def test_shapes(options: dict[str, Any]):
    model = random_model(**options)
    logits, cache = model(some_tokens())
    assert logits.shape == (B, T, V) and cache is None
    logits, cache = model(some_tokens(), model.new_cache(B))
    assert logits.shape == (B, T, V) and cache.length == T and len(cache.layers) == 2
    assert {part.shape for pair in cache.layers for part in pair} == {(B, options.get("groups", H), 11, D // H)}


@every_variant
def test_the_last_logits_alone_are_those_of_all(options: dict[str, Any]):
    model = random_model(**options)
    for cache in (None, model.new_cache(B)):
        last, _ = model(some_tokens(), cache, last=True)
        assert last.shape == (B, 1, V)
        torch.testing.assert_close(last, model(some_tokens())[0][:, -1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 0}, "at least 1"), ({"groups": -1}, "at least 1"), ({"heads": 5}, "equally"),
        ({"groups": 4}, "equally"), ({"dropout": 1.0}, "dropout"), ({"norm": "batch"}, "batch"),
        ({"activation": "relu3"}, "relu3"), ({"positions": "gps"}, "gps"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_in_one_line(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        GPT(replace(SMALL, **options))
    assert "\n" not in str(caught.value)


def test_more_than_the_context_is_refused():
    model = random_model(positions="rotary")
    with pytest.raises(ConfigError, match=r"12.*at most 11"):
        model(some_tokens(12))
    _, cache = model(some_tokens(11), model.new_cache(B))
    with pytest.raises(ConfigError, match="at most 11"):
        model(some_tokens(1), cache)


def test_the_start():
    """Logits of almost nothing: every token is as likely. What a block adds is small, or with `quiet` nothing."""
    torch.manual_seed(0)
    model, tokens = GPT(replace(SMALL, vocab_size=101, model=48)), torch.randint(0, 101, (8, 11))
    assert model.head.weight is model.embedding.weight and model.head.bias is None
    assert abs(model(tokens, targets=tokens.flip(1))[0].item() / 88 - 4.615) < 0.1  # ln 101
    for block in model.blocks:
        for part in (block.attention, block.feed_forward):
            assert part.inward.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert part.outward.weight.std().item() == pytest.approx(0.01, rel=0.1)  # 0.02 / √(2 · 2)
            assert not part.inward.bias.any() and not part.outward.bias.any()
    quiet = GPT(replace(SMALL, quiet=True, tied=False))
    assert quiet.head.weight is not quiet.embedding.weight
    x = torch.randn(B, T, D)
    assert torch.equal(quiet.blocks[0](x, quiet.positions), x)


def test_without_bias_there_is_none():
    vectors = [name for name, weight in GPT(replace(SMALL, bias=False)).named_parameters() if weight.ndim < 2]
    assert vectors and all(name.endswith("weight") for name in vectors)
    assert not [w for w in GPT(replace(SMALL, bias=False, norm="rms_plain")).parameters() if w.ndim < 2]


# --- invariants -------------------------------------------------------------------------------------------------------


@every_variant
def test_no_future_leaks(options: dict[str, Any]):
    model, tokens = random_model(**options), some_tokens()
    for place in range(1, T):
        other = tokens.clone()
        other[:, place:] = (other[:, place:] + 1) % V
        before, after = model(tokens)[0], model(other)[0]
        close(after[:, :place], before[:, :place])
        assert (after[:, place] - before[:, place]).abs().max() > 1e-3


def test_no_gradient_comes_from_the_future():
    model = random_model()
    x = model.embedding(some_tokens()).detach().requires_grad_()
    model.blocks[0].attention(x, model.positions)[:, 3].sum().backward()
    assert x.grad is not None
    assert x.grad[:, :4].abs().amin(dim=(0, 2)).min() > 0 and not x.grad[:, 4:].any()


def test_with_a_broken_mask_the_future_does_leak(monkeypatch: pytest.MonkeyPatch):
    """What the two tests above look for is there as soon as nobody forbids it."""
    model, tokens = random_model(), some_tokens()
    before = model(tokens)[0]
    monkeypatch.setattr(CausalSelfAttention, "look", lambda self, q, k, v, bias: (q @ k.mT).softmax(-1) @ v)
    leaking = model(tokens)[0]
    tokens[:, -1] = (tokens[:, -1] + 1) % V
    assert (model(tokens)[0][:, 0] - leaking[:, 0]).abs().max() > 1e-4 and not torch.equal(before, leaking)


@every_variant
@pytest.mark.parametrize("parts", [[1] * T, [4, 1, 2], [3, 4]], ids=str)
def test_cached_is_uncached(options: dict[str, Any], parts: list[int]):
    model, tokens = random_model(**options), some_tokens()
    cache, said = model.new_cache(B), []
    for part in tokens.split(parts, dim=1):
        logits, cache = model(part, cache)
        said.append(logits)
    close(torch.cat(said, dim=1), model(tokens)[0])


def test_grouped_queries_are_full_ones_with_repeated_keys_and_values():
    model = random_model(groups=2, positions="rotary")
    full, k = GPT(replace(SMALL, positions="rotary")).double(), D // H
    weights = model.state_dict()
    for name, weight in weights.items():
        if ".inward." in name and "attention" in name:
            query, key, value = weight.split([H * k, 2 * k, 2 * k])
            repeat = [part.unflatten(0, (2, k)).repeat_interleave(H // 2, dim=0).flatten(0, 1) for part in (key, value)]
            weights[name] = torch.cat([query, *repeat])
    full.load_state_dict(weights)
    close(full(some_tokens())[0], model(some_tokens())[0])


def test_query_key_norm_forgets_how_long_queries_and_keys_are():
    model = random_model(query_key_norm=True, positions="rotary", norm="rms_plain", bias=False)
    before = model(some_tokens())[0]
    with torch.no_grad():
        model.blocks[0].attention.inward.weight[: 2 * D] *= 1000
    close(model(some_tokens())[0], before, 1e-4)  # but for epsilon


def test_written_out_attention_is_the_kernels():
    torch.manual_seed(0)
    parts = [torch.randn(B, H, T, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    ways = [written_out(*parts), scaled_dot_product_attention(*parts, is_causal=True)]
    close(*ways)
    close(*(torch.autograd.grad(said.sin().sum(), parts) for said in ways))


@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"positions": "alibi"}], ids=str)
def test_training_in_bf16_is_near(options: dict[str, Any]):
    """On a CPU it goes through `written_out`, or where that does not fit through the kernel in fp32."""
    found = []
    for precision in ("fp32", "bf16"):
        model = random_model(**options).float()
        with autocast(precision, torch.device("cpu")):
            loss = model(some_tokens(), targets=some_tokens().roll(1))[0]
        loss.backward()
        found.append((loss.item(), model.blocks[0].attention.inward.weight.grad))
    assert found[1][0] == pytest.approx(found[0][0], rel=0.05) and found[0][0] != found[1][0]
    exact, rough = (gradient.flatten() for _, gradient in found)
    assert torch.cosine_similarity(exact, rough, dim=0) > 0.95


def test_targets_give_the_loss_of_the_logits_and_its_gradients():
    model, tokens = random_model(), some_tokens()
    targets = some_tokens().roll(1)
    targets[0, :3] = NOT_ASKED
    found = []
    for given_targets in (True, False):
        model.zero_grad()
        if given_targets:
            loss, _ = model(tokens, targets=targets)
        else:
            loss = cross_entropy(model(tokens)[0].flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")
        loss.backward()
        found.append((loss.detach(), *(weight.grad.clone() for weight in model.parameters())))
    close(*found, 1e-5)  # the head's share is summed in fp32


def test_checkpointing_changes_time_and_memory_only():
    gradients = []
    for checkpointing in (False, True):
        model = random_model(dropout=0.3)
        model.checkpointing = checkpointing
        torch.manual_seed(3)
        model(some_tokens(), targets=some_tokens())[0].backward()
        gradients.append([weight.grad for weight in model.parameters()])
    close(*gradients)


def test_dropout_is_for_training_only():
    model = random_model(dropout=0.5)
    assert not torch.equal(model(some_tokens())[0], model(some_tokens())[0])
    model.eval()
    close(model(some_tokens())[0], random_model().eval()(some_tokens())[0])


# --- decoding ---------------------------------------------------------------------------------------------------------


def cached_step(model: GPT):
    def step(tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = model(tokens, cache or model.new_cache(len(tokens)))
        return logits[:, -1], cache

    return step


@given(st.integers(1, 4), st.integers(1, 6))
def test_generation_with_and_without_cache(batch: int, room: int):
    model, prompt = random_model(positions="rotary"), some_tokens(5, batch)
    ways = (cached_step(model), recompute(lambda tokens: model(tokens)[0]))
    cached, anew = (torch.stack(list(generate(step, prompt, max_new_tokens=room))) for step in ways)
    assert torch.equal(cached, anew)


def test_beam_search_moves_the_cache_along():
    model = random_model(positions="rotary")
    ways = (cached_step(model), recompute(lambda tokens: model(tokens)[0]))
    cached, anew = (beam_search(step, some_tokens(3), width=3, max_new_tokens=6, stop=0) for step in ways)
    for one, other in zip(cached, anew, strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        close([h.log_probability for h in one], [h.log_probability for h in other])


def test_rows_of_a_cache():
    model = random_model()
    tokens = some_tokens(5)
    _, cache = model(tokens[:, :4], model.new_cache(B))
    chosen = select_rows(cache, torch.tensor([2, 0]))
    assert chosen.length == 4
    close(model(tokens[[2, 0], 4:], chosen)[0], model(tokens[[2, 0]])[0][:, 4:])


# --- it learns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, VARIANTS[-3]], ids=["gpt-2", "modern"])
def test_it_learns_a_text_by_heart(options: dict[str, Any]):
    torch.manual_seed(0)
    model, tokens = GPT(replace(SMALL, **options)), some_tokens(12, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        loss, _ = model(tokens[:, :-1], targets=tokens[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model(tokens[:, :-1])[0][:, 3:].argmax(-1).equal(tokens[:, 4:]) and loss.item() / 44 < 0.6

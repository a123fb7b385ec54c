"""Encoder and decoder: their composition, torch's own, padding, the future, the cache, dropout, and that they learn."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from my_llm.errors import ConfigError
from stage4_transformer.models.attention import causal_mask, padding_mask, window_mask
from stage4_transformer.models.layers import Dropout
from stage4_transformer.models.official import (
    hidden_future,
    hidden_padding,
    official_decoder,
    official_encoder,
    our_name,
)
from stage4_transformer.models.positions import POSITIONS
from stage4_transformer.models.stacks import Decoder, Encoder, StackConfig, decoder_of, encoder_of

B, H, T, S, D, F = 3, 2, 5, 7, 12, 11
LENGTHS = torch.tensor([4, 7, 1])
SMALL = StackConfig(model=D, heads=H, layers=2, hidden=F, max_length=16)
VARIANTS = [
    *({"positions": name} for name in POSITIONS),
    *({"order": order, "norm": norm} for order in ("pre", "post") for norm in ("layer", "rms")),
    {"activation": "gelu", "order": "post"},
    {"activation": "swiglu", "positions": "rotary", "norm": "rms"},
    {"layers": 1, "positions": "alibi", "order": "post"},
]
every_variant = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))
TORCHS = [{"order": order, "activation": name} for order in ("pre", "post") for name in ("relu", "gelu")]
every_torch = pytest.mark.parametrize("options", TORCHS, ids=lambda options: "-".join(options.values()))


def close(a: Any, b: Any, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def randomised(stack: Any) -> Any:
    """No weight is 0 and no norm is the unit's, as at the start: that would hide mistakes."""
    torch.manual_seed(0)
    for parameter in stack.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.4)
    return stack.double()


def encoder(**options: Any) -> Encoder:
    return randomised(encoder_of(replace(SMALL, **options)))


def decoder(**options: Any) -> Decoder:
    return randomised(decoder_of(replace(SMALL, **options)))


# --- contract ---------------------------------------------------------------------------------------------------------


@every_variant
def test_shapes(options: dict[str, Any]):
    layers = options.get("layers", 2)
    outputs, kept, maps = encoder(**options)(double(B, S, D), need_weights=True)
    assert outputs.shape == (B, S, D) and len(kept) == len(maps) == layers
    assert {part.shape for pair in kept for part in pair} == {(B, H, S, D // H)}
    assert {weights.shape for weights in maps} == {(B, H, S, S)}
    stack = decoder(**options)
    sources = stack.sources(outputs, padding_mask(LENGTHS, S))
    outputs, kept, own, cross = stack(double(B, T, D), sources, need_weights=True)
    assert outputs.shape == (B, T, D) and len(kept) == len(own) == len(cross) == len(sources) == layers
    assert {weights.shape for weights in own} == {(B, H, T, T)}
    assert {weights.shape for weights in cross} == {(B, H, T, S)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "rotatory"}, "unknown positions.*did you mean rotary"),
        ({"order": "past"}, "unknown order.*did you mean post"),
        ({"norm": "batch"}, "unknown norm.*valid: layer, rms"),
        ({"activation": "tanh"}, "unknown activation.*gelu, relu, swiglu"),
        ({"dropout": 1.0}, "dropout rate out of range; got '1.0'"),
        ({"layers": 0}, "at least 1"),
        ({"heads": 0}, "at least 1"),
        ({"max_length": 0}, "at least 1"),
        ({"heads": 5}, "equally.*width 12, 5 heads"),
        ({"positions": "sinusoidal", "model": 15, "heads": 3}, "must be even.*15"),
        ({"positions": "rotary", "heads": 4}, "must be even.*3"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        encoder_of(replace(SMALL, **options))
    assert "\n" not in str(caught.value)


# --- parity -----------------------------------------------------------------------------------------------------------


def test_an_encoder_written_out():
    stack, x = encoder(positions="learned"), double(B, S, D)
    expected = x + stack.positions.table[:S]
    for layer in stack.layers:
        expected = expected + layer.attention(layer.around_attention.norm(expected))[0]
        expected = expected + layer.feed_forward(layer.around_feed_forward.norm(expected))
    close(stack(x)[0], stack.norm(expected))
    stack = encoder(order="post", positions="none")
    expected = x
    for layer in stack.layers:
        expected = layer.around_attention.norm(expected + layer.attention(expected)[0])
        expected = layer.around_feed_forward.norm(expected + layer.feed_forward(expected))
    close(stack(x)[0], expected)


@pytest.mark.parametrize("order", ["pre", "post"])
def test_a_decoder_written_out(order: str):
    stack, x, memory = decoder(order=order, positions="none"), double(B, T, D), double(B, S, D)
    mask, expected = padding_mask(LENGTHS, S), x
    for layer in stack.layers:
        sublayers = (
            (layer.around_attention.norm, lambda x, at=layer.attention: at(x, mask=causal_mask(T, T))[0]),
            (
                layer.around_cross_attention.norm,
                lambda x, at=layer.cross_attention: at(x, at.project(memory), mask=mask)[0],
            ),
            (layer.around_feed_forward.norm, layer.feed_forward),
        )
        for norm, sublayer in sublayers:
            expected = expected + sublayer(norm(expected)) if order == "pre" else norm(expected + sublayer(expected))
    close(stack(x, stack.sources(memory, mask))[0], stack.norm(expected))


def by_our_names(theirs: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    return {our_name(prefix + name).removeprefix(prefix): value for name, value in theirs.named_parameters()}


@every_torch
@pytest.mark.parametrize("kind", ["padding", "causal", "window", "nothing"])
def test_torchs_encoder_agrees_in_values_and_gradients(options: dict[str, Any], kind: str):
    ours = encoder(positions="none", **options)
    theirs, x, results = official_encoder(ours_config(options)).double(), double(B, S, D), []
    named = by_our_names(theirs, "encoder.")
    for name, parameter in ours.named_parameters():
        named[name].data.copy_(parameter)
    near = window_mask(S, S, 3)
    masks: dict[str, tuple[Any, dict[str, Any]]] = {
        "nothing": (None, {}),
        "padding": (padding_mask(LENGTHS, S), {"src_key_padding_mask": hidden_padding(LENGTHS, S)}),
        "causal": (causal_mask(S, S), {"mask": hidden_future(S, x.device), "is_causal": True}),
        "window": (near, {"mask": ~near}),
    }
    real = torch.arange(S)[None, :, None] < LENGTHS[:, None, None]
    for telling in (ours, theirs):
        leaf = x.clone().requires_grad_()
        output = ours(leaf, masks[kind][0])[0] if telling is ours else theirs(leaf, **masks[kind][1])
        output = output * real if kind == "padding" else output
        parameters = dict(ours.named_parameters()) if telling is ours else named
        at = torch.autograd.grad(output.square().sum(), [leaf, *(parameters[n] for n, _ in ours.named_parameters())])
        results.append((output, at))
    assert named.keys() == dict(ours.named_parameters()).keys()
    close(*results, 1e-9)


@every_torch
def test_torchs_decoder_agrees_in_values_and_gradients(options: dict[str, Any]):
    ours, results = decoder(positions="none", **options), []
    theirs, x, memory = official_decoder(ours_config(options)).double(), double(B, T, D), double(B, S, D)
    named = by_our_names(theirs, "decoder.")
    for name, parameter in ours.named_parameters():
        named[name].data.copy_(parameter)
    assert named.keys() == dict(ours.named_parameters()).keys()
    for telling in (ours, theirs):
        leaf, told = x.clone().requires_grad_(), memory.clone().requires_grad_()
        if telling is ours:
            output = ours(leaf, ours.sources(told, padding_mask(LENGTHS, S)))[0]
            parameters = dict(ours.named_parameters())
        else:
            hidden = {"tgt_mask": hidden_future(T, x.device), "memory_key_padding_mask": hidden_padding(LENGTHS, S)}
            output, parameters = theirs(leaf, told, tgt_is_causal=True, **hidden), named
        leaves = [leaf, told, *(parameters[n] for n, _ in ours.named_parameters())]
        results.append((output, torch.autograd.grad(output.square().sum(), leaves)))
    close(*results, 1e-9)


def ours_config(options: dict[str, Any]) -> StackConfig:
    return replace(SMALL, positions="none", **options)


# --- gradient ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["pre", "post"])
def test_gradients_against_finite_differences(order: str):
    """Of everything that a layer of each stack has, padding and a sentence without a token included."""
    reading, writing = encoder(layers=1, order=order), decoder(layers=1, order=order, activation="gelu")
    x, y = double(3, 3, D).requires_grad_(), double(3, 2, D).requires_grad_()
    mask = padding_mask(torch.tensor([2, 3, 0]), 3)

    def told(x: Tensor, y: Tensor, *weights: Tensor) -> Tensor:
        return writing(y, writing.sources(reading(x, mask)[0], mask))[0]

    leaves = (x, y, *reading.parameters(), *writing.parameters())
    assert torch.autograd.gradcheck(told, leaves, fast_mode=True)


# --- invariants -------------------------------------------------------------------------------------------------------


@every_variant
def test_padding_changes_nothing(options: dict[str, Any]):
    reading, writing, x, y = encoder(**options), decoder(**options), double(B, S, D), double(B, T, D)
    real = (torch.arange(S) < LENGTHS[:, None])[:, :, None]

    def told(x: Tensor) -> tuple[Tensor, Tensor]:
        mask = padding_mask(LENGTHS, x.shape[1])
        outputs = reading(x, mask)[0]
        return outputs[:, :S] * real, writing(y, writing.sources(outputs, mask))[0]

    whole, other = told(x), torch.where(real, x, double(B, S, D))
    close(told(other), whole)
    close(told(torch.cat([other, double(B, 4, D)], dim=1)), whole)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = reading(x[[row], :length])[0]
        close(alone, whole[0][[row], :length])
        close(writing(y[[row]], writing.sources(alone, None))[0], whole[1][[row]])


@every_variant
def test_a_decoder_sees_no_future(options: dict[str, Any]):
    stack, x = decoder(**options), double(B, T, D)
    sources, changed = stack.sources(double(B, S, D), None), x.clone()
    changed[:, 3] += 1
    before, after = stack(x, sources)[0], stack(changed, sources)[0]
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=2).all()


@every_variant
@pytest.mark.parametrize("pieces", [[1] * T, [3, 1, 2]])
def test_in_pieces_it_is_the_same(options: dict[str, Any], pieces: list[int]):
    check_pieces(options, pieces, need_weights=False)


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=5),
    st.sampled_from([{"positions": name, "layers": 1} for name in POSITIONS]),
    st.booleans(),
)
def test_in_any_pieces_it_is_the_same(pieces: list[int], options: dict[str, Any], need_weights: bool):
    check_pieces(options, pieces, need_weights)


def check_pieces(options: dict[str, Any], pieces: list[int], need_weights: bool) -> None:
    steps = sum(pieces)
    writing, reading = decoder(**options), encoder(**options)
    x, sources = double(2, steps, D), writing.sources(double(2, S, D), padding_mask(LENGTHS[:2], S))
    whole, kept, _, _ = writing(x, sources)
    alone, held, _ = reading(x, causal_mask(steps, steps))
    past, other, parts, others = None, None, [], []
    for piece in x.split(pieces, dim=1):
        part, past, own, _ = writing(piece, sources, past, need_weights)
        start = other[0].key.shape[2] if other else 0
        mask = causal_mask(piece.shape[1], start + piece.shape[1])
        second, other, _ = reading(piece, mask, other, need_weights)
        parts.append(part)
        others.append(second)
    close((torch.cat(parts, dim=1), past), (whole, kept))
    close((torch.cat(others, dim=1), other), (alone, held))
    if need_weights:
        assert own[0].shape[2:] == (pieces[-1], steps)


@every_variant
def test_weights_on_request_change_nothing_else_and_sum_to_1(options: dict[str, Any]):
    reading, writing, x, y = encoder(**options), decoder(**options), double(B, S, D), double(B, T, D)
    mask = padding_mask(LENGTHS, S)
    silent, kept, _ = reading(x, mask)
    told, same, maps = reading(x, mask, need_weights=True)
    close((told, same), (silent, kept))
    sources = writing.sources(told, mask)
    close(writing(y, sources, need_weights=True)[:2], writing(y, sources)[:2])
    _, _, own, cross = writing(y, sources, need_weights=True)
    for weights, seen in (*((w, mask) for w in (*maps, *cross)), *((w, causal_mask(T, T)) for w in own)):
        assert (weights.masked_select(~seen) == 0).all()
        close(weights.sum(dim=3), torch.ones(weights.shape[:3]).double())


def test_only_pre_norm_has_a_norm_at_its_end():
    assert isinstance(encoder(order="post").norm, nn.Identity) and isinstance(decoder(order="post").norm, nn.Identity)
    x = double(B, S, D)
    for order in ("pre", "post"):
        for norm in ("layer", "rms"):
            fresh = encoder_of(replace(SMALL, order=order, norm=norm)).double()(x)[0]
            close(fresh.square().mean(dim=2), torch.ones(B, S).double(), 1e-3)


def test_a_deep_stack_hands_its_gradient_down_only_in_pre_norm():
    """Xiong et al. 2020: 16 fresh layers; in post-norm every norm on the way down takes its share of the gradient."""
    shares = {}
    for order in ("pre", "post"):
        torch.manual_seed(0)
        x = torch.randn(B, S, D, requires_grad=True)
        stack = encoder_of(replace(SMALL, layers=16, order=order))
        (stack(x)[0] * torch.randn(B, S, D)).sum().backward()
        norms = [layer.feed_forward.outward.weight.grad.norm().item() for layer in (stack.layers[0], stack.layers[-1])]
        shares[order] = norms[0] / norms[1]
    assert shares["pre"] > 1 > 0.5 > shares["post"]


@pytest.mark.parametrize("order", ["pre", "post"])
def test_every_single_dropout_acts_and_in_training_only(order: str):
    torch.manual_seed(0)
    writing, x = decoder(layers=1, dropout=0.5, order=order), double(B, T, D)
    sources = writing.sources(double(B, S, D), None)
    places = {name: module for name, module in writing.named_modules() if isinstance(module, Dropout)}
    around = ("around_attention", "around_cross_attention", "around_feed_forward")
    assert set(places) == {"dropout", *(f"layers.0.{name}.dropout" for name in around)}
    each_acts(places, lambda: writing(x, sources)[0])
    writing.eval()
    close(writing(x, sources)[0], decoder(layers=1, order=order)(x, sources)[0])
    reading = encoder(layers=1, dropout=0.5, order=order)
    places = {name: module for name, module in reading.named_modules() if isinstance(module, Dropout)}
    assert set(places) == {"dropout", *(f"layers.0.{name}.dropout" for name in (around[0], around[2]))}
    each_acts(places, lambda: reading(x)[0])
    close(reading.eval()(x)[0], encoder(layers=1, order=order)(x)[0])


def each_acts(places: dict[str, Dropout], told: Callable[[], Tensor]) -> None:
    """Also where all others are turned off."""
    for acting in places:
        for name, module in places.items():
            module.rate = 0.5 if name == acting else 0.0
        assert not torch.equal(told(), told()), acting


@pytest.mark.parametrize("options", [{"positions": name} for name in POSITIONS], ids=str)
def test_mixed_precision_stays_close_with_a_cache(options: dict[str, Any]):
    torch.manual_seed(0)
    writing, x = decoder_of(replace(SMALL, **options)), torch.randn(B, T, D)
    sources = writing.sources(torch.randn(B, S, D), padding_mask(LENGTHS, S))
    exact = writing(x, sources)[0]
    with torch.autocast("cpu", torch.bfloat16):
        mixed, past, _, _ = writing(x[:, :3], sources)
        more = writing(x[:, 3:], sources, past)[0]
    close(torch.cat([mixed, more], dim=1).float(), exact, 0.15)


# --- it learns --------------------------------------------------------------------------------------------------------


def test_it_learns_one_batch_by_heart():
    torch.manual_seed(0)
    reading, writing = encoder_of(SMALL), decoder_of(SMALL)
    x, y, goal = torch.randn(B, S, D), torch.randn(B, T, D), 0.5 * torch.randn(B, T, D)
    out = nn.Linear(D, D)
    parameters = [*reading.parameters(), *writing.parameters(), *out.parameters()]
    optimizer, mask = torch.optim.Adam(parameters, lr=0.01), padding_mask(LENGTHS, S)
    for _ in range(80):
        loss = (out(writing(y, writing.sources(reading(x, mask)[0], mask))[0]) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05  # to say 0 costs 0.25

"""The official models themselves: masks, names, what torch lacks, the fast path, modes and independence."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from my_llm.errors import ConfigError
from my_llm.text import BOS
from stage4_transformer.models.attention import MultiHeadAttention
from stage4_transformer.models.classifier import TransformerClassifier, TransformerClassifierConfig
from stage4_transformer.models.language_model import TransformerLM, TransformerLMConfig
from stage4_transformer.models.official import (
    HAVING,
    OfficialClassifier,
    OfficialLM,
    OfficialTransformer,
    gradients,
    hidden_future,
    hidden_padding,
    our_name,
    to_official,
)
from stage4_transformer.models.transformer import Transformer, TransformerConfig

V, B, S, T = 13, 3, 7, 5
LENGTHS = torch.tensor([4, 7, 1])
SIZES = {"vocab_size": V, "model": 12, "heads": 2, "layers": 2, "hidden": 11, "max_length": 8}
SMALL = TransformerConfig(**SIZES)
MODELS = {
    Transformer: SMALL,
    TransformerLM: TransformerLMConfig(**SIZES),
    TransformerClassifier: TransformerClassifierConfig(classes=3, word_dropout=0.0, **SIZES),
}
OFFICIAL = {
    Transformer: OfficialTransformer,
    TransformerLM: OfficialLM,
    TransformerClassifier: OfficialClassifier,
}
every_model = pytest.mark.parametrize("kind", MODELS)


def close(a: Any, b: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(kind: Any = Transformer, **options: Any) -> Any:
    torch.manual_seed(0)
    model = kind(replace(MODELS[kind], **options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.4)
    return model.double()


def arguments(kind: Any) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, V, (B, S), generator=draw)
    target = torch.cat([torch.full((B, 1), BOS), torch.randint(4, V, (B, T - 1), generator=draw)], dim=1)
    return {Transformer: (tokens, LENGTHS, target), TransformerLM: (tokens,), TransformerClassifier: (tokens, LENGTHS)}[
        kind
    ]


def said(model: Any, kind: Any) -> Tensor:
    output = model(*arguments(kind))
    return output[0] if isinstance(output, tuple) else output


def test_true_hides():
    assert hidden_padding(torch.tensor([2, 0, 3]), 3).int().tolist() == [[0, 0, 1], [1, 1, 1], [0, 0, 0]]
    assert hidden_future(3, torch.device("cpu")).int().tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]


@every_model
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "rotary"}, "torch.nn's Transformer has no such positions; got 'rotary'; valid: none, sin"),
        ({"positions": "alibi"}, "no such positions; got 'alibi'"),
        ({"norm": "rms"}, "no such norm; got 'rms'; valid: layer"),
        ({"activation": "swiglu"}, "no such activation; got 'swiglu'; valid: relu, gelu"),
    ],
)
def test_what_torch_lacks_is_said_in_one_line(kind: Any, options: dict[str, Any], message: str):
    for make in (
        lambda: OFFICIAL[kind](replace(MODELS[kind], **options)),
        lambda: to_official(random_model(kind, **options)),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)


@every_model
@pytest.mark.parametrize("order", ["pre", "post"])
def test_every_parameter_has_a_partner(kind: Any, order: str):
    model = random_model(kind, order=order, positions="learned")
    names = [our_name(name) for name, _ in to_official(model).named_parameters()]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert all(our_name(name) == name for name in names)  # so `gradients` needs no other way for ours


def test_names():
    layer = "transformer.decoder.layers.1."
    assert our_name(layer + "self_attn.in_proj_weight") == "decoder.layers.1.attention.inward.weight"
    assert our_name(layer + "multihead_attn.out_proj.bias") == "decoder.layers.1.cross_attention.outward.bias"
    assert our_name(layer + "norm2.weight") == "decoder.layers.1.around_cross_attention.norm.weight"
    assert our_name(layer + "norm3.weight") == "decoder.layers.1.around_feed_forward.norm.weight"
    assert our_name("stack.layers.0.norm2.bias") == "stack.layers.0.around_feed_forward.norm.bias"
    assert our_name("transformer.encoder.norm.weight") == "encoder.norm.weight"
    assert our_name("encoder_positions.table") == "encoder.positions.table"


@every_model
@pytest.mark.parametrize("order", ["pre", "post"])
def test_the_fast_path_of_evaluation_says_the_same(kind: Any, order: str):
    """Where nothing is learnt nn.TransformerEncoderLayer runs another program, in which padding is a matter of care."""
    model = random_model(kind, order=order).eval()
    copy = to_official(model)
    with torch.no_grad():
        close(said(copy, kind), said(model, kind))
        close(said(copy.train(), kind), said(model, kind))


@every_model
def test_mode_precision_ties_and_independence(kind: Any):
    model = random_model(kind).eval()
    copy = to_official(model)
    assert type(copy) is OFFICIAL[kind]
    assert not copy.training and {p.dtype for p in copy.parameters()} == {torch.float64}
    assert (copy.head.weight is copy.embedding.weight) == (kind is not TransformerClassifier)
    assert sum(p.numel() for p in copy.parameters()) == sum(p.numel() for p in model.parameters())
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in copy.parameters():
        parameter.data += 1
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert to_official(model.float().train()).training and gradients(copy) == {}


def test_it_is_made_of_official_layers():
    copy = to_official(random_model(dropout=0.3, activation="gelu"))
    assert {type(layer) for layer in copy.transformer.encoder.layers} == {nn.TransformerEncoderLayer}
    assert {type(layer) for layer in copy.transformer.decoder.layers} == {nn.TransformerDecoderLayer}
    assert type(to_official(MultiHeadAttention(6, 3))) is nn.MultiheadAttention
    assert {module.p for module in copy.modules() if isinstance(module, nn.Dropout)} == {0.3}
    assert copy.transformer.encoder.enable_nested_tensor is False
    assert set(HAVING) == {"positions", "norm", "activation"}


def test_a_fresh_one_starts_like_ours():
    """For a race from the start: matrices of Xavier's size, embeddings of ours, and no bias in the head."""
    torch.manual_seed(0)
    config = replace(SMALL, vocab_size=500, model=64)
    ours, theirs = Transformer(config), OfficialTransformer(config)
    for model in (ours, theirs):
        assert model.embedding.weight.std().item() == pytest.approx(1 / 8, rel=0.05)
        assert (model.head.bias == 0).all()
    layers = theirs.transformer.encoder.layers
    assert not torch.equal(layers[0].linear1.weight, layers[1].linear1.weight)  # nn.TransformerEncoder copies one


@every_model
def test_it_learns(kind: Any):
    torch.manual_seed(0)
    model = OFFICIAL[kind](MODELS[kind])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    goal = torch.randint(0, 3, said(model, kind).shape[:-1])
    for _ in range(40):
        loss = nn.functional.cross_entropy(said(model, kind).flatten(0, -2), goal.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3

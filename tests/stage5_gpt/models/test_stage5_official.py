"""The official GPT: values and gradients, both ways, names, what torch lacks, the fast path, and that it learns."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.errors import ConfigError
from stage5_gpt.models.gpt import GPT, GPTConfig
from stage5_gpt.models.official import OfficialGPT, check, from_official, gradients, our_name, to_official

V, B, T, C, D, H, F = 13, 3, 5, 7, 12, 2, 11
SIZES: dict[str, Any] = {"vocab_size": V, "context": C, "layers": 2, "heads": H, "model": D, "hidden": F}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"activation": "gelu_tanh", "groups": H},
    {"activation": "relu2", "tied": False, "hidden": 0},
    {"bias": False, "heads": 3},
]
every_variant = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(options) or "plain")


def close(a: Any, b: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(**options: Any) -> GPT:
    """No weight is 0 or 1 as some are at the start: that would hide mistakes."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**(SIZES | options))).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.4)
    return model


def texts() -> tuple[Tensor, Tensor]:
    """Tokens and targets."""
    tokens, targets = torch.randint(V, (2, B, T), generator=torch.Generator().manual_seed(1))
    return tokens, targets


@every_variant
def test_equal_in_values_and_gradients(options: dict[str, Any]):
    model, (tokens, targets) = random_model(**options), texts()
    copy = to_official(model)
    logits, _ = model(tokens)
    theirs = copy(tokens)
    assert theirs.shape == (B, T, V)
    close(theirs, logits)
    for said in (logits, theirs):
        cross_entropy(said.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    ours = gradients(model)
    assert gradients(copy).keys() == ours.keys() == dict(model.named_parameters()).keys()
    for name, gradient in gradients(copy).items():
        close(gradient, ours[name])
        assert gradient.abs().sum() > 0


@every_variant
def test_there_and_back(options: dict[str, Any]):
    model = random_model(**options).eval()
    copy = to_official(model)
    again = from_official(copy)
    assert not copy.training and not again.training and again.config == model.config
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    tied = options.get("tied", True)
    assert (copy.head.weight is copy.embedding.weight) == (again.head.weight is again.embedding.weight) == tied
    counts = [sum(p.numel() for p in any_model.parameters()) for any_model in (model, copy, again)]
    assert counts[0] == counts[1] == counts[2]
    before = model.embedding.weight.clone()
    for parameter in (*copy.parameters(), *again.parameters()):
        parameter.data += 1
    assert torch.equal(model.embedding.weight, before)  # copies


@every_variant
def test_the_fast_path_of_evaluation_says_the_same(options: dict[str, Any]):
    """Where nothing is learnt nn.TransformerEncoderLayer runs another program."""
    model, (tokens, _) = random_model(**options).eval(), texts()
    copy = to_official(model)
    with torch.no_grad():
        close(copy(tokens), model(tokens)[0])
        close(copy.train()(tokens), model(tokens)[0])


def test_nothing_leaks_from_the_future():
    copy, (tokens, _) = to_official(random_model()), texts()
    later = tokens.clone()
    later[:, 3:] = (later[:, 3:] + 1) % V
    close(copy(later)[:, :3], copy(tokens)[:, :3], 1e-12)
    assert (copy(later)[:, 3:] != copy(tokens)[:, 3:]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "rotary"}, "torch.nn's Transformer has no such positions; got 'rotary'; valid: learned; next"),
        ({"norm": "rms"}, "no such norm; got 'rms'; valid: layer"),
        ({"activation": "swiglu"}, "no such activation; got 'swiglu'; valid: gelu, gelu_tanh, relu2"),
        ({"groups": 1}, "no such groups; got '1'; valid: 0, 2"),
        ({"query_key_norm": True}, "no such query_key_norm; got 'True'"),
        ({"ngrams": 3}, "no such ngrams; got '3'"),
    ],
)
def test_what_torch_lacks_is_said_in_one_line(options: dict[str, Any], message: str):
    config = GPTConfig(**(SIZES | options))
    for refuse in (lambda: OfficialGPT(config), lambda: to_official(GPT(config)), lambda: check(config)):
        with pytest.raises(ConfigError, match=message) as caught:
            refuse()
        assert "\n" not in str(caught.value)


def test_it_is_made_of_official_layers():
    copy = to_official(random_model(dropout=0.3))
    assert {type(layer) for layer in copy.stack.layers} == {nn.TransformerEncoderLayer}
    assert type(copy.positions) is type(copy.embedding) is nn.Embedding
    assert {module.p for module in copy.modules() if isinstance(module, nn.Dropout)} == {0.3}
    assert {parameter.dtype for parameter in copy.parameters()} == {torch.float64} and copy.training


def test_names():
    layer = "stack.layers.1."
    assert our_name(layer + "self_attn.in_proj_weight") == "blocks.1.attention.inward.weight"
    assert our_name(layer + "self_attn.out_proj.bias") == "blocks.1.attention.outward.bias"
    assert our_name(layer + "norm2.weight") == "blocks.1.norm_feed_forward.weight"
    assert our_name("stack.norm.bias") == "norm.bias"
    assert our_name("positions.weight") == "positions.table"
    assert all(our_name(name) == name for name in random_model(tied=False).state_dict())


def test_it_learns():
    torch.manual_seed(0)
    model = to_official(GPT(GPTConfig(**SIZES)))
    tokens, targets = texts()
    optimizer, loss = torch.optim.AdamW(model.parameters(), lr=0.02), torch.tensor(torch.inf)
    for _ in range(60):
        loss = cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3

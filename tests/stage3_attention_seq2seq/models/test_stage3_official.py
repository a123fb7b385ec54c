"""The official composition: made of torch.nn, equal to ours in values and gradients in every variant."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stage3_attention_seq2seq.models.attention import ATTENTIONS
from stage3_attention_seq2seq.models.official import (
    OFFICIAL_ATTENTIONS,
    OfficialSeq2Seq,
    our_name,
    seq2seq_gradients,
    to_numpy,
    to_official,
)
from stage3_attention_seq2seq.models.seq2seq import Seq2Seq, Seq2SeqConfig

VS, V, B, S, T, D, H, F = 17, 13, 3, 7, 5, 2, 11, 19
LENGTHS = torch.tensor([4, 7, 1])
SMALL = Seq2SeqConfig(VS, V, embedding=D, hidden=H)
VARIANTS = [
    *({"attention": name, "cell": cell} for name in ATTENTIONS for cell in ("gru", "lstm")),
    {"attention": "bahdanau", "layers": 2},
    {"attention": "luong", "layers": 2, "cell": "lstm", "tied": False},
    {"attention": "luong_dot", "layers": 2, "input_feeding": False, "cell": "rnn"},
    {"attention": "local", "target_vocab": VS, "shared": True},
    {"attention": "none", "input_feeding": False, "cell": "lstm", "target_vocab": VS, "shared": True, "tied": False},
]


def close(a: Any, b: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(**options: Any) -> Seq2Seq:
    torch.manual_seed(0)
    model = Seq2Seq(replace(SMALL, **options)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    return model


def sentences(generator: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(generator)
    return torch.randint(0, VS, (B, S), generator=draw), LENGTHS, torch.randint(0, V, (B, T), generator=draw)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attentions_agree(name: str):
    torch.manual_seed(0)
    ours, theirs = ATTENTIONS[name](H, H, F).double(), OFFICIAL_ATTENTIONS[name](H, H, F).double()
    named = dict(theirs.named_parameters())
    with torch.no_grad():
        for key, parameter in ours.named_parameters():
            nn.init.normal_(parameter, std=0.7)
            named[f"{key}.weight"].copy_(parameter.view_as(named[f"{key}.weight"]))
    results, real = [], torch.arange(S) < LENGTHS[:, None]
    query, keys, summary, grad = (torch.randn(B, *shape).double() for shape in ((T, H), (S, H), (H,), (T, H)))
    for attention in (ours, theirs):
        leaves = [tensor.clone().requires_grad_() for tensor in (query, keys, summary)]
        context, weights = attention(leaves[0], ours.remember(leaves[1], real, leaves[2]))
        total = (context * grad).sum() + (0 if weights is None else weights[:, :, 0].square().sum())
        gradients = torch.autograd.grad(total, [*leaves, *attention.parameters()], allow_unused=True)
        shaped = [g if g is None or g.shape[0] > 1 else g.flatten() for g in gradients]
        results.append((context, weights, shaped))
    close(results[0][:2], results[1][:2])
    for found, expected in zip(results[0][2], results[1][2], strict=True):
        assert (found is None) == (expected is None)
        close(found, expected)


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))
def test_translators_agree_in_values_and_gradients(options: dict[str, Any]):
    model = random_model(**options)
    copy, grad, results = to_official(model), torch.randn(B, T, model.config.target_vocab).double(), []
    assert isinstance(copy, OfficialSeq2Seq)
    for telling in (model, copy):
        logits, weights = telling(*sentences())
        total = (logits * grad).sum() + (0 if weights is None else weights[:, :, 0].square().sum())
        total.backward()
        results.append((logits, weights, seq2seq_gradients(telling)))
    assert results[0][2].keys() == {name for name, _ in model.named_parameters()}
    close(results[0], results[1])


@pytest.mark.parametrize(("cell", "kind"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_it_is_made_of_official_layers(cell: str, kind: type[nn.RNNBase]):
    copy = to_official(random_model(cell=cell, layers=2, dropout=0.3))
    assert type(copy.encoder.recurrent) is type(copy.decoder.recurrent) is kind
    assert copy.encoder.recurrent.bidirectional and not copy.decoder.recurrent.bidirectional
    assert copy.decoder.recurrent.num_layers == 2 and copy.decoder.recurrent.dropout == 0.3
    kinds = {type(module) for module in copy.modules() if not list(module.children())}
    assert kinds == {nn.Embedding, nn.Dropout, nn.Linear, nn.MaxPool1d, kind}


def test_mode_precision_ties_and_independence():
    model = random_model(target_vocab=VS, shared=True).eval()
    copy = to_official(model)
    assert not copy.training and copy.head.bias.dtype == torch.float64
    assert copy.head.weight is copy.decoder.embedding.weight is copy.encoder.embedding.weight
    assert sum(p.numel() for p in copy.parameters()) >= sum(p.numel() for p in model.parameters())
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in copy.parameters():
        parameter.data += 1
    hand = to_numpy(model.decoder, "gru", "bahdanau")
    for array in hand.weights.values():
        array += 1
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_names():
    assert our_name("decoder.attention.weight.weight") == "decoder.attention.weight"
    assert our_name("decoder.readout.weight") == "decoder.readout"
    assert our_name("decoder.embedding.weight") == "decoder.embedding.weight"
    assert our_name("head.bias") == "head.bias"


def test_a_sentence_without_a_token_is_where_they_differ():
    model = random_model(attention="bahdanau")
    memory = model.encode(*sentences()[:2]).memory
    memory = memory._replace(real=torch.zeros_like(memory.real))
    query = torch.randn(B, T, H).double()
    assert (model.decoder.attention(query, memory)[0] == 0).all()
    assert to_official(model).decoder.attention(query, memory)[0].isnan().all()

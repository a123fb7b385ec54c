"""The MLP language model: Bengio's equation, the right examples, and that it learns a text by heart."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import ConfigError, DataError
from stage1_mlp.models.language_model import (
    MLPLanguageModel,
    MLPLanguageModelConfig,
    continue_text,
    next_token_examples,
)
from stage1_mlp.models.losses import cross_entropy
from stage1_mlp.models.optimizers import Adam

V, N, D, F, B = 11, 3, 5, 7, 2
CONFIG = MLPLanguageModelConfig(vocabulary=V, context=N, embedding=D, hidden=F)


def test_equals_the_equation_of_the_paper_in_torch_nn():
    torch.manual_seed(0)
    model = MLPLanguageModel(CONFIG).double()
    twin = torch.nn.Sequential(
        torch.nn.Embedding(V, D), torch.nn.Flatten(), torch.nn.Linear(N * D, F), torch.nn.Tanh(), torch.nn.Linear(F, V)
    ).double()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        theirs.data.copy_(ours)
    tokens = torch.randint(V, (B, N))
    results = []
    for net in (model, twin):
        logits = net(tokens)
        results.append((logits, *torch.autograd.grad((logits**2).sum(), list(net.parameters()))))
    assert results[0][0].shape == (B, V)
    torch.testing.assert_close(*results, rtol=0, atol=1e-9)


def test_order_matters_and_examples_are_independent():
    torch.manual_seed(0)
    model = MLPLanguageModel(CONFIG).double()
    tokens = torch.tensor([[1, 2, 3], [3, 2, 1], [4, 5, 6]])
    logits = model(tokens)
    assert not torch.allclose(logits[0], logits[1])
    torch.testing.assert_close(model(tokens[:1]), logits[:1], rtol=0, atol=1e-12)


@given(tokens=st.lists(st.integers(0, 99), min_size=2, max_size=30), context=st.integers(1, 29))
def test_every_token_is_the_label_of_the_window_before_it(tokens, context):
    text = torch.tensor(tokens)
    if len(tokens) <= context:
        with pytest.raises(DataError, match="too short"):
            next_token_examples(text, context)
        return
    x, target = next_token_examples(text, context)
    assert x.tolist() == [tokens[i : i + context] for i in range(len(tokens) - context)]
    assert target.tolist() == tokens[context:]


def test_size_zero_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        MLPLanguageModelConfig(vocabulary=0)


def test_untrained_it_knows_about_nothing_and_trained_it_recites():
    torch.manual_seed(0)
    text = torch.tensor([1, 2, 3, 4, 5, 1, 3, 5, 2, 4] * 4)  # two tokens decide the next
    x, target = next_token_examples(text, 3)
    model = MLPLanguageModel(MLPLanguageModelConfig(vocabulary=6, context=3, embedding=4, hidden=16))
    before = cross_entropy(model(x), target).mean().item()
    assert abs(before - math.log(6)) < 1
    optimizer = Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        cross_entropy(model(x), target).mean().backward()
        optimizer.step()
    assert cross_entropy(model(x), target).mean().item() < 0.02
    assert continue_text(model, text[:3], 20).tolist() == text[:23].tolist()


def test_drawing_follows_the_seed():
    torch.manual_seed(0)
    model, start = MLPLanguageModel(CONFIG), torch.tensor([1, 2, 3])
    drawn = [continue_text(model, start, 30, seed).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 33

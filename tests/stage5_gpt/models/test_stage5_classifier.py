"""A GPT that sorts: the last token speaks, padding is silent, what was learnt is taken over, what is frozen stays."""

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from my_llm.errors import ConfigError
from stage5_gpt.models import GPT, GPTClassifier, GPTClassifierConfig, GPTConfig, classifier_from, freeze

SHAPE: dict[str, Any] = {"vocab_size": 11, "context": 13, "layers": 3, "heads": 2, "model": 20}


def random_gpt(**changes: Any) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(**{**SHAPE, **changes}))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def test_shapes_and_what_cannot_be():
    model = GPTClassifier(GPTClassifierConfig(**SHAPE, classes=5))
    assert model(torch.randint(11, (3, 7)), torch.tensor([1, 7, 4])).shape == (3, 5)
    assert model.gpt.head.weight.shape == (5, 20) and model.gpt.embedding.weight.shape == (11, 20)
    with pytest.raises(ConfigError, match="classes must be at least 1"):
        GPTClassifierConfig(**SHAPE, classes=0)


@pytest.mark.parametrize("positions", ["learned", "rotary", "alibi"])
def test_padding_changes_nothing_and_the_last_token_does(positions: str):
    model = classifier_from(random_gpt(positions=positions), 5, 0.0).eval()
    tokens, lengths = torch.randint(11, (3, 7)), torch.tensor([3, 7, 1])
    logits = model(tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(tokens[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(logits[row], alone[0])
    other = tokens.clone()
    other[0, 2], other[0, 3:] = (tokens[0, 2] + 1) % 11, 0
    assert not torch.allclose(model(other, lengths)[0], logits[0]) and torch.equal(
        model(other, lengths)[1:], logits[1:]
    )


@pytest.mark.parametrize("tied", [True, False])
def test_all_but_the_head_is_taken_over(tied: bool):
    gpt = random_gpt(tied=tied, positions="learned")
    model = classifier_from(gpt, 5, 0.25)
    for name, weight in gpt.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(model.gpt.state_dict()[name], weight)
    assert model.config.dropout == 0.25 and model.config.classes == 5 and model.gpt.head.bias.abs().max() == 0
    own = {weight.data_ptr() for weight in model.parameters()}
    assert not own & {weight.data_ptr() for weight in gpt.parameters()}  # a copy: the language model stays as it is


@pytest.mark.parametrize("blocks", [0, 1, 2, 3])
def test_what_is_frozen_gets_no_gradient(blocks: int):
    model = classifier_from(random_gpt(positions="learned"), 5, 0.0)
    freeze(model.gpt, blocks)
    loss = cross_entropy(model(torch.randint(11, (3, 7)), torch.tensor([3, 7, 1])), torch.tensor([0, 1, 4]))
    loss.backward()
    moved = {name for name, weight in model.gpt.named_parameters() if weight.grad is not None}
    everything = {name for name, _ in model.gpt.named_parameters()}
    above = tuple(f"blocks.{number}." for number in range(blocks, 3))
    if blocks == 0:
        assert moved == everything
    else:
        last = ("norm.",) if blocks < 3 else ()
        assert moved == {name for name in everything if name.startswith((*above, "head.", *last))}
    freeze(model.gpt, 0)
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_tied_head_learns_as_it_is_and_too_many_blocks_are_refused():
    gpt = random_gpt()
    freeze(gpt, 3)
    assert [name for name, weight in gpt.named_parameters() if weight.requires_grad] == ["embedding.weight"]
    with pytest.raises(ConfigError, match="0 to 3"):
        freeze(gpt, 4)


def test_it_learns_which_token_came_first():
    """What the last token says depends on one far away: attention must fetch it."""
    torch.manual_seed(0)
    model = GPTClassifier(GPTClassifierConfig(**{**SHAPE, "positions": "rotary", "layers": 2}, classes=2))
    optimizer, tokens = torch.optim.AdamW(model.parameters(), lr=1e-2), torch.randint(2, 11, (64, 9))
    tokens[:, 0] = torch.arange(64) % 2
    loss = torch.inf
    for _ in range(60):
        loss = cross_entropy(model(tokens, torch.full((64,), 9)), tokens[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1

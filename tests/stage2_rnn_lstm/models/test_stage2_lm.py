"""The recurrent language model: shapes, tied weights, no look ahead, and it learns a text by heart."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.decoding import generate
from my_llm.errors import ConfigError
from stage2_rnn_lstm.models.cells import CELLS
from stage2_rnn_lstm.models.language_model import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.models.official import language_model_gradients, to_official

V, B, T = 11, 3, 5
SMALL = LanguageModelConfig(V, embedding=7, hidden=13)

every_cell = pytest.mark.parametrize("cell", CELLS)
either = pytest.mark.parametrize("tied", [False, True])


def close(a: object, b: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(cell: str, tied: bool = False, layers: int = 2, dropout: float = 0.0) -> LanguageModel:
    """No weight is 0 as it is at the start: that would hide mistakes."""
    torch.manual_seed(0)
    embedding = 13 if tied else 7
    model = LanguageModel(replace(SMALL, cell=cell, tied=tied, layers=layers, dropout=dropout, embedding=embedding))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.double()


def some_tokens(length: int = T) -> Tensor:
    return torch.randint(0, V, (B, length), generator=torch.Generator().manual_seed(1))


# --- contract ---------------------------------------------------------------------------------------------------------


@every_cell
def test_shapes(cell: str):
    model = LanguageModel(replace(SMALL, cell=cell, layers=2))
    logits, state = model(some_tokens())
    assert logits.shape == (B, T, V)
    assert len(state) == 2 and all(memory.shape == (B, 13) for layer in state for memory in layer)
    assert model.embedding.weight.shape == (V, 7) and model.head.weight.shape == (V, 13)


def test_tokens_must_be_whole_numbers():
    with pytest.raises(Exception, match="Type-check error"):
        LanguageModel(SMALL)(some_tokens().float())


def test_tied_weights_need_equal_widths():
    with pytest.raises(ConfigError, match="equally wide.*embedding 7, hidden 13"):
        LanguageModel(replace(SMALL, tied=True))


# --- parity -----------------------------------------------------------------------------------------------------------


@every_cell
@either
def test_values_and_gradients_equal_torchs(cell: str, tied: bool):
    model = random_model(cell, tied)
    results = []
    for telling in (model, to_official(model)):
        logits, state = telling(some_tokens())
        logits, state = telling(some_tokens(7), state)
        cross_entropy(logits.flatten(0, 1), some_tokens(7).flatten()).backward()
        results.append((logits, state, language_model_gradients(telling)))
    close(*results, 1e-9)


# --- invariants -------------------------------------------------------------------------------------------------------


@every_cell
def test_the_first_guess_is_every_token_alike(cell: str):
    """log V, exactly: the head starts at 0."""
    logits, _ = LanguageModel(replace(SMALL, cell=cell))(some_tokens())
    loss = cross_entropy(logits.flatten(0, 1), some_tokens().flatten())
    assert loss.item() == pytest.approx(math.log(V), abs=1e-6)


def test_tied_weights_are_one_tensor_that_starts_small():
    torch.manual_seed(0)
    config = LanguageModelConfig(101, embedding=64, hidden=64, tied=True)
    model = LanguageModel(config)
    assert model.head.weight is model.embedding.weight
    separate = sum(p.numel() for p in LanguageModel(replace(config, tied=False)).parameters())
    assert sum(p.numel() for p in model.parameters()) == separate - 101 * 64
    tokens = torch.randint(0, 101, (8, 32))
    loss = cross_entropy(model(tokens)[0].flatten(0, 1), torch.randint(0, 101, (8 * 32,)))
    assert loss.item() == pytest.approx(math.log(101), abs=0.1)
    loss.backward()
    unread = sorted(set(range(101)) - set(tokens.flatten().tolist()))
    assert unread and model.embedding.weight.grad is not None
    assert (model.embedding.weight.grad[unread] != 0).all()  # as outputs they learn as well


@every_cell
def test_a_changed_future_leaves_past_logits_unchanged(cell: str):
    model, tokens = random_model(cell), some_tokens()
    changed = tokens.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % V
    before, after = model(tokens)[0], model(changed)[0]
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=2).all()


@every_cell
def test_windows_equal_one_pass_and_rows_are_independent(cell: str):
    model, tokens = random_model(cell), some_tokens(7)
    whole, final = model(tokens)
    parts, state = [], None
    for window in tokens.split([3, 1, 1, 2], dim=1):
        logits, state = model(window, state)
        parts.append(logits)
    close((torch.cat(parts, dim=1), state), (whole, final))
    for row in range(B):
        close(model(tokens[[row]])[0], whole[[row]])


def test_dropout_acts_in_training_only_on_what_goes_in_and_on_what_comes_out():
    model, tokens = random_model("lstm", layers=1, dropout=0.5), some_tokens()
    assert not torch.equal(model(tokens)[0], model(tokens)[0])
    model.eval()
    close(model(tokens)[0], random_model("lstm", layers=1)(tokens)[0])
    model.train()
    nn.init.ones_(model.embedding.weight)
    seen = []
    for module in (model.recurrent, model.head):
        module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model(tokens)
    for values in seen:
        assert 0.2 < (values == 0).double().mean() < 0.8


# --- it learns --------------------------------------------------------------------------------------------------------


@every_cell
@either
def test_it_learns_a_text_by_heart_and_writes_it(cell: str, tied: bool):
    """The letters repeat, so that the last one does not tell the next."""
    torch.manual_seed(0)
    text = "to be or not to be"
    letters = sorted(set(text))
    tokens = torch.tensor([[letters.index(letter) for letter in text]])
    model = LanguageModel(LanguageModelConfig(len(letters), cell, embedding=32, hidden=32, tied=tied))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss = cross_entropy(model(tokens[:, :-1])[0][0], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1

    def step(fresh: Tensor, state: object) -> tuple[Tensor, object]:
        logits, state = model(fresh, state)
        return logits[:, -1], state

    written = torch.cat(list(generate(step, tokens[:, :1], max_new_tokens=len(text) - 1)))
    assert "".join(letters[token] for token in written) == text[1:]

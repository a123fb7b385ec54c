"""The small decoder-only model: no future, the window, the state, torch's own, and it learns a text by heart."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.decoding import beam_search, generate, recompute
from my_llm.errors import ConfigError
from stage4_transformer.models.language_model import TransformerLM, TransformerLMConfig
from stage4_transformer.models.official import OfficialLM, gradients, to_official
from stage4_transformer.models.positions import POSITIONS
from stage4_transformer.models.stacks import length_of

V, B, T, D, H = 13, 3, 7, 12, 2
SMALL = TransformerLMConfig(vocab_size=V, model=D, heads=H, layers=2, hidden=11, max_length=16)
every_position = pytest.mark.parametrize("positions", POSITIONS)
VARIANTS = [
    *({"positions": name} for name in POSITIONS),
    {"window": 3},
    {"window": 2, "positions": "alibi", "order": "post"},
    {"window": 3, "positions": "rotary", "norm": "rms", "activation": "swiglu"},
]
every_variant = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))


def close(a: object, b: object, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(**options: Any) -> TransformerLM:
    """No weight is 0 as it is at the start: that would hide mistakes."""
    torch.manual_seed(0)
    model = TransformerLM(replace(SMALL, **options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.4)
    return model.double()


def some_tokens(length: int = T) -> Tensor:
    return torch.randint(0, V, (B, length), generator=torch.Generator().manual_seed(1))


# --- contract ---------------------------------------------------------------------------------------------------------


@every_variant
def test_shapes(options: dict[str, Any]):
    logits, state = random_model(**options)(some_tokens())
    assert logits.shape == (B, T, V) and length_of(state) == T and len(state) == 2
    assert {part.shape for pair in state for part in pair} == {(B, H, T, D // H)}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"vocab_size": 0}, "vocab_size"), ({"window": -1}, "window not negative"), ({"heads": 5}, "equally")],
)
def test_what_cannot_work_is_said_in_one_line(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        TransformerLM(replace(SMALL, **options))
    assert "\n" not in str(caught.value)


def test_tokens_must_be_whole_numbers():
    with pytest.raises(Exception, match="Type-check error"):
        TransformerLM(SMALL)(some_tokens().float())


def test_the_start():
    torch.manual_seed(0)
    model, tokens = TransformerLM(replace(SMALL, vocab_size=101, model=64)), torch.randint(0, 101, (8, 16))
    assert model.head.weight is model.embedding.weight
    assert 0.7 < model(tokens)[0].std() < 1.5  # small as output weights, though √64 times as large as inputs


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["none", "sinusoidal", "learned"])
@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("window", [0, 3])
def test_torchs_encoder_with_a_mask_agrees_in_values_and_gradients(positions: str, order: str, window: int):
    model = random_model(positions=positions, order=order, window=window, activation="gelu")
    copy, tokens, results = to_official(model), some_tokens(), []
    assert isinstance(copy, OfficialLM) and isinstance(copy.stack, nn.TransformerEncoder)
    for telling in (model, copy):
        logits = telling(tokens)[0] if telling is model else telling(tokens)
        cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
        results.append((logits, gradients(telling)))
    assert results[0][1].keys() == dict(model.named_parameters()).keys()
    close(*results, 1e-9)


# --- gradient ---------------------------------------------------------------------------------------------------------


def test_gradients_against_finite_differences():
    model, tokens = random_model(layers=1, window=3, positions="rotary"), some_tokens()

    def told(*weights: Tensor) -> Tensor:  # `weights` are those of model
        return model(tokens)[0].square().mean(dim=(1, 2))

    assert torch.autograd.gradcheck(told, tuple(model.parameters()), fast_mode=True, rtol=1e-2)


# --- invariants -------------------------------------------------------------------------------------------------------


@every_variant
def test_a_changed_future_leaves_past_logits_unchanged(options: dict[str, Any]):
    model, tokens = random_model(**options), some_tokens()
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % V
    before, after = model(tokens)[0], model(changed)[0]
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(dim=2).all()


@every_position
@pytest.mark.parametrize(("window", "layers"), [(1, 1), (2, 1), (3, 1), (2, 2), (2, 3)])
def test_a_layer_sees_its_window_and_a_stack_sees_further(positions: str, window: int, layers: int):
    """L layers of window W reach (W − 1) L tokens back, and not one more."""
    model, tokens = random_model(positions=positions, window=window, layers=layers), some_tokens()
    changed, reach = tokens.clone(), (window - 1) * layers
    changed[:, 1] = (changed[:, 1] + 1) % V
    moved = (model(tokens)[0] != model(changed)[0]).any(dim=2)
    assert moved.all(dim=0).tolist() == moved.any(dim=0).tolist() == [1 <= t <= 1 + reach for t in range(T)]


def test_a_window_of_everything_is_no_window():
    close(random_model(window=T)(some_tokens())[0], random_model()(some_tokens())[0])
    assert (random_model(window=T - 1)(some_tokens())[0] != random_model()(some_tokens())[0]).any()


@every_variant
@pytest.mark.parametrize("pieces", [[1] * T, [3, 1, 2]])
def test_with_a_state_is_without(options: dict[str, Any], pieces: list[int]):
    check_pieces(random_model(**options), pieces)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from(list(POSITIONS)), st.integers(0, 5))
def test_with_a_state_is_without_in_any_pieces(pieces: list[int], positions: str, window: int):
    check_pieces(random_model(positions=positions, window=window, layers=1), pieces)


def check_pieces(model: TransformerLM, pieces: list[int]) -> None:
    """And rows are independent."""
    tokens = some_tokens(sum(pieces))
    whole, final = model(tokens)
    state, parts = None, []
    for piece in tokens.split(pieces, dim=1):
        logits, state = model(piece, state)
        parts.append(logits)
    close((torch.cat(parts, dim=1), state), (whole, final))
    close(model(tokens[[1]])[0], whole[[1]])


@torch.no_grad()
@every_variant
def test_writing_with_a_cache_is_reading_all_anew(options: dict[str, Any]):
    """Greedy and beam search, through my_llm.decoding; a beam of one is greedy."""
    model, prompt = random_model(**options).eval(), some_tokens(3)

    def step(fresh: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = model(fresh, state)
        return logits[:, -1], state

    anew = recompute(lambda tokens: model(tokens)[0])
    written = [torch.stack(list(generate(way, prompt, max_new_tokens=8)), dim=1) for way in (step, anew)]
    assert torch.equal(*written)
    ends = {"max_new_tokens": 6, "stop": V - 1}
    found = [beam_search(way, prompt, width=3, **ends) for way in (step, anew)]
    assert [[h.tokens for h in row] for row in found[0]] == [[h.tokens for h in row] for row in found[1]]
    for row, one in enumerate(beam_search(step, prompt, width=1, **ends)):
        said = written[0][row, :6].tolist()
        assert one[0].tokens == (said[: said.index(V - 1) + 1] if V - 1 in said else said)


def test_dropout_acts_in_training_only():
    model, tokens = random_model(dropout=0.5), some_tokens()
    assert not torch.equal(model(tokens)[0], model(tokens)[0])
    close(model.eval()(tokens)[0], random_model()(tokens)[0])


# --- it learns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_it_learns_a_text_by_heart_and_writes_it(positions: str):
    """The letters repeat, so that the last one does not tell the next."""
    torch.manual_seed(0)
    text = "to be or not to be"
    letters = sorted(set(text))
    tokens = torch.tensor([[letters.index(letter) for letter in text]])
    config = TransformerLMConfig(
        vocab_size=len(letters), model=32, heads=2, layers=2, hidden=64, positions=positions, max_length=18
    )
    model = TransformerLM(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = cross_entropy(model(tokens[:, :-1])[0][0], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1

    def step(fresh: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = model(fresh, state)
        return logits[:, -1], state

    written = torch.cat(list(generate(step, tokens[:, :1], max_new_tokens=len(text) - 1)))
    assert "".join(letters[token] for token in written) == text[1:]


def test_a_window_learns_what_lies_in_it_and_not_what_lies_outside():
    """Say the token two places back: a window of 3 sees it, a window of 2 does not."""
    losses = []
    for window in (3, 2):
        torch.manual_seed(0)
        model = TransformerLM(replace(SMALL, window=window, layers=1, model=32, hidden=32))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(70):
            tokens = torch.randint(0, V, (32, 8))
            loss = cross_entropy(model(tokens)[0][:, 2:].flatten(0, 1), tokens[:, :-2].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 1 < 2.2 < losses[1]  # a guess costs log 13 = 2.6

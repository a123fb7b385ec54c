"""A GPT and a text: what is scored, and that kept keys and values change nothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from my_llm.decoding import beam_search, generate, recompute
from my_llm.language import scoring
from my_llm.language.batches import Batch
from my_llm.language.scoring import nats_of
from stage5_gpt import language
from stage5_gpt.language import loss_of, nats_apart, next_token_loss, step_of
from stage5_gpt.models import GPT, NOT_ASKED, GPTConfig

V = 7


def small(context: int = 5, **fields: object) -> GPT:
    torch.manual_seed(0)
    shape = {"vocab_size": V, "context": context, "layers": 2, "heads": 2, "model": 12, "positions": "rotary"}
    model = GPT(GPTConfig(**{**shape, **fields}))  # type: ignore[arg-type]
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)  # so that it says something
    return model.eval()


def some(count: int) -> torch.Tensor:
    return torch.randint(0, V, (count,), generator=torch.Generator().manual_seed(1))


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 5, 6, 7, 11, 23])
@pytest.mark.parametrize("at_once", [1, 10, 10_000])
def test_windows_one_after_the_other_by_hand(size: int, at_once: int, monkeypatch: pytest.MonkeyPatch):
    """Windows of 5: token 6 is predicted from token 5 alone, as token 1 is from token 0."""
    monkeypatch.setattr(language, "TOKENS", at_once)
    model, tokens, expected = small(), some(size), 0.0
    for target in range(1, size):
        first = (target - 1) // 5 * 5
        with torch.no_grad():
            logits, _ = model(tokens[None, first:target])
        expected += float(cross_entropy(logits[0, -1:].double(), tokens[target : target + 1]))
    loss = nats_apart(model, tokens)
    assert float(loss.total) == pytest.approx(expected, rel=1e-5) and loss.count == size - 1


def test_a_window_may_be_shorter_and_a_past_makes_a_difference():
    model, tokens = small(16), some(17)
    whole = float(nats_of(model, tokens, streams=1).total)
    assert float(nats_apart(model, tokens).total) == pytest.approx(whole, rel=1e-5)
    assert float(nats_apart(model, tokens, 16).total) == pytest.approx(whole, rel=1e-5)
    assert float(loss_of(model, tokens).total) == pytest.approx(whole, rel=1e-5)
    assert float(nats_apart(model, tokens, 4).total) != pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_scoring_is_without_dropout_and_leaves_the_model_as_it_was(training: bool):
    model = small(dropout=0.5).train(training)
    first, second = (float(nats_apart(model, some(30)).total) for _ in range(2))
    assert first == second and model.training == model.blocks[0].training == training


def test_the_loss_of_a_batch_is_that_of_the_floor():
    model, tokens = small(), some(12).view(2, 6)
    batch = Batch(tokens[:, :-1], tokens[:, 1:])
    ours, theirs = next_token_loss(model, batch), scoring.next_token_loss(model, batch)
    torch.testing.assert_close(ours.total, theirs.total)
    assert ours.count == theirs.count == 10 and ours.total.requires_grad
    left_out = Batch(batch.inputs, torch.full_like(batch.targets, NOT_ASKED))
    assert next_token_loss(model, left_out).total.detach() == 0


# --- the cache --------------------------------------------------------------------------------------------------------


POSITIONS = ["none", "sinusoidal", "learned", "rotary", "alibi"]


@given(st.sampled_from(POSITIONS), st.integers(1, 9), st.integers(1, 2), st.integers(1, 4))
def test_kept_keys_and_values_change_nothing(positions: str, prompt: int, groups: int, ngrams: int):
    """Within the context; each token costs one."""
    model = small(12, positions=positions, groups=groups, ngrams=ngrams, ngram_rows=50)
    tokens = some(2 * prompt).view(2, prompt)
    kept = list(generate(step_of(model), tokens, max_new_tokens=12 - prompt))
    anew = list(generate(recompute(lambda read: model(read)[0]), tokens, max_new_tokens=12 - prompt))
    assert torch.equal(torch.stack(kept), torch.stack(anew))


@pytest.mark.parametrize(("context", "prompt"), [(1, 1), (1, 3), (2, 1), (7, 3), (8, 8), (8, 30)])
def test_beyond_the_context_it_begins_anew_with_the_newer_half(context: int, prompt: int):
    """What it says is what it would say of the tokens before its eyes; of those it has at least half a context."""
    model, step = small(context), step_of(small(context))
    tokens, state = some(prompt + 20)[None], None
    for known in range(prompt, prompt + 20):
        fresh = tokens[:, :prompt] if state is None else tokens[:, known - 1 : known]
        with torch.no_grad():
            logits, state = step(fresh, state)
            read = state[0]
            torch.testing.assert_close(logits, model(read)[0][:, -1], rtol=1e-4, atol=1e-5)
        assert min(known, max(context // 2, 1)) <= read.shape[1] <= context
        assert torch.equal(read, tokens[:, known - read.shape[1] : known])


def test_a_state_may_be_given_again_to_go_another_way():
    """As banned words ask for: the room is written to in place, but only behind what was read."""
    model = small(9)
    step, tokens = step_of(model), some(8)[None]
    with torch.no_grad():
        _, state = step(tokens[:, :4], None)
        step(tokens[:, 4:5], state)
        logits, state = step(tokens[:, 5:6], state)
        logits, _ = step(tokens[:, 6:7], state)
        expected = model(tokens[:, [0, 1, 2, 3, 5, 6]])[0][:, -1]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ngrams", [1, 4])
def test_beam_search_finds_the_same_with_and_without_the_cache(ngrams: int):
    model, prompt = small(12, ngrams=ngrams, ngram_rows=50), some(6).view(2, 3)
    settings = {"width": 3, "max_new_tokens": 9, "stop": 1, "alpha": 0.6}
    kept = beam_search(step_of(model), prompt, **settings)
    anew = beam_search(recompute(lambda read: model(read)[0]), prompt, **settings)
    assert [[h.tokens for h in row] for row in kept] == [[h.tokens for h in row] for row in anew]

"""The score of a text: no token missed, none counted twice, each with as much past as the model may have."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.language import scoring
from my_llm.language.batches import Batch
from my_llm.language.scoring import nats_in_windows, nats_of, next_token_loss, side_by_side

V = 7


class Averager(nn.Module):
    """Says what follows from the mean of all tokens that it sees: of its window, or with the state of all so far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(V, 5), nn.Linear(5, V)
        self.dropout, self.longest = nn.Dropout(0.5), 0

    def forward(self, tokens: Tensor, state: tuple[Tensor, int] | None = None) -> tuple[Tensor, tuple[Tensor, int]]:
        self.longest = max(self.longest, tokens.shape[1])
        total, count = state or (torch.zeros(len(tokens), 5), 0)
        sums = total[:, None] + self.embedding(tokens).cumsum(dim=1)  # (B, T, 5)
        counts = torch.arange(count + 1, count + tokens.shape[1] + 1)
        logits = self.head(self.dropout(sums / counts[:, None]))
        return logits, (sums[:, -1], count + tokens.shape[1])


def some_tokens(length: int) -> Tensor:
    return torch.randint(0, V, (length,), generator=torch.Generator().manual_seed(1))


# --- side by side -----------------------------------------------------------------------------------------------------


@given(st.integers(2, 300), st.integers(1, 40), st.integers(0, 80))
def test_every_token_but_the_first_is_a_target_once(size: int, streams: int, warm_up: int):
    tokens = torch.arange(size)
    inputs, targets, counts = side_by_side(tokens, streams, warm_up)
    assert inputs.shape == targets.shape == counts.shape and len(inputs) == streams
    assert torch.equal(targets, inputs + 1)
    assert targets[counts == 1].tolist() == list(range(1, size))  # in order, stream by stream
    assert set(counts.flatten().tolist()) <= {0, 1}


@given(st.integers(2, 300), st.integers(1, 40), st.integers(0, 80))
def test_every_stream_has_its_past_without_a_break(size: int, streams: int, warm_up: int):
    """Up to its last target a stream reads consecutive tokens, and `warm_up` of them before its first target."""
    inputs, _, counts = side_by_side(torch.arange(size), streams, warm_up)
    assert inputs[0, 0] == 0 and counts[0, 0] == 1  # the text begins with its first token, read once
    for row, counted in zip(inputs, counts.bool(), strict=True):
        if counted.any():
            first, last = (int(end) for end in counted.nonzero()[[0, -1], 0])
            assert torch.equal(row[: last + 1], row[0] + torch.arange(last + 1))
            assert first == warm_up or row[0] == 0


def test_side_by_side_by_arithmetic():
    """10 tokens, 3 streams, 3 of warm-up: 9 targets, 3 of them in the first stream's warm-up, 2 more for each."""
    inputs, targets, counts = side_by_side(torch.arange(10), 3, 3)
    assert inputs.tolist() == [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [4, 5, 6, 7, 8]]
    assert counts.tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    assert targets[counts == 1].tolist() == list(range(1, 10))


# --- windows of a fixed length ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 5, 8, 64])
@pytest.mark.parametrize("size", [2, 3, 5, 9, 64, 65, 131])
def test_a_window_is_no_longer_and_a_past_no_shorter_than_promised(length: int, size: int, monkeypatch):
    """What the model is given is recorded; tokens are their own positions."""
    read: list[tuple[int, int, int]] = []  # target, tokens read before it, length of the window

    def note(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        for said, counted in zip(targets.tolist(), counts.tolist(), strict=True):
            read.extend((token, place + 1, len(said)) for place, token in enumerate(said) if counted[place])
        return torch.zeros(())

    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.none = nn.Parameter(torch.zeros(1))

        def forward(self, tokens: Tensor) -> tuple[Tensor, None]:
            return torch.zeros(*tokens.shape, 1), None

    monkeypatch.setattr(scoring, "sum_of", note)
    loss = nats_in_windows(Silent(), torch.arange(size), length)
    assert sorted(token for token, _, _ in read) == list(range(1, size)) and loss.count == size - 1
    assert all(window <= length for _, _, window in read)
    assert all(past > length // 2 or past == token for token, past, _ in read)  # all that there is, at the beginning


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_windows_are_those_of_the_text(rows: int, monkeypatch):
    """10 tokens, windows of 4: the first predicts 1 … 4, the others two each: 5 6, 7 8, and 9."""
    model, tokens = Averager().eval(), some_tokens(10)
    monkeypatch.setattr(scoring, "STREAMS", 4 * rows)
    monkeypatch.setattr(scoring, "CHUNK", 1)
    expected = 0.0
    for first, targets in ((0, (1, 2, 3, 4)), (2, (5, 6)), (4, (7, 8)), (6, (9,))):
        for target in targets:
            with torch.no_grad():
                logits, _ = model(tokens[None, first:target])
            expected += float(cross_entropy(logits[0, -1:].double(), tokens[target : target + 1]))
    loss = nats_in_windows(model, tokens, 4)
    assert float(loss.total) == pytest.approx(expected, rel=1e-6) and loss.count == 9


def test_one_window_is_the_whole_text():
    model, tokens = Averager(), some_tokens(300)
    whole, windows = nats_of(model, tokens, streams=1), nats_in_windows(model, tokens, 300)
    assert float(windows.total) == pytest.approx(float(whole.total), rel=1e-6) and windows.count == whole.count == 299
    assert float(nats_in_windows(model, tokens, 8).total) != pytest.approx(float(whole.total), rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("score", [nats_of, lambda model, tokens: nats_in_windows(model, tokens, 16)])
def test_scoring_is_without_dropout_and_leaves_the_model_as_it_was(score, training: bool):
    model, tokens, random = Averager().train(training), some_tokens(300), torch.get_rng_state()
    first, second = score(model, tokens), score(model, tokens)
    assert float(first.total) == float(second.total) and not first.total.requires_grad
    assert model.training == model.dropout.training == training and torch.equal(torch.get_rng_state(), random)


def test_a_text_is_read_in_chunks():
    model = Averager()
    nats_of(model, some_tokens(3 * scoring.CHUNK), streams=1)
    assert model.longest == scoring.CHUNK


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_loss_of_a_batch_is_the_sum_over_its_tokens():
    model, tokens = Averager().eval(), some_tokens(20).view(2, 10)
    batch = Batch(tokens[:, :-1], tokens[:, 1:])
    loss = next_token_loss(model, batch)
    logits, _ = model(batch.inputs)
    surprises = -logits.log_softmax(-1).gather(-1, batch.targets[..., None])
    torch.testing.assert_close(loss.total, surprises.sum())
    assert loss.count == 18 and loss.total.requires_grad

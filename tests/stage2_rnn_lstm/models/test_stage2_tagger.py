from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import ConfigError
from my_llm.text import PAD
from stage2_rnn_lstm.models import CELLS, Tagger, TaggerConfig, best_sequence, log_partition, sequence_score
from stage2_rnn_lstm.models.tagger import Spelling

WORDS = torch.tensor([[5, 6, 7, 5], [7, 4, PAD, PAD], [8, PAD, PAD, PAD]])
LENGTHS = torch.tensor([4, 2, 1])
LETTERS = torch.randint(4, 13, (3, 4, 5), generator=torch.Generator().manual_seed(0))
LETTERS[:, :, 3:] = PAD
LETTERS[0, 1, 1:] = PAD
LETTERS = LETTERS * (WORDS != PAD)[:, :, None]


def tagger(**settings) -> Tagger:
    torch.manual_seed(0)
    shape = {"embedding": 3, "hidden": 7, "character_width": 2, "dropout": 0.0, "word_dropout": 0.0}
    model = Tagger(TaggerConfig(words=11, characters=13, tags=5, **(shape | settings))).double()
    torch.nn.init.normal_(model.transitions)
    return model


# --- the conditional random field against all sequences --------------------------------------------------------------


def scores(batch: int, steps: int, tags: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    emissions = 2 * torch.randn(batch, steps, tags, generator=random, dtype=torch.float64)
    return emissions, 2 * torch.randn(tags + 1, tags + 1, generator=random, dtype=torch.float64)


def by_definition(emissions: torch.Tensor, transitions: torch.Tensor, tags: tuple[int, ...]) -> float:
    outside = emissions.shape[1]
    steps = [outside, *tags, outside]
    emitted = sum(float(emissions[t, tag]) for t, tag in enumerate(tags))
    return emitted + sum(float(transitions[i, j]) for i, j in pairwise(steps))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 999))
def test_crf_equals_the_enumeration_of_all_sequences(steps, tags, seed):
    emissions, transitions = scores(3, steps, tags, seed)
    lengths = torch.tensor([steps, (steps + 1) // 2, 1])
    total, best = log_partition(emissions, transitions, lengths), best_sequence(emissions, transitions, lengths)
    for row, length in enumerate(lengths.tolist()):
        every = {y: by_definition(emissions[row], transitions, y) for y in product(range(tags), repeat=length)}
        assert float(total[row]) == pytest.approx(
            float(torch.tensor(list(every.values()), dtype=torch.float64).logsumexp(dim=0)), abs=1e-9
        )
        assert tuple(best[row, :length].tolist()) == max(every, key=every.__getitem__)


def test_the_score_of_a_sequence_by_hand():
    emissions = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    transitions = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    score = sequence_score(emissions, transitions, torch.tensor([[1, 0, 1]]), torch.tensor([2]))
    # outside → 1, emit 2, 1 → 0, emit 3, 0 → outside: 0.8 + 2 + 0.4 + 3 + 0.3; the third word is padding
    assert score.tolist() == pytest.approx([6.5])


def test_gradients_of_the_partition_are_the_probabilities_of_the_tags():
    emissions, transitions = scores(2, 4, 3, seed=5)
    lengths = torch.tensor([4, 2])
    (gradient,) = torch.autograd.grad(log_partition(emissions.requires_grad_(), transitions, lengths).sum(), emissions)
    expected = torch.tensor([[1.0] * 4, [1.0, 1.0, 0, 0]], dtype=torch.float64)  # one tag a word, none at padding
    torch.testing.assert_close(gradient.sum(dim=2), expected)
    assert torch.autograd.gradcheck(
        lambda e, t: log_partition(e, t, lengths), (emissions, transitions.requires_grad_())
    )


# --- the tagger ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
def test_padding_of_sentences_and_words_changes_nothing(cell, layers):
    model = tagger(cell=cell, layers=layers)
    emissions, transitions = model(WORDS, LETTERS, LENGTHS)
    assert emissions.shape == (3, 4, 5) and transitions.shape == (6, 6)
    for row, length in enumerate(LENGTHS.tolist()):
        one = slice(row, row + 1)
        alone, _ = model(WORDS[one, :length], LETTERS[one, :length, :3], LENGTHS[one])
        torch.testing.assert_close(emissions[one, :length], alone, rtol=0, atol=1e-12)


def test_every_word_is_spelled_as_if_it_were_alone():
    torch.manual_seed(0)
    spelling = Spelling(13, 2, "lstm").double()
    read = spelling(LETTERS)
    for row, length in enumerate(LENGTHS.tolist()):
        for place in range(length):
            alone = LETTERS[row, place][LETTERS[row, place] != PAD]
            torch.testing.assert_close(read[row, place], spelling(alone[None, None])[0, 0], rtol=0, atol=1e-12)


def test_gradient_reaches_every_word_and_letter_and_no_padding():
    model = tagger()
    emissions, transitions = model(WORDS, LETTERS, LENGTHS)
    tags = torch.tensor([[0, 1, 2, 3], [4, 0, 0, 0], [1, 0, 0, 0]])
    right = sequence_score(emissions, transitions, tags, LENGTHS)
    (log_partition(emissions, transitions, LENGTHS) - right).sum().backward()
    for table, ids in ((model.embedding, WORDS), (model.spelling.embedding, LETTERS)):
        assert table.weight.grad is not None
        touched = table.weight.grad.abs().sum(dim=1) > 0
        assert touched.nonzero().flatten().tolist() == sorted(set(ids.unique().tolist()) - {PAD})
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("setting", [{"dropout": 1.0}, {"word_dropout": -0.1}])
def test_a_rate_out_of_range_is_one_clear_line(setting):
    with pytest.raises(ConfigError, match="dropout rate out of range"):
        tagger(**setting)


def test_it_learns_a_rule_about_letters_and_neighbours():
    """Tag 1 opens where a word begins with letter 4; tag 2 goes on until a word that ends with letter 5."""
    random = torch.Generator().manual_seed(0)
    letters = torch.randint(4, 9, (64, 6, 3), generator=random)
    tags = torch.zeros(64, 6, dtype=torch.long)
    for t in range(6):
        open_before = tags[:, t - 1] > 0 if t else torch.zeros(64, dtype=torch.bool)
        goes_on = open_before & (letters[:, t, 2] != 5)
        tags[:, t] = torch.where(letters[:, t, 0] == 4, 1, torch.where(goes_on, 2, 0))
    words, lengths = torch.ones(64, 6, dtype=torch.long), torch.full((64,), 6)  # every word is unknown
    model = tagger(hidden=12, character_width=8).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        emissions, transitions = model(words, letters, lengths)
        right = sequence_score(emissions, transitions, tags, lengths)
        loss = (log_partition(emissions, transitions, lengths) - right).sum() / tags.numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    emissions, transitions = model(words, letters, lengths)
    found = best_sequence(emissions, transitions, lengths)
    assert (found == tags).double().mean() > 0.97

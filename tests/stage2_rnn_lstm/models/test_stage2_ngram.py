"""Counting: Kneser-Ney by the formula, by hand and by dictionaries; sums to 1; backs off; comes back from a file."""

import math
from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from my_llm.decoding import generate, select_rows
from my_llm.errors import CheckpointError, ConfigError, DataError
from stage2_rnn_lstm.models.ngram import FALLBACK, NGramModel, discounts

V = 5
TEXT = torch.tensor([0, 1, 0, 2, 0, 1, 0, 2, 3, 0, 1, 1, 0, 2, 0, 0, 1, 0, 3, 3, 2, 0, 1, 0, 2])  # never 4
BIG = (torch.rand(400, generator=torch.Generator().manual_seed(0)) ** 2 * 11).long()  # 0 often, 10 seldom


def slow_probability(text: list[int], vocab_size: int, order: int):
    """p(w | h) straight from the definition, with dictionaries of tuples and a recursion."""
    padded = ["begin", *text]  # the beginning counts as one more token before the first ones
    counts: dict[int, Counter] = {}
    for length in range(1, order + 1):
        grams = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
        if length == order:
            counts[length] = Counter(grams)
        else:
            befores = defaultdict(set)
            for i, gram in enumerate(grams):
                befores[gram].add(padded[i])
            counts[length] = Counter({gram: len(before) for gram, before in befores.items()})

    def discount(length: int, count: int) -> float:
        n = Counter(counts[length].values())
        d = {0: 0.0, 1: 0.5, 2: 1.0, 3: 1.5}
        if n[1] and n[2] and n[3] and n[4]:
            y = n[1] / (n[1] + 2 * n[2])
            estimate = {r: r - (r + 1) * y * n[r + 1] / n[r] for r in (1, 2, 3)}
            if min(estimate.values()) > 0:
                d |= estimate
        return d[min(count, 3)]

    def probability(context: tuple[int, ...], token: int) -> float:
        context = context[len(context) - order + 1 :] if len(context) >= order else context
        lower = probability(context[1:], token) if context else 1 / vocab_size
        length = len(context) + 1
        followers = {gram[-1]: c for gram, c in counts[length].items() if gram[:-1] == context}
        if not followers:
            return lower
        total, own = sum(followers.values()), followers.get(token, 0)
        saved = sum(discount(length, c) for c in followers.values()) / total
        return max(own - discount(length, own), 0) / total + saved * lower

    return probability


@pytest.mark.parametrize("text", [TEXT, BIG], ids=["short", "estimated"])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equals_the_definition_in_dictionaries(text, order):
    vocab_size = 11
    slow = slow_probability(text.tolist(), vocab_size, order)
    model = NGramModel.fit(text, vocab_size, order)
    contexts = torch.tensor([[0, 1, 0, 2], [3, 3, 2, 0], [4, 4, 0, 1], [2, 1, 3, 9], [7, 8, 9, 10]])
    expected = [[math.log(slow(tuple(context), token)) for token in range(vocab_size)] for context in contexts.tolist()]
    actual = model.log_probabilities(contexts)
    assert actual.shape == (5, vocab_size)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_some_discounts_above_were_estimated_and_some_were_not():
    levels = NGramModel.fit(BIG, 11, 3).levels
    assert [discounts(level.counts).tolist() == list(FALLBACK) for level in levels] == [True, False, False]


def test_a_bigram_model_by_hand():
    """The text a b a a b, vocabulary a b c. Too few counts to estimate: D = 0.5, 1, 1.5.

    a occurs after the beginning, b, a: 3 different; b only after a: 1. Together 4, saved (1.5 + 0.5) / 4 = 1/2:
        p(a) = 1.5/4 + 1/2 · 1/3 = 13/24    p(b) = 0.5/4 + 1/6 = 7/24    p(c) = 1/6 = 4/24
    After a: b twice, a once, saved (1 + 0.5) / 3 = 1/2:
        p(b|a) = 1/3 + 1/2 · 7/24 = 23/48    p(a|a) = 0.5/3 + 1/2 · 13/24 = 21/48    p(c|a) = 1/2 · 4/24 = 4/48
    After b: a once, saved 1/2: p(a|b) = 1/2 + 1/2 · 13/24 = 37/48, p(b|b) = 7/48, p(c|b) = 4/48
    """
    a, b, c = 0, 1, 2
    model = NGramModel.fit(torch.tensor([a, b, a, a, b]), 3, 2)
    after = model.log_probabilities(torch.tensor([[a], [b], [c]])).exp()
    expected = [[21 / 48, 23 / 48, 4 / 48], [37 / 48, 7 / 48, 4 / 48], [13 / 24, 7 / 24, 4 / 24]]  # never saw c: p(w)
    torch.testing.assert_close(after, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    nats = model.score(torch.tensor([b, a, c]))
    assert nats.tolist() == pytest.approx([-math.log(7 / 24), -math.log(37 / 48), -math.log(4 / 48)])


def test_three_discounts_by_hand():
    """4 n-grams seen once, 2 twice, 1 three times, 1 four times: Y = 4 / (4 + 2·2) = 1/2.

    D_1 = 1 − 2 · 1/2 · 2/4 = 1/2,  D_2 = 2 − 3 · 1/2 · 1/2 = 5/4,  D_3 = 3 − 4 · 1/2 · 1/1 = 1.
    """
    assert discounts(torch.tensor([1, 2, 1, 3, 1, 2, 1, 4, 9])).tolist() == [0, 0.5, 1.25, 1]
    assert discounts(torch.tensor([1, 2, 1, 3, 1, 2, 1, 9])).tolist() == list(FALLBACK)  # n_4 = 0
    # n = 1, 1, 4, 1: Y = 1/3, D_2 = 2 − 3 · 1/3 · 4/1 = −2: a count would grow
    assert discounts(torch.tensor([1, 2, 3, 3, 3, 3, 4])).tolist() == list(FALLBACK)


def test_order_one_is_the_frequency_of_each_token_whatever_stands_before():
    """25 tokens: 0 to 3 occur 11, 6, 5, 3 times, all discounts are 1.5: saved 4 · 1.5 / 25 = 6/25, 1/5 to each."""
    assert TEXT.bincount().tolist() == [11, 6, 5, 3]
    after = NGramModel.fit(TEXT, V, 1).log_probabilities(torch.tensor([[0], [4]])).exp()
    share = [(count - 1.5) / 25 + 6 / 25 / 5 for count in (11, 6, 5, 3)]
    expected = torch.tensor([*share, 6 / 25 / 5], dtype=torch.float64)
    torch.testing.assert_close(after, expected.expand(2, V), rtol=0, atol=1e-12)


tokens = st.integers(0, V - 1)


@given(
    text=st.lists(tokens, min_size=4, max_size=60),
    contexts=st.integers(0, 6).flatmap(
        lambda n: st.lists(st.lists(tokens, min_size=n, max_size=n), min_size=1, max_size=7)
    ),
    order=st.integers(1, 4),
)
def test_every_distribution_is_positive_and_sums_to_one(text, contexts, order):
    """Seen or unseen, shorter or longer than the model needs; longer ones are cut."""
    model = NGramModel.fit(torch.tensor(text), V, order)
    given_contexts = torch.tensor(contexts, dtype=torch.int64).view(len(contexts), -1)
    p = model.log_probabilities(given_contexts).exp()
    assert (p > 0).all()
    torch.testing.assert_close(p.sum(1), torch.ones(len(contexts), dtype=torch.float64), rtol=0, atol=1e-12)
    cut = given_contexts[:, max(0, given_contexts.shape[1] - order + 1) :]
    assert torch.equal(p, model.log_probabilities(cut).exp())


def test_an_unseen_context_leaves_all_to_the_shorter_one():
    model = NGramModel.fit(TEXT, V, 4)

    def after(*context: int) -> torch.Tensor:
        return model.log_probabilities(torch.tensor([context], dtype=torch.int64))

    assert torch.equal(after(4, 0, 1), after(0, 1))
    assert torch.equal(after(0, 1, 4), after())
    assert not torch.allclose(after(2, 0, 1), after(0, 1))  # seen


@pytest.mark.parametrize("order", [1, 2, 4])
def test_score_is_what_forward_gave_to_the_tokens_that_came(order):
    model = NGramModel.fit(TEXT, V, order)
    new = torch.tensor([0, 1, 0, 2, 4, 4, 0, 1, 3])
    logits, _ = model(new[None])
    assert logits.shape == (1, 9, V)
    from_forward = -logits[0, :-1].gather(1, new[1:, None])[:, 0]  # logits[t] speak of token t + 1
    start = -model.log_probabilities(torch.zeros(1, 0, dtype=torch.int64))[0, new[0]]
    torch.testing.assert_close(model.score(new), torch.cat([start[None], from_forward]), rtol=0, atol=1e-12)
    assert model.score(new[:0]).shape == (0,)


@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=4), order=st.integers(1, 5))
def test_in_pieces_equals_at_once(cuts, order):
    model = NGramModel.fit(TEXT, V, order)
    text = torch.stack([TEXT[: sum(cuts)], TEXT.flip(0)[: sum(cuts)], TEXT[3 : 3 + sum(cuts)]])
    whole, end = model(text)
    state, parts = None, []
    for piece in text.split(cuts, dim=1):
        logits, state = model(piece, state)
        parts.append(logits)
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert state is not None and torch.equal(state, end)
    assert torch.equal(end, text[:, max(0, sum(cuts) - order + 1) :])
    alone, _ = model(text[1:2])
    assert torch.equal(alone[0], whole[1])  # a batch is its rows


def test_decoding_recites_a_text_without_doubt():
    """Three tokens decide the next one of this text: greedy decoding writes it on."""
    text = torch.tensor([0, 1, 2, 0, 1, 3, 4, 1] * 9)
    model = NGramModel.fit(text, V, 4)

    def step(tokens, state):
        logits, state = model(tokens, state)
        return logits[:, -1], state

    said = torch.stack(list(generate(step, text[None, :8], max_new_tokens=16)), dim=1)
    assert said[0].tolist() == text[8:24].tolist()
    assert model.score(text)[8:].mean() < 0.3 < model.score(text.flip(0))[8:].mean()
    _, state = model(text.view(9, 8))
    assert torch.equal(select_rows(state, torch.tensor([1, 1])), text.view(9, 8)[:2, -3:])


def test_it_learns_a_rule_of_two_tokens_from_three_on():
    """Every token is the sum of the two before it mod 11, unless noise says otherwise (3 of 10 times)."""
    rng = torch.Generator().manual_seed(0)
    text = [1, 1]
    for noise, other in zip(torch.rand(4000, generator=rng).tolist(), torch.randint(0, 11, (4000,), generator=rng)):
        text.append((text[-1] + text[-2]) % 11 if noise > 0.3 else int(other))
    train, new = torch.tensor(text).split([3500, 502])
    unigram, bigram, trigram = (NGramModel.fit(train, 11, order).score(new).mean().item() for order in (1, 2, 3))
    assert abs(unigram - math.log(11)) < 0.05 > abs(bigram - unigram)  # one token alone says nothing
    assert trigram < 1.5  # the rule itself: 0.727 for the sum, 0.027 for each of the others, 1.21 nats


def test_the_counts_are_what_they_say():
    level = NGramModel.fit(TEXT, V, 2).levels[1]
    pairs = Counter(zip(TEXT.tolist(), TEXT[1:].tolist(), strict=False))
    assert dict(zip(level.keys.tolist(), level.counts.tolist(), strict=True)) == {
        first * V + second: count for (first, second), count in pairs.items()
    }


def test_a_state_comes_back():
    model = NGramModel.fit(TEXT, V, 3)
    twin = NGramModel.from_state(model.to_state())
    assert (twin.vocab_size, twin.order) == (V, 3)
    assert torch.equal(twin(TEXT[None])[0], model(TEXT[None])[0])


def damaged(key: str, index: int, change):
    def damage(state):
        state[key] = [change(part) if i == index else part for i, part in enumerate(state[key])]

    return damage


DAMAGE = {
    "no vocabulary": lambda state: state.pop("vocab_size"),
    "vocabulary no number": lambda state: state.update(vocab_size="5"),
    "vocabulary too small": lambda state: state.update(vocab_size=3),
    "vocabulary empty": lambda state: state.update(vocab_size=0),
    "keys no list": lambda state: state.update(keys=state["keys"][0]),
    "no level": lambda state: state.update(keys=[], counts=[]),
    "level missing": lambda state: state["counts"].pop(),
    "level empty": lambda state: (
        damaged("keys", 1, lambda t: t[:0])(state),
        damaged("counts", 1, lambda t: t[:0])(state),
    ),
    "middle level removed": lambda state: (state["keys"].pop(0), state["counts"].pop(0)),
    "keys short": damaged("keys", 2, lambda t: t[:-1]),
    "keys unsorted": damaged("keys", 1, lambda t: t.flip(0)),
    "key twice": damaged("keys", 1, lambda t: torch.cat([t[:1], t[:-1]])),
    "key negative": damaged("keys", 0, lambda t: t - 1),
    "no such parent": damaged("keys", 2, lambda t: torch.cat([t[:-1], t[-1:] + 1000])),
    "keys of floats": damaged("keys", 1, lambda t: t.double()),
    "level a table": lambda state: (
        damaged("keys", 1, lambda t: t[None])(state),
        damaged("counts", 1, lambda t: t[None])(state),
    ),
    "counts no tensor": damaged("counts", 1, lambda t: t.tolist()),
    "count zero": damaged("counts", 1, lambda t: t - 1),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_state_is_refused(name):
    state = NGramModel.fit(TEXT, V, 3).to_state()
    DAMAGE[name](state)
    with pytest.raises(CheckpointError, match="n-gram model"):
        NGramModel.from_state(state)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        NGramModel.fit(TEXT, V, 0)
    with pytest.raises(DataError, match="too short"):
        NGramModel.fit(TEXT[:3], V, 4)
    for wrong in (5, -1):
        with pytest.raises(DataError, match=f"outside the vocabulary; got '{wrong}'; valid: 0 to 4"):
            NGramModel.fit(torch.tensor([0, 1, wrong, 2]), V, 2)
        with pytest.raises(DataError, match="outside the vocabulary"):
            NGramModel.fit(TEXT, V, 2).score(torch.tensor([wrong]))


@pytest.mark.parametrize(("order", "known"), [(1, 3.35), (3, 2.04), (6, 1.53)])
def test_tiny_shakespeare(real_data, order, known):
    """Nats per character of the validation text, the usual 90/10 split."""
    text = (real_data / "tiny_shakespeare.txt").read_text(encoding="utf-8")
    symbols = {character: number for number, character in enumerate(sorted(set(text)))}
    characters = torch.tensor([symbols[character] for character in text])
    cut = int(0.9 * len(text))
    model = NGramModel.fit(characters[:cut], len(symbols), order)
    assert model.score(characters[cut:]).mean().item() == pytest.approx(known, abs=0.01)

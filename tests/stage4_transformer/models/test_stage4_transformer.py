"""The translator: torch's own, padding, no look ahead, the cache, beam search, maps, and that it learns a rule."""

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.decoding import beam_search, generate, select_rows
from my_llm.errors import ConfigError
from my_llm.text import BOS, EOS, PAD
from stage4_transformer.models.attention import merge_heads
from stage4_transformer.models.official import OfficialTransformer, gradients, to_official
from stage4_transformer.models.positions import POSITIONS
from stage4_transformer.models.stacks import length_of
from stage4_transformer.models.transformer import Maps, Transformer, TransformerConfig, TransformerState, reorder

V, B, S, T, D, H, F = 13, 3, 7, 5, 12, 2, 11
LENGTHS = torch.tensor([4, 7, 1])
SMALL = TransformerConfig(vocab_size=V, model=D, heads=H, layers=2, hidden=F, max_length=16)
VARIANTS = [
    *({"positions": name} for name in POSITIONS),
    {"order": "post"},
    {"order": "post", "norm": "rms", "activation": "gelu", "layers": 1},
    {"norm": "rms", "activation": "swiglu", "positions": "rotary", "heads": 3},
]
every_variant = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))
every_position = pytest.mark.parametrize("positions", POSITIONS)


def close(a: Any, b: Any, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(**options: Any) -> Transformer:
    """No weight is 0 as some are at the start: that would hide mistakes."""
    torch.manual_seed(0)
    model = Transformer(replace(SMALL, **options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.4)
    return model.double()


def sentences() -> tuple[Tensor, Tensor, Tensor]:
    """source, lengths, target_in."""
    draw = torch.Generator().manual_seed(1)
    source = torch.randint(4, V, (B, S), generator=draw)
    source[torch.arange(S) >= LENGTHS[:, None]] = PAD
    target = torch.randint(4, V, (B, T), generator=draw)
    target[:, 0] = BOS
    return source, LENGTHS, target


def targets_out(target: Tensor) -> Tensor:
    asked = torch.cat([target[:, 1:], torch.tensor([[EOS], [PAD], [5]])], dim=1)
    asked[1, 2:] = PAD
    return asked


# --- contract ---------------------------------------------------------------------------------------------------------


@every_variant
def test_shapes(options: dict[str, Any]):
    model, (source, lengths, target) = random_model(**options), sentences()
    config = model.config
    assert model(source, lengths, target).shape == (B, T, V)
    assert model(source, lengths, target, targets_out(target)).shape == ()
    state = model.encode(source, lengths)
    assert state.past is None and len(state.sources) == config.layers
    logits, state = model.step(target[:, :3], state)
    assert logits.shape == (B, V) and length_of(state.past) == 3
    maps = model.look(source, lengths, target)
    shapes = ((S, S), (T, T), (T, S))
    assert [part.shape for part in maps] == [(config.layers, B, config.heads, *shape) for shape in shapes]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 0}, "at least 1"),
        ({"heads": 5}, "equally"),
        ({"positions": "alibis"}, "unknown positions.*did you mean alibi"),
        ({"dropout": -0.1}, "dropout rate"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        Transformer(replace(SMALL, **options))
    assert "\n" not in str(caught.value)


def test_too_long_for_learned_positions_is_one_clear_line():
    model, (source, lengths, target) = random_model(positions="learned", max_length=S), sentences()
    assert model(source, lengths, target).shape == (B, T, V)
    with pytest.raises(ConfigError, match="no position was learnt there; got '8 tokens'; valid: at most 7"):
        model(source[:, [0, *range(S)]], lengths, target)


def test_one_matrix_for_both_languages_and_the_head():
    model = Transformer(SMALL)
    assert model.head.weight is model.embedding.weight
    attention, feed_forward, norm = 4 * (D * D + D), 2 * D * F + D + F, 2 * D
    encoder, decoder = attention + feed_forward + 2 * norm, 2 * attention + feed_forward + 3 * norm
    assert sum(p.numel() for p in model.parameters()) == 2 * (encoder + decoder) + 2 * norm + V * D + V


def test_the_start():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(vocab_size=1000, model=64, heads=4, layers=2, hidden=64))
    source, lengths, target = sentences()
    assert model.embed(source).norm(dim=2).mean().item() == pytest.approx(8, abs=0.3)  # √64: as long as the waves
    logits = model(source, lengths, target)
    assert 0.5 < logits.std() < 1.5  # about uniform: the loss begins near log V
    maps = model.look(source, lengths, target)
    assert maps.cross[:, 1].amax(dim=3).mean() < 0.5  # a glance at all seven tokens


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize(("positions", "activation"), [("none", "relu"), ("sinusoidal", "relu"), ("learned", "gelu")])
def test_torchs_transformer_agrees_in_values_and_gradients(positions: str, order: str, activation: str):
    model = random_model(positions=positions, order=order, activation=activation)
    copy, (source, lengths, target), results = to_official(model), sentences(), []
    assert isinstance(copy, OfficialTransformer) and isinstance(copy.transformer, nn.Transformer)
    for telling in (model, copy):
        logits = telling(source, lengths, target)
        cross_entropy(logits.flatten(0, 1), targets_out(target).flatten(), ignore_index=PAD).backward()
        results.append((logits, gradients(telling)))
    assert results[0][1].keys() == dict(model.named_parameters()).keys()
    close(*results, 1e-9)


@every_variant
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_real_targets(options: dict[str, Any], smoothing: float):
    model, (source, lengths, target) = random_model(**options), sentences()
    asked = targets_out(target)
    expected = cross_entropy(
        model(source, lengths, target).flatten(0, 1),
        asked.flatten(),
        ignore_index=PAD,
        reduction="sum",
        label_smoothing=smoothing,
    )
    total = model(source, lengths, target, asked, smoothing)
    close(total, expected)
    ours, theirs = (torch.autograd.grad(loss, list(model.parameters())) for loss in (total, expected))
    close(ours, theirs, 1e-9)


# --- gradient ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"positions": "rotary", "order": "post"}, {"positions": "learned"}], ids=str)
def test_gradients_against_finite_differences(options: dict[str, Any]):
    model, (source, lengths, target) = random_model(layers=1, **options), sentences()

    def told(*weights: Tensor) -> Tensor:  # `weights` are those of model
        return model(source, lengths, target).square().mean(dim=(1, 2))

    assert torch.autograd.gradcheck(told, tuple(model.parameters()), fast_mode=True, rtol=1e-2)


# --- invariants -------------------------------------------------------------------------------------------------------


@every_variant
def test_padding_changes_nothing_not_even_a_gradient(options: dict[str, Any]):
    model, (source, lengths, target) = random_model(**options), sentences()
    padding = torch.arange(S) >= LENGTHS[:, None]
    noise = torch.randint(4, V, (B, S + 4))
    other = torch.where(padding, noise[:, :S], source)
    results = []
    for read in (source, other, torch.cat([other, noise[:, S:]], dim=1)):  # other padding; more padding
        model.zero_grad()
        logits = model(read, lengths, target)
        logits.square().mean().backward()
        results.append((logits, {name: parameter.grad for name, parameter in model.named_parameters()}))
    assert all(gradient is not None for gradient in results[0][1].values())
    assert torch.equal(results[1][0], results[0][0])
    close(results[1], results[0])
    close(results[2], results[0])


@every_variant
def test_batched_with_padding_equals_each_sentence_alone(options: dict[str, Any]):
    model, (source, lengths, target) = random_model(**options), sentences()
    logits, maps = model(source, lengths, target), model.look(source, lengths, target)
    for row, length in enumerate(LENGTHS.tolist()):
        one = source[[row], :length], lengths[[row]], target[[row]]
        close(model(*one), logits[[row]])
        alone = model.look(*one)
        close(alone.cross, maps.cross[:, [row], :, :, :length])
        close(alone.encoder, maps.encoder[:, [row], :, :length, :length])


@every_variant
def test_a_changed_future_leaves_the_past_unchanged(options: dict[str, Any]):
    model, (source, lengths, target) = random_model(**options), sentences()
    changed = target.clone()
    changed[:, 3] = 4 + (changed[:, 3] - 3) % (V - 4)
    before, after = model(source, lengths, target), model(source, lengths, changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=2).all()


def test_padding_behind_a_target_changes_nothing_before_it():
    model, (source, lengths, target) = random_model(), sentences()
    longer = torch.cat([target, torch.full((B, 4), PAD)], dim=1)
    close(model(source, lengths, longer)[:, :T], model(source, lengths, target))
    asked = targets_out(target)
    close(
        model(source, lengths, longer, torch.cat([asked, torch.full((B, 4), PAD)], dim=1), 0.1),
        model(source, lengths, target, asked, 0.1),
    )


@every_variant
@pytest.mark.parametrize("pieces", [[1] * T, [3, 1, 2]])
def test_cached_is_uncached(options: dict[str, Any], pieces: list[int]):
    check_pieces(random_model(**options), pieces)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from(list(POSITIONS)))
def test_cached_is_uncached_in_any_pieces(pieces: list[int], positions: str):
    check_pieces(random_model(positions=positions, layers=1), pieces)


def check_pieces(model: Transformer, pieces: list[int]) -> None:
    source, lengths, _ = sentences()
    target = torch.randint(0, V, (B, sum(pieces)), generator=torch.Generator().manual_seed(2))
    logits, state, place = model(source, lengths, target), model.encode(source, lengths), 0
    for tokens in target.split(pieces, dim=1):
        said, state = model.step(tokens, state)
        place += tokens.shape[1]
        close(said, logits[:, place - 1])
        assert length_of(state.past) == place


@pytest.mark.parametrize("positions", [name for name in POSITIONS if name != "learned"])
def test_positions_grow_while_it_writes(positions: str):
    """Made for 3 tokens, it reads 7 and writes 9 as if made for 64."""
    small, large = (random_model(positions=positions, max_length=room) for room in (3, 64))
    source, lengths, _ = sentences()
    target = torch.randint(0, V, (B, 9))
    logits, state = large(source, lengths, target), small.encode(source, lengths)
    for t in range(9):
        said, state = small.step(target[:, t : t + 1], state)
        close(said, logits[:, t])
    close(small(source, lengths, target), logits)


@every_variant
def test_rows_of_a_state_can_be_selected(options: dict[str, Any]):
    model, rows, (source, lengths, target) = random_model(**options), torch.tensor([2, 0, 0, 1]), sentences()
    _, state = model.step(target[:, :2], model.encode(source, lengths))
    chosen = select_rows(state, rows)
    assert type(chosen) is TransformerState
    close(model.step(target[rows, 2:3], chosen)[0], model.step(target[:, 2:3], state)[0][rows])
    close(reorder(state, rows), chosen)  # another number of rows: all of it is selected


@every_position
def test_hypotheses_change_places_and_their_source_stays(positions: str):
    """Two for each sentence, which have said different things: `reorder` is `select_rows`, without the copy."""
    model, (source, lengths, target) = random_model(positions=positions), sentences()
    pairs = torch.arange(B).repeat_interleave(2)
    _, state = model.step(target[pairs, :1], reorder(model.encode(source, lengths), pairs))
    _, state = model.step(torch.arange(4, 4 + 2 * B)[:, None], state)
    rows = torch.tensor([1, 0, 2, 2, 5, 4])
    close(reorder(state, rows), select_rows(state, rows))
    assert reorder(state, rows).sources is state.sources
    assert not torch.equal(select_rows(state, rows).past[0].key, state.past[0].key)
    said = torch.full((2 * B, 1), 7)
    close(model.step(said, reorder(state, rows))[0], model.step(said, select_rows(state, rows))[0])


@torch.no_grad()
@every_position
def test_greedy_is_a_beam_of_one_and_the_argmax_of_forward(positions: str):
    model, (source, lengths, _) = random_model(positions=positions).eval(), sentences()
    prompt = torch.full((B, 1), BOS)
    written = torch.stack(
        list(generate(model.step, prompt, max_new_tokens=6, stop=EOS, state=model.encode(source, lengths))), dim=1
    )
    logits = model(source, lengths, torch.cat([prompt, written[:, :-1]], dim=1))
    beam = beam_search(
        model.step, prompt, width=1, max_new_tokens=6, stop=EOS, state=model.encode(source, lengths), reorder=reorder
    )
    for row, said in enumerate(written.tolist()):
        said = said[: said.index(EOS) + 1] if EOS in said else said
        assert logits[row, : len(said)].argmax(dim=1).tolist() == said == beam[row][0].tokens


@torch.no_grad()
@every_position
def test_beams_with_and_without_the_short_cut_and_their_scores(positions: str):
    """What `reorder` leaves in place is what select_rows copies; a score is the log-probability that forward gives."""
    model, (source, lengths, _) = random_model(positions=positions).eval(), sentences()
    found = [
        beam_search(
            model.step,
            torch.full((B, 1), BOS),
            width=4,
            max_new_tokens=6,
            stop=EOS,
            state=model.encode(source, lengths),
            reorder=order,
        )
        for order in (reorder, select_rows)
    ]
    assert found[0] == found[1]
    for row, hypotheses in enumerate(found[0]):
        assert len(hypotheses) == 4
        for tokens, log_probability, _ in hypotheses:
            read = torch.tensor([[BOS, *tokens[:-1]]])
            log_p = model(source[[row]], lengths[[row]], read)[0].log_softmax(dim=1)
            assert log_p[range(len(tokens)), tokens].sum().item() == pytest.approx(log_probability, abs=1e-4)


@every_variant
def test_maps_say_where_it_looked_and_nothing_else(options: dict[str, Any]):
    model, (source, lengths, target) = random_model(**options), sentences()
    maps = model.look(source, lengths, target)
    assert type(maps) is Maps
    real = torch.arange(S) < LENGTHS[:, None]
    for weights, seen in (
        (maps.encoder, real[:, None, None]),
        (maps.cross, real[:, None, None]),
        (maps.decoder, torch.ones(T, T).tril() > 0),
    ):
        assert (weights.masked_select(~seen) == 0).all() and (weights.masked_select(seen) > 0).all()
        close(weights.sum(dim=4), torch.ones(weights.shape[:4]).double())


def test_the_maps_used_by_hand_give_the_logits():
    """Every softmax is replaced by what `look` says."""
    model, (source, lengths, target) = random_model(positions="alibi"), sentences()
    maps, x = model.look(source, lengths, target), model.embed(source)
    y = model.embed(target)

    def looked(attention: Any, weights: Tensor, memory: Tensor) -> Tensor:
        return attention.outward(merge_heads(weights @ attention.project(memory).value))

    for number, layer in enumerate(model.encoder.layers):
        read = layer.around_attention.norm(x)
        x = layer.think(x + looked(layer.attention, maps.encoder[number], read))
    x = model.encoder.norm(x)
    for number, layer in enumerate(model.decoder.layers):
        read = layer.around_attention.norm(y)
        y = y + looked(layer.attention, maps.decoder[number], read)
        y = layer.think(y + looked(layer.cross_attention, maps.cross[number], x))
    close(model.head(model.decoder.norm(y)), model(source, lengths, target))


def test_dropout_acts_in_training_only():
    model = random_model(dropout=0.5)
    assert not torch.equal(model(*sentences()), model(*sentences()))
    model.eval()
    assert torch.equal(model(*sentences()), model(*sentences()))
    close(model(*sentences()), random_model()(*sentences()))


@every_position
def test_mixed_precision_stays_close(positions: str):
    torch.manual_seed(0)
    model, (source, lengths, target) = Transformer(replace(SMALL, positions=positions)), sentences()
    exact = model(source, lengths, target)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(source, lengths, target)
        state, said = model.encode(source, lengths), []
        for t in range(T):
            logits, state = model.step(target[:, t : t + 1], state)
            said.append(logits)
    assert not torch.equal(mixed.float(), exact)
    close(mixed.float(), exact, 0.15)
    close(torch.stack(said, dim=1).float(), exact, 0.15)


def test_same_face_as_the_translator_of_stage_3():
    names = ["self", "source", "lengths", "target_in", "target_out", "label_smoothing"]
    assert list(inspect.signature(Transformer.forward).parameters) == names


# --- it learns --------------------------------------------------------------------------------------------------------


def rule_batch(rule: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """source, lengths, target_in, target_out of 32 sentences of 2 to 4 tokens."""
    source, lengths, steps = torch.randint(4, 12, (32, 4)), torch.randint(2, 5, (32,)), torch.arange(4)
    order = lengths[:, None] - 1 - steps if rule == "reverse" else steps.expand(32, 4)
    answer = source.gather(1, order.clamp(min=0)).where(steps < lengths[:, None], torch.tensor(PAD))
    target_in = torch.cat([torch.full((32, 1), BOS), answer], dim=1)
    target_out = torch.cat([answer, torch.full((32, 1), PAD)], dim=1)
    target_out[torch.arange(32), lengths] = EOS
    return source, lengths, target_in, target_out


def trained(rule: str, batches: Any, **options: Any) -> tuple[Transformer, float]:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(vocab_size=12, model=32, layers=1, hidden=64, max_length=8, **options))
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=0.01), 0.0
    for source, lengths, target_in, target_out in batches:
        total = model(source, lengths, target_in, target_out) / (target_out != PAD).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        loss = total.item()
    return model.eval(), loss


@pytest.mark.parametrize(
    ("rule", "steps", "options"),
    [
        ("reverse", 160, {"positions": "sinusoidal"}),
        ("copy", 90, {"positions": "learned", "order": "post", "activation": "gelu"}),
    ],
    ids=str,
)
def test_it_learns_a_rule_and_writes_by_it(rule: str, steps: int, options: dict[str, Any]):
    torch.manual_seed(1)
    model, loss = trained(rule, (rule_batch(rule) for _ in range(steps)), **options)
    source, lengths, _, target_out = rule_batch(rule)
    prompt = torch.full((32, 1), BOS)
    written = torch.stack(
        list(generate(model.step, prompt, max_new_tokens=5, stop=EOS, state=model.encode(source, lengths))), dim=1
    )
    real = target_out[:, : written.shape[1]] != PAD
    right = ((written == target_out[:, : written.shape[1]]) | ~real).all(dim=1).double().mean().item()
    assert loss < 0.4 and right > 0.6  # a guess costs log 9 = 2.2, and is right once in 2,000 times


def test_it_learns_one_batch_by_heart():
    torch.manual_seed(1)
    source, lengths, target_in, target_out = rule_batch("reverse")
    target_out = torch.where(target_out > EOS, torch.randint(4, 12, target_out.shape), target_out)  # no rule at all
    source, lengths, target_in, target_out = (part[:8] for part in (source, lengths, target_in, target_out))
    _, loss = trained("reverse", [(source, lengths, target_in, target_out)] * 60)
    assert loss < 0.05

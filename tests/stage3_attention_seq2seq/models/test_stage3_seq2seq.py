"""The translator: padding, no look ahead, forward = step by step, the ways of the gradient, beam search, learning."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.decoding import beam_search, generate, length_penalty, select_rows
from my_llm.errors import ConfigError
from my_llm.text import BOS, EOS, PAD
from stage2_rnn_lstm.models import CELLS
from stage3_attention_seq2seq.models.attention import ATTENTIONS
from stage3_attention_seq2seq.models.decoder import maxout
from stage3_attention_seq2seq.models.seq2seq import Seq2Seq, Seq2SeqConfig, Seq2SeqState

VS, V, B, S, T, D, H = 17, 13, 3, 7, 5, 11, 2
LENGTHS = torch.tensor([4, 7, 1])
SMALL = Seq2SeqConfig(VS, V, embedding=D, hidden=H)
VARIANTS = [
    *({"attention": name, "cell": cell} for name in ATTENTIONS for cell in ("gru", "lstm")),
    *({"attention": name, "layers": 2, "cell": "rnn"} for name in ("bahdanau", "luong")),
    *({"attention": name, "layers": 2, "input_feeding": False} for name in ("luong_dot", "luong_concat", "local")),
    {"attention": "none", "input_feeding": False, "cell": "lstm"},
]
every_variant = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))
every_attention = pytest.mark.parametrize("name", ATTENTIONS)


def close(a: Any, b: Any, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def random_model(**options: Any) -> Seq2Seq:
    """No weight is 0 as some are at the start: that would hide mistakes."""
    torch.manual_seed(0)
    model = Seq2Seq(replace(SMALL, **options)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    return model


def sentences() -> tuple[Tensor, Tensor, Tensor]:
    """source, lengths, target_in."""
    draw = torch.Generator().manual_seed(1)
    source = torch.randint(4, VS, (B, S), generator=draw)
    source[torch.arange(S) >= LENGTHS[:, None]] = PAD
    target = torch.randint(4, V, (B, T), generator=draw)
    target[:, 0] = BOS
    return source, LENGTHS, target


def tensors(state: Any) -> list[Tensor]:
    """All tensors in nested tuples."""
    if isinstance(state, tuple):
        return [tensor for part in state for tensor in tensors(part)]
    return [] if state is None else [state]


# --- contract ---------------------------------------------------------------------------------------------------------


@every_variant
def test_shapes(options: dict[str, Any]):
    model = random_model(**options)
    source, lengths, target = sentences()
    logits, weights = model(source, lengths, target)
    assert logits.shape == (B, T, V)
    assert weights is None if options["attention"] == "none" else weights.shape == (B, T, S)
    state = model.encode(source, lengths)
    assert state.weights is None
    logits, state = model.step(target[:, :1], state)
    assert logits.shape == (B, V) and all(len(tensor) == B for tensor in tensors(state))
    assert state.weights is None if options["attention"] == "none" else state.weights.shape == (B, S)
    layers = options.get("layers", 1)
    assert len(state.decoder.layers) == layers
    assert {len(layer) for layer in state.decoder.layers} == {2 if options.get("cell") == "lstm" else 1}
    feeds = options["attention"] != "bahdanau" and options.get("input_feeding", True)
    assert (state.decoder.fed is not None) == feeds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "bahdenau"}, "unknown attention.*did you mean bahdanau"),
        ({"cell": "gnu"}, "unknown cell.*did you mean gru"),
        ({"dropout": 1.0}, "dropout rate"),
        ({"hidden": 0}, "at least 1"),
        ({"shared": True}, "one vocabulary.*17 source and 13 target"),
        ({"input_feeding": False}, "Bahdanau"),
    ],
)
def test_what_cannot_work_is_said(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        Seq2Seq(replace(SMALL, **options))


def test_tied_and_shared_are_one_matrix():
    model = Seq2Seq(replace(SMALL, source_vocab=V, shared=True))
    assert model.head.weight is model.decoder.embedding.weight is model.encoder.embedding.weight
    same = replace(SMALL, source_vocab=VS, target_vocab=VS)
    counts = {
        (tied, shared): sum(p.numel() for p in Seq2Seq(replace(same, tied=tied, shared=shared)).parameters())
        for tied in (False, True)
        for shared in (False, True)
    }
    assert counts[False, False] - counts[True, False] == VS * D == counts[True, False] - counts[True, True]


def test_the_start():
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(1000, 1000, embedding=64, hidden=32))
    assert (model.head.bias == 0).all()
    for table in (model.encoder.embedding, model.decoder.embedding):
        assert table.weight.norm(dim=1).mean().item() == pytest.approx(1, abs=0.05)  # std 64^−1/2
    source, lengths, target = sentences()
    logits, weights = model(source, lengths, target)
    assert 0 < logits.std() < 1  # about uniform: the loss begins near log V
    assert weights[1].max() < 0.3  # a glance at all seven tokens
    untied = Seq2Seq(replace(SMALL, tied=False))
    assert (untied(source, lengths, target)[0] == 0).all()


def test_maxout_takes_the_larger_neighbour():
    assert maxout(torch.tensor([[1.0, 2.0, 5.0, 3.0, -1.0, -4.0]])).tolist() == [[2, 5, -1]]


# --- invariants -------------------------------------------------------------------------------------------------------


@every_variant
def test_padding_changes_nothing_not_even_a_gradient(options: dict[str, Any]):
    model = random_model(**options)
    source, lengths, target = sentences()
    padding = torch.arange(S) >= LENGTHS[:, None]
    noise = torch.randint(4, VS, (B, S + 4))
    other = torch.where(padding, noise[:, :S], source)
    results = []
    for read in (source, other, torch.cat([other, noise[:, S:]], dim=1)):  # other padding; more padding
        model.zero_grad()
        logits, weights = model(read, lengths, target)
        logits.square().mean().backward()
        if weights is not None:
            assert (weights.masked_select((torch.arange(read.shape[1]) >= LENGTHS[:, None])[:, None]) == 0).all()
            weights = weights[:, :, :S]
        results.append((logits, weights, {name: p.grad for name, p in model.named_parameters()}))
    assert all(gradient is not None for gradient in results[0][2].values())
    close(results[1], results[0])
    close(results[2], results[0])


@every_variant
def test_batched_with_padding_equals_each_sentence_alone(options: dict[str, Any]):
    model = random_model(**options)
    source, lengths, target = sentences()
    logits, weights = model(source, lengths, target)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, looked = model(source[[row], :length], lengths[[row]], target[[row]])
        close(alone, logits[[row]])
        close(looked, None if weights is None else weights[[row], :, :length])


@every_variant
def test_a_changed_future_leaves_the_past_unchanged(options: dict[str, Any]):
    model = random_model(**options)
    source, lengths, target = sentences()
    changed = target.clone()
    changed[:, 3] = 4 + (changed[:, 3] - 3) % (V - 4)
    before, after = model(source, lengths, target)[0], model(source, lengths, changed)[0]
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=2).all()


@every_variant
@pytest.mark.parametrize("pieces", [[1] * T, [2, 3]])
def test_forward_is_step_by_step(options: dict[str, Any], pieces: list[int]):
    model = random_model(**options)
    source, lengths, target = sentences()
    logits, weights = model(source, lengths, target)
    state, place = model.encode(source, lengths), 0
    for tokens in target.split(pieces, dim=1):
        next_logits, state = model.step(tokens, state)
        place += tokens.shape[1]
        close(next_logits, logits[:, place - 1])
        close(state.weights, None if weights is None else weights[:, place - 1])


@every_attention
def test_the_decoder_read_step_by_step_is_its_forward(name: str):
    model = random_model(attention=name)
    source, lengths, target = sentences()
    state = model.encode(source, lengths)
    features, final, weights = model.decoder(target, state.decoder, state.memory)
    decoder, parts = state.decoder, []
    for tokens in target.unbind(1):
        feature, decoder, alpha = model.decoder(tokens[:, None], decoder, state.memory)
        parts.append((feature, alpha))
    close(torch.cat([feature for feature, _ in parts], dim=1), features)
    close(decoder, final)
    close(None if weights is None else torch.cat([alpha for _, alpha in parts], dim=1), weights)


@every_variant
def test_rows_of_a_state_can_be_selected(options: dict[str, Any]):
    model, rows = random_model(**options), torch.tensor([2, 0, 0, 1])
    source, lengths, target = sentences()
    _, state = model.step(target[:, :1], model.encode(source, lengths))
    chosen = select_rows(state, rows)
    assert type(chosen) is Seq2SeqState
    close(model.step(target[rows, 1:2], chosen)[0], model.step(target[:, 1:2], state)[0][rows])
    close(model.reorder(state, rows), chosen)  # another number of rows: all of it is selected


@every_attention
def test_hypotheses_change_places_and_their_memory_stays(name: str):
    """Two for each sentence, which have said different things: `reorder` is `select_rows`, without the copy."""
    model = random_model(attention=name)
    source, lengths, target = sentences()
    pairs = torch.arange(B).repeat_interleave(2)
    _, state = model.step(target[pairs, :1], model.reorder(model.encode(source, lengths), pairs))
    _, state = model.step(torch.arange(4, 4 + 2 * B)[:, None], state)
    rows = torch.tensor([1, 0, 2, 2, 5, 4])
    close(model.reorder(state, rows), select_rows(state, rows))
    assert model.reorder(state, rows).memory is state.memory
    assert not torch.equal(select_rows(state, rows).decoder.layers[0][0], state.decoder.layers[0][0])


@every_variant
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_real_targets(options: dict[str, Any], smoothing: float):
    model, (source, lengths, target) = random_model(**options), sentences()
    asked = torch.cat([target[:, 1:], torch.tensor([[EOS], [PAD], [5]])], dim=1)
    asked[1, 2:] = PAD
    logits, weights = model(source, lengths, target)
    expected = cross_entropy(
        logits.flatten(0, 1), asked.flatten(), ignore_index=PAD, reduction="sum", label_smoothing=smoothing
    )
    total, same = model(source, lengths, target, asked, smoothing)
    close((total, same), (expected, weights))
    ours, theirs = (
        torch.autograd.grad(loss, list(model.parameters()), allow_unused=True) for loss in (total, expected)
    )
    close(ours, theirs, 1e-9)


PLACES = ["encoder.dropout", "encoder.recurrent.dropout", "decoder.dropout", "decoder.recurrent.dropout", "dropout"]


@pytest.mark.parametrize("name", ["bahdanau", "luong"])
@pytest.mark.parametrize("place", PLACES)
def test_every_single_dropout_acts(place: str, name: str):
    model = random_model(attention=name, dropout=0.5, layers=2)
    modules = {path: module for path, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert set(modules) == set(PLACES)
    for path, module in modules.items():
        module.p = 0.5 if path == place else 0.0
    assert not torch.equal(model(*sentences())[0], model(*sentences())[0])


def test_dropout_acts_in_training_only():
    model = random_model(dropout=0.5)
    source, lengths, target = sentences()
    assert not torch.equal(model(source, lengths, target)[0], model(source, lengths, target)[0])
    model.eval()
    assert torch.equal(model(source, lengths, target)[0], model(source, lengths, target)[0])
    torch.testing.assert_close(model(source, lengths, target), random_model()(source, lengths, target))


@every_attention
@pytest.mark.parametrize("cell", CELLS)
def test_mixed_precision_stays_close_and_states_stay_fp32(name: str, cell: str):
    torch.manual_seed(0)
    model = Seq2Seq(replace(SMALL, attention=name, cell=cell, hidden=19))
    source, lengths, target = sentences()
    exact = model(source, lengths, target)[0]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(source, lengths, target)[0]
        _, state = model.step(target, model.encode(source, lengths))
    assert not torch.equal(mixed.float(), exact)  # it really was bf16
    close(mixed.float(), exact, 0.05)
    assert {tensor.dtype for tensor in tensors(state.decoder.layers)} == {torch.float32}


# --- the ways of the gradient -----------------------------------------------------------------------------------------


@every_attention
def test_the_gradient_reaches_the_encoder_through_the_context(name: str):
    """With a start that knows nothing of the source, the context is the only way."""
    model = random_model(attention=name)
    nn.init.zeros_(model.decoder.initial)
    source, lengths, target = sentences()
    state = model.encode(source, lengths)
    features, _, _ = model.decoder(target, state.decoder, state.memory)
    wanted = [state.memory.keys, state.memory.summary, model.encoder.embedding.weight]
    keys, summary, table = torch.autograd.grad(features[:, -1].sum(), wanted, allow_unused=True)
    read = torch.zeros(VS, dtype=torch.bool)
    read[source[torch.arange(S) < LENGTHS[:, None]]] = True
    assert (table[read] != 0).all() and (table[~read] == 0).all()
    if name == "none":
        assert keys is None and (summary != 0).all()
    else:
        real = torch.arange(S) < LENGTHS[:, None]
        assert summary is None or (summary == 0).all()
        assert (keys[real] != 0).any(dim=1).all() and (keys[~real] == 0).all()


@pytest.mark.parametrize("name", ["bahdanau", "luong_general"])
def test_a_logit_against_finite_differences(name: str):
    """The whole chain, in a few directions: nothing in it is detached by mistake."""
    model = random_model(attention=name)
    source, lengths, target = sentences()
    loss = model(source, lengths, target)[0].square().mean()
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction, values = torch.randn_like(parameter), []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter += step * direction
                values.append(model(source, lengths, target)[0].square().mean().item())
                parameter -= step * direction
        assert (values[0] - values[1]) / 2e-5 == pytest.approx((gradient * direction).sum().item(), abs=1e-6)


# --- decoding ---------------------------------------------------------------------------------------------------------


def every_ending(model: Seq2Seq, source: Tensor, lengths: Tensor, most: int) -> dict[tuple[int, ...], float]:
    """log p of everything that the model can say in at most so many tokens, cut there if it has not ended."""
    said: dict[tuple[int, ...], float] = {}
    beginnings = [((), 0.0)]
    while beginnings:
        tokens, total = beginnings.pop()
        if len(tokens) == most or (tokens and tokens[-1] == EOS):
            said[tokens] = total
            continue
        logits = model(source, lengths, torch.tensor([[BOS, *tokens]]))[0][0, -1].log_softmax(-1)
        beginnings += [((*tokens, token), total + logits[token].item()) for token in range(len(logits))]
    return said


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{"attention": name} for name in ATTENTIONS] + [{"cell": "lstm", "layers": 2}], ids=str
)
def test_a_beam_wide_enough_is_exhaustive_search(options: dict[str, Any]):
    model = random_model(**options, target_vocab=5).eval()
    source, lengths, _ = sentences()
    prompt, most, alpha = torch.full((B, 1), BOS), 3, 0.6
    every = [
        every_ending(model, source[[row], :length], LENGTHS[[row]], most) for row, length in enumerate(LENGTHS.tolist())
    ]
    for order in (select_rows, model.reorder):
        found = beam_search(
            model.step,
            prompt,
            width=5**most,
            max_new_tokens=most,
            stop=EOS,
            alpha=alpha,
            state=model.encode(source, lengths),
            reorder=order,
        )
        for row, said in enumerate(every):
            scores = {tokens: total / length_penalty(len(tokens), alpha) for tokens, total in said.items()}
            assert {tuple(tokens): score for tokens, _, score in found[row]} == pytest.approx(scores, abs=1e-5)  # fp32
            assert tuple(found[row][0].tokens) == max(scores, key=lambda tokens: scores[tokens])


@torch.no_grad()
@every_attention
def test_greedy_is_a_beam_of_one_and_the_argmax_of_forward(name: str):
    model = random_model(attention=name).eval()
    source, lengths, _ = sentences()
    prompt = torch.full((B, 1), BOS)
    written = torch.stack(
        list(generate(model.step, prompt, max_new_tokens=6, stop=EOS, state=model.encode(source, lengths))), dim=1
    )
    logits, _ = model(source, lengths, torch.cat([prompt, written[:, :-1]], dim=1))
    beam = beam_search(
        model.step,
        prompt,
        width=1,
        max_new_tokens=6,
        stop=EOS,
        state=model.encode(source, lengths),
        reorder=model.reorder,
    )
    for row, said in enumerate(written.tolist()):
        said = said[: said.index(EOS) + 1] if EOS in said else said
        assert logits[row, : len(said)].argmax(dim=1).tolist() == said == beam[row][0].tokens


@torch.no_grad()
def test_beam_search_carries_the_alignments_of_its_hypotheses():
    """A step that gathers the weights beside the state: select_rows takes both along."""
    model = random_model(attention="luong").eval()
    source, lengths, _ = sentences()
    best: dict[tuple[int, ...], Tensor] = {}

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        inner, said, looked = state
        logits, inner = model.step(tokens, inner)
        said, looked = torch.cat([said, tokens], dim=1), torch.cat([looked, inner.weights[:, None]], dim=1)
        best.update({tuple(row): weights for row, weights in zip(said.tolist(), looked, strict=True)})
        return logits, (inner, said, looked)

    one, start = source[1:2], torch.full((1, 1), BOS)
    state = (model.encode(one, lengths[1:2]), start[:, :0], torch.zeros(1, 0, S, dtype=torch.float64))
    hypothesis = beam_search(step, start, width=4, max_new_tokens=5, stop=EOS, state=state)[0][0]
    read = [BOS, *hypothesis.tokens[:-1]]
    _, weights = model(one, lengths[1:2], torch.tensor([read]))
    close(best[tuple(read)], weights[0])


# --- it learns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"attention": "bahdanau"},
        {"attention": "luong_dot", "input_feeding": False},
        {"attention": "local"},
    ],
    ids=str,
)
def test_it_learns_to_write_backwards(options: dict[str, Any]):
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(12, 12, embedding=24, hidden=32, **options))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        source, lengths = torch.randint(4, 12, (32, 6)), torch.randint(3, 7, (32,))
        steps = torch.arange(6)
        backwards = source.gather(1, (lengths[:, None] - 1 - steps).clamp(min=0))
        target_in = torch.cat([torch.full((32, 1), BOS), backwards], dim=1)
        real = torch.arange(7) <= lengths[:, None]
        target_out = torch.where(steps < lengths[:, None], backwards, EOS)
        target_out = torch.cat([target_out, torch.full((32, 1), EOS)], dim=1)
        logits, _ = model(source, lengths, target_in)
        loss = cross_entropy(logits[real], target_out[real])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.2  # a guess costs log 9 = 2.2

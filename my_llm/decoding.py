"""From logits to text: what a model says is one half, how we choose from it is the other. The same for every stage.

One token: `greedy`, or `sample`: repetition penalty, temperature, top-k, top-p in that order, then a draw. Many tokens:
`generate` and `beam_search`, which know a model only as a *step*:

    logits, state = step(tokens, state)     tokens (B, T): those that are new since the last call
                                            logits (B, V): for the token that comes next
                                            state: whatever the model wants back, None at the first call

The state is the memory of an LSTM, the key-value cache of a Transformer, what a translator's encoder read, or all that
was said so far (`recompute`). Beam search re-orders it when one hypothesis overtakes another.

A forbidden token has the logit -inf: exact in every precision, where -1e9 overflows in fp16. A row without any allowed
token, or with a NaN, stops with NotFiniteError. All prompts of a batch have the same length.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm.errors import ConfigError, NotFiniteError

State = Any
Step = Callable[[Tensor, State], tuple[Tensor, State]]
Choose = Callable[..., Tensor]  # (logits, *, previous) -> token: greedy, or partial(sample, temperature=0.8)
Reorder = Callable[[State, Tensor], State]

WORTH_MOVING = 0.75  # rows that have ended are dropped when so many are left: less often, and the moving costs nothing


def top_k_filter(logits: Float[Tensor, "B V"], k: int) -> Float[Tensor, "B V"]:
    """Forbid all but the k most likely tokens, exactly k even in a tie (Fan et al. 2018, §3.2)."""
    if k < 1:
        raise ConfigError("top_k must be at least 1", got=k)
    kept = logits.topk(min(k, logits.shape[-1])).indices
    return torch.full_like(logits, -torch.inf).scatter(-1, kept, logits.gather(-1, kept))


def top_p_filter(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]:
    """Forbid all but the nucleus: the fewest most likely tokens whose probabilities sum to at least p.

    The token that crosses p stays, so at least one token always does (Holtzman et al. 2020, §3.1).
    """
    if not 0 < p <= 1:
        raise ConfigError("top_p must be a share", got=p, valid="0 < top_p <= 1")
    if p == 1:
        return logits  # a rounded sum may reach 1 before the last token
    ordered, order = logits.sort(descending=True, stable=True)
    probabilities = ordered.float().softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what the more likely tokens sum to
    before[..., 0] = 0  # exactly: the first one stays
    return torch.empty_like(logits).scatter(-1, order, ordered.masked_fill(before >= p, -torch.inf))


def penalise_repetition(
    logits: Float[Tensor, "B V"], previous: Int[Tensor, "B T"], penalty: float
) -> Float[Tensor, "B V"]:
    """Make tokens that occurred less likely: divide their logit by `penalty` (Keskar et al. 2019, CTRL, §4.1).

    Division makes a negative logit larger; as everyone does since, negative ones are multiplied instead.
    """
    if penalty <= 0:
        raise ConfigError("repetition_penalty must be positive", got=penalty, valid="> 0; 1 changes nothing")
    seen = logits.gather(-1, previous)
    return logits.scatter(-1, previous, torch.where(seen > 0, seen / penalty, seen * penalty))


def greedy(logits: Float[Tensor, "B V"], *, previous: Int[Tensor, "B T"] | None = None) -> Int[Tensor, " B"]:
    """The most likely token. `previous` is not looked at; it gives greedy the signature of sample."""
    return _largest(logits)


def sample(
    logits: Float[Tensor, "B V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    generator: torch.Generator | None = None,
    previous: Int[Tensor, "B T"] | None = None,
) -> Int[Tensor, " B"]:
    """Draw one token per row from softmax(logits / temperature), after the filters.

    Args:
        temperature: Below 1 bolder, above 1 more varied; 0 is the limit, greedy (Ackley et al. 1985).
        top_k: Choose among the k most likely only.
        top_p: Choose among the nucleus of mass p only; measured after temperature and top_k.
        repetition_penalty: Above 1: what `previous` holds becomes less likely; 1.2 is the paper's value.
        generator: Where the random numbers come from, on the logits' device; None is torch's global one.
        previous: The tokens so far, prompt included.

    Raises:
        ConfigError: a setting out of its range.
        NotFiniteError: a row without a finite maximum: NaN, +inf, or every token forbidden.
    """
    if temperature < 0:
        raise ConfigError("temperature must not be negative", got=temperature, valid=">= 0; 0 is greedy")
    logits = logits.float()
    if previous is not None and repetition_penalty != 1:
        logits = penalise_repetition(logits, previous, repetition_penalty)
    if temperature == 0:
        return greedy(logits)
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None:
        logits = (logits - logits.amax(-1, keepdim=True)) / max(temperature, 1e-30)  # the largest is 0: no overflow
        logits, temperature = top_p_filter(logits, top_p), 1.0
    wait = torch.empty_like(logits).exponential_(generator=generator)  # -log(wait) is Gumbel noise G, and the largest
    return _largest(torch.sub(logits, wait.log_(), alpha=temperature))  # logit + T·G is i with p = softmax(logit / T)_i


# ---------------------------------------------------------------- many tokens


def generate(
    step: Step,
    prompt: Int[Tensor, "B T"],
    *,
    max_new_tokens: int,
    choose: Choose = greedy,
    stop: int | None = None,
    state: State = None,
    reorder: Reorder | None = None,
) -> Iterator[Int[Tensor, " B"]]:
    """Yield one token per row at a time, as soon as it is known; the prompt is not repeated.

    A row that has said `stop` goes on saying it; the end comes when all rows have, or after `max_new_tokens`.

    Args:
        prompt: At least one token per row.
        state: Passed to the first step, for example what the encoder read.
        reorder: Picks rows of the state, such as `select_rows`: rows that have ended are then no longer computed.
    """
    fresh = prompt
    tokens = torch.cat([prompt, prompt.new_zeros(len(prompt), max_new_tokens)], dim=1)  # room for all that will come
    alive = torch.arange(len(prompt), device=prompt.device)  # the rows that the state holds
    for known in range(prompt.shape[1], tokens.shape[1]):
        with torch.no_grad():  # not around the yield: it is nobody else's setting
            logits, state = step(fresh, state)  # (B', V)
            tokens[alive, known] = choose(logits, previous=tokens[alive, :known])
        if stop is not None:
            ended = (tokens[:, prompt.shape[1] : known] == stop).any(dim=1)
            tokens[:, known].masked_fill_(ended, stop)
        chosen = tokens[:, known].clone()
        yield chosen
        if stop is not None:
            going = (chosen[alive] != stop).nonzero()[:, 0]
            if not len(going):
                return
            if reorder is not None and len(going) <= WORTH_MOVING * len(alive):
                alive, state = alive[going], reorder(state, going)
        fresh = tokens[alive, known, None]  # (B', 1)


def recompute(forward: Callable[[Tensor], Tensor], context: int | None = None) -> Step:
    """A step for a model without a cache: its state is all tokens so far, read anew each time.

    Args:
        forward: Tokens (B, T) → logits (B, T, V).
        context: How many tokens the model can read; older ones are forgotten.
    """

    def step(tokens: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        tokens = tokens if state is None else torch.cat([state, tokens], dim=1)
        if context is not None:
            tokens = tokens[:, -context:]
        return forward(tokens)[:, -1], tokens

    return step


class Hypothesis(NamedTuple):
    """What beam search said, without the prompt."""

    tokens: list[int]  # the last is `stop`, unless cut at max_new_tokens
    log_probability: float
    score: float  # log_probability / length_penalty


def length_penalty(length: int, alpha: float) -> float:
    """((5 + |Y|) / 6)^α: each token costs probability, this keeps long sentences in the race (GNMT 2016, eq. 14)."""
    return ((5 + length) / 6) ** alpha


def select_rows(state: State, rows: Int[Tensor, " N"]) -> State:
    """The given rows (dimension 0) of every tensor in nested tuples, lists and dicts; anything else stays as it is."""
    if isinstance(state, Tensor):
        return state.index_select(0, rows)
    if isinstance(state, dict):
        return {key: select_rows(value, rows) for key, value in state.items()}
    if isinstance(state, list | tuple):
        parts = [select_rows(value, rows) for value in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)  # NamedTuple or plain
    return state


@torch.no_grad()
def beam_search(
    step: Step,
    prompt: Int[Tensor, "B T"],
    *,
    width: int,
    max_new_tokens: int,
    stop: int,
    alpha: float = 0.6,
    state: State = None,
    reorder: Reorder = select_rows,
) -> list[list[Hypothesis]]:
    """Keep the `width` best beginnings of every sentence instead of one (Lowerre 1976; Sutskever et al. 2014, §3.2).

    Each round continues every beginning by every token and looks at the best 2·width (half of them live on, because a
    beginning ends in one way only). Those among the best `width` that end are finished, of which the best `width` are
    kept; the best `width` that do not end live on. A sentence is done with `width` finished hypotheses when none that
    lives can still become better than the best of them: to stop at the first `width` would prefer the hasty, for bad
    beginnings end early. If it has fewer after `max_new_tokens`, those that still live fill up. Width 1 is greedy if
    `alpha` is 0; a width that holds every sentence is exhaustive search.

    Args:
        alpha: Strength of the length penalty (|Y| counts the stop); 0 compares plain log-probabilities.
        state: Passed to the first step, for B rows; later steps have B·width rows, sentence by sentence.
        reorder: Picks rows of the state; `select_rows` suits tensors with the batch first.

    Returns:
        For each sentence at most `width` hypotheses, the best score first.
    """
    if width < 1:
        raise ConfigError("beam width must be at least 1", got=width)
    sentences = torch.arange(len(prompt), device=prompt.device)
    logits, state = step(prompt, state)
    copies = sentences.repeat_interleave(width)
    logits, state = logits[copies], reorder(state, copies)  # (B·W, V)
    scores = torch.tensor([0.0] + [-torch.inf] * (width - 1), device=prompt.device)  # equal copies: only one counts
    scores, tokens = scores.repeat(len(prompt), 1), prompt.new_empty(len(prompt), width, 0)  # (B, W), (B, W, length)
    finished: list[list[Hypothesis]] = [[] for _ in prompt]
    alive = finished  # of the sentences that the state holds
    full = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    for length in range(1, max_new_tokens + 1):
        scores, tokens, parent = _continue(scores, tokens, logits, stop, alive, alpha)
        full = scores.new_tensor([len(done) == width for done in alive], dtype=torch.bool)  # (B,)
        best = scores.new_tensor([done[0].score if done else -torch.inf for done in alive])
        hope = scores.amax(dim=1) / length_penalty(max_new_tokens, alpha)  # all that follows for nothing, and long
        scores = scores.masked_fill((full & (hope <= best))[:, None], -torch.inf)
        going = (scores > -torch.inf).any(dim=1).nonzero()[:, 0]
        if length == max_new_tokens or not len(going):
            break
        if len(going) > WORTH_MOVING * len(alive):
            going = sentences[: len(alive)]
        alive = [alive[sentence] for sentence in going.tolist()]
        scores, tokens, full = scores[going], tokens[going], full[going]
        state = reorder(state, (going[:, None] * width + parent[going]).flatten())
        logits, state = step(tokens[:, :, -1].reshape(-1, 1), state)
    _collect(alive, tokens, scores.masked_fill(full[:, None], -torch.inf), width, alpha)
    return finished


def _continue(
    scores: Tensor, tokens: Tensor, logits: Tensor, stop: int, finished: list[list[Hypothesis]], alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One round: scores (B, W), tokens (B, W, length) → the same one token later, and whom each continues (B, W)."""
    (batch, width), vocabulary = scores.shape, logits.shape[-1]
    _largest(logits)  # refuses a row without one
    total = scores[:, :, None] + logits.float().log_softmax(-1).view(batch, width, vocabulary)
    best, where = total.flatten(1).topk(min(2 * width, width * vocabulary))  # (B, 2W)
    parent, token = where // vocabulary, where % vocabulary
    row = torch.arange(batch, device=scores.device)[:, None]  # (B, 1)
    said = torch.cat([tokens[row, parent], token[:, :, None]], dim=2)  # (B, 2W, length)
    ends = token == stop
    _collect(finished, said, best.masked_fill(~ends, -torch.inf), width, alpha)
    scores, lives = best.masked_fill(ends, -torch.inf).topk(width)  # (B, W)
    return scores, said[row, lives], parent[row, lives]


def _collect(finished: list[list[Hypothesis]], said: Tensor, scores: Tensor, width: int, alpha: float) -> None:
    """Finish what is possible among the first `width`; a sentence keeps its best `width` hypotheses, the best first."""
    penalty = length_penalty(said.shape[2], alpha)
    for sentence, rank in (scores[:, :width] > -torch.inf).nonzero().tolist():
        value = scores[sentence, rank].item()
        finished[sentence].append(Hypothesis(said[sentence, rank].tolist(), value, value / penalty))
    for done in finished:
        done.sort(key=lambda hypothesis: -hypothesis.score)
        del done[width:]


def _largest(logits: Tensor) -> Tensor:
    """Where each row has its maximum; NaN counts as one, and a maximum that is not finite is refused."""
    largest, token = logits.max(-1)
    for row, value in enumerate(largest.tolist()):
        if not math.isfinite(value):
            raise NotFiniteError(f"row {row} of the logits offers no token: NaN, infinite, or everything forbidden")
    return token

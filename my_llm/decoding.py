"""From logits to many tokens: `generate` and `beam_search`, the same for every stage. One token: my_llm/sampling.py.

They know a model only as a *step*:

    logits, state = step(tokens, state)     tokens (B, T): those that are new since the last call
                                            logits (B, V): for the token that comes next
                                            state: whatever the model wants back, None at the first call

The state is the memory of an LSTM, the key-value cache of a Transformer, what a translator's encoder read, or all that
was said so far (`recompute`). Beam search re-orders it when one hypothesis overtakes another. A state that was given
once may be given again, to go another way from there: a step leaves it as good as it was.

A forbidden token has the logit -inf; a row without any allowed token stops with NotFiniteError. All prompts of a batch
have the same length.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from my_llm.errors import ConfigError
from my_llm.sampling import greedy, largest

State = Any
Step = Callable[[Tensor, State], tuple[Tensor, State]]
Choose = Callable[..., Tensor]  # (logits, *, previous) -> token: greedy, or partial(sample, temperature=0.8)
Reorder = Callable[[State, Tensor], State]
Judge = Callable[[list[int]], Literal["goes on", "ends", "forbidden"]]  # what becomes of the tokens said by one beam

WORTH_MOVING = 0.75  # rows that have ended are dropped when so many are left: less often, and the moving costs nothing


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
    stop: int | Judge,
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
        stop: The token that ends a sentence; or what decides, for every beginning, whether it ends or may not be said.
        alpha: Strength of the length penalty (|Y| counts the stop); 0 compares plain log-probabilities.
        state: Passed to the first step, for B rows; later steps have B·width rows, sentence by sentence.
        reorder: Picks rows of the state; `select_rows` suits tensors with the batch first.

    Returns:
        For each sentence at most `width` hypotheses, the best score first; none if all that it tried was forbidden.
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
    scores: Tensor, tokens: Tensor, logits: Tensor, stop: int | Judge, finished: list[list[Hypothesis]], alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One round: scores (B, W), tokens (B, W, length) → the same one token later, and whom each continues (B, W)."""
    (batch, width), vocabulary = scores.shape, logits.shape[-1]
    largest(logits)  # refuses a row without one
    total = scores[:, :, None] + logits.float().log_softmax(-1).view(batch, width, vocabulary)
    best, where = total.flatten(1).topk(min(2 * width, width * vocabulary))  # (B, 2W)
    parent, token = where // vocabulary, where % vocabulary
    row = torch.arange(batch, device=scores.device)[:, None]  # (B, 1)
    said = torch.cat([tokens[row, parent], token[:, :, None]], dim=2)  # (B, 2W, length)
    ends = token == stop if isinstance(stop, int) else _judge(said, best, stop)
    _collect(finished, said, best.masked_fill(~ends, -torch.inf), width, alpha)
    scores, lives = best.masked_fill(ends, -torch.inf).topk(width)  # (B, W)
    return scores, said[row, lives], parent[row, lives]


def _judge(said: Tensor, scores: Tensor, judge: Judge) -> Tensor:
    """Which beginnings (B, N, length) end here: (B, N); the scores of those that may not be said become -inf."""
    ends = torch.zeros_like(scores, dtype=torch.bool)
    for sentence, rank in (scores > -torch.inf).nonzero().tolist():
        verdict = judge(said[sentence, rank].tolist())
        ends[sentence, rank] = verdict == "ends"
        if verdict == "forbidden":
            scores[sentence, rank] = -torch.inf
    return ends


def _collect(finished: list[list[Hypothesis]], said: Tensor, scores: Tensor, width: int, alpha: float) -> None:
    """Finish what is possible among the first `width`; a sentence keeps its best `width` hypotheses, the best first."""
    penalty = length_penalty(said.shape[2], alpha)
    for sentence, rank in (scores[:, :width] > -torch.inf).nonzero().tolist():
        value = scores[sentence, rank].item()
        finished[sentence].append(Hypothesis(said[sentence, rank].tolist(), value, value / penalty))
    for done in finished:
        done.sort(key=lambda hypothesis: -hypothesis.score)
        del done[width:]

"""From logits to a token: what a model says is one half, how we choose from it is the other. For every stage.

`greedy` takes the likeliest. `sample` draws, after these changes, always in this order; each is off unless asked for:

    repetition penalty    the logit of a token that was there before is divided               CTRL, Keskar et al. 2019
    presence penalty      … or something is subtracted from it                                both see raw logits
    temperature           all logits are divided                                              Ackley et al. 1985
    top-k                 only the k likeliest stay                                           Fan et al. 2018
    top-p                 only the likeliest that together have the probability p stay        Holtzman et al. 2020
    min-p                 only those with a share p of the probability of the likeliest stay  Nguyen et al. 2024

The three filters see the probabilities after the temperature, each what the one before it has left. `shares` says what
comes out: the probabilities that are drawn from.

A forbidden token has the logit -inf: exact in every precision, where -1e9 overflows in fp16. A row without any allowed
token, or with a NaN, stops with NotFiniteError.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from my_llm.errors import ConfigError, NotFiniteError

# --- the parts --------------------------------------------------------------------------------------------------------


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


def min_p_filter(logits: Float[Tensor, "B V"], p: float, temperature: float = 1.0) -> Float[Tensor, "B V"]:
    """Forbid every token less likely than p times the likeliest, in softmax(logits / temperature).

    Where the model is sure few tokens stay, where it is not many do, and the likeliest always does; 0 forbids nothing
    (Nguyen et al. 2024, "Turning Up the Heat", §3).
    """
    if not 0 <= p <= 1:
        raise ConfigError("min_p must be a share", got=p, valid="0 <= min_p <= 1")
    if p == 0:
        return logits
    least = logits.amax(-1, keepdim=True) + temperature * math.log(p)  # p_i >= p · p_max, without dividing by T
    return logits.masked_fill(logits < least, -torch.inf)


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


def penalise_presence(
    logits: Float[Tensor, "B V"], previous: Int[Tensor, "B T"], penalty: float
) -> Float[Tensor, "B V"]:
    """Subtract `penalty` from the logit of every token that occurred, however often; below 0 it makes them likelier."""
    if not math.isfinite(penalty):
        raise ConfigError("presence_penalty must be a number", got=penalty, valid="0 changes nothing")
    return logits.scatter(-1, previous, logits.gather(-1, previous) - penalty)


# --- one token --------------------------------------------------------------------------------------------------------


def greedy(logits: Float[Tensor, "B V"], *, previous: Int[Tensor, "B T"] | None = None) -> Int[Tensor, " B"]:
    """The most likely token. `previous` is not looked at; it gives greedy the signature of sample."""
    return largest(logits)


def filtered(
    logits: Float[Tensor, "B V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    previous: Int[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B V"], float]:
    """The logits after penalties and filters, and the temperature by which they are still to be divided.

    Args:
        temperature: Below 1 bolder, above 1 more varied; 0 is the limit, greedy, and leaves nothing to filter.
        top_k: Choose among the k most likely only.
        top_p: Choose among the nucleus of mass p only; measured after temperature and top_k.
        min_p: Choose among tokens with at least this share of the largest probability only; 0: among all.
        repetition_penalty: Above 1: what `previous` holds becomes less likely; 1.2 is the paper's value.
        presence_penalty: Subtracted from the logits of what `previous` holds.
        previous: The tokens so far, prompt included.

    Raises:
        ConfigError: a setting out of its range.
    """
    if temperature < 0:
        raise ConfigError("temperature must not be negative", got=temperature, valid=">= 0; 0 is greedy")
    logits = logits.float()
    if previous is not None and repetition_penalty != 1:
        logits = penalise_repetition(logits, previous, repetition_penalty)
    if previous is not None and presence_penalty != 0:
        logits = penalise_presence(logits, previous, presence_penalty)
    if temperature == 0:
        return logits, 0.0
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None:
        logits = (logits - logits.amax(-1, keepdim=True)) / max(temperature, 1e-30)  # the largest is 0: no overflow
        logits, temperature = top_p_filter(logits, top_p), 1.0
    if min_p != 0:
        logits = min_p_filter(logits, min_p, temperature)
    return logits, temperature


def shares(logits: Float[Tensor, "B V"], temperature: float) -> Float[Tensor, "B V"]:
    """The probabilities with which `sample` draws, of what `filtered` answered."""
    if temperature == 0:
        return one_hot(largest(logits), logits.shape[-1]).float()
    return ((logits - logits.amax(-1, keepdim=True)) / max(temperature, 1e-30)).softmax(-1)


def sample(
    logits: Float[Tensor, "B V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    generator: torch.Generator | None = None,
    previous: Int[Tensor, "B T"] | None = None,
) -> Int[Tensor, " B"]:
    """Draw one token per row from softmax(logits / temperature), after penalties and filters: see `filtered`.

    Args:
        generator: Where the random numbers come from, on the logits' device; None is torch's global one.

    Raises:
        ConfigError: a setting out of its range.
        NotFiniteError: a row without a finite maximum: NaN, +inf, or every token forbidden.
    """
    logits, temperature = filtered(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
        repetition_penalty=repetition_penalty, presence_penalty=presence_penalty, previous=previous,
    )  # fmt: skip
    if temperature == 0:
        return greedy(logits)
    wait = torch.empty_like(logits).exponential_(generator=generator)  # -log(wait) is Gumbel noise G, and the largest
    return largest(torch.sub(logits, wait.log_(), alpha=temperature))  # logit + T·G is i with p = softmax(logit / T)_i


def largest(logits: Tensor) -> Tensor:
    """Where each row has its maximum; NaN counts as one, and a maximum that is not finite is refused."""
    largest, token = logits.max(-1)
    for row, value in enumerate(largest.tolist()):
        if not math.isfinite(value):
            raise NotFiniteError(f"row {row} of the logits offers no token: NaN, infinite, or everything forbidden")
    return token

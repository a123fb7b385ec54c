"""A linear-chain conditional random field: score whole tag sequences instead of one tag at a time.

    score(y) = Σ_t emission[t, y_t] + Σ_t transition[y_{t-1}, y_t],    p(y) = exp score(y) / Σ_y' exp score(y')

A tagger that chooses every tag by itself may write O, I-PER. Here the transition O → I-PER has a score of its own, and
the best sequence is chosen as a whole. There are C^T sequences; both the sum over them (forward algorithm) and the best
of them (Viterbi) need only T · C² steps, because the future of a sequence depends on its past only through one tag.

Lafferty, McCallum & Pereira, "Conditional Random Fields", ICML 2001, section 3; upon a BiLSTM: Lample et al., "Neural
Architectures for Named Entity Recognition", NAACL 2016, section 2.2. `transitions` has one more row and column, the
world outside the sentence: [C, j] opens a sentence with tag j, [i, C] ends it after tag i.

What it cannot do: connect two tags that are further apart than neighbours.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sequence_score(
    emissions: Float[Tensor, "B T C"],
    transitions: Float[Tensor, "C+1 C+1"],
    tags: Int[Tensor, "B T"],
    lengths: Int[Tensor, "B"],
) -> Float[Tensor, "B"]:
    """Emissions and transitions along one tag sequence per sentence; what stands beyond a length does not matter."""
    (batch, steps), outside = tags.shape, emissions.shape[2]
    real = torch.arange(steps, device=tags.device) < lengths[:, None]  # (B, T)
    emitted = emissions.gather(2, tags[:, :, None])[:, :, 0] * real
    border = tags.new_full((batch, 1), outside)
    path = torch.cat([border, tags.where(real, border), border], dim=1)  # (B, T + 2)
    first_or_real = torch.cat([real.new_ones(batch, 1), real], dim=1)  # the step into `outside` counts once
    return emitted.sum(dim=1) + (transitions[path[:, :-1], path[:, 1:]] * first_or_real).sum(dim=1)


def log_partition(
    emissions: Float[Tensor, "B T C"], transitions: Float[Tensor, "C+1 C+1"], lengths: Int[Tensor, "B"]
) -> Float[Tensor, "B"]:
    """log Σ exp score over all tag sequences of each sentence: the forward algorithm.

    alpha[j] = log Σ exp score over all beginnings that end in tag j at the current word.
    """
    inner, opening, closing = transitions[:-1, :-1], transitions[-1, :-1], transitions[:-1, -1]
    alpha = opening + emissions[:, 0]  # (B, C)
    for t in range(1, emissions.shape[1]):
        longer = (alpha[:, :, None] + inner).logsumexp(dim=1) + emissions[:, t]
        alpha = longer.where((t < lengths)[:, None], alpha)
    return (alpha + closing).logsumexp(dim=1)


def best_sequence(
    emissions: Float[Tensor, "B T C"], transitions: Float[Tensor, "C+1 C+1"], lengths: Int[Tensor, "B"]
) -> Int[Tensor, "B T"]:
    """The tag sequence with the highest score (Viterbi 1967); beyond a length the last tag is repeated."""
    inner, opening, closing = transitions[:-1, :-1], transitions[-1, :-1], transitions[:-1, -1]
    best = opening + emissions[:, 0]  # (B, C), the best score of a beginning that ends in each tag
    stay = torch.arange(emissions.shape[2], device=emissions.device).expand_as(best)
    origins = []  # for every step and tag: the tag before it on the best way
    for t in range(1, emissions.shape[1]):
        longer, origin = (best[:, :, None] + inner).max(dim=1)
        real = (t < lengths)[:, None]
        best = (longer + emissions[:, t]).where(real, best)
        origins.append(origin.where(real, stay))
    backwards = [(best + closing).argmax(dim=1)]
    for origin in reversed(origins):
        backwards.append(origin.gather(1, backwards[-1][:, None])[:, 0])
    return torch.stack(backwards[::-1], dim=1)

"""A language model that is nothing but counting: how often did each token follow these n − 1 tokens?

Shannon, "A Mathematical Theory of Communication", 1948, section 3, wrote English this way. The trouble is what was
never seen: most long contexts of a new text are new. So every order takes a discount D from each of its counts and
hands what it saved to the next shorter context h' (h without its oldest token):

    p(w | h) = max(c(hw) − D, 0) / c(h) + γ(h) p(w | h')          γ(h): the share of h that was saved

This is interpolated, modified Kneser-Ney smoothing: Chen & Goodman, "An Empirical Study of Smoothing Techniques for
Language Modeling", 1998, section 3, the best of all those they compared. Two ideas make it so good:
- Three discounts, for n-grams seen once, twice, and more often, estimated from the data (`discounts`).
- The shorter orders answer only when the longer ones do not know, so they do not count how often an n-gram occurred
  but after how many different tokens: "Francisco" is frequent, but it follows "San" and hardly anything else.

What it cannot do: use anything more than n − 1 tokens ago, know that "cat" and "dog" are alike, or forget: its size
grows with the text. A network shares what it learns between contexts; the rest of this stage is about that.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from my_llm.errors import CheckpointError, ConfigError, DataError

UNKNOWN = -1  # the node of a context that the training text does not hold
FALLBACK = (0.0, 0.5, 1.0, 1.5)  # where the counts are too few, or too regular, to estimate the discounts


class Level(NamedTuple):
    """All N n-grams of one length: a context of n − 1 tokens and the token that followed it.

    Together the levels are a tree (a "trie"): an n-gram is a node, its parent the context, one level up. A node is its
    position in the sorted `keys`, so that the children of one context lie side by side.
    """

    keys: Int[Tensor, "N"]  # parent · V + token
    counts: Int[Tensor, "N"]  # occurrences at the highest order, different tokens before it at the others
    discounted: Float[Tensor, "N+1"]  # (c(hw) − D) / c(h); the last, which UNKNOWN finds, is 0
    saved: Float[Tensor, "M+1"]  # γ(h) for the M contexts one level up; 1 for UNKNOWN: all is left to h'

    def find(self, parents: Int[Tensor, "*shape"], tokens: Int[Tensor, "*shape"], vocab_size: int) -> Tensor:
        """The nodes (*shape) of `tokens` after the contexts `parents`; a child of UNKNOWN has a key < 0: UNKNOWN."""
        wanted = parents * vocab_size + tokens
        node = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[node] == wanted, node, UNKNOWN)


def discounts(counts: Int[Tensor, "N"]) -> Float[Tensor, "4"]:
    """What is taken from an n-gram seen 0, 1, 2, or at least 3 times (Chen & Goodman 1998, section 3).

    With n_r the number of n-grams seen exactly r times and Y = n_1 / (n_1 + 2 n_2), D_r = r − (r + 1) Y n_{r+1} / n_r.
    FALLBACK where an n_r is 0 or a discount would not be positive: there the formula says nothing (letters alone:
    every one of them is frequent).
    """
    n1, n2, n3, n4 = torch.bincount(counts.clamp(max=5), minlength=6)[1:5].tolist()
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        estimates = (0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if min(estimates[1:]) > 0:
            return torch.tensor(estimates, dtype=torch.float64)
    return torch.tensor(FALLBACK, dtype=torch.float64)


def smooth(keys: Int[Tensor, "N"], counts: Int[Tensor, "N"], parents: int, vocab_size: int) -> Level:
    """From counts to probabilities, for one level; `parents` is the number of nodes one level up."""
    taken = discounts(counts)[counts.clamp(max=3)]  # (N,)
    parent = keys // vocab_size  # (N,)
    total = torch.bincount(parent, counts.double(), parents)  # c(h) of each context (M,)
    saved = torch.bincount(parent, taken, parents) / total  # (M,)
    saved = saved.where(total > 0, 1.0)  # the end of the text, if seen only there: a context that nothing followed
    return Level(keys, counts, pad((counts - taken) / total[parent], (0, 1)), pad(saved, (0, 1), value=1.0))


class NGramModel:
    """An n-gram model of any order: 1 knows how frequent each token is, 2 (bigram) looks at one token back, and so on.

    Make one with `fit` or `from_state`. It has no weights and is no nn.Module, but speaks as every language model here
    does: `forward(tokens, state) -> (logits, state)`. Its logits are log-probabilities, in float64: they sum to 1.

    Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(self, vocab_size: int, keys: list[Tensor], counts: list[Tensor]):
        self.vocab_size, self.order = vocab_size, len(keys)
        sizes = [1, *map(len, keys)]  # of the level above: the first has one context, the empty one
        self.levels = [smooth(*level, vocab_size) for level in zip(keys, counts, sizes[:-1], strict=True)]
        first = self.levels[0]
        self.unigram = first.saved[0].repeat(vocab_size) / vocab_size  # below the shortest: all tokens alike
        self.unigram[first.keys] += first.discounted[:-1]  # (V,)

    @classmethod
    def fit(cls, tokens: Int[Tensor, "N"], vocab_size: int, order: int) -> "NGramModel":
        """Counts the n-grams of lengths 1 to `order` of one long text, in O(order · N log N).

        Raises:
            ConfigError: If `order` is below 1.
            DataError: If the text is shorter than `order`, or a token is not in the vocabulary.
        """
        if order < 1:
            raise ConfigError("the order of an n-gram model must be at least 1", got=order)
        if len(tokens) < order:
            raise DataError("text too short for the order", got=len(tokens), valid=f"at least {order} tokens")
        check_tokens(tokens, vocab_size)
        keys: list[Tensor] = []
        counts: list[Tensor] = []
        nodes = tokens.new_zeros(len(tokens) + 1)  # the n-gram that begins at each position; the empty one is node 0
        for length in range(order):
            prefix, suffix = nodes[:-1], nodes[1:]  # both of `length` tokens: without the last, without the first
            level, longer, occurrences = torch.unique(
                prefix * vocab_size + tokens[length:], return_inverse=True, return_counts=True
            )
            if length:  # every different (n + 1)-gram is one different token before the n-gram that is its suffix
                suffixes = torch.empty_like(level).scatter(0, longer, suffix)
                counts[-1] = torch.bincount(suffixes, minlength=len(counts[-1]))
                counts[-1][nodes[0]] += 1  # and so is the beginning of the text
            keys.append(level)
            counts.append(occurrences)
            nodes = longer
        return cls(vocab_size, keys, counts)

    def contexts(self, tokens: Int[Tensor, "B T"]) -> list[Int[Tensor, "B T+1"]]:
        """For n = 0 … order − 1 and every position, the end included: the node of the n tokens before it."""
        check_tokens(tokens, self.vocab_size)
        nodes = [tokens.new_zeros(tokens.shape[0], tokens.shape[1] + 1)]
        for level in self.levels[:-1]:
            longer = level.find(nodes[-1][:, :-1], tokens, self.vocab_size)  # (B, T)
            nodes.append(pad(longer, (1, 0), value=UNKNOWN))  # before the first token there is none
        return nodes

    def distribution(self, contexts: list[Int[Tensor, "N"]]) -> Float[Tensor, "N V"]:
        """Log-probability of every next token, given the nodes of its contexts of 0 … order − 1 tokens."""
        p = self.unigram.repeat(len(contexts[0]), 1)  # (N, V)
        for level, context in zip(self.levels[1:], contexts[1:], strict=True):
            p *= level.saved[context][:, None]
            begin, end = torch.searchsorted(level.keys, torch.stack([context, context + 1]) * self.vocab_size)
            children = end - begin  # how many different tokens followed; none if UNKNOWN (N,)
            row = torch.arange(len(p)).repeat_interleave(children)
            node = torch.arange(len(row)) + (begin - children.cumsum(0) + children)[row]  # begin, begin + 1, …, end − 1
            p[row, level.keys[node] % self.vocab_size] += level.discounted[node]
        return p.log()

    def log_probabilities(self, contexts: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        """Log-probability of every token after each context, oldest first; T = 0 is the beginning of a text."""
        return self.distribution([nodes[:, -1] for nodes in self.contexts(self.recent(contexts))])

    def forward(
        self, tokens: Int[Tensor, "B T"], state: Int[Tensor, "B S"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Int[Tensor, "B _"]]:
        """Log-probabilities of the token after each of `tokens`, and what to give back as `state` with those after.

        The state is the last order − 1 tokens, fewer near the beginning of the text.
        """
        known = tokens if state is None else torch.cat([state, tokens], dim=1)  # (B, S + T)
        contexts = [nodes[:, nodes.shape[1] - tokens.shape[1] :] for nodes in self.contexts(known)]  # (B, T) each
        logits = self.distribution([nodes.flatten() for nodes in contexts])
        return logits.view(*tokens.shape, self.vocab_size), self.recent(known)

    __call__ = forward

    def recent(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B _"]:
        """The last order − 1 tokens, or all if there are fewer: nothing else matters."""
        return tokens[:, max(0, tokens.shape[1] - self.order + 1) :]

    def score(self, tokens: Int[Tensor, "T"]) -> Float[Tensor, "T"]:
        """−ln p of each token, in nats, given all those before it; the first is scored without any context."""
        contexts = [nodes[0, :-1] for nodes in self.contexts(tokens[None])]  # (T,) each
        p = self.unigram[tokens]
        for level, context in zip(self.levels[1:], contexts[1:], strict=True):
            found = level.find(context, tokens, self.vocab_size)
            p = level.discounted[found] + level.saved[context] * p
        return -p.log()

    def to_state(self) -> dict[str, Any]:
        """The counts, as tensors and plain data; `from_state` computes all else anew."""
        keys, counts = zip(*((level.keys, level.counts.int()) for level in self.levels), strict=True)
        return {"vocab_size": self.vocab_size, "keys": list(keys), "counts": list(counts)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "NGramModel":
        """The inverse of to_state.

        Raises:
            CheckpointError: If the state is not a tree of counts.
        """
        vocab_size, keys, counts = (state.get(name) for name in ("vocab_size", "keys", "counts"))
        if type(vocab_size) is not int or not isinstance(keys, list) or not isinstance(counts, list):
            raise CheckpointError("not an n-gram model", got=sorted(state), valid="vocab_size, keys, counts")
        if not 0 < len(keys) == len(counts):
            raise CheckpointError("n-gram model: keys and counts differ in length", got=(len(keys), len(counts)))
        parents = 1
        for length, (level, seen) in enumerate(zip(keys, counts, strict=True), start=1):
            _check_level(level, seen, parents * vocab_size, f"n-gram model: the {length}-grams")
            parents = len(level)
        return cls(vocab_size, keys, [seen.long() for seen in counts])


def check_tokens(tokens: Int[Tensor, "*shape"], vocab_size: int) -> None:
    """Raises DataError unless every token is in the vocabulary: another would be taken for another context's."""
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        got = int(tokens.min()) if tokens.min() < 0 else int(tokens.max())
        raise DataError("token outside the vocabulary", got=got, valid=f"0 to {vocab_size - 1}")


def _check_level(keys: Any, counts: Any, end: int, name: str) -> None:
    """Sorted, different keys from 0 to `end` − 1, as many counts, all at least 1."""
    for tensor, dtype in ((keys, torch.int64), (counts, torch.int32)):
        if not isinstance(tensor, Tensor) or tensor.dtype != dtype or tensor.dim() != 1:
            raise CheckpointError(f"{name} are no list of {dtype}", got=type(tensor).__name__)
    if not 0 < len(keys) == len(counts):
        raise CheckpointError(f"{name}: keys and counts differ in length", got=(len(keys), len(counts)))
    if keys[0] < 0 or keys[-1] >= end or not (keys.diff() > 0).all():
        raise CheckpointError(f"{name} are not sorted, or name contexts that do not exist")
    if counts.min() < 1:
        raise CheckpointError(f"{name}: a count is below 1", got=int(counts.min()))

"""GPT by hand: the whole of it in NumPy, from tokens to the loss, back to every weight, and the step that learns.

Most of it is told. Stage 1 has cross-entropy and GELU, stage 4 linear layers, LayerNorm and attention, with their
derivatives. New are the GELU that GPT-2 has, a matrix that is read at both ends, positions that are learnt, and AdamW.
Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; Loshchilov & Hutter, "Decoupled Weight
Decay Regularization", 2019.

Every part is a pair, as in stage 4: `part` returns its output and what it kept, `part_backward` takes the gradient of
that output and what was kept, and returns the gradient of its input and those of its weights, by the names of gpt.py.

B texts, T tokens, C the longest context, D the model's width, F hidden units, V vocabulary; δ is ∂L/∂. What it cannot
do: dropout, a cache, and the parts of later models. gpt.py can.

Explained in docs/en/stage5_gpt.md.
"""

import math

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from stage1_mlp.models import by_hand as stage1
from stage1_mlp.models import softmax_cross_entropy
from stage4_transformer.models import by_hand as stage4

Kept, Weights = stage4.Kept, stage4.Weights
part, whole = stage4.part, stage4.whole  # of the weights, by their names
Tokens = Int[ndarray, "B T"]
Features = Float[ndarray, "B T D"]

# --- GELU -------------------------------------------------------------------------------------------------------------
#
# gelu(z) = z Φ(z) lets through the more of z, the larger it is among bell-shaped numbers. GPT-2 has no Φ but something
# that is hard to tell from it:
#     gelu_tanh(z) = z (1 + tanh u)/2 = z σ(2u),  u = √(2/π) (z + 0.044715 z³)
# By the product rule, with σ′ = σ (1 − σ) and u′ = √(2/π) (1 + 3 · 0.044715 z²)
#     gelu_tanh′(z) = σ(2u) + z σ(2u) (1 − σ(2u)) 2u′

ROOT, CUBIC = math.sqrt(2 / math.pi), 0.044715


def share(z: ndarray) -> ndarray:
    """σ(2u), how much of z gets through."""
    return stage1.sigmoid(2 * ROOT * (z + CUBIC * z**3))


def gelu_tanh_slope(z: ndarray) -> ndarray:
    """gelu_tanh′."""
    s = share(z)
    return s + z * s * (1 - s) * 2 * ROOT * (1 + 3 * CUBIC * z**2)


ACTIVATIONS = {
    "gelu": stage1.ACTIVATIONS["gelu"],
    "gelu_tanh": stage1.Activation(lambda z: z * share(z), gelu_tanh_slope),
}

# --- feed-forward -----------------------------------------------------------------------------------------------------


def feed_forward(x: Features, weights: Weights, activation: str) -> tuple[Features, Kept]:
    """W₂ φ(W₁ x + b₁) + b₂ at each position alike."""
    z, of_inward = stage4.linear(x, part(weights, "inward"))
    hidden = ACTIVATIONS[activation].value(z).astype(z.dtype)  # Φ comes in fp64
    y, of_outward = stage4.linear(hidden, part(weights, "outward"))
    return y, (of_inward, ACTIVATIONS[activation].slope(z).astype(z.dtype), of_outward)


def feed_forward_backward(dy: Features, kept: Kept) -> tuple[Features, Weights]:
    """δz = δhidden ⊙ φ′(z), between two linear layers."""
    of_inward, slope, of_outward = kept
    dhidden, outward = stage4.linear_backward(dy, of_outward)
    dx, inward = stage4.linear_backward(dhidden * slope, of_inward)
    return dx, whole({"inward": inward, "outward": outward})


# --- the block --------------------------------------------------------------------------------------------------------
#
# x′ = x + attention(norm(x)), y = x′ + feed_forward(norm(x′)). x has two readers, so its δ is a sum: what came from
# above as it is, and what came through the sublayer and its norm. Along the first road δ gets from the loss to the
# embedding without meeting a single matrix.


def block(x: Features, weights: Weights, heads: int, activation: str) -> tuple[Features, Kept]:
    """Look back, then think."""
    past = np.tril(np.ones((x.shape[1], x.shape[1]), bool))
    read, of_first = stage4.layer_norm(x, part(weights, "norm_attention"))
    said, looked = stage4.multi_head_attention(read, part(weights, "attention"), heads, mask=past)
    x = x + said
    read, of_second = stage4.layer_norm(x, part(weights, "norm_feed_forward"))
    said, thought = feed_forward(read, part(weights, "feed_forward"), activation)
    return x + said, (of_first, looked, of_second, thought)


def block_backward(dy: Features, kept: Kept) -> tuple[Features, Weights]:
    """The same lines, from the last to the first."""
    of_first, looked, of_second, thought = kept
    dread, thinking = feed_forward_backward(dy, thought)
    dx, second = stage4.layer_norm_backward(dread, of_second)
    dx = dx + dy
    dread, _, looking = stage4.multi_head_attention_backward(dx, looked)
    through, first = stage4.layer_norm_backward(dread, of_first)
    parts = {"norm_attention": first, "attention": looking, "norm_feed_forward": second, "feed_forward": thinking}
    return dx + through, whole(parts)


# --- the model --------------------------------------------------------------------------------------------------------
#
# x_t = E[token_t] + P[t], then the blocks, a norm, and logits = x Eᵀ: a token is likely when its vector points where x
# points. So E is read twice, and its gradient has two parts,
#     at the head        Σ δlogitsᵀ x: every row changes at every token, as every token of the vocabulary had a logit
#     at the beginning   δx_t to the row of token t: rows of tokens that nobody read stay as they are
# P is read once in each text: δP[t] = Σ_b δx_bt.


def gpt(
    tokens: Tokens, weights: Weights, heads: int, activation: str = "gelu_tanh"
) -> tuple[Float[ndarray, "B T V"], Kept]:
    """Logits for what follows each token. The weights, by their names, say how many blocks there are."""
    x = weights["embedding.weight"][tokens] + weights["positions.table"][: tokens.shape[1]]
    blocks = []
    while own := part(weights, f"blocks.{len(blocks)}"):
        x, kept = block(x, own, heads, activation)
        blocks.append(kept)
    x, of_norm = stage4.layer_norm(x, part(weights, "norm"))
    return x @ weights["embedding.weight"].T, (tokens, weights, blocks, x, of_norm)


def gpt_backward(dlogits: Float[ndarray, "B T V"], kept: Kept) -> Weights:
    """∂L/∂weights, by their names."""
    tokens, weights, blocks, x, of_norm = kept
    dembedding = dlogits.reshape(-1, dlogits.shape[2]).T @ x.reshape(-1, x.shape[2])  # at the head
    dx, gradients = stage4.layer_norm_backward(dlogits @ weights["embedding.weight"], of_norm)
    parts = {"norm": gradients}
    for number, kept_here in reversed(list(enumerate(blocks))):
        dx, parts[f"blocks.{number}"] = block_backward(dx, kept_here)
    np.add.at(dembedding, tokens, dx)  # at the beginning; a token read twice adds twice
    dtable = np.zeros_like(weights["positions.table"])
    dtable[: tokens.shape[1]] = dx.sum(axis=0)
    return {"embedding.weight": dembedding, "positions.table": dtable} | whole(parts)


def cross_entropy(logits: Float[ndarray, "B T V"], targets: Tokens, reduction: str = "mean") -> tuple[float, ndarray]:
    """In nats, mean or sum over the targets that are not −1, and δlogits; stage 1's, over a row for each token."""
    asked = targets != -1
    value, dasked = softmax_cross_entropy(logits[asked], targets[asked])  # (N, V)
    scale = {"mean": 1, "sum": len(dasked)}[reduction]
    dlogits = np.zeros_like(logits)
    dlogits[asked] = scale * dasked
    return scale * value, dlogits


# --- AdamW ------------------------------------------------------------------------------------------------------------
#
# m ← β₁ m + (1 − β₁) g        the mean of the last gradients: where to
# v ← β₂ v + (1 − β₂) g²       the mean of their squares: how far they reach
# θ ← θ (1 − η λ) − η m̂ / (√v̂ + ε)
# m and v began as 0, so after t steps they hold only the shares 1 − β₁ᵗ and 1 − β₂ᵗ of a mean; m̂ and v̂ are divided by
# these. The decay stands beside the rule: as a part of g it would be divided by √v̂, and weaken where gradients are
# large. It is for matrices. A bias or a norm's weight multiplies no features, and need not be small.


class AdamW:
    """Adam with decoupled weight decay (algorithm 2 of the paper).

    Args:
        weights: By their names; each step changes this dictionary, and none of its arrays.
        lr: η.
        betas: β₁ and β₂; GPT-3's, which forget squares sooner than Adam's own.
        epsilon: ε, against division by 0.
        weight_decay: λ.
    """

    def __init__(
        self,
        weights: Weights,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        weight_decay: float = 0.1,
    ):
        self.weights, self.lr, self.betas, self.epsilon, self.weight_decay = weights, lr, betas, epsilon, weight_decay
        self.means = {name: np.zeros_like(value) for name, value in weights.items()}
        self.squares = {name: np.zeros_like(value) for name, value in weights.items()}
        self.steps = 0

    def step(self, gradients: Weights) -> None:
        """One step down; `lr` may be another one before each."""
        self.steps += 1
        first, second = self.betas
        for name, g in gradients.items():
            self.means[name] = first * self.means[name] + (1 - first) * g
            self.squares[name] = second * self.squares[name] + (1 - second) * g**2
            mean = self.means[name] / (1 - first**self.steps)
            deviation = np.sqrt(self.squares[name] / (1 - second**self.steps))
            decay = self.weight_decay if self.weights[name].ndim > 1 else 0.0
            self.weights[name] = self.weights[name] * (1 - self.lr * decay) - self.lr * mean / (
                deviation + self.epsilon
            )


# --- from nothing to a text -------------------------------------------------------------------------------------------


def begin(random: np.random.Generator, vocab_size: int, context: int, layers: int, model: int) -> Weights:
    """GPT-2's first weights: matrices of 0.02, those that end in a residual smaller by √(2L), biases 0, norms 1."""

    def product(outputs: int, inputs: int, std: float = 0.02) -> Weights:
        return {"weight": std * random.standard_normal((outputs, inputs)), "bias": np.zeros(outputs)}

    def norm() -> Weights:
        return {"weight": np.ones(model), "bias": np.zeros(model)}

    quiet = 0.02 / math.sqrt(2 * layers)
    parts = {"embedding": product(vocab_size, model), "norm": norm()}
    for number in range(layers):
        looking = {"inward": product(3 * model, model), "outward": product(model, model, quiet)}
        thinking = {"inward": product(4 * model, model), "outward": product(model, 4 * model, quiet)}
        sublayers = {"attention": whole(looking), "feed_forward": whole(thinking)}
        norms = {"norm_attention": norm(), "norm_feed_forward": norm()}
        parts[f"blocks.{number}"] = whole(sublayers | norms)
    weights = whole(parts) | {"positions.table": 0.02 * random.standard_normal((context, model))}
    del weights["embedding.bias"]  # a table has none
    return weights


def write(
    tokens: Tokens, weights: Weights, heads: int, steps: int, activation: str = "gelu_tanh"
) -> Int[ndarray, "B S"]:
    """The tokens, and after each text what is likeliest, again and again; all is read anew for each token."""
    for _ in range(steps):
        seen = tokens[:, -len(weights["positions.table"]) :]
        likeliest = gpt(seen, weights, heads, activation)[0][:, -1:].argmax(axis=2)
        tokens = np.concatenate((tokens, likeliest), axis=1)
    return tokens

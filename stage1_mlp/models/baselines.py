"""Four classifiers that are no networks: the scores that a network has to beat, and often does not.

Naive Bayes, logistic regression and the linear support-vector machine end in the same thing: one weight for each word
and class, and the class with the largest sum wins. They differ in how the weights are found: by counting, by maximum
likelihood, by maximum margin. The decision tree asks one yes-or-no question after the other.

What they cannot do: see that "not" and "good" together mean something else than each alone, unless the pair is given
to them as a word of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from my_llm.errors import DataError
from stage1_mlp.models.losses import log_softmax, one_hot

# --- texts as bags of words --------------------------------------------------------------------------------------


class Bags(NamedTuple):
    """B texts as sparse rows over V words: text i holds the words `ids[starts[i]:starts[i + 1]]`, so often.

    Nearly all of the B × V table is 0, so only the rest is stored ("compressed sparse rows", CSR).
    """

    starts: Int[Tensor, "B+1"]
    ids: Int[Tensor, "N"]
    weights: Float[Tensor, "N"]
    words: int

    @classmethod
    def pack(cls, texts: Iterable[tuple[Sequence[int], Sequence[float]]], words: int) -> "Bags":
        """From one (ids, weights) pair for each text; weights are counts or TF-IDF values, `words` is V."""
        rows = [(torch.as_tensor(ids, dtype=torch.int64), torch.as_tensor(weights)) for ids, weights in texts]
        starts = torch.tensor([0, *(len(ids) for ids, _ in rows)]).cumsum(dim=0)
        ids = torch.cat([ids for ids, _ in rows])
        return cls(starts, ids, torch.cat([weights for _, weights in rows]).float(), words)

    def times(self, matrix: Float[Tensor, "V C"]) -> Float[Tensor, "B C"]:
        """X W: for each text the weighted sum of the rows of its words, which is what `embedding_bag` computes."""
        return torch.nn.functional.embedding_bag(
            self.ids, matrix, self.starts, mode="sum", per_sample_weights=self.weights, include_last_offset=True
        )

    def transposed(self) -> "Bags":
        """Xᵀ: the texts of each word. `X.transposed().times(G)` is XᵀG, the shape of every gradient below."""
        texts = torch.arange(len(self.starts) - 1).repeat_interleave(self.starts.diff())
        order = self.ids.argsort(stable=True)
        per_word = torch.bincount(self.ids, minlength=self.words)
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), per_word.cumsum(dim=0)])
        return Bags(starts, texts[order], self.weights[order], len(self.starts) - 1)

    def presence(self, words: Int[Tensor, "K"]) -> Bool[Tensor, "B K"]:
        """Which of the K chosen words each text holds, as a dense table."""
        column = torch.full((self.words,), len(words)).scatter(0, words, torch.arange(len(words)))
        texts = torch.arange(len(self.starts) - 1).repeat_interleave(self.starts.diff())
        table = torch.zeros(len(self.starts) - 1, len(words) + 1, dtype=torch.bool)
        table[texts, column[self.ids]] = True
        return table[:, :-1]


class Classifier(Protocol):
    """What every baseline is after fitting."""

    def predict(self, bags: Bags) -> Int[Tensor, "B"]:
        """The class of every text."""
        ...


class LinearClassifier(NamedTuple):
    """The class with the largest x·w_c + b_c."""

    weights: Float[Tensor, "V C"]
    bias: Float[Tensor, "C"]

    def predict(self, bags: Bags) -> Int[Tensor, "B"]:
        return (bags.times(self.weights) + self.bias).argmax(dim=1)


def truth(labels: Int[Tensor, "B"], classes: int) -> Float[Tensor, "B C"]:
    """The labels as one-hot rows.

    Raises:
        DataError: If there are no examples, or a label is no class.
    """
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise DataError("a classifier needs examples with labels from 0", valid=f"labels 0 to {classes - 1}")
    return one_hot(labels, torch.zeros(len(labels), classes))


# --- counting ----------------------------------------------------------------------------------------------------


def naive_bayes(bags: Bags, labels: Int[Tensor, "B"], classes: int, alpha: float = 1.0) -> LinearClassifier:
    """log p(class) + Σ_words count · log p(word | class), by counting: one pass, no iteration.

    Naive, because the words of a text are taken as independent. α is added to every count so that no word is ever
    impossible (Laplace, 1814). Multinomial form: McCallum & Nigam, AAAI workshop 1998, equations 5 and 6.
    """
    per_class = bags.transposed().times(truth(labels, classes)) + alpha  # (V, C)
    prior = torch.bincount(labels, minlength=classes) / len(labels)
    return LinearClassifier((per_class / per_class.sum(dim=0)).log(), prior.log())


# --- descending --------------------------------------------------------------------------------------------------

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (scores, target) -> mean loss, its gradient


def cross_entropy_and_slope(
    scores: Float[Tensor, "B C"], target: Float[Tensor, "B C"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "B C"]]:
    """−log p of the right class; the gradient is p − y."""
    log_p = log_softmax(scores)
    return -(target * log_p).sum(dim=1).mean(), (log_p.exp() - target) / len(scores)


def squared_hinge_and_slope(
    scores: Float[Tensor, "B C"], target: Float[Tensor, "B C"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "B C"]]:
    """Σ_c max(0, 1 − s_c x_c)², with s = +1 for the right class and −1 for the others."""
    sign = 2 * target - 1
    shortfall = (1 - sign * scores).clamp(min=0)
    return shortfall.square().sum(dim=1).mean(), -2 * sign * shortfall / len(scores)


def descend(
    bags: Bags, target: Float[Tensor, "B C"], objective: Objective, penalty: float, iterations: int
) -> LinearClassifier:
    """Minimises mean loss + ½ penalty · |W|² over the whole training set.

    Both objectives are convex: there is one valley, and any descent ends in it. L-BFGS (Liu & Nocedal, 1989) is plain
    gradient descent that guesses the curvature from its last ten steps, and needs tens of steps in place of thousands.
    """
    transposed = bags.transposed()
    weights, bias = torch.zeros(bags.words, target.shape[1]), torch.zeros(target.shape[1])
    descent = torch.optim.LBFGS([weights, bias], max_iter=iterations, history_size=10, line_search_fn="strong_wolfe")

    def value_and_gradient() -> float:
        loss, slope = objective(bags.times(weights) + bias, target)
        weights.grad = transposed.times(slope) + penalty * weights
        bias.grad = slope.sum(dim=0)
        return float(loss + penalty / 2 * weights.square().sum())

    descent.step(value_and_gradient)
    return LinearClassifier(weights, bias)


def logistic_regression(
    bags: Bags, labels: Int[Tensor, "B"], classes: int, penalty: float = 1e-5, iterations: int = 60
) -> LinearClassifier:
    """An MLP without hidden layers: cross-entropy, plus an L2 penalty. Cox, 1958."""
    return descend(bags, truth(labels, classes), cross_entropy_and_slope, penalty, iterations)


def linear_svm(
    bags: Bags, labels: Int[Tensor, "B"], classes: int, penalty: float = 1e-4, iterations: int = 60
) -> LinearClassifier:
    """One line for each class against the rest, with the widest margin that the penalty allows.

    Cortes & Vapnik, "Support-Vector Networks", 1995, with the squared hinge, which has a gradient everywhere. The
    C of other programs is 1 / (penalty · number of texts). For text give TF-IDF rows of length 1 (Joachims, 1998).
    """
    return descend(bags, truth(labels, classes), squared_hinge_and_slope, penalty, iterations)


# --- asking ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A question, "does the text hold word number `column`?", or, without branches, an answer."""

    answer: int
    column: int = 0
    branches: "tuple[Node, Node] | None" = None  # no, yes


class DecisionTree(NamedTuple):
    """Asks about the words it knows until it reaches a leaf."""

    words: Int[Tensor, "K"]
    root: Node

    def predict(self, bags: Bags) -> Int[Tensor, "B"]:
        answers = torch.zeros(len(bags.starts) - 1, dtype=torch.int64)
        holds = bags.presence(self.words)  # (B, K)
        stack = [(self.root, torch.arange(len(answers)))]
        while stack:
            node, rows = stack.pop()
            answers[rows] = node.answer  # overwritten further down, if there is a further down
            if node.branches:
                yes = holds[rows, node.column]
                stack += [(node.branches[0], rows[~yes]), (node.branches[1], rows[yes])]
        return answers


def gini(counts: Float[Tensor, "*K C"]) -> Float[Tensor, "*K"]:
    """n (1 − Σ_c p_c²): how mixed n examples are, times n; 0 when all are of one class."""
    n = counts.sum(dim=-1)
    return n - counts.square().sum(dim=-1) / n.clamp(min=1)


def split_impurity(yes: Float[Tensor, "K C"], total: Float[Tensor, "C"], min_leaf: int) -> Float[Tensor, "K"]:
    """What is left mixed after asking about each of K words; infinite where a side would get too few examples.

    `yes` counts, for each word and class, the examples that hold the word; `total` counts all of them.
    """
    no = total - yes
    too_few = torch.minimum(yes.sum(dim=1), no.sum(dim=1)) < min_leaf
    return (gini(yes) + gini(no)).masked_fill(too_few, torch.inf)


def count_words(
    holds: Float[Tensor, "B K"], target: Float[Tensor, "B C"], rows: Int[Tensor, "R"]
) -> Float[Tensor, "K C"]:
    """For each word and class, how many of the examples `rows` hold it."""
    return holds[rows].T @ target[rows]


def grow(
    holds: Float[Tensor, "B K"],
    target: Float[Tensor, "B C"],
    rows: Int[Tensor, "R"],
    counts: Float[Tensor, "K C"],
    depth: int,
    min_leaf: int,
) -> Node:
    """Asks the examples `rows` the question that leaves the least mixed, and grows a tree for each answer.

    `counts` is `count_words` of `rows`. Those who answer yes are few, so only they are counted again; the rest is a
    subtraction.
    """
    total = target[rows].sum(dim=0)  # (C,)
    impurity = split_impurity(counts, total, min_leaf)
    answer, column = int(total.argmax()), int(impurity.argmin())
    if depth == 0 or gini(total) == 0 or torch.isinf(impurity[column]):
        return Node(answer)
    yes = holds[rows, column] > 0
    counts_yes = count_words(holds, target, rows[yes])
    no_branch = grow(holds, target, rows[~yes], counts - counts_yes, depth - 1, min_leaf)
    yes_branch = grow(holds, target, rows[yes], counts_yes, depth - 1, min_leaf)
    return Node(answer, column, (no_branch, yes_branch))


def decision_tree(
    bags: Bags, labels: Int[Tensor, "B"], classes: int, words: int = 500, depth: int = 100, min_leaf: int = 5
) -> DecisionTree:
    """CART on the presence of the `words` words that separate the classes best when asked about alone.

    Breiman, Friedman, Olshen & Stone, *Classification and Regression Trees*, 1984, chapters 2 and 4.
    """
    target = truth(labels, classes)
    each_once = bags._replace(weights=torch.ones_like(bags.weights))  # presence in place of counts
    impurity = split_impurity(each_once.transposed().times(target), target.sum(dim=0), min_leaf)
    chosen = impurity.topk(min(words, bags.words), largest=False).indices
    holds, everyone = bags.presence(chosen).float(), torch.arange(len(labels))
    root = grow(holds, target, everyone, count_words(holds, target, everyone), depth, min_leaf)
    return DecisionTree(chosen, root)


# One slot: (bags, labels, classes) -> classifier.
BASELINES: dict[str, Callable[[Bags, Tensor, int], Classifier]] = {
    "naive_bayes": naive_bayes,
    "logistic_regression": logistic_regression,
    "linear_svm": linear_svm,
    "decision_tree": decision_tree,
}

"""The perceptron: one neuron that learns from its mistakes, the root of everything that follows.

Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain",
Psychological Review 65(6), 1958. The neuron says 1 when the weighted sum of its inputs is positive, else 0. It looks
at one example after the other and changes its weights only when it was wrong.

What it cannot do: draw anything but one straight line. If no line separates the two classes, as in XOR, it never
stops making mistakes (Minsky & Papert, *Perceptrons*, 1969). The remedy is a layer between input and output: `mlp.py`.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


class Perceptron:
    """A single threshold neuron, y = 1 if w·x + b > 0 else 0.

    Args:
        inputs: Number of inputs D.
        learning_rate: η, how far one mistake moves the weights. Because the weights start at 0, η only scales them;
            it changes no decision.

    Explained in docs/en/stage1_mlp.md.
    """

    def __init__(self, inputs: int, learning_rate: float = 1.0):
        self.weights = np.zeros(inputs)
        self.bias = 0.0
        self.learning_rate = learning_rate

    def predict(self, x: Float[ndarray, "B D"]) -> Int[ndarray, "B"]:
        """The class, 0 or 1, of every row of `x`."""
        return (x @ self.weights + self.bias > 0).astype(np.int64)

    def learn_one(self, x: Float[ndarray, "D"], target: int) -> bool:
        """Rosenblatt's rule on one example: w ← w + η (t − y) x. Returns whether the example was a mistake."""
        error = target - int(self.predict(x[None])[0])  # t − y: −1, 0 or +1
        self.weights = self.weights + self.learning_rate * error * x
        self.bias += self.learning_rate * error
        return error != 0

    def fit(self, x: Float[ndarray, "B D"], target: Int[ndarray, "B"], epochs: int = 100) -> list[int]:
        """Goes through the examples in order until one whole epoch passes without a mistake, or `epochs` are over.

        If a separating line exists, the number of mistakes is at most (R / γ)², where R is the length of the longest
        input and γ the margin of the best line, both counted with the bias as one more input that is always 1
        (Novikoff, "On Convergence Proofs on Perceptrons", 1962). The number of inputs does not enter.

        Returns:
            Mistakes in each epoch; the last number is 0 exactly when it has converged.
        """
        mistakes = []
        for _ in range(epochs):
            mistakes.append(sum(self.learn_one(row, int(label)) for row, label in zip(x, target, strict=True)))
            if mistakes[-1] == 0:
                break
        return mistakes

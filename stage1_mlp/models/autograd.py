"""Automatic differentiation in a hundred lines: numbers that remember where they came from.

`by_hand.py` needed one derivation for each piece. Here only +, −, ×, power, exp, log, tanh and relu are derived; every
other formula is made of them, and the chain rule does the rest. This is the reverse mode of Linnainmaa (1970), which
torch uses too, on single numbers in place of tensors.

What it cannot do: be fast. Each number is a Python object; a matrix product of 100 × 100 would make two million.
"""

import math
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path


class Value:
    """A number, the gradient of the final result with respect to it, and the steps that made it.

    Args:
        data: The number.
        edges: For each number it was computed from: that number, and the derivative of this one with respect to it.
        label: The operation, or the name of a leaf; only for the drawing.
    """

    def __init__(self, data: float | int, edges: "tuple[tuple[Value, float], ...]" = (), label: str = ""):
        self.data, self.edges, self.label = data, edges, label
        self.grad = 0.0

    def __repr__(self) -> str:
        return f"Value({self.label + ' ' if self.label else ''}data={self.data:.4g}, grad={self.grad:.4g})"

    # --- the eight derivatives ---

    def __add__(self, other: "Value | float | int") -> "Value":
        other = as_value(other)
        return Value(self.data + other.data, ((self, 1.0), (other, 1.0)), "+")

    def __sub__(self, other: "Value | float | int") -> "Value":
        other = as_value(other)
        return Value(self.data - other.data, ((self, 1.0), (other, -1.0)), "−")

    def __mul__(self, other: "Value | float | int") -> "Value":
        other = as_value(other)
        return Value(self.data * other.data, ((self, other.data), (other, self.data)), "×")

    def __pow__(self, n: float | int) -> "Value":
        return Value(self.data**n, ((self, n * self.data ** (n - 1)),), f"^{n}")

    def exp(self) -> "Value":
        """eˣ, its own derivative."""
        y = math.exp(self.data)
        return Value(y, ((self, y),), "exp")

    def log(self) -> "Value":
        """The natural logarithm; derivative 1/x."""
        return Value(math.log(self.data), ((self, 1 / self.data),), "log")

    def tanh(self) -> "Value":
        """Derivative 1 − tanh²."""
        y = math.tanh(self.data)
        return Value(y, ((self, 1 - y**2),), "tanh")

    def relu(self) -> "Value":
        """max(0, x); derivative 1 where x > 0, else 0."""
        return Value(max(0.0, self.data), ((self, float(self.data > 0)),), "relu")

    # --- everything else is made of them ---

    def __neg__(self) -> "Value":
        return self * -1.0

    def __truediv__(self, other: "Value | float | int") -> "Value":
        return self * as_value(other) ** -1

    def __rsub__(self, other: float | int) -> "Value":
        return as_value(other) - self

    def __rtruediv__(self, other: float | int) -> "Value":
        return as_value(other) / self

    __radd__ = __add__
    __rmul__ = __mul__

    # --- the chain rule ---

    def backward(self) -> None:
        """Sets `grad` of every number that this one was computed from to ∂self/∂number."""
        order = ancestors_first(self)
        for value in order:
            value.grad = 0.0
        self.grad = 1.0
        for value in reversed(order):  # all uses of a number come before it, so its gradient is complete
            for parent, slope in value.edges:
                parent.grad += value.grad * slope


def as_value(number: "Value | float | int") -> Value:
    """A plain number becomes a leaf."""
    return number if isinstance(number, Value) else Value(number)


def ancestors_first(result: Value) -> list[Value]:
    """`result` and all it was computed from, each once, parents before children (a topological order).

    Depth-first with our own stack: a long sum would be too deep for Python's recursion.
    """
    order: list[Value] = []
    seen: set[Value] = set()
    stack = [(result, False)]
    while stack:
        value, parents_done = stack.pop()
        if parents_done:
            order.append(value)
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            stack.extend((parent, False) for parent, _ in value.edges)
    return order


# --- a network of numbers ----------------------------------------------------------------------------------------


class Neuron:
    """tanh(w·x + b), or w·x + b where `bend` is False."""

    def __init__(self, inputs: int, rng: random.Random, bend: bool = True):
        self.weights = [Value(rng.gauss(0, inputs**-0.5), label="w") for _ in range(inputs)]
        self.bias = Value(0.0, label="b")
        self.bend = bend

    def __call__(self, x: Sequence[Value | float | int]) -> Value:
        z = sum((w * x_d for w, x_d in zip(self.weights, x, strict=True)), self.bias)
        return z.tanh() if self.bend else z


class ValueMLP:
    """A multi-layer perceptron of neurons: `sizes` = (inputs, hidden, …, outputs); no bend in the last layer."""

    def __init__(self, sizes: Sequence[int], seed: int = 0):
        rng = random.Random(seed)
        self.layers = [
            [Neuron(inputs, rng, bend=i < len(sizes) - 2) for _ in range(outputs)]
            for i, (inputs, outputs) in enumerate(pairwise(sizes))
        ]

    def __call__(self, x: Sequence[Value | float | int]) -> list[Value]:
        outputs: Sequence[Value | float | int] = x
        for layer in self.layers:
            outputs = [neuron(outputs) for neuron in layer]
        return [as_value(output) for output in outputs]

    def parameters(self) -> Iterator[Value]:
        """Every weight and bias."""
        for layer in self.layers:
            for neuron in layer:
                yield from (*neuron.weights, neuron.bias)


# --- the drawing -------------------------------------------------------------------------------------------------


def layout(result: Value) -> dict[Value, tuple[float, float]]:
    """A place for every number: x is its distance from the leaves' side, y spreads its column around 0.

    A number stands one column left of its nearest use, and each column is sorted by where its uses stand, which keeps
    most lines from crossing.
    """
    order = ancestors_first(result)
    column = {result: 0}
    for value in reversed(order):
        for parent, _ in value.edges:
            column[parent] = max(column.get(parent, 0), column[value] + 1)
    height = dict.fromkeys(order, 0.0)
    uses: dict[Value, list[Value]] = {value: [] for value in order}
    for value in order:
        for parent, _ in value.edges:
            uses[parent].append(value)
    for x in range(1, max(column.values()) + 1):
        members = [value for value in reversed(order) if column[value] == x]
        members.sort(key=lambda value: sum(height[use] for use in uses[value]) / len(uses[value]))
        for place, value in enumerate(members):
            height[value] = place - (len(members) - 1) / 2
    return {value: (-float(column[value]), height[value]) for value in order}


def draw(result: Value, path: str | Path) -> None:
    """Draws the computation of `result` as a PNG: leaves on the left, the result on the right, data and grad in each.

    Readable up to about a hundred numbers: draw one neuron, not a network.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = layout(result)
    columns, heights = zip(*places.values(), strict=True)
    figure = Figure(figsize=(1.75 * (1 - min(columns)), 0.85 * (max(heights) - min(heights) + 1)), layout="tight")
    axes = FigureCanvasAgg(figure).figure.subplots()
    axes.axis("off")
    arrow = {"arrowstyle": "-|>", "color": "#9aa5b1", "shrinkB": 42}
    box = {"boxstyle": "round,pad=0.4", "edgecolor": "#4c566a"}
    for value, place in places.items():
        for parent, _ in value.edges:
            axes.annotate("", place, places[parent], arrowprops=arrow, zorder=1)
        text = f"{value.label or 'number'}\ndata {value.data:.3g}\ngrad {value.grad:.3g}"
        color = "#e5f0fb" if value.edges else "#fdf3d8"
        axes.text(*place, text, ha="center", va="center", fontsize=8, bbox={**box, "facecolor": color}, zorder=2)
    axes.set_xlim(min(columns) - 0.6, 0.6)
    axes.set_ylim(min(heights) - 0.6, max(heights) + 0.6)
    figure.savefig(path, dpi=120)

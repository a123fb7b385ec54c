"""Four ways to read T tokens: what theory says they cost, and what is counted when they do.

Vaswani et al. 2017, table 1, has the first three columns; memory is what the backward pass needs. All four are counted
on the stages' own models, not timed, so that they come out the same on every machine:

    operations   multiplications and additions of the products of a forward pass
    waiting      calls of the kernels: what one call does it does at once, the calls follow each other
    path         computations between the last output and the first token, by the graph that gradients go back through
    memory       bytes that the forward pass keeps for the backward pass, weights left out
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lab.generations import mlp, recurrent
from stage2_rnn_lstm.models import WaveNet, WaveNetConfig
from stage4_transformer.models import TransformerLM, TransformerLMConfig

Row = dict[str, Any]
LENGTHS = (256, 512, 1024, 2048)
VOCABULARY, WIDTH = 16, 16  # narrow, so that the length is what counts
LOOKUPS = ("EmbeddingBackward", "IndexBackward")
MOVES = ("Cat", "Clone", "Expand", "Permute", "Reshape", "Select", "Slice", "Split", "Squeeze", "TBackward",
         "Transpose", "Unsafe", "Unsqueeze", "View")  # fmt: skip # they compute nothing


GROWTH: dict[str, Callable[[int], float | int]] = {
    "1": lambda t: 1,
    "log T": math.log2,
    "T": lambda t: t,
    "T log T": lambda t: t * math.log2(t),
    "T²": lambda t: t * t,
}


class Reader(NamedTuple):
    """A model for texts of T tokens, and how its costs should grow, keys of GROWTH; "": there is no path."""

    make: Callable[[int], nn.Module]
    operations: str
    waiting: str
    path: str
    memory: str


def wavenet(length: int) -> WaveNet:
    """As many layers as it needs to see `length` tokens."""
    return WaveNet(WaveNetConfig(VOCABULARY, channels=WIDTH, layers=math.ceil(math.log2(length)), blocks=1))


def looking(length: int) -> TransformerLM:
    """One layer with one head."""
    config = TransformerLMConfig(vocab_size=VOCABULARY, model=WIDTH, heads=1, layers=1, hidden=WIDTH, max_length=length)
    return TransformerLM(config)


READERS: dict[str, Reader] = {
    "MLP, a window of 16": Reader(lambda length: mlp(VOCABULARY, WIDTH), "T", "1", "", "T"),
    "RNN": Reader(lambda length: recurrent("rnn")(VOCABULARY, WIDTH), "T", "T", "T", "T"),
    "LSTM": Reader(lambda length: recurrent("lstm")(VOCABULARY, WIDTH), "T", "T", "T", "T"),
    "WaveNet": Reader(wavenet, "T log T", "log T", "log T", "T log T"),
    "attention": Reader(looking, "T²", "1", "1", "T²"),
}


# --- what is counted --------------------------------------------------------------------------------------------------


class Calls(TorchDispatchMode):
    """Counts calls of kernels; views move nothing and count for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def operations(model: nn.Module, tokens: Tensor) -> int:
    """Of a forward pass."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(tokens)
    return counter.get_total_flops()


def waiting(model: nn.Module, tokens: Tensor) -> int:
    """Calls in a forward pass."""
    with torch.inference_mode(), Calls() as calls:
        model(tokens)
    return calls.count


def memory(model: nn.Module, tokens: Tensor) -> int:
    """Bytes kept for the backward pass, each storage once."""
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits, _ = model(tokens)
    assert logits.requires_grad
    return sum(storage.nbytes() for place, storage in kept.items() if place not in own)


def path(model: nn.Module, tokens: Tensor) -> int | None:
    """Computations on the shortest way back from the last output to the first token; None: there is no way.

    The tokens are read one by one, so that nothing but the state leads from one to the next.
    """
    logits, state = model(tokens[:, :1], None)
    first = next(node for node, _ in nodes_behind(logits) if node.name().startswith(LOOKUPS))
    for step in range(1, tokens.shape[1]):
        logits, state = model(tokens[:, step : step + 1], state)
    return next((steps for node, steps in nodes_behind(logits) if node is first), None)


def nodes_behind(output: Tensor) -> Iterator[tuple[Any, int]]:
    """All nodes of the graph that gradients go back through, and how many computations lie before each at least."""
    seen, queue = set(), deque([(output.grad_fn, 0)])
    while queue:
        node, steps = queue.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node, steps
        for before, _ in node.next_functions:
            if node.name().startswith(MOVES):
                queue.appendleft((before, steps))  # no computation: as near as it is
            else:
                queue.append((before, steps + 1))


# --- and how it grows -------------------------------------------------------------------------------------------------


def exponent(lengths: Sequence[int], counts: Sequence[float | int]) -> float:
    """The slope of log count over log length, by least squares."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (lengths, counts))
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def table_of(lengths: Sequence[int] = LENGTHS) -> list[Row]:
    """A row for each reader and count: how it should grow, the exponent that fits the counts, and the last count."""
    rows: list[Row] = []
    for name, reader in READERS.items():
        counts: dict[str, list[int]] = {what: [] for what in COUNTED}
        for length in lengths:
            torch.manual_seed(0)
            model, tokens = reader.make(length), torch.randint(VOCABULARY, (1, length))
            with sdpa_kernel(SDPBackend.MATH):  # the formula as it stands, not the kernel that keeps no scores
                for what, measure in COUNTED.items():
                    if (found := measure(model, tokens)) is not None:
                        counts[what].append(found)
        rows += [
            {"case": f"{what}: {name}", "theory": getattr(reader, what), "exponent": round(exponent(lengths, many), 2),
             "count": many[-1]}
            for what, many in counts.items() if many
        ]  # fmt: skip
    return sorted(rows, key=lambda row: list(COUNTED).index(row["case"].split(":")[0]))


COLUMNS = {"theory": "", "exponent": "", "count": ""}
COUNTED: dict[str, Callable[[nn.Module, Tensor], int | None]] = {
    "operations": operations,
    "waiting": waiting,
    "path": path,
    "memory": memory,
}

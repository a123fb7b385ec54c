"""What the studies share: a corpus as dense vectors, a short training, a score, and the way a result leaves the house.

Dense bags of words are not the best features for text (`models/text_classifier.py` has those), but they are small,
each network of this stage can read them, and a training takes a second. So a study can try dozens of cases.

    data = load_dense(config)
    model = new_mlp(data, seed, hidden=(128,))
    for step in train_dense(model, data.train, Adam(model.parameters(), 0.001), max_steps=300, seed=seed): ...
    print(evaluate(model, data.validation))
"""

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm import ledger
from my_llm.data.batches import batch_indices
from my_llm.data.catalog import Example, TextClassification, load
from my_llm.device import choose_device
from my_llm.errors import ConfigError, NotFiniteError
from my_llm.schedules import Schedule
from my_llm.training import Loss, Step, train_steps
from stage1_mlp.models.losses import ClassLoss, cross_entropy
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.studies import StudyConfig

VOCABULARY = 2000
BATCH_SIZE = 64


# --- texts as dense vectors -------------------------------------------------------------------------------------------


class Split(NamedTuple):
    """Inputs x (N, V) and class numbers y (N,)."""

    x: Float[Tensor, "N V"]
    y: Int[Tensor, "N"]

    def first(self, n: int) -> "Split":
        """The first n examples."""
        return Split(self.x[:n], self.y[:n])


@dataclass(frozen=True)
class Dense:
    """A corpus as dense bags of words; column v stands for `words[v]`."""

    corpus: TextClassification
    words: list[str]
    train: Split
    validation: Split
    test: Split


def words_of(text: str) -> list[str]:
    """Lower-case runs of letters, digits and apostrophes."""
    return re.findall(r"[\w']+", text.lower())


def frequent_words(texts: Iterable[str], size: int) -> dict[str, float]:
    """The `size` most frequent words and the weight of each: its rarity, idf = log((1 + N) / (1 + n_word)) + 1."""
    bags = [Counter(words_of(text)) for text in texts]
    total: Counter[str] = sum(bags, Counter())
    texts_with: Counter[str] = Counter(word for bag in bags for word in bag)
    n = torch.tensor(1.0 + len(bags))
    return {word: float((n / (1 + texts_with[word])).log() + 1) for word, _ in total.most_common(size)}


def bags_of_words(texts: Sequence[str], idf: Mapping[str, float]) -> Float[Tensor, "N V"]:
    """log(1 + count) · idf, each row scaled to length 1; a text without a known word stays all 0."""
    column = {word: v for v, word in enumerate(idf)}
    x = torch.zeros(len(texts), len(idf))
    for row, text in enumerate(texts):
        for word, count in Counter(words_of(text)).items():
            if word in column:
                x[row, column[word]] = count
    x = x.log1p() * torch.tensor(list(idf.values()))
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=1e-12)


def load_dense(config: StudyConfig, size: int = VOCABULARY) -> Dense:
    """The corpus that the command line names, on the device that it names; vocabulary and idf from its training split.

    Raises:
        ConfigError: fewer than one seed, or bf16: the studies compare in fp32.
    """
    if config.seeds < 1:
        raise ConfigError("--seeds must be positive", got=config.seeds, valid="1 or more")
    if config.precision == "bf16":
        raise ConfigError("the studies compare in fp32", got=config.precision, valid=["auto", "fp32"])
    return _load_dense(config.dataset, size, str(choose_device(config.device)))


@lru_cache(maxsize=2)
def _load_dense(dataset: str, size: int, device: str) -> Dense:
    corpus = load(dataset)
    idf = frequent_words((example.text for example in corpus.train), size)

    def split(examples: Sequence[Example]) -> Split:
        x = bags_of_words([example.text for example in examples], idf)
        return Split(x.to(device), torch.tensor([example.label for example in examples], device=device))

    return Dense(corpus, list(idf), split(corpus.train), split(corpus.validation), split(corpus.test))


# --- training and scoring ---------------------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Accuracy in percent and mean cross-entropy in nats."""

    accuracy: float
    loss: float


DIVERGED = Scores(0.0, float("inf"))


def seeds_of(config: StudyConfig) -> range:
    """The seeds of the repetitions."""
    return range(config.seed, config.seed + config.seeds)


def steps_of(config: StudyConfig, steps: int) -> int:
    """How many steps to train: `--max_steps` if given, else what the study wants."""
    return config.max_steps or steps


def new_mlp(data: Dense, seed: int, **shape: Any) -> MLP:
    """A fresh network from words to classes; `shape` takes the other fields of `MLPConfig`."""
    torch.manual_seed(seed)
    config = MLPConfig(inputs=len(data.words), outputs=len(data.corpus.labels), **shape)
    return MLP(config).to(data.train.x.device)


def train_dense(
    model: torch.nn.Module,
    split: Split,
    optimizer: torch.optim.Optimizer,
    *,
    max_steps: int,
    seed: int,
    loss: ClassLoss = cross_entropy,
    batch_size: int = BATCH_SIZE,
    schedule: Schedule = lambda step: 1.0,
) -> Iterator[Step]:
    """`train_steps` on shuffled batches of `split`; consume it with a loop, or with `for _ in …: pass`.

    Raises:
        NotFiniteError: the training diverged.
    """
    size = min(batch_size, len(split.y))
    whole = len(split.y) // size * size  # a last batch of one example would be too small for batch normalisation

    def batches(index: int) -> Split:
        rows = torch.tensor(batch_indices(index, size=whole, batch_size=size, seed=seed))
        return Split(split.x[rows], split.y[rows])

    def loss_fn(model: torch.nn.Module, batch: Split) -> Loss:
        return Loss(loss(model(batch.x), batch.y).sum(), len(batch.y))

    return train_steps(model, batches, loss_fn, optimizer, schedule=schedule, max_steps=max_steps)


@torch.no_grad()
def evaluate(model: torch.nn.Module, split: Split) -> Scores:
    """Accuracy and cross-entropy in evaluation mode; the model's mode is put back afterwards."""
    training = model.training
    model.eval()
    logits = model(split.x)
    model.train(training)
    loss = float(cross_entropy(logits, split.y).mean())
    return Scores(100 * float((logits.argmax(dim=1) == split.y).float().mean()), loss)


def best_rate(train: Callable[[float], Scores], rates: Sequence[float]) -> float:
    """The learning rate with the best validation accuracy (then loss); one that diverges is out.

    Args:
        train: Learning rate → validation scores; may raise NotFiniteError.
    """

    def quality(rate: float) -> tuple[float, float]:
        try:
            scores = train(rate)
        except NotFiniteError:
            scores = DIVERGED
        return scores.accuracy, -scores.loss

    return max(rates, key=quality)


# --- results ----------------------------------------------------------------------------------------------------------


def mean_and_spread(name: str, values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """{name: mean, name_sd: standard deviation} over the seeds (0 for a single one)."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {name: round(statistics.fmean(values), digits), f"{name}_sd": round(spread, digits)}


def figure_path(name: str) -> Path:
    """docs/figures/stage1_<name>.png beside the folder of results."""
    return ledger.results_folder().parent / "docs" / "figures" / f"stage1_{name}.png"


def finish(
    config: StudyConfig,
    name: str,
    *,
    title: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    seen: str,
    started: float,
    corpus: TextClassification | None = None,
) -> None:
    """Record a study in the ledger, show its table, say where table and figure are and what is to be seen.

    Args:
        columns: Key → unit, as in `ledger.record`.
        seen: What the numbers say, one sentence, computed from them.
        started: `time.perf_counter()` when the study began.
        corpus: The text; None for data made by rule.
    """
    path = ledger.record(
        "stage1_mlp",
        name,
        title=title,
        command=command_of(config, name, needs_text=corpus is not None),
        columns=columns,
        rows=rows,
        data=f"{corpus.name}: {corpus.source}" if corpus else "made by rule",
        sha256=corpus.sha256 if corpus else "",
        seed=list(seeds_of(config)),
        seconds=time.perf_counter() - started,
    )
    show_table(title, columns, rows)
    print(f"table   {path}\nfigure  {figure_path(name)}\nseen    {seen}\n")


def command_of(config: StudyConfig, name: str, *, needs_text: bool) -> str:
    """The command that repeats one study: the flags that differ from their defaults."""
    default, given = asdict(StudyConfig()), asdict(config)
    ignored = {"studies", "config", "threads", *(() if needs_text else ("dataset",))}
    flags = [f"--{flag} {value}" for flag, value in given.items() if value != default[flag] and flag not in ignored]
    return " ".join(["python stage1_mlp/experiments.py --studies", name, *flags])


def show_table(title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the table, at most 80 characters wide."""
    from rich.console import Console
    from rich.table import Table

    table = Table("case", title=title, title_justify="left")
    for key, unit in columns.items():
        table.add_column(f"{key.replace('_', ' ')}{f' ({unit})' if unit else ''}", justify="right")
    for row in rows:
        table.add_row(str(row["case"]), *(_cell(row.get(key)) for key in columns))
    Console(width=80).print(table)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)

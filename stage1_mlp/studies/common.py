"""What the studies share: a corpus as dense vectors, a short training, a score (the way out: my_llm/studies.py).

Dense bags of words are not the best features for text (`models/text_classifier.py` has those), but they are small,
each network of this stage can read them, and a training takes a second. So a study can try dozens of cases.

    data = load_dense(config)
    model = new_mlp(data, seed, hidden=(128,))
    for step in train_dense(model, data.train, Adam(model.parameters(), 0.001), max_steps=300, seed=seed): ...
    print(evaluate(model, data.validation))
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm import studies
from my_llm.data.batches import batch_indices
from my_llm.data.catalog import Example, TextClassification, load
from my_llm.device import choose_device
from my_llm.schedules import Schedule
from my_llm.studies import check, finish, lines, mean_and_spread
from my_llm.training import Loss, Step, train_steps
from stage1_mlp.models.losses import ClassLoss, cross_entropy
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.studies import StudyConfig, seeds_of, steps_of

__all__ = [
    "Dense", "Scores", "Split", "StudyConfig", "bags_of_words", "evaluate", "figure_path", "finish", "frequent_words",
    "lines", "load_dense", "mean_and_spread", "new_mlp", "seeds_of", "steps_of", "train_dense", "with_unit_variance",
    "words_of",
]  # fmt: skip

figure_path = partial(studies.figure_path, StudyConfig.stage)
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
    words = [words_of(text) for text in texts]
    total = Counter(word for text in words for word in text)
    texts_with = Counter(word for text in words for word in set(text))
    return {word: math.log((1 + len(words)) / (1 + texts_with[word])) + 1 for word, _ in total.most_common(size)}


def bags_of_words(texts: Sequence[str], idf: Mapping[str, float]) -> Float[Tensor, "N V"]:
    """log(1 + count) · idf, each row scaled to length 1; a text without a known word stays all 0."""
    column = {word: v for v, word in enumerate(idf)}
    rows, columns = [], []
    for row, text in enumerate(texts):
        known = [column[word] for word in words_of(text) if word in column]
        rows += [row] * len(known)
        columns += known
    counts = torch.zeros(len(texts), len(idf))
    where = torch.tensor([rows, columns], dtype=torch.long)
    counts.index_put_(tuple(where), torch.ones(len(rows)), accumulate=True)
    x = counts.log1p() * torch.tensor(list(idf.values()))
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=1e-12)


def load_dense(config: StudyConfig, size: int = VOCABULARY) -> Dense:
    """The corpus that the command line names, on the device that it names; vocabulary and idf from its training split.

    Raises:
        ConfigError: fewer than one seed, or bf16: the studies compare in fp32.
    """
    check(config)
    return _load_dense(config.dataset, size, str(choose_device(config.device)))


@lru_cache(maxsize=2)
def _load_dense(dataset: str, size: int, device: str) -> Dense:
    corpus = load(dataset)
    idf = frequent_words((example.text for example in corpus.train), size)

    def split(examples: Sequence[Example]) -> Split:
        x = bags_of_words([example.text for example in examples], idf)
        return Split(x.to(device), torch.tensor([example.label for example in examples], device=device))

    return Dense(corpus, list(idf), split(corpus.train), split(corpus.validation), split(corpus.test))


def with_unit_variance(data: Dense) -> Dense:
    """Rows of length √V in place of 1: the rules for first weights count on inputs with a mean square of 1."""
    scale = len(data.words) ** 0.5
    train, validation, test = (Split(part.x * scale, part.y) for part in (data.train, data.validation, data.test))
    return replace(data, train=train, validation=validation, test=test)


# --- training and scoring ---------------------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Accuracy in percent and mean cross-entropy in nats."""

    accuracy: float
    loss: float


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

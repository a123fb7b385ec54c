"""To sort texts: a GPT that reads from left to right, or an encoder that sees both sides and learns from gaps?

Both have the same size and read the same texts for the same seconds before they see a label: the GPT foretells the next
token, the encoder (stage 4's) says which tokens stood where 15 % were hidden (Devlin et al. 2019, §3.1, without the
tenth of them that BERT leaves or replaces by another). Then both are tuned for the same seconds.
"""

import random
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.data.batches import pad
from my_llm.data.catalog import Example, TextClassification, load
from my_llm.data.corpora.classification import hold_out
from my_llm.errors import DataError
from my_llm.language.batches import Batch, Windows
from my_llm.language.scoring import next_token_loss
from my_llm.studies import check, mean_and_spread
from my_llm.text import GPT2Tokenizer, Tokenizer
from my_llm.training import Loss
from stage4_transformer.models import StackConfig, encoder_of, padding_mask
from stage5_gpt.models import GPT, GPTConfig, classifier_from
from stage5_gpt.studies import StudyConfig, seeds_of, steps_of
from stage5_gpt.studies.common import SHAPE, Row, adamw, best_of, fit, publish

LENGTH, VOCABULARY, LEARNT_FROM = 64, 2000, 300_000  # tokens of a text; of all; characters the tokenizer sees
READING, TUNING = 16.0, 4.0  # seconds of processor time
LABELS = (300, 3000)  # texts with a label
TESTED = 1000
HIDDEN = 0.15
READING_RATE, TUNING_RATE = 0.002, 0.002
MOST = 100_000  # steps; the seconds end sooner
BATCH = 16


class Encoder(nn.Module):
    """Stage 4's encoder with one more token, the gap: `guess` says what stood there, `forward` which class it is."""

    def __init__(self, vocabulary: int, classes: int):
        super().__init__()
        self.gap = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, SHAPE["model"])
        nn.init.normal_(self.embedding.weight, std=0.02)
        sizes = {name: SHAPE[name] for name in ("model", "heads", "layers", "positions")}
        self.encoder = encoder_of(StackConfig(**sizes, hidden=4 * SHAPE["model"], activation="gelu", max_length=LENGTH))
        self.head = nn.Linear(SHAPE["model"], classes)

    def guess(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of what stands at each place."""
        return self.encoder(self.embedding(tokens))[0] @ self.embedding.weight[:-1].T

    def forward(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B C"]:
        """Logits of the classes, from the mean over the tokens of each text."""
        said, _, _ = self.encoder(self.embedding(tokens), padding_mask(lengths, tokens.shape[1]))
        real = torch.arange(tokens.shape[1]) < lengths[:, None]  # (B, T)
        return self.head((said * real[..., None]).sum(dim=1) / lengths[:, None])


def gap_loss(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy at the places that are hidden; another choice of them each time."""
    assert isinstance(model, Encoder)
    hidden = torch.rand(batch.inputs.shape) < HIDDEN
    hidden[:, 0] = True  # at least one
    logits = model.guess(batch.inputs.masked_fill(hidden, model.gap))[hidden]
    return Loss(cross_entropy(logits, batch.inputs[hidden], reduction="sum"), int(hidden.sum()))


class News(NamedTuple):
    """Labelled texts as numbers."""

    corpus: TextClassification
    tokenizer: Tokenizer
    stream: Int[Tensor, "N"]  # all texts to learn from, one after the other, without their labels


def load_news(name: str) -> News:
    """The corpus of that name; "auto": AG News where it can be had, else Python's documentation, and that is said."""
    try:
        corpus = load("ag_news" if name == "auto" else name)
    except DataError as error:
        if name != "auto":
            raise
        print(f"note    {error.what}: python_docs instead")
        corpus = load("python_docs")
    mixed = random.Random(0).sample(corpus.train, len(corpus.train))  # some corpora stand class by class
    texts = [example.text for example in mixed]
    tokenizer = GPT2Tokenizer.train(["\n".join(texts)[:LEARNT_FROM]], VOCABULARY)
    return News(corpus, tokenizer, torch.tensor(tokenizer.encode("\n".join(texts)[: 10 * LEARNT_FROM])))


def some(news: News, count: int) -> list[Example]:
    """About so many texts to learn from, of each class its share."""
    return hold_out(list(news.corpus.train), min(count / len(news.corpus.train), 0.9), "share")[1]


def texts_of(news: News, examples: Sequence[Example]) -> tuple[list[Tensor], Tensor]:
    """The first tokens of each text, and the labels."""
    encoded = [torch.tensor(news.tokenizer.encode(example.text[:400])[:LENGTH]) for example in examples]
    return encoded, torch.tensor([example.label for example in examples])


def read(kind: str, news: News, config: StudyConfig, seed: int, seconds: float) -> tuple[nn.Module, int]:
    """A model that has read for so many seconds, with a head for the classes; and how many steps that were."""
    torch.manual_seed(seed)
    vocabulary, classes = news.tokenizer.vocab_size, len(news.corpus.labels)
    gpt = GPT(GPTConfig(**{**SHAPE, "context": LENGTH}, vocab_size=vocabulary))
    model, loss_fn = (gpt, next_token_loss) if kind == "GPT" else (Encoder(vocabulary, classes), gap_loss)
    windows, steps = Windows(news.stream, BATCH, LENGTH, seed=seed), 0
    if seconds:
        optimizer = adamw(model, READING_RATE)
        learnt = fit(model, windows, loss_fn, steps_of(config, MOST), optimizer=optimizer, within=seconds)
        steps = len(learnt.losses)
    return classifier_from(gpt, classes, 0.0) if kind == "GPT" else model, steps


def tuned(
    model: nn.Module, encoded: Sequence[Tensor], labels: Tensor, config: StudyConfig, seed: int, seconds: float = TUNING
) -> None:
    """Learn from labelled texts for so many seconds."""
    generator = torch.Generator().manual_seed(seed)

    def batch(index: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.randint(len(labels), (BATCH,), generator=generator)
        return *pad([encoded[row] for row in rows.tolist()]), labels[rows]

    def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Loss:
        return Loss(cross_entropy(model(*batch[:2]), batch[2], label_smoothing=0.1, reduction="sum"), BATCH)

    fit(model, batch, loss_fn, steps_of(config, MOST), optimizer=adamw(model, TUNING_RATE), within=seconds)


@torch.inference_mode()
def accuracy(model: nn.Module, encoded: Sequence[Tensor], labels: Tensor) -> float:
    """Percent of the texts that it puts into the right class."""
    found = [model(*pad(list(encoded[start : start + 100]))).argmax(dim=1) for start in range(0, len(encoded), 100)]
    return 100 * float((torch.cat(found) == labels).float().mean())


def encoder(config: StudyConfig) -> None:
    """GPT or an encoder that fills gaps: which sorts texts better, with reading first and without?"""
    check(config)
    started, news, rows = time.perf_counter(), load_news(config.news), []
    test = texts_of(news, news.corpus.test[:TESTED])
    scored: dict[str, dict[str, list[float]]] = {}
    steps: dict[str, int] = {}
    for seed in seeds_of(config):
        for kind in ("GPT", "encoder"):
            for way, seconds in (("from zero", 0.0), ("read first", READING)):
                case, start = f"{kind}, {way}", read(kind, news, config, seed, seconds)
                weights = {name: weight.clone() for name, weight in start[0].state_dict().items()}
                steps[case] = start[1]
                for count in LABELS:
                    start[0].load_state_dict(weights)
                    tuned(start[0], *texts_of(news, some(news, count)), config, seed)
                    scored.setdefault(case, {}).setdefault(f"accuracy_{count}", []).append(accuracy(start[0], *test))
                print(case, scored[case], flush=True)
    for case, columns in scored.items():
        row: Row = {"case": case, "steps": steps[case]}
        for key, values in columns.items():
            row |= mean_and_spread(key, values, 1)
        rows.append(row)
    _publish(config, news, rows, [f"accuracy_{count}" for count in LABELS], started)


def _publish(config: StudyConfig, news: News, rows: list[Row], keys: list[str], started: float) -> None:
    columns = {"steps": "", **{f"{key}{end}": "%" for key in keys for end in ("", "_sd")}}
    publish(
        config, "encoder", news.corpus, rows, columns=columns, draw=keys, started=started,
        title=f"GPT and encoder of one size: {READING:g} s of reading, {TUNING:g} s of tuning, accuracy by labels",
        seen=lambda: "; ".join(best_of(rows, key, most=True) for key in keys),
    )  # fmt: skip

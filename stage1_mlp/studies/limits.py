"""What an MLP cannot do, measured: see the order of words, and read past its last input.

Two ways to give a text to an MLP are compared. The *bag of words* has one input for each word of the vocabulary, and
forgets where the word stood. *Word slots* have a place for the first word, for the second, and so on; they keep the
order, but end at the last slot, and what one slot has learned the next one does not know.
"""

import random
import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm import plots
from my_llm.data.catalog import Example
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.optimizers import Adam
from stage1_mlp.studies.common import (
    Split,
    StudyConfig,
    bags_of_words,
    evaluate,
    figure_path,
    finish,
    frequent_words,
    load_dense,
    mean_and_spread,
    seeds_of,
    steps_of,
    train_dense,
    words_of,
)
from stage1_mlp.studies.drawing import COLORS, save, sheet

FILLERS = "the a big old small loud quiet near with and then garden street morning again behind under while door tree"
COLOURS = ("black", "white", "green", "blue")
READERS = ("bag of words", "word slots")


# --- two ways to read a text ------------------------------------------------------------------------------------------


def slots(texts: Sequence[str], vocabulary: Sequence[str], n: int) -> Int[Tensor, "N n"]:
    """The numbers of the first n words of each text; 0 stands for an unknown word and for "the text has ended"."""
    number = {word: i for i, word in enumerate(vocabulary, 1)}
    rows = [[number.get(word, 0) for word in words_of(text)[:n]] for text in texts]
    return torch.tensor([row + [0] * (n - len(row)) for row in rows])


class SlotMLP(nn.Module):
    """An MLP that reads the embeddings of n words side by side: n times `width` inputs, one place for each position."""

    def __init__(self, words: int, n: int, outputs: int, width: int = 16):
        super().__init__()
        self.embedding = nn.Parameter(0.3 * torch.randn(words + 1, width))
        self.mlp = MLP(MLPConfig(n * width, (64,), outputs))

    def forward(self, tokens: Int[Tensor, "B n"]) -> Float[Tensor, "B C"]:
        return self.mlp(self.embedding[tokens].flatten(start_dim=1))


def scores(
    config: StudyConfig, reader: str, n: int, train: Sequence[Example], tests: Sequence[Sequence[Example]], seed: int
) -> list[float]:
    """Accuracy (%) on each test set, after training on `train`; n is the number of word slots."""
    idf = frequent_words((example.text for example in train), 2000)

    def split(examples: Sequence[Example]) -> Split:
        texts = [example.text for example in examples]
        x = bags_of_words(texts, idf) if reader == "bag of words" else slots(texts, list(idf), n)
        return Split(x, torch.tensor([example.label for example in examples]))

    torch.manual_seed(seed)
    outputs = 1 + max(example.label for example in train)
    model = MLP(MLPConfig(len(idf), (64,), outputs)) if reader == "bag of words" else SlotMLP(len(idf), n, outputs)
    optimizer = Adam(model.parameters(), 0.002)
    for _ in train_dense(model, split(train), optimizer, max_steps=steps_of(config, 1000), seed=seed):
        pass
    return [evaluate(model, split(test)).accuracy for test in tests]


# --- order ------------------------------------------------------------------------------------------------------------


def shuffled(examples: Sequence[Example], rng: random.Random) -> list[Example]:
    """The same texts with their words in random order."""
    return [Example(" ".join(rng.sample(words := words_of(text), len(words))), label) for text, label in examples]


def who_comes_first(pairs: int, rng: random.Random) -> list[Example]:
    """Sentences of 8 words with a dog and a man; class 0: the dog comes first, 1: the man.

    Each sentence stands beside its twin, in which dog and man have changed places: same words, other answer.
    """
    examples = []
    for _ in range(pairs):
        words = rng.choices(FILLERS.split(), k=8)
        i, j = sorted(rng.sample(range(8), 2))
        for label, (first, second) in enumerate((("dog", "man"), ("man", "dog"))):
            sentence = [*words[:i], first, *words[i + 1 : j], second, *words[j + 1 :]]
            examples.append(Example(" ".join(sentence), label))
    return examples


def word_order(config: StudyConfig) -> None:
    """Does an MLP notice that the words of the test texts have been shuffled?"""
    started = time.perf_counter()
    corpus = load_dense(config).corpus
    rng = random.Random(config.seed)
    tasks = {
        corpus.name: (corpus.train, corpus.test),
        "who comes first": (who_comes_first(4000, rng), who_comes_first(1000, rng)),
    }
    rows = []
    for task, (train, test) in tasks.items():
        tests = [test, shuffled(test, rng)]
        for reader in READERS:
            runs = [scores(config, reader, 32, train, tests, seed) for seed in seeds_of(config)]
            as_written, in_disorder = zip(*runs, strict=True)
            spread = {**mean_and_spread("as_written", as_written), **mean_and_spread("shuffled", in_disorder)}
            rows.append({"case": f"{task} {reader}", **spread})
    draw_word_order(rows, list(tasks), chances=[100 / len(corpus.labels)] * 2 + [50.0] * 2)
    bag, _, first_bag, first_slots = rows
    finish(
        config,
        "word_order",
        title="Accuracy on test texts as written and with their words shuffled",
        columns=dict.fromkeys(["as_written", "as_written_sd", "shuffled", "shuffled_sd"], "%"),
        rows=rows,
        seen=f"shuffling {corpus.name} changes the bag of words by {bag['shuffled'] - bag['as_written']:+.1f} points: "
        f"it cannot see order; asked who comes first it scores {first_bag['as_written']:.1f} %, word slots "
        f"{first_slots['as_written']:.1f} %",
        started=started,
        corpus=corpus,
    )


def draw_word_order(rows: Sequence[dict], tasks: Sequence[str], chances: Sequence[float]) -> None:
    """For each task and reader one bar for the texts as written and one for the shuffled ones."""
    figure, (chart,) = sheet(1, width=7.5, title="A bag of words cannot see order")
    for shift, key, color in ((-0.2, "as_written", COLORS[0]), (0.2, "shuffled", COLORS[1])):
        heights = [row[key] for row in rows]
        bars = chart.bar(np.arange(len(rows)) + shift, heights, 0.38, color=color, label=key.replace("_", " "))
        chart.bar_label(bars, fmt="%.1f", padding=2)
    for place, chance in enumerate(chances):
        chart.plot([place - 0.45, place + 0.45], [chance] * 2, "k--", linewidth=1, label="" if place else "guessing")
    chart.set_xticks(range(len(rows)), [f"{task}\n{reader}" for task in tasks for reader in READERS])
    chart.set(ylabel="test accuracy (%)", ylim=(0, 108))
    chart.grid(visible=False, axis="x")
    figure.legend(ncols=3, loc="outside lower center", frameon=False)
    save(figure, "word_order")


# --- longer inputs ----------------------------------------------------------------------------------------------------


def find_the_colour(positions: Sequence[int], rng: random.Random, length: int = 16) -> list[Example]:
    """For each position one sentence of 16 words, all of them fillers but one colour, which is the class."""
    examples = []
    for position in positions:
        words, label = rng.choices(FILLERS.split(), k=length), rng.randrange(len(COLOURS))
        words[position] = COLOURS[label]
        examples.append(Example(" ".join(words), label))
    return examples


def long_inputs(config: StudyConfig) -> None:
    """Can an MLP with 8 word slots use a word that stands further back, or where none stood in training?"""
    started = time.perf_counter()
    rng = random.Random(config.seed)
    tests = [find_the_colour([position] * 500, rng) for position in range(16)]
    cases = {
        "word slots 1-8": ("word slots", 8),
        "word slots 1-4": ("word slots", 4),
        "bag of words 1-4": ("bag of words", 4),
    }
    rows, curves = [], {}
    for case, (reader, last) in cases.items():
        train = find_the_colour([i % last for i in range(4000)], rng)
        runs = np.array([scores(config, reader, 8, train, tests, seed) for seed in seeds_of(config)])  # (seeds, 16)
        curves[f"{reader}, learned on 1-{last}"] = (list(range(1, 17)), runs.mean(axis=0).tolist())
        parts = {"at_1_4": runs[:, :4], "at_5_8": runs[:, 4:8], "at_9_16": runs[:, 8:]}
        row = {"case": case}
        for name, part in parts.items():
            row |= mean_and_spread(name, part.mean(axis=1).tolist())
        rows.append(row)
    plots.curves(
        curves,
        figure_path("long_inputs"),
        title="Each of 8 word slots learns for itself, and the ninth word has none",
        xlabel="position of the word that decides",
        ylabel="test accuracy (%), guessing: 25",
    )
    wide, narrow, bag = rows
    finish(
        config,
        "long_inputs",
        title="Accuracy by where the one word that decides stands: in training (case), in the test (column)",
        columns={key: "%" for key in rows[0] if key != "case"},
        rows=rows,
        seen=f"8 slots score {wide['at_1_4']:.1f} % on the first words and {wide['at_9_16']:.1f} % past "
        f"the eighth; slots that held no colour in training stay at {narrow['at_5_8']:.1f} %; the bag finds it "
        f"anywhere ({bag['at_9_16']:.1f} %)",
        started=started,
    )

"""Four kinds of tasks and one network: what differs is the output layer, the loss, and what an answer looks like.

regression       a number             how many words has this text, if its bag of words is all that is known?
classification   one of a few         which class has it?
generation       one of the alphabet  which character comes next? Asked again and again, it writes a text
structure        one for each word    which words had a capital letter before all were made small?
"""

import re
import statistics
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from my_llm.metrics import perplexity
from my_llm.schedules import cosine
from stage1_mlp.models.losses import ClassLoss, cross_entropy, squared_error
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.optimizers import Adam
from stage1_mlp.studies.common import (
    Dense,
    Split,
    StudyConfig,
    evaluate,
    finish,
    load_dense,
    mean_and_spread,
    seeds_of,
    steps_of,
    train_dense,
    words_of,
)
from stage1_mlp.studies.drawing import save, sheet
from stage1_mlp.studies.limits import SlotMLP

CHARACTERS = 12  # that the writer sees
BAG_RATE, WINDOW_RATE = 0.0007, 0.01
TAGS = ("small", "Capital", "CAPITALS")


class Answer(NamedTuple):
    """Scores on test texts, of the best answer that ignores the input and of the network; and something to draw."""

    guess: float
    score: float
    shown: Any


def fit(
    config: StudyConfig, model: nn.Module, split: Split, seed: int, rate: float, loss: ClassLoss = cross_entropy
) -> None:
    """The same training for all four, but for the learning rate: a bag of words overfits where windows still learn."""
    steps = steps_of(config, 1500)
    optimizer, schedule = Adam(model.parameters(), rate), cosine(steps, steps // 20)
    run = train_dense(model, split, optimizer, max_steps=steps, seed=seed, loss=loss, batch_size=256, schedule=schedule)
    for _ in run:
        pass


@torch.no_grad()
def regression(config: StudyConfig, data: Dense, seed: int) -> Answer:
    """Output: one number. Loss: its squared error. Score: how many words the answer is off, on average."""
    train, test = (
        torch.tensor([[float(len(words_of(example.text)))] for example in part])
        for part in (data.corpus.train, data.corpus.test)
    )
    centre, scale = train.mean(), train.std()
    model = MLP(MLPConfig(len(data.words), (64,), 1))
    with torch.enable_grad():
        fit(config, model, Split(data.train.x, (train - centre) / scale), seed, BAG_RATE, squared_error)
    predicted = model(data.test.x) * scale + centre
    return Answer(
        float((test - train.median()).abs().mean()), float((test - predicted).abs().mean()), (test, predicted)
    )


def classification(config: StudyConfig, data: Dense, seed: int) -> Answer:
    """Output: a probability for each class. Loss: cross-entropy. Score: the share of right answers in percent."""
    model = MLP(MLPConfig(len(data.words), (64,), len(data.corpus.labels)))
    fit(config, model, data.train, seed, BAG_RATE)
    most_frequent = int(data.train.y.mode().values)
    p = model(data.test.x[:1]).detach().softmax(dim=1)[0]
    guess = 100 * float((data.test.y == most_frequent).float().mean())
    return Answer(guess, evaluate(model, data.test).accuracy, dict(zip(data.corpus.labels, p.tolist(), strict=True)))


def windows(text: str, alphabet: str) -> Split:
    """Every run of 12 characters and the character after it, as numbers; other characters are left out."""
    number = {character: i for i, character in enumerate(alphabet, 1)}
    ids = torch.tensor([number[character] for character in text if character in number])
    return Split(ids[:-1].unfold(0, CHARACTERS, 1), ids[CHARACTERS:])


def generation(config: StudyConfig, data: Dense, seed: int) -> Answer:
    """Output: a probability for each character. Loss: cross-entropy. Score: perplexity per character."""
    text, other = (
        " ".join(example.text for example in part)[:400_000] for part in (data.corpus.train, data.corpus.test)
    )
    alphabet = "".join(character for character, _ in Counter(text).most_common(80))
    train, test = windows(text, alphabet), windows(other[:50_000], alphabet)
    model = SlotMLP(len(alphabet), CHARACTERS, len(alphabet) + 1)
    fit(config, model, train, seed, WINDOW_RATE)
    frequency = torch.bincount(train.y, minlength=len(alphabet) + 1) + 1.0
    surprise = -(frequency / frequency.sum()).log()[test.y]
    guess = perplexity(float(surprise.sum()), len(test.y))
    score = perplexity(evaluate(model, test).loss * len(test.y), len(test.y))
    return Answer(guess, score, write(model, test.x[0], alphabet, 200))


@torch.no_grad()
def write(model: nn.Module, start: Tensor, alphabet: str, length: int) -> str:
    """Draw one character after the other, each from the network's probabilities after the 12 before it."""
    rng, tokens = torch.Generator().manual_seed(0), start
    for _ in range(length):
        p = model(tokens[None, -CHARACTERS:])[0, 1:].softmax(dim=0)  # number 0 stands for no character
        tokens = torch.cat([tokens, 1 + torch.multinomial(p, 1, generator=rng)])
    return "".join(alphabet[i - 1] for i in tokens.tolist())


def tagged_words(texts: Sequence[str], words: Sequence[str]) -> list[Split]:
    """For each text the number of every word with those of its two neighbours on each side, and its tag.

    All letters are small in what the network sees; the tag says how the word was written.
    """
    number = {word: i for i, word in enumerate(words, 1)}
    splits = []
    for text in texts:
        written = re.findall(r"[\w']+", text)
        ids = [0, 0, *(number.get(word.lower(), 0) for word in written), 0, 0]
        splits.append(Split(torch.tensor(ids).unfold(0, 5, 1), torch.tensor([tag(word) for word in written])))
    return splits


def tag(word: str) -> int:
    """0: all small (or no letters), 1: begins with a capital, 2: two or more letters, all of them capitals."""
    return 2 if word.isupper() and len(word) > 1 else int(word[:1].isupper())


def structure(config: StudyConfig, data: Dense, seed: int) -> Answer:
    """Output: three probabilities for each word. Loss: cross-entropy, summed over words. Score: right tags (%)."""
    train_texts, test_texts = (
        [example.text for example in part[:5000] if words_of(example.text)]
        for part in (data.corpus.train, data.corpus.test)
    )
    train, test = tagged_words(train_texts, data.words), tagged_words(test_texts, data.words)
    model = SlotMLP(len(data.words), 5, len(TAGS))
    fit(config, model, joined(train), seed, WINDOW_RATE)
    whole = 100 * statistics.fmean(evaluate(model, sentence).accuracy == 100 for sentence in test)
    answer = joined(test)
    guess = 100 * float((answer.y == answer.y.mode().values).float().mean())
    guessed = model(test[0].x).argmax(dim=1).tolist()
    spelled = [(word.lower(), word.capitalize(), word.upper())[t] for word, t in zip(words_of(test_texts[0]), guessed)]
    return Answer(guess, evaluate(model, answer).accuracy, (words_of(test_texts[0]), spelled, whole))


def joined(splits: Sequence[Split]) -> Split:
    """Several splits as one."""
    return Split(torch.cat([split.x for split in splits]), torch.cat([split.y for split in splits]))


# Task → how to train it, number of outputs, loss, what the score means.
TASKS = {
    "regression": (regression, "1", "squared error", "words off"),
    "classification": (classification, "classes", "cross-entropy", "% of classes right"),
    "generation": (generation, "characters", "cross-entropy", "perplexity per character"),
    "structure": (structure, "3 per word", "cross-entropy", "% of tags right"),
}


def tasks(config: StudyConfig) -> None:
    """What changes when the same network shall give a number, a class, a text, a tag for every word?"""
    started = time.perf_counter()
    data = load_dense(config)
    rows, shown = [], {}
    for case, (learn, outputs, loss, measure) in TASKS.items():
        answers = []
        for seed in seeds_of(config):
            torch.manual_seed(seed)
            answers.append(learn(config, data, seed))
        shown[case] = answers[0].shown
        scores = mean_and_spread("score", [answer.score for answer in answers])
        guess = round(answers[0].guess, 2)
        rows.append({"case": case, "outputs": outputs, "loss": loss, "measure": measure, "guess": guess, **scores})
    draw_tasks(rows, shown, data)
    number, classes, text, tags = rows
    finish(
        config,
        "tasks",
        title="One hidden layer of 64, four kinds of answers; guess: the best answer that ignores the input",
        columns=dict.fromkeys(["outputs", "loss", "measure", "guess", "score", "score_sd"], ""),
        rows=rows,
        seen=f"against the best blind guess: {number['score']:.1f} words off in place of {number['guess']:.1f}, "
        f"{classes['score']:.1f} % of classes in place of {classes['guess']:.1f} %, a choice among {text['score']:.1f} "
        f"characters in place of {text['guess']:.1f}, {tags['score']:.1f} % of tags in place of {tags['guess']:.1f} % "
        f"(but {shown['structure'][2]:.1f} % of texts without a wrong tag)",
        started=started,
        corpus=data.corpus,
    )


def draw_tasks(rows: Sequence[dict], shown: dict[str, Any], data: Dense) -> None:
    """One panel for each task, with an answer of the kind that it asks for."""
    figure, panels = sheet(4, width=3.1, height=3.3, title="One network, four kinds of answers")
    for panel, row in zip(panels, rows, strict=True):
        panel.set_title(f"{row['case']}\n{row['score']:.1f} {row['measure']}")
    number, classes, text, tags = panels
    truth, predicted = shown["regression"]
    number.plot(truth, predicted, ".", markersize=2, alpha=0.4)
    reach = float(np.quantile(truth, 0.99))
    number.plot([0, reach], [0, reach], "k--", linewidth=1)
    number.set(xlabel="words in the text", ylabel="answer", xlim=(0, reach), ylim=(0, reach))
    classes.barh(list(shown["classification"]), [100 * p for p in shown["classification"].values()])
    headline = textwrap.shorten(data.corpus.test[0].text, 36, placeholder=" …")
    classes.set_xlabel(f'probability (%) for "{headline}"', parse_math=False)
    written = shown["generation"]
    write_into(text, f"given:\n{written[:CHARACTERS]}\n\nwritten by the network:\n{written[CHARACTERS:]}")
    small, spelled, _ = shown["structure"]
    write_into(tags, f"given:\n{' '.join(small[:18])}\n\nanswer:\n{' '.join(spelled[:18])}")
    save(figure, "tasks")


def write_into(chart: Any, text: str) -> None:
    """A panel of text."""
    chart.axis("off")
    wrapped = "\n".join(textwrap.fill(part, 32) for part in text.split("\n"))
    chart.text(
        0, 0.98, wrapped, va="top", fontsize=8.5, family="monospace", parse_math=False, transform=chart.transAxes
    )

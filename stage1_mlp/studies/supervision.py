"""Four ways to learn a class when labels are few: labels alone, all texts and few labels, own guesses, or a reward.

supervised        the labelled texts, each with its class
self-supervised   first learn from all texts, without labels, to name the words of a text of which half are hidden;
                  then train the classifier on that hidden layer, which stays as it is (Vincent et al., 2008)
semi-supervised   label the other texts with a classifier trained on the few, and train on both (Lee, 2013)
reinforcement     nobody says the class: the network tries one and is paid 1 if it is right (Williams, 1992)
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm import plots
from stage1_mlp.models.layers import Dropout
from stage1_mlp.models.losses import ClassLoss, cross_entropy, log_softmax
from stage1_mlp.models.mlp import MLP, MLPConfig
from stage1_mlp.models.optimizers import Adam
from stage1_mlp.studies.common import (
    Dense,
    Split,
    StudyConfig,
    evaluate,
    figure_path,
    finish,
    load_dense,
    mean_and_spread,
    new_mlp,
    seeds_of,
    steps_of,
    train_dense,
)

LABELS = (10, 30, 100, 300, 1000)  # labelled texts of each class
HIDDEN = 128
STEPS, PRETRAINING_STEPS = 400, 600
BATCH = 40  # divides the number of labelled texts of four classes, so that none is left out
CONFIDENT = 0.9  # a guess that sure is taken for a label


def few_labels(train: Split, per_class: int, seed: int) -> Split:
    """`per_class` random examples of each class, in random order; all of a class that has fewer."""
    order = torch.randperm(len(train.y), generator=torch.Generator().manual_seed(seed)).to(train.y.device)
    rows = torch.cat([order[train.y[order] == label][:per_class] for label in train.y.unique()])
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    return Split(train.x[rows], train.y[rows])


def train(config: StudyConfig, model: MLP, split: Split, seed: int, loss: ClassLoss = cross_entropy) -> MLP:
    """The same steps for all."""
    optimizer, steps = Adam(model.parameters(), 0.002), steps_of(config, STEPS)
    for _ in train_dense(model, split, optimizer, max_steps=steps, seed=seed, loss=loss, batch_size=BATCH):
        pass
    return model


def supervised(config: StudyConfig, data: Dense, labelled: Split, seed: int) -> MLP:
    """The right class of each labelled text is known; the other texts are not used."""
    return train(config, new_mlp(data, seed, hidden=(HIDDEN,)), labelled, seed)


def words_of_text(logits: Float[Tensor, "B V"], bag: Float[Tensor, "B V"]) -> Float[Tensor, "B"]:
    """The mean surprise at the words of a text: cross-entropy with V classes and, as labels, the text itself."""
    present = (bag > 0).float()
    return -(present * log_softmax(logits)).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def pretrain(config: StudyConfig, data: Dense, seed: int) -> MLP:
    """Words in, words out: dropout hides half of the words of a text, and the network has to name them all."""
    torch.manual_seed(seed)
    words = len(data.words)
    model = MLP(MLPConfig(words, (HIDDEN,), words)).to(data.train.x.device)
    puzzle = torch.nn.Sequential(Dropout(0.5), model)
    texts = Split(data.train.x, data.train.x)  # no label is looked at
    optimizer, steps = Adam(model.parameters(), 0.002), steps_of(config, PRETRAINING_STEPS)
    for _ in train_dense(puzzle, texts, optimizer, max_steps=steps, seed=seed, loss=words_of_text):
        pass
    return model


def self_supervised(config: StudyConfig, data: Dense, labelled: Split, seed: int, pretrained: MLP) -> MLP:
    """A new output layer on a hidden layer that has seen all texts and is not trained any further."""
    model = new_mlp(data, seed, hidden=(HIDDEN,))
    model.hidden.load_state_dict(pretrained.hidden.state_dict())
    model.hidden.requires_grad_(False)
    return train(config, model, labelled, seed)


@torch.no_grad()
def confident_guesses(teacher: MLP, texts: Float[Tensor, "N V"]) -> Split:
    """The texts whose class the teacher gives a probability of at least 0.9, and that class."""
    probability, guess = teacher(texts).softmax(dim=1).max(dim=1)
    sure = probability >= CONFIDENT
    return Split(texts[sure], guess[sure])


def semi_supervised(config: StudyConfig, data: Dense, labelled: Split, seed: int) -> MLP:
    """A teacher learns from the labels, and a student from the labels and the teacher's confident guesses."""
    guessed = confident_guesses(supervised(config, data, labelled, seed), data.train.x)
    both = Split(torch.cat([labelled.x, guessed.x]), torch.cat([labelled.y, guessed.y]))
    return train(config, new_mlp(data, seed, hidden=(HIDDEN,)), both, seed)


def reward_only(logits: Float[Tensor, "B C"], target: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
    """REINFORCE: try a class by chance; make it likelier if the reward was above the mean, else less likely.

    `target` is used for nothing but the reward, 1 or 0. The gradient is an unbiased, noisy one of the expected reward.
    """
    log_p = log_softmax(logits)
    tried = torch.multinomial(log_p.exp().detach(), 1)  # (B, 1)
    reward = (tried[:, 0] == target).float()
    return -(reward - reward.mean()) * log_p.gather(1, tried)[:, 0]


def reinforcement(config: StudyConfig, data: Dense, labelled: Split, seed: int) -> MLP:
    """The same texts and steps as `supervised`, but the right class is never told."""
    return train(config, new_mlp(data, seed, hidden=(HIDDEN,)), labelled, seed, loss=reward_only)


def supervision(config: StudyConfig) -> None:
    """What does each way of learning make of 10 … 1,000 labelled texts of each class?"""
    started = time.perf_counter()
    data = load_dense(config)
    ways: dict[str, Callable[..., MLP]] = {
        "supervised": supervised,
        "self-supervised": self_supervised,
        "semi-supervised": semi_supervised,
        "reinforcement": reinforcement,
    }
    accuracies: dict[tuple[str, int], list[float]] = {(way, labels): [] for way in ways for labels in LABELS}
    for seed in seeds_of(config):
        ways["self-supervised"] = partial(self_supervised, pretrained=pretrain(config, data, seed))
        for way, labels in accuracies:
            labelled = few_labels(data.train, labels, seed)
            accuracies[way, labels].append(evaluate(ways[way](config, data, labelled, seed), data.test).accuracy)
    rows: list[dict] = [{"case": f"{labels} labels"} for labels in LABELS]
    for row, labels in zip(rows, LABELS, strict=True):
        for way in ways:
            row |= mean_and_spread(way.replace("-", "_"), accuracies[way, labels])
    plots.curves(
        {way: (list(LABELS), [float(np.mean(accuracies[way, labels])) for labels in LABELS]) for way in ways},
        figure_path("supervision"),
        title="What a label is worth depends on what else one learns from",
        xlabel="labelled texts of each class",
        ylabel="test accuracy (%)",
        log_x=True,
    )
    few, many = ({way: row[way.replace("-", "_")] for way in ways} for row in (rows[0], rows[-1]))
    finish(
        config,
        "supervision",
        title="Test accuracy by number of labelled texts of each class",
        columns={key: "%" for key in rows[0] if key != "case"},
        rows=rows,
        seen=f"with {LABELS[0]} labels a class, then with {LABELS[-1]}: "
        + ", ".join(f"{way} {few[way]:.1f} % then {many[way]:.1f} %" for way in ways),
        started=started,
        corpus=data.corpus,
    )

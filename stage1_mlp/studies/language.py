"""The next word as a large classification: Bengio's MLP against counting, on real text.

Words are lower-case runs of letters, digits and apostrophes; the end of a text counts as a word. The vocabulary is the
most frequent words of the training texts; every other word is read, predicted and scored as <unk>, one word of its
own, which is easier than the word that stood there. So a perplexity holds for this vocabulary and this rule only.
"""

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from my_llm.data.catalog import Example
from my_llm.metrics import perplexity
from my_llm.schedules import cosine
from stage1_mlp.models.language_model import MLPLanguageModel, MLPLanguageModelConfig, next_token_examples
from stage1_mlp.models.losses import cross_entropy
from stage1_mlp.models.optimizers import Adam
from stage1_mlp.studies.common import (
    Split,
    StudyConfig,
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

VOCABULARY = 5000
UNKNOWN, END = 0, 1
CONTEXTS = (1, 2, 4, 8)
SCORED_TEXTS = 600
LAMBDAS = np.linspace(0.05, 0.95, 19)


def tokens_of(examples: Sequence[Example], words: Sequence[str]) -> Int[Tensor, "T"]:
    """All texts end to end as numbers: 0 for <unk>, 1 for the end of a text, the words from 2."""
    number = {word: i for i, word in enumerate(words, 2)}
    stream = [END]
    for example in examples:
        stream += [number.get(word, UNKNOWN) for word in words_of(example.text)] + [END]
    return torch.tensor(stream)


# --- counting ---------------------------------------------------------------------------------------------------------


def unigram(train: Int[ndarray, "N"], words: int) -> Float[ndarray, "V"]:
    """p(w) = (count + 1) / (T + V)."""
    counts = np.bincount(train, minlength=words) + 1.0
    return counts / counts.sum()


def bigram_shares(train: Int[ndarray, "N"], tokens: Int[ndarray, "T"]) -> Float[ndarray, "T-1"]:
    """How often, in the training text, each word of `tokens` followed the one before: count(v w) / count(v)."""
    pairs, firsts = Counter(zip(train.tolist(), train[1:].tolist())), Counter(train[:-1].tolist())
    return np.array([pairs[v, w] / max(1, firsts[v]) for v, w in zip(tokens.tolist(), tokens[1:].tolist())])


def counted(
    train: Int[ndarray, "N"], validation: Int[ndarray, "M"], test: Int[ndarray, "T"], words: int
) -> dict[str, Float[ndarray, "T-1"]]:
    """The probability of every word of `test` but the first: uniform, unigram, and the mixture

        bigram: λ · count(v w) / count(v) + (1 - λ) p(w), λ chosen on the validation text,

    as in Jelinek & Mercer, 1980; without p(w) a pair never seen would be impossible.
    """
    p = unigram(train, words)

    def bigram(tokens: ndarray, weight: float) -> ndarray:
        return weight * bigram_shares(train, tokens) + (1 - weight) * p[tokens[1:]]

    best = min(LAMBDAS, key=lambda weight: perplexity_of(bigram(validation, weight)))
    return {"uniform": np.full(len(test) - 1, 1 / words), "unigram": p[test[1:]], "bigram": bigram(test, best)}


def perplexity_of(probabilities: Float[ndarray, "N"]) -> float:
    """Perplexity per word from the probability that each word was given."""
    return perplexity(-float(np.log(probabilities).sum()), len(probabilities))


# --- learning ---------------------------------------------------------------------------------------------------------


def train_language_model(config: StudyConfig, train: Tensor, words: int, context: int, seed: int) -> MLPLanguageModel:
    """Windows of `context` words and the word after them: a classification with as many classes as words.

    The first biases are the log frequencies of the words and the first weights are small: the network begins as a
    unigram model and spends no step on learning what counting knows.
    """
    torch.manual_seed(seed)
    model = MLPLanguageModel(MLPLanguageModelConfig(words, context, embedding=32, hidden=64))
    with torch.no_grad():
        model.output.bias.copy_(torch.from_numpy(np.log(unigram(train.numpy(), words))))
        model.output.weight.mul_(0.1)
        model.embedding.mul_(0.1)
    steps = steps_of(config, 2000)
    schedule, optimizer = cosine(steps, steps // 20), Adam(model.parameters(), 0.01)
    examples = Split(*next_token_examples(train, context))
    for _ in train_dense(model, examples, optimizer, max_steps=steps, seed=seed, batch_size=128, schedule=schedule):
        pass
    return model


@torch.no_grad()
def learned(model: MLPLanguageModel, tokens: Int[Tensor, "T"]) -> Float[ndarray, "T-1"]:
    """The probability of every word of `tokens` but the first; before the first the context is filled with ends."""
    context = model.config.context
    windows, targets = next_token_examples(torch.cat([torch.full((context - 1,), END), tokens]), context)
    batches = zip(windows.split(4096), targets.split(4096), strict=True)
    return torch.cat([(-cross_entropy(model(x), y).double()).exp() for x, y in batches]).numpy()


# --- the study --------------------------------------------------------------------------------------------------------


def next_token(config: StudyConfig) -> None:
    """Between how many words does each model hesitate, and does a longer context help the MLP?"""
    started = time.perf_counter()
    corpus = load_dense(config).corpus
    words = list(frequent_words((example.text for example in corpus.train), VOCABULARY))
    classes = len(words) + 2
    parts = (corpus.train, corpus.validation, corpus.test[:SCORED_TEXTS])
    train, validation, test = (tokens_of(part, words) for part in parts)
    counts = counted(train.numpy(), validation.numpy(), test.numpy(), classes)
    rows = [{"case": case, **mean_and_spread("perplexity", [perplexity_of(p)], 1)} for case, p in counts.items()]
    model = None
    for context in CONTEXTS:
        alone, mixed = [], []
        for seed in seeds_of(config):
            model = train_language_model(config, train, classes, context, seed)
            p = learned(model, test)
            alone.append(perplexity_of(p))
            mixed.append(perplexity_of((p + counts["bigram"]) / 2))
        for case, found in (("MLP", alone), ("MLP and bigram", mixed)):
            rows.append({"case": f"{case} {context}", "context": context, **mean_and_spread("perplexity", found, 1)})
    assert model is not None
    draw_next_token(rows, model, train, ["<unk>", "<end>", *words])
    alone, mixed = (min(kind, key=lambda row: row["perplexity"]) for kind in (rows[3::2], rows[4::2]))
    unknown = 100 * float((test[1:] == UNKNOWN).float().mean())
    finish(
        config,
        "next_token",
        title=f"Perplexity per word on {len(test) - 1:,} test words ({unknown:.1f} % <unk>), {classes:,} classes",
        columns={"context": "words", "perplexity": "", "perplexity_sd": ""},
        rows=rows,
        seen=f"choices among {classes:,} words: unigram counts {rows[1]['perplexity']:.0f}, bigram counts "
        f"{rows[2]['perplexity']:.0f}, the best MLP ({alone['context']} words) {alone['perplexity']:.0f}, the mean of "
        f"MLP and bigram ({mixed['context']} words) {mixed['perplexity']:.0f}",
        started=started,
        corpus=corpus,
    )


@torch.no_grad()
def draw_next_token(rows: Sequence[dict], model: MLPLanguageModel, train: Tensor, words: Sequence[str]) -> None:
    """Left: perplexity by context. Right: the likeliest of all classes after the most frequent context."""
    figure, (left, right) = sheet(2, width=4.6, title="The next word is a class like any other")
    for row, color in zip(rows[1:3], COLORS[2:]):
        left.axhline(row["perplexity"], color=color, linestyle="--", label=f"{row['case']} counts")
    for label, kind, color in (("MLP", rows[3::2], COLORS[0]), ("mean of MLP and bigram", rows[4::2], COLORS[1])):
        found, spread = [row["perplexity"] for row in kind], [row["perplexity_sd"] for row in kind]
        left.errorbar(CONTEXTS, found, spread, color=color, marker="o", capsize=3, label=label)
    left.set(xlabel="words of context", ylabel="perplexity per word (test)", xscale="log", ylim=(150, 560))
    left.set_xticks(CONTEXTS, [str(context) for context in CONTEXTS])
    left.minorticks_off()
    left.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.9))
    windows = train.unfold(0, model.config.context, 1)
    seen = Counter(map(tuple, windows[(windows > END).all(dim=1)].tolist()))
    context = torch.tensor(max(seen, key=lambda window: seen[window]))
    p, likeliest = model(context[None])[0].softmax(dim=0).topk(10)
    right.barh([words[i] for i in likeliest.tolist()], (100 * p).tolist(), color=COLORS[0])
    right.invert_yaxis()
    right.set(title=f'after "… {" ".join(words[int(i)] for i in context[-4:])}"', xlabel="probability of the class (%)")
    save(figure, "next_token")

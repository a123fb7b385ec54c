"""Topics and sentiment: a GPT that has read first, and one that begins at zero, by the number of labelled texts."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from my_llm.classification import first_and_last
from my_llm.data.catalog import Example
from my_llm.language.batches import Windows
from my_llm.language.scoring import next_token_loss
from my_llm.studies import check, mean_and_spread, together
from stage1_mlp.models import Bags, naive_bayes
from stage5_gpt.models import GPT, GPTConfig, classifier_from, freeze
from stage5_gpt.studies import StudyConfig, encoder, seeds_of, steps_of
from stage5_gpt.studies.common import QUICK, Row, fit, publish
from stage5_gpt.studies.encoder import News, accuracy, some, tuned
from stage5_gpt.studies.recipes import muon

TASKS = {"topics": "ag_news", "sentiment": "movie_reviews"}
SHAPE = {**QUICK, "layers": 2, "heads": 4, "model": 128, "positions": "rotary"}
LENGTH = 128  # tokens of a text: of a long one its beginning and its end
LABELS = (100, 1000)  # texts with a label
READING, TUNING = 60.0, 10.0  # seconds of processor time
BATCH, TESTED = 16, 400
RATE = 0.004
MOST = 100_000  # steps; the seconds end sooner
WAYS = {"from zero": (0.0, 0), "read first": (READING, 0), "read first, the head alone tuned": (READING, 2)}


def texts_of(news: News, examples: Sequence[Example]) -> tuple[list[Tensor], Tensor]:
    """The tokens of each text, and the labels."""
    encoded = [torch.tensor(first_and_last(news.tokenizer.encode(one.text), LENGTH)) for one in examples]
    return encoded, torch.tensor([one.label for one in examples])


def bags_of(encoded: Sequence[Tensor], words: int) -> Bags:
    """How often each token stands in each text."""
    return Bags.pack(((ids.tolist(), number.tolist()) for ids, number in
                      (text.unique(return_counts=True) for text in encoded)), words)  # fmt: skip


def counted(news: News) -> Row:
    """Stage 1's naive Bayes, which counts the same tokens and knows no order."""
    row: Row = {}
    encoded, labels = texts_of(news, news.corpus.test[:TESTED])
    for count in LABELS:
        bags, words = texts_of(news, some(news, count)), news.tokenizer.vocab_size
        model = naive_bayes(bags_of(bags[0], words), bags[1], len(news.corpus.labels))
        right = (model.predict(bags_of(encoded, words)) == labels).float().mean()
        row[f"accuracy_{count}"] = round(100 * float(right), 1)
    return row


def read(news: News, config: StudyConfig, seed: int) -> GPT:
    """A GPT that has read the texts to learn from, without their labels."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**SHAPE, context=LENGTH, vocab_size=news.tokenizer.vocab_size))
    windows = Windows(news.stream, BATCH, LENGTH, seed=seed)
    fit(model, windows, next_token_loss, steps_of(config, MOST), optimizer=muon(model, RATE), within=READING)
    return model


def sorting(config: StudyConfig) -> None:
    """Is a GPT that has read the texts better at their topics, or their sentiment, than one that begins at zero?"""
    check(config)
    started, rows = time.perf_counter(), list[Row]()
    texts = {task: encoder.load_news(corpus) for task, corpus in TASKS.items()}
    for task, news in texts.items():
        test, classes = texts_of(news, news.corpus.test[:TESTED]), len(news.corpus.labels)
        rows.append({"case": f"{task}: naive Bayes", **counted(news)})
        scored: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
        for seed in seeds_of(config):
            ready = read(news, config, seed)
            for way, (seconds, frozen) in WAYS.items():
                for count in LABELS:
                    torch.manual_seed(seed)
                    model = classifier_from(ready if seconds else GPT(ready.config), classes, 0.0)
                    freeze(model.gpt, frozen)
                    tuned(model, *texts_of(news, some(news, count)), config, seed, TUNING)
                    scored[way].setdefault(f"accuracy_{count}", []).append(accuracy(model, *test))
                print(task, way, scored[way], flush=True)
        for way, found in scored.items():
            row: Row = {"case": f"{task}: {way}", "reading": WAYS[way][0], "tuning": TUNING}
            for key, values in found.items():
                row |= mean_and_spread(key, values, 1)
            rows.append(row)
    keys = [f"accuracy_{count}" for count in LABELS]
    publish(
        config, "sorting", together([news.corpus for news in texts.values()]), rows, draw=keys, started=started,
        columns={**{f"{key}{end}": "%" for key in keys for end in ("", "_sd")}, "reading": "s", "tuning": "s"},
        title="Topics of AG News (4), sentiment of movie reviews (2): accuracy by the number of labels",
        seen=lambda: "; ".join(f"{row['case']}: {row[keys[0]]} and {row[keys[1]]} %" for row in rows),
    )  # fmt: skip

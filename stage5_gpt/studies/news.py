"""News in few words, against rivals that learn nothing; and several tasks in one model."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from my_llm.data.catalog import load as load_corpus
from my_llm.text import GPT2Tokenizer, Tokenizer
from stage5_gpt.answering import Example, Exercise, answers, encoded, longest, loss_over, score
from stage5_gpt.exercises.news import first_words, frequent_here, keywords, keywords_of, summaries
from stage5_gpt.exercises.several import mixture
from stage5_gpt.models import GPT
from stage5_gpt.studies import StudyConfig
from stage5_gpt.studies.answers import learn, new_model, read
from stage5_gpt.studies.common import QUICK, Learnt, Row, publish
from stage5_gpt.studies.recipes import muon

SHAPE = {**QUICK, "layers": 2, "heads": 4, "model": 128, "context": 256, "positions": "rotary"}
NARROW = 64  # wide is the model of the second study: it takes more steps in its seconds
READING, TUNING, EACH = 150.0, 40.0, 30.0  # seconds of processor time
PIECES = 2000  # byte pairs
EVERY = 50  # steps from one look at the validation part to the next
RATE = 0.004
COUNTS = range(3, 16)  # words that a rival may say; the best number is taken on the training part
MAIN = {"exact": "exact", "rouge": "rouge_1", "words": "f1", "bleu": "bleu"}  # the score that a task is known by


def tune(config: StudyConfig, model: GPT, tokenizer: Tokenizer, exercise: Exercise, seconds: float) -> float:
    """Train it to answer, and keep what was best on the validation part.

    Returns:
        Seconds of processor time, without those of the validation.
    """
    held_out, kept = encoded(tokenizer, exercise.validation), (math.inf, model.state_dict())

    def watch(learnt: Learnt) -> bool:
        nonlocal kept
        if len(learnt.losses) % EVERY == 0 and (loss := loss_over(model, held_out)) < kept[0]:
            kept = loss, {name: weight.clone() for name, weight in model.state_dict().items()}
        return False

    fitted = learn(config, model, tokenizer, exercise.train, muon(model, RATE), seconds, watch=watch)
    model.load_state_dict(kept[1])
    print(f"{exercise.name}: {len(fitted.losses)} steps, loss {fitted.loss:.3f}, held out {kept[0]:.3f}", flush=True)
    return fitted.seconds[-1]


def percent(model: GPT, tokenizer: Tokenizer, exercise: Exercise) -> dict[str, float]:
    """The scores on the test part; shares in percent, and BLEU as it is."""
    said = answers(model, tokenizer, [one.prompt for one in exercise.test],
                   longest=longest(encoded(tokenizer, exercise.test)))  # fmt: skip
    return in_percent(said, exercise)


def in_percent(said: Sequence[str], exercise: Exercise) -> dict[str, float]:
    """The scores of these answers to the test part."""
    scores = score(said, exercise, exercise.test)
    return {name: round(value if name == "bleu" else 100 * value, 1) for name, value in scores.items()}


# --- headlines and keywords -------------------------------------------------------------------------------------------


def rivals(headlines: Exercise, words: Exercise) -> list[Row]:
    """What is reached by taking words from the article; how many, is learnt."""

    def best(exercise: Exercise, said: Callable[[Sequence[Example], int], list[str]]) -> dict[str, float]:
        tried = {n: score(said(exercise.train, n), exercise, exercise.train)[MAIN[exercise.score]] for n in COUNTS}
        found = in_percent(said(exercise.test, max(tried, key=lambda n: tried[n])), exercise)
        return {name: value for name, value in found.items() if name != "exact"}

    found = best(headlines, lambda part, n: first_words(part, n))
    listed = best(words, lambda part, n: [", ".join(keywords_of(one)) for one in first_words(part, n)])
    both = [best(one, lambda part, n: frequent_here(headlines.train, part, n)) for one in (headlines, words)]
    return [{"case": "first words", **found, **listed}, {"case": "TF-IDF", **both[0], **both[1]}]


def news(config: StudyConfig) -> None:
    """Does a small GPT find the headline of an article, or its keywords, better than who only takes its words?"""
    config, started = dataclasses.replace(config, seeds=1), time.perf_counter()
    headlines, words, corpus = summaries("bbc_news"), keywords("bbc_news"), load_corpus("bbc_news")
    told = [one.text for one in corpus.train]
    tokenizer = GPT2Tokenizer.train(told, PIECES)
    rows, ready, reading = rivals(headlines, words), new_model(tokenizer, config.seed, SHAPE), 0.0
    for case in ("trained from zero", "read the articles first"):
        if case != "trained from zero":
            reading = read(config, ready, tokenizer, "\n\n".join(told), READING).seconds[-1]
        row: Row = {"case": case, "reading": round(reading, 1)}
        for exercise in (headlines, words):
            model = new_model(tokenizer, config.seed, SHAPE)
            model.load_state_dict(ready.state_dict())
            row["tuning"] = round(tune(config, model, tokenizer, exercise, TUNING), 1)  # of each task
            row |= {name: value for name, value in percent(model, tokenizer, exercise).items() if name != "exact"}
            some = exercise.test[:3]
            for one, said in zip(
                some, answers(model, tokenizer, [one.prompt for one in some], longest=30), strict=True
            ):
                print(f"{case}: {said} | {one.answer.strip()}", flush=True)
        rows.append(row)
        print(row, flush=True)
    publish(
        config, "news", headlines, rows, started=started, draw=("rouge_1", "rouge_l", "f1"),
        title=f"Headlines (ROUGE) and keywords (F1) of {len(headlines.test)} articles that nobody has learnt from",
        columns={**dict.fromkeys(("rouge_1", "rouge_l", "f1"), "%"), "reading": "s", "tuning": "s"},
        seen=lambda: "; ".join(f"{row['case']}: F1 {row['f1']} %" for row in rows),
    )  # fmt: skip


# --- several tasks in one model ---------------------------------------------------------------------------------------


def several(config: StudyConfig) -> None:
    """One model for four tasks, or one for each: what is better for the same seconds in all?"""
    config, started, mixed = dataclasses.replace(config, seeds=1), time.perf_counter(), mixture()
    tokenizer = GPT2Tokenizer.train([one.prompt + one.answer for one in mixed.train], PIECES)
    tasks = {task.name: task for task in mixed.tasks}
    alone: Row = {"case": "a model for each", "models": len(tasks), "tuning": 0.0}
    for name, task in tasks.items():
        model = new_model(tokenizer, config.seed, {**SHAPE, "model": NARROW})
        alone["tuning"] += tune(config, model, tokenizer, task, EACH)
        alone[name] = percent(model, tokenizer, task)[MAIN[task.score]]
    rows = [alone | {"tuning": round(alone["tuning"], 1)}]
    print(alone, flush=True)
    for case, seconds in (("one model, as long in all", len(tasks) * EACH), ("one model, a quarter of that", EACH)):
        model = new_model(tokenizer, config.seed, {**SHAPE, "model": NARROW})
        row: Row = {"case": case, "models": 1}
        row["tuning"] = round(tune(config, model, tokenizer, mixed, seconds), 1)
        row |= {name: percent(model, tokenizer, task)[MAIN[task.score]] for name, task in tasks.items()}
        rows.append(row)
        print(row, flush=True)
    publish(
        config, "several", mixed, rows, started=started, draw=(*tasks,),
        title="A model for each task, or one for all: questions right, headlines (ROUGE-1), keywords (F1), BLEU",
        columns={**{name: "" if task.score == "bleu" else "%" for name, task in tasks.items()}, "models": "",
                 "tuning": "s"},
        seen=lambda: "; ".join(f"{row['case']}: {', '.join(f'{name} {row[name]}' for name in tasks)}" for row in rows),
    )  # fmt: skip

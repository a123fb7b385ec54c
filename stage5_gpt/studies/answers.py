"""A prompt and an answer: trained for it, tuned for it, or only asked; and translation as the end of a text."""

import dataclasses
import random
import re
import time
from collections.abc import Sequence
from typing import Any

import torch

from my_llm import ledger
from my_llm.data.catalog import load_pairs
from my_llm.language.batches import Windows
from my_llm.text import GPT2Tokenizer, Tokenizer
from stage5_gpt.answering import (
    AnswerBatches,
    Example,
    Exercise,
    answer_loss,
    answers,
    encoded,
    exact,
    longest,
    score,
)
from stage5_gpt.exercises.questions import LEVELS, PEOPLE, PLACES, THINGS, examples
from stage5_gpt.exercises.questions import questions as stories
from stage5_gpt.exercises.translation import as_text
from stage5_gpt.language import next_token_loss
from stage5_gpt.models import GPT, GPTConfig
from stage5_gpt.studies import StudyConfig, steps_of
from stage5_gpt.studies.common import QUICK, Learnt, Row, adamw, fit, load, publish
from stage5_gpt.studies.recipes import muon

# Runs of five tokens say who went where, and ALiBi prefers what came last.
SHAPE = {**QUICK, "layers": 3, "heads": 4, "model": 128, "context": 384, "positions": "alibi", "ngrams": 5}
LANGUAGES: dict[str, Any] = {"layers": 3, "heads": 4, "model": 256, "context": 256, "positions": "rotary"}
READING, TUNING, TRANSLATING = 60.0, 240.0, 300.0  # seconds of processor time
STEPS = 1_000_000  # the seconds end first
VOCABULARY, PIECES = 1000, 3000  # byte pairs of plays and stories; of English and French
BATCH, TOKENS = 32, 2048  # examples of a step, and tokens where it reads
RATE, SLOW_RATE = 0.004, 0.001  # of what Muon leaves to AdamW; of all weights of the model for two languages
SHOTS, ROOM = (0, 1, 2, 4, 8), 640  # examples in a prompt, and the context that holds them all
TOLD, ASKED = 20_000, 600  # stories to read without their question, and questions; those of places are taken
PAIRS = 4000  # that the byte pairs are counted in
TESTED = 300  # sentences that are translated
CORPUS = "multi30k_en_fr"
WORDS = re.compile(rf"\b({'|'.join(PEOPLE + PLACES + THINGS)})\b")


def new_model(tokenizer: Tokenizer, seed: int, shape: dict[str, Any]) -> GPT:
    """A fresh GPT for this vocabulary."""
    torch.manual_seed(seed)
    return GPT(GPTConfig(**shape, vocab_size=tokenizer.vocab_size))


def read(config: StudyConfig, model: GPT, tokenizer: Tokenizer, text: str, within: float) -> Learnt:
    """Train a language model on running text, in windows as long as its context."""
    tokens, length = torch.tensor(tokenizer.encode(text)), model.config.context
    batches = Windows(tokens, max(TOKENS // length, 1), length, seed=config.seed)
    return fit(model, batches, next_token_loss, steps_of(config, STEPS), within=within, optimizer=muon(model, RATE))


def learn(
    config: StudyConfig, model: GPT, tokenizer: Tokenizer, part: Sequence[Example],
    optimizer: torch.optim.Optimizer, within: float, **options: Any,
) -> Learnt:  # fmt: skip
    """Train it to answer; `options` as `fit` takes them."""
    batches = AnswerBatches(encoded(tokenizer, part), batch_size=BATCH, seed=config.seed)
    return fit(model, batches, answer_loss, steps_of(config, STEPS), within=within, optimizer=optimizer, **options)


def with_shots(part: Sequence[Example], solved: Sequence[Example], shots: int, seed: int) -> list[str]:
    """The prompts, so many solved examples of the same level before each, a line for each."""
    rng = random.Random(seed)
    alike = {level: [one for one in solved if one.level == level] for level in {one.level for one in part}}
    shown = [rng.sample(alike[one.level], shots) for one in part]
    return ["".join(f"{a.prompt}{a.answer}\n" for a in before) + one.prompt for one, before in zip(part, shown)]


def by_level(said: Sequence[str], part: Sequence[Example]) -> Row:
    """Percent of right answers, of each level and of all."""
    row: Row = {}
    for level in LEVELS:
        chosen = [number for number, one in enumerate(part) if one.level == level]
        right = exact([said[number] for number in chosen], [part[number] for number in chosen])
        row[f"level_{level}"] = round(100 * right, 1)
    return row | {"all_levels": round(100 * exact(said, part), 1)}


def last_named(example: Example) -> str:
    """The answer of one who has not understood: the last place of the story, or its last person."""
    story, question = re.fullmatch(r"(.*\.) ([^.]*\?)", example.prompt).groups()  # type: ignore[union-attr]
    kind = PEOPLE if question.startswith("Who") else PLACES
    return next((word for word in reversed(WORDS.findall(story)) if word in kind and word not in question), "")


# --- three ways to an answer ------------------------------------------------------------------------------------------


def questions(config: StudyConfig) -> None:
    """What does it cost to learn to answer: from nothing, after reading something else, or with a prompt alone?"""
    config = dataclasses.replace(config, seeds=1)
    started, exercise, plays = time.perf_counter(), stories(), load(config).corpus
    told = "\n".join(one.prompt + one.answer for one in exercise.train[:3000])
    tokenizer = GPT2Tokenizer.train([plays.train, told], VOCABULARY)
    prompts, most = [one.prompt for one in exercise.test], longest(encoded(tokenizer, exercise.test))
    rows: list[Row] = [
        {"case": "guess: the last one named", **by_level([*map(last_named, exercise.test)], exercise.test)}
    ]

    def ask(case: str, model: GPT, reading: float, tuning: float, asked: Sequence[str] = prompts) -> None:
        since = time.perf_counter()
        said = answers(model, tokenizer, asked, longest=most)
        spent = 1000 * (time.perf_counter() - since) / len(said)
        rows.append({"case": case, **by_level(said, exercise.test), "reading_seconds": round(reading, 1),
                     "tuning_seconds": round(tuning, 1), "answer_ms": round(spent, 2)})  # fmt: skip
        print(rows[-1], flush=True)

    def tuned(model: GPT) -> float:
        return learn(config, model, tokenizer, exercise.train, muon(model, RATE), TUNING).seconds[-1]

    model = new_model(tokenizer, config.seed, SHAPE)
    ask("trained from zero", model, 0.0, tuned(model))
    model = new_model(tokenizer, config.seed, SHAPE)
    reading = read(config, model, tokenizer, plays.train, READING).seconds[-1]
    ask("prompted, no example", model, reading, 0.0)
    ask("prompted, 4 examples", model, reading, 0.0, with_shots(exercise.test, exercise.train, 4, config.seed))
    ask("fine-tuned", model, reading, tuned(model))
    publish(
        config, "questions", exercise, rows, started=started, draw=("all_levels",),
        title=f"Questions on little stories: trained from nothing, after reading {plays.name}, and only prompted",
        columns={**{f"level_{level}": "%" for level in LEVELS}, "all_levels": "%", "reading_seconds": "s",
                 "tuning_seconds": "s", "answer_ms": "ms"},
        seen=lambda: "; ".join(f"{row['case']}: {row['all_levels']} % right" for row in rows),
    )  # fmt: skip


def unfinished(example: Example) -> Example:
    """A question of the first level as the beginning of a sentence: Where is Ada? → So Ada is in the"""
    story, question = example.prompt.rsplit(". ", 1)
    who = question.removeprefix("Where is ").removesuffix("?")
    return example._replace(prompt=f"{story}. So {who} is in the")


def shots(config: StudyConfig) -> None:
    """Who has read stories that end with where somebody is, but never a question: do solved examples help?"""
    config = dataclasses.replace(config, seeds=1)
    started, seen = time.perf_counter(), set[str]()
    told, solved, part = (
        [one for one in examples(count, config.seed + number, seen, (1,)) if "Where" in one.prompt]
        for number, count in enumerate((TOLD, 500, ASKED))
    )
    exercise = Exercise("stories", (), (), (*part,), "stories made by rule", stories().sha256)
    tokenizer = GPT2Tokenizer.train(["\n".join(one.prompt + unfinished(one).prompt for one in solved)], 400)
    model = new_model(tokenizer, config.seed, {**SHAPE, "context": ROOM})
    ended = [unfinished(one).prompt + one.answer for one in told]
    read(config, model, tokenizer, "".join(f"{one}.\n" for one in ended), TUNING)
    guess = round(100 * exact([*map(last_named, part)], part), 1)
    rows: list[Row] = [{"case": "guess: the last one named", "question_right": guess, "sentence_right": guess}]
    for number in SHOTS:
        row: Row = {"case": f"{number} examples"}
        for form, ask in (("question", lambda one: one), ("sentence", unfinished)):
            prompts = with_shots([*map(ask, part)], [*map(ask, solved)], number, config.seed)
            said = answers(model, tokenizer, prompts, longest=4)
            firsts = [re.split(r"\W", one)[0] for one in said]  # it has never read that an answer ends
            row[f"{form}_right"] = round(100 * exact(firsts, part), 1)
            row[f"{form}_place"] = round(100 * sum(one in PLACES for one in firsts) / len(firsts), 1)
        rows.append(row | {"n": len(part)})
        print(row, flush=True)
    publish(
        config, "shots", exercise, rows, started=started, draw=("question_right", "sentence_right"),
        title="Stories read, never a question: right answers, and answers that are a place at all, by examples shown",
        columns={"question_right": "%", "question_place": "%", "sentence_right": "%", "sentence_place": "%", "n": ""},
        seen=lambda: "; ".join(f"{row['case']}: {row['question_right']} %" for row in rows),
    )  # fmt: skip


# --- translation ------------------------------------------------------------------------------------------------------


def continuation(config: StudyConfig) -> None:
    """Can one stack that only goes on with a text translate, and how far is it from stage 4's two?"""
    config = dataclasses.replace(config, seeds=1)
    started, pairs = time.perf_counter(), load_pairs(CORPUS)
    parts = [tuple(as_text(part)) for part in (pairs.train, pairs.validation, pairs.test[:TESTED])]
    exercise = Exercise(pairs.name, *parts, source=pairs.source, sha256=pairs.sha256, score="bleu")
    tokenizer = GPT2Tokenizer.train([one.prompt + one.answer for one in exercise.train[:PAIRS]], PIECES)
    model = new_model(tokenizer, config.seed, LANGUAGES)
    learnt = learn(config, model, tokenizer, exercise.train, adamw(model, SLOW_RATE), TRANSLATING)
    said = answers(model, tokenizer, [one.prompt for one in exercise.test], longest=80)
    for one, answer in zip(exercise.test[:3], said):
        print(f"{one.prompt} {answer}\n     {one.answer}", flush=True)
    copied = [pair.source for pair in pairs.test[:TESTED]]
    reached = [round(score(texts, exercise, exercise.test)["bleu"], 1) for texts in (copied, said)]
    rows: list[Row] = [
        {"case": "the English itself", "bleu": reached[0], "n": len(said)},
        {"case": "continuation", "bleu": reached[1], "n": len(said),
         "parameters": sum(weight.numel() for weight in model.parameters()), "train_seconds": round(learnt.seconds[-1]),
         "epochs": round(len(learnt.losses) * BATCH / len(exercise.train), 2)},
    ]  # fmt: skip
    recorded = ledger.results_folder() / "stage4_transformer" / "milestones.json"
    if recorded.exists():
        found = next(row for row in ledger.read(recorded)["rows"] if row["case"] == "multi30k")
        rows.append({"case": "encoder and decoder", "bleu": round(found["score"], 1), "n": found["n"],
                     "train_seconds": round(found["train_seconds"])})  # fmt: skip
    publish(
        config, "continuation", exercise, rows, started=started, draw=("bleu",),
        title=f"Translation by continuation: the first {len(said)} sentences of test 2016, greedy; stage 4: all of it",
        columns={"bleu": "", "parameters": "", "train_seconds": "s", "epochs": "", "n": ""},
        seen=lambda: "; ".join(f"{row['case']}: {row['bleu']} BLEU" for row in rows),
    )  # fmt: skip

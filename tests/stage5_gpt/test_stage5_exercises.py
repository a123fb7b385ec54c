"""News, translation and several tasks as prompts and answers: the examples, the rivals, and the commands."""

import json
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from stage5_world import Call, Trained, published

from my_llm import checkpoint
from my_llm.data.catalog import load_pairs
from my_llm.data.corpora.classification import Example as Article
from my_llm.data.corpora.classification import TextClassification
from my_llm.data.corpora.translation import Translation
from my_llm.language.filtering import Banned
from my_llm.language.searching import search
from my_llm.text import end_of
from stage5_gpt import evaluate, finetune, generate, language
from stage5_gpt.answering import SCORES, Example, answers, exercise_of, score
from stage5_gpt.exercises import news as news_examples
from stage5_gpt.exercises import questions, several, translation
from stage5_gpt.studies import StudyConfig
from stage5_gpt.studies import answers as answer_studies
from stage5_gpt.studies import news as news_studies

BANK = "Bank of Rome sells gold\n\nThe gold of a Rome bank was sold  on\nFriday. It was old."
CUP = "Cup win for the wet dogs\n\nWet dogs have won the cup, and a cup is a cup."


def corpus(name: str = "auto") -> TextClassification:
    def part(first: int, count: int) -> list[Article]:
        return [Article(f"{(BANK, CUP)[number % 2]} Number {number}.", 0) for number in range(first, first + count)]

    return TextClassification("bbc_news", ("all",), part(0, 24), part(24, 6), part(30, 6), "made here", "0" * 64)


@lru_cache(maxsize=1)
def numbers() -> Translation:
    whole = load_pairs("numbers_en_fr")
    return replace(whole, train=whole.train[:60], validation=whole.validation[:6], test=whole.test[:6])


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch):
    """Small corpora that need no network."""
    monkeypatch.setattr(news_examples, "load_corpus", corpus)
    monkeypatch.setattr(translation, "load_pairs", lambda name: numbers())
    monkeypatch.setattr(questions, "SIZES", {"train": 30, "validation": 6, "test": 6})
    monkeypatch.setattr(several, "EACH", {"train": 40, "validation": 3, "test": 4})
    questions.questions.cache_clear()
    yield
    questions.questions.cache_clear()


# --- examples ---------------------------------------------------------------------------------------------------------


def test_an_article_becomes_a_prompt_and_its_headline_the_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(news_examples, "READ", 8)
    prompt = "The gold of a Rome bank was sold"
    assert news_examples.summary(BANK) == Example(f"{prompt}\nHeadline:", " Bank of Rome sells gold")
    assert news_examples.listed(BANK) == Example(f"{prompt}\nKeywords:", " bank, rome, sells, gold")
    assert news_examples.article_of(news_examples.summary(BANK)) == prompt


def test_what_has_no_headline_or_no_text_is_left_out(monkeypatch: pytest.MonkeyPatch):
    whole = corpus()
    whole.train.extend([Article("a headline", 0), Article("\n\na text", 0), Article("It is so\n\nand so on", 0)])
    monkeypatch.setattr(news_examples, "load_corpus", lambda name: whole)
    assert len(news_examples.summaries("auto").train) == len(news_examples.keywords("auto").train) == 24
    assert news_examples.summaries("auto").sha256 != news_examples.keywords("auto").sha256


def test_an_article_that_was_learnt_is_not_asked_for(monkeypatch: pytest.MonkeyPatch):
    whole = corpus()
    whole.validation.append(whole.train[0]._replace(text=whole.train[0].text.replace("Bank of Rome", "Old bank", 1)))
    whole.test.extend([whole.train[1], whole.validation[0]])
    monkeypatch.setattr(news_examples, "load_corpus", lambda name: whole)
    exercise = news_examples.summaries("auto")
    assert [len(part) for part in (exercise.train, exercise.validation, exercise.test)] == [24, 6, 6]


def test_of_many_examples_some_are_drawn_not_the_first_ones():
    part = tuple(Example(str(number), " x") for number in range(100))
    few = several.prefixed("task", exercise_of("all", dict.fromkeys(several.EACH, part), source="made here"))
    numbers = [int(one.prompt.split("| ")[1]) for one in few.train]
    assert len(set(numbers)) == several.EACH["train"] == 40 and max(numbers) > 80


def test_the_rivals():
    part = [news_examples.summary(text) for text in (BANK, CUP, CUP)]
    assert news_examples.first_words(part, 3) == ["The gold of", "Wet dogs have", "Wet dogs have"]
    found = news_examples.frequent_here(part, part, 2)
    assert found[1] == "cup, wet"  # three times here; "wet" comes first among what stands here once
    assert set(found[0].split(", ")) <= {"gold", "rome", "bank", "sold", "friday", "old"}
    everywhere = [Example("sun moon sun\nKeywords:", ""), Example("sun star sun\nKeywords:", "")]
    assert news_examples.frequent_here(everywhere, everywhere, 1) == ["moon", "star"]  # log(3/3) = 0 for the sun


def test_translation_is_two_lines_and_the_parts_are_those_of_the_corpus():
    exercise, pairs = translation.translation("auto"), numbers()
    first = pairs.test[0]
    assert exercise.test[0] == Example(f"en: {first.source}\nfr:", f" {first.target}")
    assert len(exercise.train) == len(pairs.train) and exercise.score == "bleu" and exercise.name == pairs.name


def test_a_mixture_has_some_of_every_task_with_its_name():
    mixed = several.load("auto")
    assert [task.name for task in mixed.tasks] == ["questions", "summaries", "keywords", "translate"]
    names = [one.prompt.split(" | ")[0] for one in mixed.train]
    assert Counter(names) == {"questions": 30, "summaries": 24, "keywords": 24, "translate": 40}
    assert {len(task.test) for task in mixed.tasks} == {4} and len(mixed.validation) == 12
    test = {one.prompt for one in mixed.test}
    assert not test & {one.prompt for one in mixed.train}


def test_scores_are_those_of_the_exercise():
    part = (Example("x", " a b c d"), Example("y", " e f"))
    said = ["a b d", "e f"]
    parts = dict.fromkeys(("train", "validation", "test"), part)
    kinds = {kind: score(said, exercise_of("x", parts, source="", score=kind), part) for kind in SCORES}
    assert kinds["exact"] == {"exact": 0.5} and kinds["words"] == {"exact": 0.5, "f1": pytest.approx((6 / 7 + 1) / 2)}
    assert kinds["rouge"] == {"exact": 0.5, "rouge_1": pytest.approx(13 / 14), "rouge_l": pytest.approx(13 / 14)}
    assert kinds["bleu"].keys() == {"exact", "bleu"}


# --- the commands -----------------------------------------------------------------------------------------------------

NEW = ["--scratch", "--vocab_size", 400, "--batch_size", 8, "--threads", 1, "--max_steps", 2]


def test_one_model_learns_several_tasks_and_is_scored_by_each(trained: Trained, call: Call, home: Path):
    start = trained("--layers", 1, "--max_steps", 1)  # its context of 16 tokens grows
    code, out, errors = call(finetune, "--task", "several", "--init_from", start, *NEW)
    assert code == 0, errors
    path, report = published(home, "answers"), home / "several.json"
    assert f"evaluate.py --model_path {path}" in out
    code, out, errors = call(evaluate, "--model_path", path, "--report", report, "--threads", 1)
    assert code == 0, errors
    facts = json.loads(report.read_text(encoding="utf-8"))
    assert [row["task"] for row in facts["by_task"]] == ["questions", "summaries", "keywords", "translate"]
    assert facts["n"] == 16 and facts["same_text_as_trained"] and out.count("truth ") == 12
    for name in ("exact", "ROUGE-1", "ROUGE-L", "F1", "BLEU"):
        assert f"\n{name} " in out
    assert call(generate, "--checkpoint", path, "--prompt", "keywords |", "--length", 3, "--threads", 1)[0] == 0
    code, out, errors = call(evaluate, "--model_path", path, "--dataset", "bbc_news")
    assert (code, out) == (2, "") and "exercise" in errors[0]


def test_who_answers_is_silent_afterwards(trained: Trained, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch):
    """A model that says "ox" and ends: drawn, searched for, and with a banned word."""
    start = trained("--context", 256, "--layers", 1, "--max_steps", 1)
    assert call(finetune, "--task", "keywords", "--init_from", start, *NEW)[0] == 0
    content = checkpoint.load(published(home, "answers"))
    for settings, wanted in ((content["settings"], "ox"), ({"task": "language_model"}, "oxxxxx")):
        monkeypatch.setattr(checkpoint, "load", lambda path, settings=settings: {**content, "settings": settings})
        writer = language.load_writer(home, torch.device("cpu"))
        o, x, end = *(writer.tokenizer.encode(letter)[0] for letter in "ox"), end_of(writer.tokenizer)

        def step(tokens, state, x=x, next_of={o: x, x: end}, start=o):  # noqa: B006
            logits = torch.zeros(len(tokens), content["model_config"]["vocab_size"])
            for row, last in zip(logits, tokens[:, -1].tolist(), strict=True):
                row[x] += 5
                row[next_of.get(last, start)] += 10
            return logits, tokens[:, -1]

        monkeypatch.setattr(writer, "_step", step)
        assert "".join(writer.write("z", length=6, temperature=0.0)) == wanted
        assert "".join(writer.write("z", length=6, temperature=0.0, banned=Banned(["dog"]))) == wanted
        assert search(writer, "z", length=6, beam_size=2) == wanted


@pytest.mark.parametrize(
    ("task", "data", "score"), [("keywords", "bbc_news", "F1"), ("translate", "numbers_en_fr", "BLEU")]
)
def test_single_tasks(task: str, data: str, score: str, trained: Trained, call: Call, home: Path):
    start = trained("--context", 256, "--layers", 1, "--max_steps", 1)
    code, out, errors = call(finetune, "--task", task, "--init_from", start, *NEW)
    assert code == 0, errors
    code, out, errors = call(evaluate, "--model_path", published(home, "answers"), "--split", "validation")
    assert code == 0, errors
    assert data in out and score in out and "ROUGE" not in out


def test_a_new_vocabulary_needs_new_weights_and_a_task_with_prompts(trained: Trained, call: Call):
    start = trained("--context", 256, "--layers", 1, "--max_steps", 1)
    for flags in (
        ["--task", "keywords"],
        ["--task", "language_model", "--scratch"],
        ["--task", "classify", "--scratch"],
    ):
        code, out, errors = call(finetune, "--init_from", start, "--vocab_size", 400, *flags)
        assert (code, out) == (2, "") and len(errors) == 1 and "--vocab_size" in errors[0]


# --- the studies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rows"), [("news", 4), ("several", 3)])
def test_a_study_writes_its_table(name: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(news_studies, "load_corpus", corpus)
    monkeypatch.setattr(news_studies, "PIECES", 300)
    monkeypatch.setattr(answer_studies, "TOKENS", 1)
    monkeypatch.setattr(news_studies, "NARROW", 16)
    monkeypatch.setattr(news_studies, "SHAPE", {**news_studies.SHAPE, "layers": 1, "model": 16})
    monkeypatch.setattr(news_studies, "answers", lambda *args, longest: answers(*args, longest=min(longest, 6)))
    getattr(news_studies, name)(StudyConfig(max_steps=1))
    table = json.loads((tmp_path / "results" / "stage5_gpt" / f"{name}.json").read_text(encoding="utf-8"))
    assert len(table["rows"]) == rows
    if name == "news":
        assert table["rows"][0]["case"].startswith("first ") and table["rows"][1]["f1"] > 0
    else:
        assert all({"questions", "summaries", "keywords", "translate"} <= row.keys() for row in table["rows"])

"""A prompt and an answer: what the loss counts, what is said, the stories, and the commands from end to end."""

import json
import random
from pathlib import Path

import pytest
import torch
from stage5_world import Call, published

from my_llm.errors import ConfigError, DataError
from my_llm.text import CharTokenizer
from stage5_gpt import answering, evaluate, finetune, generate, train
from stage5_gpt.answering import Encoded, Example, Exercise
from stage5_gpt.exercises import questions
from stage5_gpt.models import GPT, NOT_ASKED, GPTConfig
from stage5_gpt.starting import Start
from stage5_gpt.studies import StudyConfig, answers, common

FEW = {"train": 60, "validation": 9, "test": 30}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch):
    """A smaller exercise, made anew."""
    monkeypatch.setattr(questions, "SIZES", FEW)
    questions.questions.cache_clear()
    yield
    questions.questions.cache_clear()


def small(exercise: Exercise | None = None) -> Start:
    torch.manual_seed(0)
    parts = (exercise or questions.questions()).train
    tokenizer = CharTokenizer.train([one.prompt + one.answer for one in parts])
    config = GPTConfig(vocab_size=tokenizer.vocab_size, layers=1, heads=2, model=16, context=256, tied=False)
    return Start(GPT(config).eval(), tokenizer)


ORDER = {"batch_size": 4, "seed": 0, "rank": 0, "world": 1}


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_only_the_answer_is_asked_for_and_its_end():
    batch = answering.batch_of([Encoded([5, 6, 7], [8, 2]), Encoded([9], [10, 11, 12, 2])])
    assert batch.inputs.tolist() == [[5, 6, 7, 8], [9, 10, 11, 12]]
    assert batch.targets.tolist() == [[NOT_ASKED, NOT_ASKED, 8, 2], [10, 11, 12, 2]]
    batch = answering.batch_of([Encoded([5, 6], [7]), Encoded([5, 6, 7, 8], [9])])
    assert batch.inputs.tolist() == [[5, 6, 0, 0], [5, 6, 7, 8]]
    assert batch.targets.tolist() == [[NOT_ASKED, 7, NOT_ASKED, NOT_ASKED], [*[NOT_ASKED] * 3, 9]]


def test_padding_changes_nothing_and_the_loss_is_that_of_the_answer():
    model, short, long = small().model, Encoded([5, 6, 7], [8, 9, 2]), Encoded([9, 8, 7, 6, 5, 10], [11, 12, 2])
    alone = [answering.answer_loss(model, answering.batch_of([one])) for one in (short, long)]
    together = answering.answer_loss(model, answering.batch_of([short, long]))
    assert together.count == 6 and [one.count for one in alone] == [3, 3]
    torch.testing.assert_close(together.total, alone[0].total + alone[1].total)
    logits = model(torch.tensor([[5, 6, 7, 8, 9]]))[0][0, 2:]
    by_hand = -logits.log_softmax(-1)[range(3), [8, 9, 2]].sum()
    torch.testing.assert_close(alone[0].total, by_hand)


def test_a_batch_is_a_pure_function_of_its_number_and_an_epoch_holds_each_example_once():
    exercise = questions.questions()
    tokens = answering.encoded(small().tokenizer, exercise.train)
    batches, again = (answering.AnswerBatches(tokens, **ORDER) for _ in range(2))
    wanted = again(7)
    epoch = [batches(number) for number in range(batches.per_epoch)]
    assert torch.equal(batches(7).inputs, wanted.inputs) and torch.equal(epoch[7].targets, wanted.targets)
    asked = sum(int((batch.targets != NOT_ASKED).sum()) for batch in epoch)
    assert asked == sum(len(one.answer) for one in tokens) and sum(len(batch.inputs) for batch in epoch) == len(tokens)
    halves = [answering.AnswerBatches(tokens, **{**ORDER, "rank": rank, "world": 2})(3) for rank in (0, 1)]
    assert sum(len(half.inputs) for half in halves) == len(batches(3).inputs)


# --- answering --------------------------------------------------------------------------------------------------------


def test_answers_together_are_those_one_by_one_and_never_a_special_sign():
    model, tokenizer = small()
    prompts = [one.prompt for one in questions.questions().test]
    together = answering.answers(model, tokenizer, prompts, longest=6)
    assert together == [answering.answers(model, tokenizer, [prompt], longest=6)[0] for prompt in prompts]
    assert len(set(together)) > 1 and not any("<" in one or "\ufffd" in one for one in together)


def test_it_learns_to_answer_and_to_stop():
    """Two questions, told apart by one letter; what was learnt is said, and nothing behind it."""
    part = (Example("a who?", " Ben"), Example("b who?", " Ada")) * 8
    exercise = Exercise("two", part, part[:2], part[:2], "made here", "0" * 64)
    prepared = answering.prepare(exercise, small(exercise), dropout=0.0, frozen=0, order=ORDER)
    optimizer = torch.optim.Adam(prepared.model.parameters(), 0.02)
    for number in range(40):
        loss = prepared.loss_fn(prepared.model, prepared.batches(number))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    scores = prepared.validate()
    assert scores["exact"] == 1 and scores["validation_loss"] < 0.2
    assert prepared.sample and prepared.sample() == "a who? Ben" and prepared.model.training


def test_an_answer_ends_with_its_line_and_bleu_is_the_floors():
    assert answering.exact(["Ben", "Ad"], [Example("", " Ben"), Example("", " Ada")]) == 0.5
    part = (Example("en: a dog\nfr:", " un chien court vite ici"),)
    exercise = Exercise("pairs", part, part, part, "made here", "0" * 64, score="bleu")
    assert answering.score(["un chien court vite ici"], exercise, part) == {"exact": 1, "bleu": pytest.approx(100)}


def test_what_does_not_fit_is_refused():
    start, exercise = small(), questions.questions()
    tight = GPT(GPTConfig(vocab_size=start.tokenizer.vocab_size, layers=1, heads=2, model=16, context=20))
    with pytest.raises(DataError, match="longer than the model can read"):
        answering.prepare(exercise, start._replace(model=tight), dropout=0.0, frozen=0, order=ORDER)
    foreign = Start(start.model, CharTokenizer.train(["another alphabet"]))
    with pytest.raises(DataError, match="does not know"):
        answering.prepare(exercise, foreign, dropout=0.0, frozen=0, order=ORDER)


# --- the stories ------------------------------------------------------------------------------------------------------


def story_of(example: Example) -> str:
    return example.prompt[: example.prompt.rindex(".")]


def test_no_story_is_in_two_parts_and_a_seed_is_a_story():
    exercise = questions.questions()
    parts = [exercise.train, exercise.validation, exercise.test]
    assert [len(part) for part in parts] == [60, 9, 30]
    stories = [story_of(one) for part in parts for one in part]
    assert len(set(stories)) == len(stories)
    questions.questions.cache_clear()
    assert questions.questions() == exercise
    with pytest.raises(ConfigError):
        questions.load("answers")


def answered(example: Example) -> str:
    """The answer found another way: by reading the sentences."""
    *sentences, question = example.prompt.replace("?", ".").split(". ")
    been: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for words in map(str.split, sentences):
        if words[1] == "went":
            for one in [words[0], *(thing for thing in owner if owner[thing] == words[0])]:
                been.setdefault(one, []).append(words[-1])
        else:
            thing, to = words[-1], words[0] if words[1] == "took" else words[2]
            owner[thing] = to
            if been.get(thing, [""])[-1] != been[to][-1]:
                been.setdefault(thing, []).append(been[to][-1])
    words = question.strip(".").replace("the ", "").split()
    if words[0] == "Where":
        places = been[words[2]]
        return places[-1] if len(words) == 3 else places[places.index(words[4]) - 1]
    if words[1] == "has":
        return owner[words[2]]
    near = [one for one in been if been[one][-1] == been[words[3]][-1] and one in questions.PEOPLE]
    return next(one for one in near if one != words[3])


def test_every_answer_follows_from_its_story():
    part = [*questions.examples(600, 5, set())]
    assert [one.answer.strip() for one in part] == [answered(one) for one in part]
    forms = {(one.level, " ".join(one.prompt.rsplit(". ", 1)[1].split()[:2]), "before" in one.prompt) for one in part}
    assert len(forms) == 6 and max(len(one.prompt + one.answer) for one in part) <= 220
    rng = random.Random(0)
    assert questions.happened(rng).sentences != questions.happened(rng).sentences


# --- the commands -----------------------------------------------------------------------------------------------------

FLAGS = ["--threads", 1, "--batch_size", 8]


@pytest.fixture
def reader(home: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A character model that has read stories, and so knows their letters."""
    place, path = home / "stories", home / "best_gpt_stories.pt"
    place.mkdir(exist_ok=True)
    told = "\n".join(one.prompt + one.answer for one in questions.examples(60, 9, set()))
    (place / "tiny_shakespeare.txt").write_text(told)
    monkeypatch.setenv("MY_LLM_DATA", str(place))
    if not path.exists():
        size = ["--model", 16, "--heads", 2, "--layers", 1, "--context", 256]
        code, _, errors = call(train, *FLAGS[:2], *size, "--batch_size", 2, "--max_steps", 1)
        assert code == 0, errors
        path.write_bytes(published(home).read_bytes())
    return path


def test_from_the_first_step_to_the_score(reader: Path, call: Call, home: Path):
    task = ["--task", "questions", "--scratch", "--init_from", reader, "--max_steps", 2]
    code, out, errors = call(finetune, *task, *FLAGS)
    assert code == 0, errors
    path, report = published(home, "answers"), home / "answers.json"
    assert f"evaluate.py --model_path {path}" in out
    code, out, errors = call(evaluate, "--model_path", path, "--report", report, "--threads", 1)
    assert code == 0, errors
    facts = json.loads(report.read_text(encoding="utf-8"))
    assert (facts["split"], facts["n"], facts["data"]) == ("test", 30, "questions")
    assert [row["level"] for row in facts["by_level"]] == [1, 2, 3] and 0 <= facts["exact"] <= 1
    assert facts["exact"] == pytest.approx(sum(row["exact"] * row["n"] for row in facts["by_level"]) / facts["n"])
    assert out.count("prompt  ") == out.count("truth   ") == 3 and "level 3" in out
    assert call(generate, "--checkpoint", path, "--prompt", "Where is Ada?", "--length", 5, "--threads", 1)[0] == 0
    code, out, errors = call(evaluate, "--model_path", path, "--samples", 3)
    assert (code, out) == (2, "") and "--samples means nothing to a model that answers" in errors[0]


def test_an_unfit_vocabulary_and_another_dataset_cost_one_line(reader: Path, call: Call, trained, home: Path):
    (home / "stories" / "tiny_shakespeare.txt").write_text("a red dog sees a big cat.\n" * 30)
    foreign = trained("--max_steps", 1, "--dataset", "tiny_shakespeare")
    for flags, words in (
        (["--init_from", foreign], "signs that the vocabulary of the model does not know"),
        (["--init_from", reader, "--dataset", "bbc_news"], "exercise"),
    ):
        code, out, errors = call(finetune, "--task", "questions", *FLAGS, *flags)
        assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]


# --- the studies ------------------------------------------------------------------------------------------------------


def test_examples_stand_before_the_question_and_are_of_its_level():
    exercise = questions.questions()
    prompts = answers.with_shots(exercise.test, exercise.train, 2, 0)
    for one, prompt in zip(exercise.test, prompts, strict=True):
        first, second, last = prompt.split("\n")
        found = [other for other in exercise.train if other.prompt + other.answer in (first, second)]
        assert last == one.prompt and len(found) == 2 and {other.level for other in found} == {one.level}
    where = next(one for one in exercise.test if "Where is " in one.prompt and one.level == 1)
    assert answers.unfinished(where).prompt.startswith(story_of(where) + ". So ")
    assert answers.last_named(Example("Ada went to the mill. Ben went to the inn. Who has the key?", "")) == "Ben"


@pytest.mark.parametrize("name", ["questions", "shots", "continuation"])
def test_a_study_of_answers_writes_its_table(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from my_llm.data.catalog import LanguageText, load_pairs

    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    said = "to be, or not to be\n" * 400
    text = common.Text(LanguageText("play", "en", said, said, "", "made here", "0" * 64), small().tokenizer,
                       torch.arange(9), torch.arange(9), 9)  # fmt: skip
    monkeypatch.setattr(answers, "load", lambda config: text)
    monkeypatch.setattr(answers, "load_pairs", lambda name: load_pairs("numbers_en_fr"))
    for constant, value in {"VOCABULARY": 290, "PIECES": 300, "TESTED": 4, "TOLD": 300, "PAIRS": 50,
                            "SHOTS": (0, 1), "ASKED": 12}.items():  # fmt: skip
        monkeypatch.setattr(answers, constant, value)
    for shape in ("SHAPE", "LANGUAGES"):
        monkeypatch.setattr(answers, shape, {**answers.SHAPE, "layers": 1, "model": 16, "context": 1024})
    getattr(answers, name)(StudyConfig(max_steps=1))
    table = json.loads((tmp_path / "results" / "stage5_gpt" / f"{name}.json").read_text(encoding="utf-8"))
    assert len(table["rows"]) == {"questions": 5, "shots": 3, "continuation": 2}[name]

"""Several tasks in one model: each example begins with the name of its task, and that is all that tells them apart.

    questions | Ada went to the mill. Where is Ada? mill
    translate | en: A dog runs. …

Of every task as many examples, in turn: the largest would have the model to itself otherwise.
"""

from collections.abc import Callable, Mapping

from my_llm.errors import choose
from stage5_gpt.answering import Example, Exercise, exercise_of
from stage5_gpt.exercises.news import keywords, summaries
from stage5_gpt.exercises.questions import questions
from stage5_gpt.exercises.translation import translation

SINGLE: Mapping[str, Callable[[], Exercise]] = {
    "questions": questions,
    "summaries": lambda: summaries("auto"),
    "keywords": lambda: keywords("auto"),
    "translate": lambda: translation("auto"),
}
EACH = {"train": 6000, "validation": 100, "test": 400}  # examples of a task; of fewer, those again


def prefixed(task: str, exercise: Exercise) -> Exercise:
    """The same with the name of the task before every prompt, as many as EACH says, the answers' level left out."""
    parts: dict[str, list[Example]] = {}
    for part, most in EACH.items():
        ready = [Example(f"{task} | {one.prompt}", one.answer) for one in getattr(exercise, part)[:most]]
        parts[part] = (ready * -(-most // len(ready)))[:most] if part == "train" else ready
    return exercise_of(task, parts, source=exercise.source, score=exercise.score)


def mixture() -> Exercise:
    """All tasks, an example of each in turn.

    Raises:
        DataError: the source of one is out of reach.
    """
    tasks = tuple(prefixed(task, load()) for task, load in SINGLE.items())
    in_turn = {part: zip(*(getattr(task, part) for task in tasks)) for part in EACH}
    parts = {part: [one for each in rows for one in each] for part, rows in in_turn.items()}
    sources = "; ".join(f"{task.name}: {task.source}" for task in tasks)
    return exercise_of("several", parts, source=sources, score="exact", tasks=tasks)


def load(name: str) -> Exercise:
    """The exercise for finetune.py and evaluate.py; auto is the only one there is.

    Raises:
        ConfigError: another name.
    """
    return choose(name, {"auto": mixture, "several": mixture}, "exercise")()

"""Several tasks in one model: each example begins with the name of its task, and that is all that tells them apart.

    questions | Ada went to the mill. Where is Ada? mill
    translate | en: A dog runs. …

Of no task more than so many examples: the largest would have the model to itself otherwise. Nor is a small one
repeated: it would be known by heart before the others are learnt.
"""

import random
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
EACH = {"train": 6000, "validation": 100, "test": 400}  # examples of a task at most


def prefixed(task: str, exercise: Exercise) -> Exercise:
    """The same with the name of the task before every prompt, as many as EACH says, the answers' level left out."""
    rng, parts = random.Random(0), {}
    for part, most in EACH.items():  # drawn: a corpus of news stands topic by topic
        found = getattr(exercise, part)
        drawn = rng.sample(found, min(most, len(found)))
        parts[part] = [Example(f"{task} | {one.prompt}", one.answer) for one in drawn]
    return exercise_of(task, parts, source=exercise.source, score=exercise.score)


def mixture() -> Exercise:
    """All tasks, one behind the other: batches are drawn from all of them.

    Raises:
        DataError: the source of one is out of reach.
    """
    tasks = tuple(prefixed(task, load()) for task, load in SINGLE.items())
    parts = {part: [one for task in tasks for one in getattr(task, part)] for part in EACH}
    sources = "; ".join(f"{task.name}: {task.source}" for task in tasks)
    return exercise_of("several", parts, source=sources, score="exact", tasks=tasks)


def load(name: str) -> Exercise:
    """The exercise for finetune.py and evaluate.py; auto is the only one there is.

    Raises:
        ConfigError: another name.
    """
    return choose(name, {"auto": mixture, "several": mixture}, "exercise")()

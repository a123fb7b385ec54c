"""What evaluate.py says of a model that answers: scores, also by level or by task, speed, and what it said."""

import time
from collections.abc import Sequence
from typing import Any, cast

from my_llm.device import autocast
from my_llm.evaluation import Facts, parameters_of, part_of, shared_facts
from my_llm.language.writer import Writer
from stage5_gpt.answering import Example, Exercise, answers, check_fits, exact, longest, score
from stage5_gpt.models import GPT

PERCENT = {"exact": "exact", "rouge_1": "ROUGE-1", "rouge_l": "ROUGE-L", "f1": "F1"}


def measure(writer: Writer, exercise: Exercise, split: str) -> Facts:
    """All scores, and every answer.

    Raises:
        DataError: the vocabulary or the context does not fit, or there is no such part.
    """
    split, examples = part_of(exercise, split)
    facts = shared_facts(writer.facts, exercise, split, parameters_of(cast(GPT, writer.model))) | {"task": "answers"}
    if exercise.tasks:
        each = [{"task": one.name, **measure_one(writer, one, getattr(one, split))} for one in exercise.tasks]
        return {**facts, "n": sum(row["n"] for row in each), "by_task": each}
    return {**facts, **measure_one(writer, exercise, examples)}


def measure_one(writer: Writer, exercise: Exercise, examples: Sequence[Example]) -> Facts:
    """The scores of a single task."""
    model = cast(GPT, writer.model)
    found = check_fits(writer.tokenizer, examples, model.config.context)
    since = time.perf_counter()
    with autocast(writer.precision, writer.device):
        said = answers(model, writer.tokenizer, [one.prompt for one in examples], longest=longest(found))
    spent = time.perf_counter() - since
    by_level: list[dict[str, Any]] = []
    for level in sorted({one.level for one in examples}):
        chosen = [number for number, one in enumerate(examples) if one.level == level]
        right = exact([said[number] for number in chosen], [examples[number] for number in chosen])
        by_level.append({"level": level, "exact": right, "n": len(chosen)})
    return {
        "n": len(examples), **score(said, exercise, examples), "by_level": by_level if len(by_level) > 1 else [],
        "answers_per_second": len(said) / spent,
        "examples": [{"prompt": one.prompt, "answer": answer, "truth": one.answer.strip()}
                     for answer, one in zip(said, examples, strict=True)],
    }  # fmt: skip


def told(facts: Facts, examples: int) -> list[str]:
    """The facts in lines for the terminal, with so many answers of each task."""
    lines = [f"{facts['model']}, {facts['task']}: {facts['data']}, {facts['split']} part",
             f"{facts['n']:,} prompts, {facts['parameters']:,} parameters"]  # fmt: skip
    for task in facts.get("by_task", [facts]):
        lines += [f"\n{task['task']}: {task['n']:,} prompts"] if task is not facts else []
        lines += told_scores(task)
        for one in task["examples"][:examples]:
            lines += ["", f"prompt  {one['prompt']}", f"answer  {one['answer']}", f"truth   {one['truth']}"]
    if facts["learnt_from"]:
        lines.append("The model has learnt from these very examples: no measure of anything.")
    if not facts["same_text_as_trained"]:
        lines.append("Not the examples that the model was trained on, or another split of them.")
    return lines


def told_scores(task: Facts) -> list[str]:
    """The scores of a single task."""
    lines = [f"{name:10}{100 * task[key]:.1f} %" for key, name in PERCENT.items() if key in task]
    lines += [f"{'BLEU':10}{task['bleu']:.2f}"] if "bleu" in task else []
    lines += [f"  level {row['level']} {100 * row['exact']:.1f} % of {row['n']:,}" for row in task["by_level"]]
    return [*lines, f"{'speed':10}{task['answers_per_second']:,.0f} answers a second"]

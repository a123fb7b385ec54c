"""A prompt and an answer: what a GPT is tuned for when it shall do as it is asked, and not only write on.

    prompt    Ada went to the mill. Where is Ada?
    answer     mill<eos>

Both are one text, read as any other. But the loss counts the answer alone: what people ask is not what the model shall
learn to say. The end of the text belongs to the answer, so that it learns to stop.
"""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from my_llm.data.batches import CHUNK, LengthBatches, chunks_by_length, pad
from my_llm.decoding import generate, select_rows
from my_llm.errors import DataError
from my_llm.language.batches import Batch
from my_llm.language.writer import parts_of
from my_llm.metrics import bleu
from my_llm.overlap import rouge_1, rouge_l, shared_words
from my_llm.sampling import greedy
from my_llm.tasks import Prepared
from my_llm.text import Tokenizer, end_of, special_ids, unknown_id
from my_llm.training import Loss
from stage5_gpt.language import step_of
from stage5_gpt.models import GPT, NOT_ASKED, freeze
from stage5_gpt.starting import Start

JUDGED = 200  # examples of the validation part that it answers on the way


class Example(NamedTuple):
    """What is asked, and what is right; the answer begins with the space between them."""

    prompt: str
    answer: str
    level: int = 0  # how hard, where that is known


@dataclasses.dataclass(frozen=True)
class Exercise:
    """Examples in three parts, and how answers are scored: one of SCORES. What mixes `tasks` is scored by each."""

    name: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    source: str
    sha256: str
    score: Literal["exact", "bleu", "rouge", "words"] = "exact"
    tasks: tuple["Exercise", ...] = ()


def exercise_of(name: str, parts: Mapping[str, Sequence[Example]], **facts: Any) -> Exercise:
    """An exercise of these parts, signed; `facts`: source, and score and tasks if need be."""
    told = "\n".join(f"{part}\t{one.prompt}{one.answer}" for part, some in parts.items() for one in some)
    signed = hashlib.sha256(told.encode()).hexdigest()
    return Exercise(name, **{part: tuple(some) for part, some in parts.items()}, sha256=signed, **facts)


# --- learning ---------------------------------------------------------------------------------------------------------


class Encoded(NamedTuple):
    """An example in tokens; the answer ends with the end of the text."""

    prompt: list[int]
    answer: list[int]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer) - 1  # nothing follows the last token


def encoded(tokenizer: Tokenizer, examples: Sequence[Example]) -> list[Encoded]:
    """All examples in tokens."""
    end = end_of(tokenizer)
    return [Encoded(tokenizer.encode(one.prompt), [*tokenizer.encode(one.answer), end]) for one in examples]


def batch_of(examples: Sequence[Encoded]) -> Batch:
    """Examples one upon the other, (B, T), padding behind the shorter ones; only answers are asked for."""
    inputs, _ = pad([torch.tensor([*one.prompt, *one.answer[:-1]]) for one in examples])
    asked = [torch.tensor([NOT_ASKED] * (len(one.prompt) - 1) + one.answer) for one in examples]
    return Batch(inputs, pad_sequence(asked, batch_first=True, padding_value=NOT_ASKED))


class AnswerBatches:
    """Batch number i, a pure function of i: examples of similar length; `order` as LengthBatches takes it."""

    def __init__(self, examples: Sequence[Encoded], **order: int):
        self.examples = examples
        self.chosen = LengthBatches([one.length for one in examples], **order)
        self.per_epoch = self.chosen.per_epoch

    def __call__(self, index: int) -> Batch:
        return batch_of([self.examples[number] for number in self.chosen(index)])


def answer_loss(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy at the tokens of the answers."""
    device = next(model.parameters()).device
    total, _ = model(batch.inputs.to(device), targets=batch.targets.to(device))
    return Loss(total, int((batch.targets != NOT_ASKED).sum()))


def check_fits(tokenizer: Tokenizer, examples: Sequence[Example], context: int) -> list[Encoded]:
    """All examples in tokens.

    Raises:
        DataError: the vocabulary does not know all of it, or an example is longer than the model can read.
    """
    found, unknown = encoded(tokenizer, examples), unknown_id(tokenizer)
    for example, one in zip(examples, found, strict=True):
        if unknown is not None and unknown in (*one.prompt, *one.answer):
            raise DataError(
                "the examples have signs that the vocabulary of the model does not know", got=example.prompt,
                next_step="begin with a model that was trained on a text that has them, or on byte pairs",
            )  # fmt: skip
    if (longest := max(one.length for one in found)) > context:
        raise DataError("an example is longer than the model can read", got=f"{longest} tokens",
                        valid=f"at most {context}", next_step="begin with a model of a longer --context")  # fmt: skip
    return found


def prepare(exercise: Exercise, start: Start, *, dropout: float, frozen: int, order: Mapping[str, int]) -> Prepared:
    """A GPT that shall learn to answer, and everything to tune it with.

    Args:
        exercise: Prompts and answers.
        start: The language model that it begins with, and its vocabulary.
        dropout: While it is tuned.
        frozen: How many of the lowest blocks stay as they are.
        order: batch_size, seed, rank, world, as LengthBatches takes them.

    Raises:
        DataError: an unknown sign, or an example that is too long.
        ConfigError: there are not so many blocks.
    """
    tokenizer = start.tokenizer
    model = GPT(dataclasses.replace(start.model.config, dropout=dropout))
    model.load_state_dict(start.model.state_dict())
    freeze(model, frozen)
    learnt, held_out = (
        check_fits(tokenizer, part, model.config.context) for part in (exercise.train, exercise.validation)
    )
    batches = AnswerBatches(learnt, **order)
    first = exercise.validation[0]
    return Prepared(
        model,
        batches,
        batches.per_epoch,
        answer_loss,
        lambda: {"validation_loss": loss_over(model, held_out), **scored(model, tokenizer, exercise)},
        parts_of(model, "gpt", tokenizer),
        size=f"{len(learnt):,} examples to learn from",
        examples=len(learnt),
        sample=lambda: first.prompt + " " + answers(model, tokenizer, [first.prompt], longest=longest(held_out))[0],
    )


# --- answering --------------------------------------------------------------------------------------------------------


def longest(examples: Sequence[Encoded]) -> int:
    """Tokens of the longest answer: nobody need wait for more."""
    return max(len(one.answer) for one in examples)


@torch.inference_mode()
def loss_over(model: GPT, examples: Sequence[Encoded]) -> float:
    """Mean cross-entropy of all answers."""
    training = model.training
    model.eval()
    losses = [
        answer_loss(model, batch_of([examples[number] for number in chunk]))
        for chunk in chunks_by_length([one.length for one in examples])
    ]
    model.train(training)
    return sum(float(loss.total) for loss in losses) / sum(loss.count for loss in losses)


@torch.inference_mode()
def answers(model: GPT, tokenizer: Tokenizer, prompts: Sequence[str], *, longest: int) -> list[str]:
    """What the model says to each prompt: the likeliest token each time, to the end of the text or of the line.

    Prompts of the same number of tokens are answered together, so that none needs padding.

    Args:
        longest: Tokens of an answer at most.
    """
    training, device, end = model.training, next(model.parameters()).device, end_of(tokenizer)
    forbidden = torch.zeros(tokenizer.vocab_size, device=device)
    forbidden[[number for number in special_ids(tokenizer) if number != end]] = -torch.inf
    alike: dict[int, list[int]] = defaultdict(list)
    tokens, said = [tokenizer.encode(prompt) for prompt in prompts], [""] * len(prompts)
    for number, prompt in enumerate(tokens):
        alike[len(prompt)].append(number)

    def choose(logits: Tensor, *, previous: Tensor) -> Tensor:
        return greedy(logits + forbidden, previous=previous)

    model.eval()
    for same in alike.values():
        for rows in (same[first : first + CHUNK] for first in range(0, len(same), CHUNK)):
            asked = torch.tensor([tokens[number] for number in rows], device=device)
            steps = generate(step_of(model), asked, max_new_tokens=longest, choose=choose, stop=end,
                             reorder=select_rows)  # fmt: skip
            for number, row in zip(rows, torch.stack([*steps], dim=1).tolist(), strict=True):
                answer = tokenizer.decode(row[: row.index(end)] if end in row else row)
                said[number] = answer.strip().split("\n")[0]
    model.train(training)
    return said


def exact(said: Sequence[str], examples: Sequence[Example]) -> float:
    """Share of the answers that are right to the letter, from 0 to 1."""
    return sum(one == example.answer.strip() for one, example in zip(said, examples, strict=True)) / len(examples)


def mean(measure: Callable[[str, str], float]) -> Callable[[Sequence[str], Sequence[str]], float]:
    """A measure of one answer as the mean over all."""
    return lambda said, right: sum(map(measure, said, right)) / len(right)


# What is measured of answers and of what is right, besides the share that is exact.
SCORES: dict[str, dict[str, Callable[[Sequence[str], Sequence[str]], float]]] = {
    "exact": {},
    "bleu": {"bleu": bleu},  # as the stages before score translations
    "rouge": {"rouge_1": mean(rouge_1), "rouge_l": mean(rouge_l)},
    "words": {"f1": mean(shared_words)},
}


def score(said: Sequence[str], exercise: Exercise, examples: Sequence[Example]) -> dict[str, float]:
    """`exact`, and what the exercise wants besides."""
    right = [example.answer.strip() for example in examples]
    return {"exact": exact(said, examples)} | {name: of(said, right) for name, of in SCORES[exercise.score].items()}


def scored(model: GPT, tokenizer: Tokenizer, exercise: Exercise) -> dict[str, float]:
    """The scores on the first examples of the validation part; of several tasks those of each."""
    if exercise.tasks:
        each = {task.name: scored(model, tokenizer, task) for task in exercise.tasks}
        return {f"{task}_{name}": value for task, found in each.items() for name, value in found.items()}
    some = exercise.validation[:JUDGED]
    said = answers(model, tokenizer, [one.prompt for one in some], longest=longest(encoded(tokenizer, some)))
    return score(said, exercise, some)

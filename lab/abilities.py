"""What can each generation do? Three tasks that need one ability each, made by rule, the same for all models.

    order    A and B stand somewhere among 31 letters: which of them came first?
    recall   one of eight keys stands somewhere among 127 letters: which one, and up to what distance is that solved?
    pairs    eight keys are given one of six values each, in any order: which value has this key?

Every model has at most as many parameters and as much time on one core, at the best of three rates. Then it is asked
where in the text its answer comes from. By trial: which letter, put in another's place, changes the answer most? By its
own weights: where does the head that knows best look most? The first takes a reading for each letter, the second none.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lab.generations import GENERATIONS, gpt
from lab.jobs import Row, done
from my_llm.training import Loss
from stage4_transformer.models import Encoder
from stage5_gpt.models import GPT
from stage5_gpt.studies.common import Learnt, adamw, fit

RATES = (0.001, 0.003, 0.01)
ASK, KEYS, NOISE, VOCABULARY = 1, (2, 10), (10, 16), 16
PARAMETERS, SECONDS = 50_000, 45.0  # of processor time, for each training
BATCH, JUDGED = 32, 1024  # texts of a step, texts that judge
EVERY = 25  # steps after which it is asked whether the task is solved
LENGTHS = {"order": 32, "recall": 128, "pairs": 18}
CHANCE = {"order": 50.0, "recall": 12.5, "pairs": 16.7}
SOLVED = 0.9  # share of right answers
DISTANCES = (8, 16, 32, 64, 126)  # recall is judged between each of them and the one before
SHOWN = (16, 126)  # of them, in the table
TRIED = 64  # texts in which letters are changed


def large(vocabulary: int, width: int) -> GPT:
    """A GPT whose embeddings begin as large as those that stage 4's stack reads; its head is another, and small."""
    model = gpt(tied=False)(vocabulary, width)
    nn.init.normal_(model.embedding.weight)
    return model


MODELS = {**GENERATIONS, "GPT, large embeddings": GENERATIONS["GPT"]._replace(make=large)}


class Asked(NamedTuple):
    """Texts that end with a question, the answers, and where in the text each stands."""

    texts: Int[Tensor, "B T"]
    answers: Int[Tensor, "B"]
    places: Int[Tensor, "B"]


def noise(count: int, length: int, generator: torch.Generator) -> Int[Tensor, "B T"]:
    """Letters that mean nothing, and the question."""
    texts = torch.randint(*NOISE, (count, length), generator=generator)
    texts[:, -1] = ASK
    return texts


def order(index: int, count: int = BATCH) -> Asked:
    """Which came first? The two stand at any two places."""
    length, generator, rows = LENGTHS["order"], torch.Generator().manual_seed(index), torch.arange(count)
    texts = noise(count, length, generator)
    places = torch.rand(count, length - 1, generator=generator).topk(2).indices.sort(dim=1).values
    first = KEYS[0] + torch.randint(2, (count,), generator=generator)
    texts[rows, places[:, 0]] = first
    texts[rows, places[:, 1]] = 2 * KEYS[0] + 1 - first  # the other one of the two
    return Asked(texts, first, places[:, 0])


def recall(index: int, count: int = BATCH, distances: tuple[int, int] = (1, LENGTHS["recall"])) -> Asked:
    """Which key was it? It stands at least `distances[0]`, and less than `distances[1]`, before the question; half of
    the keys nearer than the geometric mean, so that there is something easy to begin with.
    """
    length, generator, rows = LENGTHS["recall"], torch.Generator().manual_seed(index), torch.arange(count)
    texts = noise(count, length, generator)
    keys = torch.randint(*KEYS, (count,), generator=generator)
    low, high = (math.log(side) for side in distances)
    places = length - 1 - (low + (high - low) * torch.rand(count, generator=generator)).exp().long()
    texts[rows, places] = keys
    return Asked(texts, keys, places)


def pairs(index: int, count: int = BATCH) -> Asked:
    """Which value has this key? Where the noise was are the values now; the text ends with the question and a key."""
    generator, rows = torch.Generator().manual_seed(index), torch.arange(count)
    keys = KEYS[0] + torch.rand(count, KEYS[1] - KEYS[0], generator=generator).argsort(dim=1)
    values = torch.randint(*NOISE, keys.shape, generator=generator)
    asked = torch.randint(keys.shape[1], (count,), generator=generator)
    told = torch.stack([keys, values], dim=2).flatten(1)
    question = torch.stack([torch.full((count,), ASK), keys[rows, asked]], dim=1)
    return Asked(torch.cat([told, question], dim=1), values[rows, asked], 2 * asked + 1)


TASKS = {"order": order, "recall": recall, "pairs": pairs}


def answer_loss(model: nn.Module, asked: Asked) -> Loss:
    """Of the answer alone."""
    logits, _ = model(asked.texts)
    return Loss(cross_entropy(logits[:, -1], asked.answers, reduction="sum"), len(asked.answers))


@torch.inference_mode()
def right(model: nn.Module, asked: Asked) -> Tensor:
    """Which answers are right (B,)."""
    logits, _ = model.eval()(asked.texts)
    return cast(Tensor, logits[:, -1].argmax(dim=1) == asked.answers)


def share(model: nn.Module, asked: Asked) -> float:
    """Of right answers."""
    return float(right(model, asked).float().mean())


# --- one training -----------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """One training."""

    task: str
    generation: str
    rate: float

    @property
    def file(self) -> str:
        """Where its row is kept."""
        return f"{self.task}-{self.generation.replace(' ', '_').replace(',', '')}-{self.rate}.json"


def train(job: Job, *, seed: int, max_steps: int) -> Row:
    """A new model learns the task, until it is solved or its time is over."""
    torch.set_num_threads(1)
    generation, task = MODELS[job.generation], TASKS[job.task]
    width, parameters = generation.sized(VOCABULARY, PARAMETERS)
    torch.manual_seed(seed)
    model = generation.make(VOCABULARY, width)
    first, choosing = (seed + 1) * 1_000_000, task(2, JUDGED)  # those who judge are others

    def solved(learnt: Learnt) -> bool:
        return len(learnt.losses) % EVERY == 0 and share(model, choosing) == 1

    fit(model, lambda index: task(first + index), answer_loss, max_steps or 10**9, tokens=BATCH,
        optimizer=adamw(model, job.rate), within=SECONDS, watch=solved)  # fmt: skip
    row = {"parameters": parameters, "chosen_by": share(model, choosing), "right": share(model, task(0, JUDGED))}
    return {**row, **recalled(model)} if job.task == "recall" else row


def recalled(model: nn.Module) -> Row:
    """How far back, and how one can see from where."""
    parts = zip((1, *(distance + 1 for distance in DISTANCES)), DISTANCES)
    shares = [share(model, recall(0, JUDGED, (low, high + 1))) for low, high in parts]
    return {"shares": shares, "by_trial": by_trial(model), "by_weights": by_weights(model)}


def reach_of(shares: Sequence[float]) -> int:
    """The distance up to which all is solved."""
    return max((far for far, _ in takewhile(lambda one: one[1] >= SOLVED, zip(DISTANCES, shares))), default=0)


# --- where an answer comes from ---------------------------------------------------------------------------------------


@torch.inference_mode()
def by_trial(model: nn.Module) -> float:
    """Share of texts in which the letter that matters most is the key; the last one is the question, and stays."""
    found = 0
    for text, answer, place in zip(*recall(1, TRIED)):
        others = text.repeat(len(text) - 1, 1).fill_diagonal_(NOISE[0])  # row i: letter i is another one
        others[:, -1] = ASK
        logits, _ = model(others)
        found += int(logits[:, -1].log_softmax(dim=-1)[:, answer].argmin() == place)
    return found / TRIED


@torch.inference_mode()
def by_weights(model: nn.Module) -> float | None:
    """Share of right answers for which the head that knows best looks at the key most; None: there are no heads."""
    choosing, asked = recall(2, JUDGED), recall(1, JUDGED)  # the head is chosen on other texts
    heads, others = [*looks(model, asked.texts)], [*looks(model, choosing.texts)]
    if not heads:
        return None
    best = max(range(len(heads)), key=lambda head: int((others[head] == choosing.places).sum()))
    known = right(model, asked)
    return float((heads[best] == asked.places)[known].float().mean()) if known.any() else 0.0


def looks(model: nn.Module, texts: Int[Tensor, "B T"]) -> Iterator[Int[Tensor, "B"]]:
    """For each head of each layer: where it looks most from the last place."""
    maps: list[Float[Tensor, "B H T"]] = []
    if isinstance(stack := getattr(model, "stack", None), Encoder):
        own = cast(Any, model)
        embedded = own.embedding(texts) * own.config.model**0.5
        _, _, weights = stack(embedded, own.mask(texts.shape[1], 0, texts.device), need_weights=True)
        maps = [one[:, :, -1] for one in weights if one is not None]
    elif isinstance(model, GPT):
        maps = looks_of_gpt(model, texts)
    for layer in maps:
        yield from layer.argmax(dim=2).T


def looks_of_gpt(model: GPT, texts: Int[Tensor, "B T"]) -> list[Float[Tensor, "B H T"]]:
    """The scores of the last token in each layer, taken where queries meet keys."""
    maps: list[Tensor] = []
    for block in model.blocks:
        attention = cast(Any, block).attention

        def look(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, kernel: Any = attention.look) -> Any:
            maps.append((query[:, :, -1:] @ key.transpose(2, 3))[:, :, 0])
            return kernel(query, key, value, bias)

        attention.look = look
    model(texts)
    for block in model.blocks:
        del cast(Any, block).attention.look
    return maps


# --- all of them ------------------------------------------------------------------------------------------------------


def rules(seed: int, max_steps: int) -> list[Any]:
    """What the rows depend on."""
    return [seed, max_steps, RATES, PARAMETERS, SECONDS, BATCH, JUDGED, EVERY, LENGTHS, DISTANCES, TRIED]


def learn(names: Sequence[str], seed: int, max_steps: int, folder: Path, workers: int) -> dict[Job, Row]:
    """The rows of all trainings; those that `folder` has are not run again."""
    wanted = [Job(task, name, rate) for task in TASKS for name in names for rate in RATES]

    def told(job: Job, row: Row) -> str:
        return f"{job.task}, {job.generation}, rate {job.rate:g}: {row['right']:.1%} right"

    return done(wanted, partial(train, seed=seed, max_steps=max_steps), folder, workers, told)


def table_of(rows: dict[Job, Row], names: Sequence[str]) -> list[Row]:
    """One row for each model, at the rate that was best on texts that choose; shares in percent."""
    table = []
    for name in names:
        ordered, told, paired = (
            max((row for job, row in rows.items() if job[:2] == (task, name)), key=lambda row: row["chosen_by"])
            for task in TASKS
        )
        answered = {"order": ordered["right"], "pairs": paired["right"]}
        far = {f"recall_{distance}": round(100 * told["shares"][DISTANCES.index(distance)], 1) for distance in SHOWN}
        seen = {key: round(100 * told[key], 1) for key in ("by_trial", "by_weights") if told[key] is not None}
        row = {"case": name, **{key: round(100 * one, 1) for key, one in answered.items()}}
        table.append({**row, "reach": reach_of(told["shares"]), **far, **seen})
    return table


COLUMNS = {
    "order": "%", "reach": "", **{f"recall_{distance}": "%" for distance in SHOWN}, "pairs": "%", "by_trial": "%",
    "by_weights": "%",
}  # fmt: skip

"""How a GPT should learn: optimizer and schedule, batch size, embeddings of runs."""

import time
from collections.abc import Callable, Sequence

import torch

from my_llm.schedules import constant, cosine, linear
from my_llm.studies import mean_and_spread
from stage5_gpt.models import GPT, Muon
from stage5_gpt.studies import StudyConfig, seeds_of, steps_of
from stage5_gpt.studies.common import (
    BETAS,
    RATE,
    WARM_UP,
    Learnt,
    Row,
    Text,
    adamw,
    best_of,
    learn,
    load,
    nats,
    new_gpt,
    publish,
)

SCHEDULES = {"constant": constant, "cosine": cosine, "linear": linear}
STEPS = 300
TARGET = 2.2  # nats a character, in training: what AdamW comes to at about the end
BATCHES = (256, 512, 1024, 2048, 4096)  # tokens of a step
LENGTH, MOST = 64, 600_000  # tokens of a window of `batch`; tokens after which it gives up
RUNS = (1, 2, 3, 4, 5)
SHORT, LONG = 60, 500


def sgd(model: GPT, rate: float) -> torch.optim.Optimizer:
    """Gradient descent with momentum."""
    return torch.optim.SGD(model.parameters(), rate, momentum=0.9)


def muon(model: GPT, rate: float = RATE, matrix_rate: float = 0.02) -> torch.optim.Optimizer:
    """Muon for the matrices of the blocks, AdamW for the rest."""
    inner = [weight for weight in model.blocks.parameters() if weight.ndim > 1]
    inside = {id(weight) for weight in inner}
    others = [weight for weight in model.parameters() if id(weight) not in inside]
    groups = [{"params": others}, {"params": inner, "orthogonal": True, "lr": matrix_rate}]
    return Muon(groups, lr=rate, betas=BETAS)


# Name → the optimizer, and the rates that are tried: of all weights, with Muon those of the matrices.
OPTIMIZERS: dict[str, tuple[Callable[[GPT, float], torch.optim.Optimizer], Sequence[float]]] = {
    "sgd": (sgd, (0.1, 0.3, 1.0)),
    "adamw": (adamw, (0.004, 0.008, 0.016)),
    "muon": (lambda model, rate: muon(model, RATE, rate), (0.01, 0.02, 0.04)),
}


def optimizers(config: StudyConfig) -> None:
    """Which optimizer and schedule comes to a given loss first, in steps and in seconds?"""
    started, text, steps, rows = time.perf_counter(), load(config), steps_of(config, STEPS), []
    for name, (make, rates) in OPTIMIZERS.items():

        def run(rate: float, course: str, seed: int, make: Callable = make) -> tuple[float, Learnt]:
            model = new_gpt(text, seed)
            schedule = SCHEDULES[course](steps, round(WARM_UP * steps))
            learnt = learn(model, text, steps, seed, optimizer=make(model, rate), schedule=schedule)
            return nats(model, text), learnt

        tried = {rate: run(rate, "cosine", config.seed) for rate in rates}
        rate = min(tried, key=lambda rate: tried[rate][0])
        print(f"{name}: " + ", ".join(f"{rate:g} → {loss:.3f}" for rate, (loss, _) in tried.items()), flush=True)
        for course in SCHEDULES:
            known = {config.seed: tried[rate]} if course == "cosine" else {}
            runs = [known.get(seed) or run(rate, course, seed) for seed in seeds_of(config)]
            row: Row = {"case": f"{name}, {course}", "rate": rate, **mean_and_spread("loss", [r[0] for r in runs], 3)}
            rows.append(row | _way([learnt for _, learnt in runs]))
    title = f"Optimizers and schedules, best of three rates: held-out loss after {steps} steps, way to {TARGET} nats"
    columns = {"rate": "", "loss": "nats", "loss_sd": "nats", "steps_to": "", "seconds_to": "s"}
    publish(
        config, "optimizers", text.corpus, rows, title=title, columns=columns, draw=("loss", "steps_to", "seconds_to"),
        seen=lambda: best_of(rows), started=started,
    )  # fmt: skip


def _way(learnts: Sequence[Learnt]) -> Row:
    """Mean steps and seconds to the target; nothing where one seed did not reach it."""
    found = [(learnt.reached(TARGET), learnt) for learnt in learnts]
    steps, seconds = [step for step, _ in found if step], [learnt.seconds[step - 1] for step, learnt in found if step]
    if len(steps) < len(found):
        return {}
    return {"steps_to": round(sum(steps) / len(steps)), "seconds_to": round(sum(seconds) / len(seconds), 2)}


def batch(config: StudyConfig) -> None:
    """How many steps and tokens to a given loss, with small batches and large ones?"""
    started, text, rows = time.perf_counter(), load(config), []
    for tokens in BATCHES:
        rate = RATE * (tokens / 1024) ** 0.5
        learnts = [_until(config, text, tokens, rate, seed) for seed in seeds_of(config)]
        row: Row = {"case": f"{tokens:,}", "rate": round(rate, 4), **_way(learnts)}
        if "steps_to" in row:
            row["tokens_to"] = row["steps_to"] * tokens
        rows.append(row)
    title = f"Tokens of a step, rate by their root: the way to {TARGET} nats in training"
    columns = {"rate": "", "steps_to": "", "tokens_to": "", "seconds_to": "s"}
    publish(
        config, "batch", text.corpus, rows, title=title, columns=columns, draw=("steps_to", "tokens_to", "seconds_to"),
        seen=lambda: best_of(rows, "steps_to") + "; " + best_of(rows, "tokens_to"), started=started,
    )  # fmt: skip


def _until(config: StudyConfig, text: Text, tokens: int, rate: float, seed: int) -> Learnt:
    """Train at a constant rate until the target is reached."""
    model, steps = new_gpt(text, seed, context=LENGTH), steps_of(config, MOST // tokens)
    schedule = constant(steps, round(0.05 * steps))

    def watch(learnt: Learnt) -> bool:
        return learnt.loss <= TARGET + 0.1 and learnt.reached(TARGET) is not None

    optimizer = adamw(model, rate)
    return learn(
        model, text, steps, seed, length=LENGTH, tokens=tokens, optimizer=optimizer, schedule=schedule, watch=watch
    )


def ngrams(config: StudyConfig) -> None:
    """What do embeddings of runs bring, in a short training and in a long one?"""
    started, text, rows = time.perf_counter(), load(config), []
    for runs in RUNS:
        row: Row = {"case": str(runs)}
        for name, steps in (("short", SHORT), ("long", LONG)):
            losses = []
            for seed in seeds_of(config):
                model = new_gpt(text, seed, ngrams=runs, ngram_rows=8192)
                learn(model, text, steps_of(config, steps), seed)
                losses.append(nats(model, text))
            row |= mean_and_spread(f"loss_{name}", losses, 3)
        rows.append(row)
    columns = {f"loss_{name}{end}": "nats" for name in ("short", "long") for end in ("", "_sd")}
    title = f"Longest run with an embedding of its own: held-out loss after {SHORT} and {LONG} steps"
    publish(
        config, "ngrams", text.corpus, rows, title=title, columns=columns, draw=("loss_short", "loss_long"),
        seen=lambda: "; ".join(best_of(rows, key) for key in ("loss_short", "loss_long")), started=started,
    )  # fmt: skip

"""How far can each look back? One fact, a stretch of nothing, and the question.

A sequence tells a few keys and their values, goes on with tokens that mean nothing, and ends with one of the keys; the
answer is its value (stage4_transformer/data.py). An LSTM has to carry all pairs through everything that comes after
them. A WaveNet sees no further than its receptive field, and up to there each distance is a path of its own. For a
Transformer all distances are one step. All three learn from all distances mixed, with equally many parameters.

The pairs always stand at the beginning, so that with learned positions the Transformer can tell which token is a value
of which key without a search. With rotary ones it would have to learn that first, and takes several times as long.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from my_llm.training import Loss
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig, WaveNet, WaveNetConfig
from stage4_transformer.data import RecallBatch, RecallTask
from stage4_transformer.models import TransformerLM, TransformerLMConfig
from stage4_transformer.studies.common import (
    COLORS,
    Recipe,
    Row,
    StudyConfig,
    check,
    finish,
    learn,
    mean_and_spread,
    parameters_of,
    save,
    seeds_of,
    sheet,
    steps_of,
)
from stage4_transformer.studies.equal import size_of, width_for

PAIRS, SYMBOLS = 2, 4
DISTANCES = (6, 12, 24, 48, 96, 192, 384)  # on average, as the pairs are told one after the other
SHAPE = {"model": 64, "heads": 4, "layers": 2, "hidden": 128, "positions": "learned"}
REACH = 6  # layers of the WaveNet: it sees the last 2⁶ tokens
STEPS, BATCH = 1500, 32
SCORED = 8  # batches of each distance
RATES = {"lstm": 0.005, "wavenet": 0.005, "transformer": 0.003}
KNOWN = 90  # percent of right answers that count as looking back so far


def tasks_of(seed: int) -> list[RecallTask]:
    """One for each distance: the middle pair's value stands so far before the query."""
    return [
        RecallTask(PAIRS, distance - PAIRS, symbols=SYMBOLS, batch_size=BATCH, seed=len(DISTANCES) * seed + number)
        for number, distance in enumerate(DISTANCES)
    ]


Make = Callable[[], nn.Module]


def makers() -> dict[str, Make]:
    """The three models, of equal size."""
    longest = tasks_of(0)[-1]
    vocab_size = longest.vocab_size
    sizes: dict[str, Any] = {**SHAPE, "vocab_size": vocab_size, "max_length": longest.length}

    def transformer() -> nn.Module:
        return TransformerLM(TransformerLMConfig(**sizes))

    def lstm(width: int) -> nn.Module:
        return LanguageModel(LanguageModelConfig(vocab_size, embedding=width, hidden=width))

    def wavenet(width: int) -> nn.Module:
        return WaveNet(WaveNetConfig(vocab_size, channels=width, layers=REACH, blocks=1))

    parameters, widths = size_of(transformer), range(8, 513)
    hidden, channels = (width_for(parameters, make, widths) for make in (lstm, wavenet))
    return {"lstm": lambda: lstm(hidden), "wavenet": lambda: wavenet(channels), "transformer": transformer}


def recall_loss(model: nn.Module, batch: RecallBatch) -> Loss:
    """Cross-entropy of the answer, which is what follows the last token."""
    logits, _ = model(batch.tokens)
    return Loss(cross_entropy(logits[:, -1], batch.answers, reduction="sum"), len(batch.answers))


@torch.inference_mode()
def accuracy(model: nn.Module, task: RecallTask) -> float:
    """Percent of right answers, over sequences that were not learnt from."""
    batches = [task(10**6 + number) for number in range(SCORED)]
    right = sum(int((model(batch.tokens)[0][:, -1].argmax(dim=1) == batch.answers).sum()) for batch in batches)
    return 100 * right / (SCORED * task.batch_size)


def accuracies(name: str, make: Make, steps: int, seed: int) -> tuple[list[float], float]:
    """Train on all distances in turn: percent of right answers at each of them, and the seconds that it took."""
    torch.manual_seed(seed)
    model, tasks = make(), tasks_of(seed)
    learnt = learn(model, lambda index: tasks[index % len(tasks)](index), recall_loss, Recipe(steps, seed, RATES[name]))
    return [accuracy(model, task) for task in tasks], learnt.seconds


def recall(config: StudyConfig) -> None:
    """Over what distance can an LSTM, a WaveNet and a Transformer learn to recall?"""
    check(config)
    started = time.perf_counter()
    steps, models, rows = steps_of(config, STEPS), makers(), []
    for name, make in models.items():
        found = [accuracies(name, make, steps, seed) for seed in seeds_of(config)]
        size = parameters_of(make())
        for number, distance in enumerate(DISTANCES):
            right = mean_and_spread("accuracy", [each[number] for each, _ in found], 1)
            seconds = mean_and_spread("seconds", [seconds for _, seconds in found])["seconds"]
            rows.append(
                {"case": f"{name}: {distance}", "distance": distance, **right, "seconds": seconds, "parameters": size}
            )
    _draw_recall(rows)
    finish(
        config,
        "recall",
        title=f"One of {PAIRS} values of {SYMBOLS} recalled after so many tokens, all distances mixed in training, "
        f"{steps} steps; who says one of those told is right in {guess():.0f} %; the WaveNet sees {2**REACH} tokens",
        columns={"distance": "tokens", "accuracy": "%", "accuracy_sd": "%", "seconds": "s", "parameters": ""},
        rows=rows,
        seen=_seen_recall(rows),
        started=started,
    )


def guess() -> float:
    """Percent of right answers of one who remembers the values and not their keys; two values may be the same."""
    return 100 * (1 + (PAIRS - 1) / SYMBOLS) / PAIRS


def reached(rows: Sequence[Row], name: str) -> int:
    """The distance up to which a model recalls; 0: not even over the shortest."""
    far = 0
    for row in rows:
        if row["case"].split(":")[0] == name:
            if row["accuracy"] < KNOWN:
                break
            far = row["distance"]
    return far


def _seen_recall(rows: Sequence[Row]) -> str:
    parts = []
    for name in RATES:
        mine = [row for row in rows if row["case"].split(":")[0] == name]
        far = reached(rows, name)
        words = f"up to {far} tokens" if far else "over none of the distances"
        scores = "from {:.0f} to {:.0f} %".format(*(edge(row["accuracy"] for row in mine) for edge in (min, max)))
        parts.append(f"the {name} {words} ({scores})")
    wavenet = {row["distance"]: row["accuracy"] for row in rows if row["case"].startswith("wavenet")}
    inside, beyond = (
        statistics.fmean(right for distance, right in wavenet.items() if (distance < 2**REACH) == near)
        for near in (True, False)
    )
    return (
        f"{KNOWN} % of the answers are right: {', '.join(parts)}; the WaveNet has {inside:.0f} % within the {2**REACH} "
        f"tokens that it sees and {beyond:.0f} % beyond them; remembering the values alone gives {guess():.0f} %"
    )


def _draw_recall(rows: Sequence[Row]) -> None:
    figure, (chart,) = sheet(1, width=6.6, height=3.6, title="Recalling a value after a distance")
    for number, name in enumerate(RATES):
        mine = [row for row in rows if row["case"].split(":")[0] == name]
        x, y, spread = ([row[key] for row in mine] for key in ("distance", "accuracy", "accuracy_sd"))
        chart.errorbar(x, y, spread, marker="o", markersize=5, capsize=3, color=COLORS[number], label=name)
    chart.axvline(2**REACH, color=COLORS[1], linewidth=1, linestyle="--", label="what the WaveNet sees")
    chart.axhline(guess(), color="#888888", linewidth=0.9, linestyle=":", label="one of those told")
    chart.set(xlabel="tokens back", ylabel="right answers (%)", xscale="log", ylim=(0, 105))
    chart.set_xticks(DISTANCES, [str(distance) for distance in DISTANCES])
    chart.minorticks_off()
    chart.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, "recall")

"""The price of order: a recurrent network cannot begin step t before step t - 1 is done.

Three ways to spend the same number of multiply-adds per character: an LSTM, step by step; a WaveNet, which sees all
positions at once, layer by layer; and one large matrix product, which is what a processor likes best. Each is timed
forward and backward. On a GPU, with thousands of cores to keep busy, the price is higher than on any CPU.

The measurements take turns, so that whatever else the machine does in the meantime hits all of them; medians are shown.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.errors import ConfigError
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig, WaveNet, WaveNetConfig
from stage2_rnn_lstm.studies.common import COLORS, StudyConfig, check, finish, save, sheet
from stage2_rnn_lstm.studies.trials import width_for

Row = dict[str, Any]
VOCABULARY, HIDDEN, BATCH = 69, 256, 16
LENGTHS = (16, 32, 64, 128, 256, 512)
ROUNDS = 9
THREADS = (1, 2)
KINDS = {"lstm": "LSTM", "wavenet": "WaveNet", "product": "one product"}


def multiply_adds(model: nn.Module) -> int:
    """Per token and forward pass: one for each weight of a matrix; looking up an embedding costs none."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embedding" not in name]
    return sum(matrix.numel() for matrix in matrices)


def wavenet(width: int) -> WaveNet:
    """Two blocks of six layers."""
    return WaveNet(WaveNetConfig(VOCABULARY, channels=width))


def same_cost_models(hidden: int = HIDDEN) -> dict[str, nn.Module]:
    """An LSTM, a WaveNet and a single square matrix with nearly the same multiply-adds per token."""
    lstm = LanguageModel(LanguageModelConfig(VOCABULARY, hidden=hidden))
    budget = multiply_adds(lstm)
    channels, side = width_for(budget, lambda width: multiply_adds(wavenet(width))), round(budget**0.5)
    return {"lstm": lstm, "wavenet": wavenet(channels), "product": nn.Linear(side, side, bias=False)}


def training_step(model: nn.Module, length: int) -> Callable[[], None]:
    """Forward and backward over BATCH sequences of this length, ready to be timed."""
    if isinstance(model, nn.Linear):
        x = torch.randn(BATCH * length, model.in_features, requires_grad=True)  # also the layer below wants a gradient
        return lambda: model(x).sum().backward()
    tokens = torch.randint(VOCABULARY, (BATCH, length + 1))

    def step() -> None:
        logits: Tensor = model(tokens[:, :-1])[0]
        cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()

    return step


def take_turns(steps: Mapping[Any, Callable[[], None]], rounds: int, threads: Sequence[int]) -> dict[Any, float]:
    """Median seconds of each step, as (key, threads): every round times all of them once, on every number of threads.

    The number of threads is put back afterwards.
    """
    seconds: dict[Any, list[float]] = {(key, count): [] for key in steps for count in threads}
    usual = torch.get_num_threads()
    try:
        for number in range(rounds + 1):  # the first round warms up and does not count
            for count in threads:
                torch.set_num_threads(count)
                for key, step in steps.items():
                    before = time.perf_counter()
                    step()
                    if number:
                        seconds[key, count].append(time.perf_counter() - before)
    finally:
        torch.set_num_threads(usual)
    return {key: statistics.median(found) for key, found in seconds.items()}


def order_cost(config: StudyConfig) -> None:
    """What does it cost to read step by step, and what does a second core bring?

    Raises:
        ConfigError: another device than the CPU, or a single core.
    """
    check(config)
    if config.device not in ("auto", "cpu") or (os.cpu_count() or 1) < max(THREADS):
        got = f"--device {config.device}, {os.cpu_count()} cores"
        raise ConfigError("order_cost compares one core of a CPU with two", got=got, valid="auto or cpu, 2 cores")
    started = time.perf_counter()
    torch.manual_seed(config.seed)
    models = same_cost_models()
    steps = {(kind, length): training_step(models[kind], length) for kind in KINDS for length in LENGTHS}
    rounds = min(ROUNDS, config.max_steps or ROUNDS)
    found = take_turns(steps, rounds, THREADS)
    rows = [row_of(kind, length, models[kind], found) for kind in KINDS for length in LENGTHS]
    _draw_order_cost(rows)
    by_case = {row["case"]: row for row in rows}
    last = [by_case[f"{kind} {LENGTHS[-1]}"] for kind in KINDS]
    lstm, net, product = last
    finish(
        config,
        "order_cost",
        title=f"Forward and backward over {BATCH} sequences, {multiply_adds(models['lstm']):,} multiply-adds a token; "
        f"medians of {rounds} rounds in which all take turns",
        columns={
            **{"length": "steps", "one_thread": "ms", "two_threads": "ms", "speed_up": "×"},
            **{"rate": "GFLOP/s", "rate_two": "GFLOP/s"},
        },
        rows=rows,
        seen=f"{LENGTHS[-1]} steps take the LSTM {lstm['one_thread'] / product['one_thread']:.1f} times as long as one "
        f"product with the same multiply-adds, the WaveNet {net['one_thread'] / product['one_thread']:.1f} times; a "
        f"second core makes the LSTM {lstm['speed_up']:.2f} times as fast, the WaveNet {net['speed_up']:.2f}, the "
        f"product {product['speed_up']:.2f}",
        started=started,
    )


def row_of(kind: str, length: int, model: nn.Module, found: Mapping[Any, float]) -> Row:
    """Milliseconds on one and two threads; useful operations a second: 2 each, forward and twice backward."""
    one, two = (found[(kind, length), threads] for threads in THREADS)
    work = 3 * 2 * multiply_adds(model) * BATCH * length / 1e9
    times = {"one_thread": round(1000 * one, 2), "two_threads": round(1000 * two, 2), "speed_up": round(one / two, 2)}
    rates = {"rate": round(work / one, 1), "rate_two": round(work / two, 1)}
    return {"case": f"{kind} {length}", "length": length, **times, **rates}


def _draw_order_cost(rows: Sequence[Row]) -> None:
    figure, (times, rates, cores) = sheet(3, width=3.5, title="The same multiply-adds: in order, or all at once")
    for (kind, name), color in zip(KINDS.items(), COLORS):
        mine = [row for row in rows if row["case"].startswith(kind)]
        times.plot(LENGTHS, [row["one_thread"] for row in mine], "o-", markersize=4, color=color, label=name)
        times.plot(LENGTHS, [row["two_threads"] for row in mine], "o--", markersize=4, color=color)
        rates.plot(LENGTHS, [row["rate"] for row in mine], "o-", markersize=4, color=color)
        rates.plot(LENGTHS, [row["rate_two"] for row in mine], "o--", markersize=4, color=color)
        cores.plot(LENGTHS, [row["speed_up"] for row in mine], "o-", markersize=4, color=color)
    times.set_yscale("log")
    times.plot([], [], "--", color="#888888", label="two cores")
    times.legend(fontsize=8, frameon=False)
    rates.set_ylim(0, None)
    cores.set_ylim(0, 2.1)
    titles = ("a training step (ms)", "useful work (GFLOP/s)", "what a second core brings (times)")
    for chart, title in zip((times, rates, cores), titles, strict=True):
        chart.set_title(title, fontsize=10, loc="left")
        chart.set(xscale="log", xlabel="steps in the sequence")
        chart.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
        chart.minorticks_off()
    save(figure, "order_cost")

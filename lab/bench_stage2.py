"""The speed of stage 2 beside torch's own LSTM, which runs inside oneDNN on a CPU: training, memory, writing."""

import os
import statistics
import time
from functools import partial

from lab.bench import Row, finish, take_turns

SIZE = {"batch_size": 64, "length": 128, "hidden": 512}  # two layers
CHARACTERS = 1000  # written in one turn


def bench(rounds: int) -> None:
    """Measure, print and record results/bench/stage2.json; both cores, as a training has them."""
    started = time.perf_counter()
    rows = [*training(max(rounds // 4, 3)), *writing(max(rounds // 8, 3))]
    columns = {"step_ms": "ms", "speed_of_official": "", "memory_mib": "MiB", "characters_per_second": "1/s"}
    title = "Forward and backward of two LSTM layers of {hidden}, batch {batch_size} × {length} steps, and writing"
    finish("stage2", title.format(**SIZE), rows, columns, "my-llm bench --stage stage2_rnn_lstm", started)


def training(rounds: int) -> list[Row]:
    """Milliseconds, speed relative to nn.LSTM, and the most memory of each telling."""
    from my_llm.device import set_threads
    from stage2_rnn_lstm.costs import race

    set_threads(os.cpu_count() or 1)
    return [
        {
            "case": f"LSTM, {name}",
            "step_ms": round(1000 * cost.seconds, 1),
            "speed_of_official": round(cost.speed, 3),
            "memory_mib": None if cost.mebibytes is None else round(cost.mebibytes),
        }
        for name, cost in race("lstm", **SIZE, repeats=rounds, seed=0).items()
    ]


def writing(rounds: int) -> list[Row]:
    """Characters a second of a character LSTM of the default size, one stream, on one thread and on all.

    The weights are random: what a character costs does not depend on what the network has learnt.
    """
    import torch

    from my_llm.device import set_threads
    from my_llm.text import CharTokenizer
    from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig
    from stage2_rnn_lstm.writer import writer_of

    tokenizer = CharTokenizer.train(["".join(map(chr, range(32, 93)))])
    torch.manual_seed(0)
    writer = writer_of(LanguageModel(LanguageModelConfig(tokenizer.vocab_size)), tokenizer, facts={})

    def write(threads: int) -> None:
        set_threads(threads)
        for _ in writer.write("T", length=CHARACTERS):
            pass

    counts = {"1 thread": 1, f"{os.cpu_count()} threads": os.cpu_count() or 1}
    times = take_turns({name: partial(write, threads) for name, threads in counts.items()}, rounds)
    return [
        {"case": f"writing, {name}", "characters_per_second": round(CHARACTERS / statistics.median(seconds))}
        for name, seconds in times.items()
    ]

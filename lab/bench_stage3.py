"""The speed of stage 3's decoders, by hand and from scratch, beside the same out of torch.nn.

The official dot and general scores ask for their weights with a second call, a few hundredths of their time.
"""

import time

from lab.bench import Row, finish

SIZE = {"batch_size": 64, "length": 20, "hidden": 256}
ATTENTIONS = ("bahdanau", "luong_general")


def bench(rounds: int) -> None:
    """Measure, print and record results/bench/stage3.json; one thread, since the products of a step are small."""
    from my_llm.device import set_threads
    from stage3_attention_seq2seq.costs import race

    started = time.perf_counter()
    set_threads(1)
    rows: list[Row] = [
        {
            "case": f"{attention}, {name}",
            "step_ms": round(1000 * cost.seconds, 1),
            "speed_of_official": round(cost.speed, 3),
        }
        for attention in ATTENTIONS
        for name, cost in race(attention, **SIZE, repeats=max(rounds // 4, 3), seed=0).items()
    ]
    title = "Forward and backward of a decoder with its attention, batch {batch_size} × {length} tokens, width {hidden}"
    columns = {"step_ms": "ms", "speed_of_official": ""}
    finish("stage3", title.format(**SIZE), rows, columns, "my-llm bench --stage stage3_attention_seq2seq", started)

"""Many heads or one: the same width, cut into more and more parts.

One head of full width can look at one place at a time; more heads can look at several, but each sees fewer numbers of
a token: with 16 heads, a query and a key of 128 / 16 = 8 numbers. The weights are the same in number, and so are the
multiplications; scores there are as many times more as there are heads (Vaswani et al. 2017, table 3, rows A).
"""

import time
from collections.abc import Sequence

from stage4_transformer.studies.common import (
    COLORS,
    SHAPE,
    Row,
    Setting,
    StudyConfig,
    finish,
    load_sentences,
    save,
    scored,
    seeds_of,
    sheet,
    steps_of,
    trained,
)

HEADS = (1, 2, 4, 8, 16)
STEPS = 300  # later, all of them would be nearly perfect


def heads(config: StudyConfig) -> None:
    """What do more heads bring at equal width, and what do they cost?"""
    started = time.perf_counter()
    text, steps, rows = load_sentences(config), steps_of(config, STEPS), []
    for count in HEADS:
        found = [trained(text, Setting(steps, seed, heads=count)) for seed in seeds_of(config)]
        row: Row = {"case": f"{count} head{'s' if count > 1 else ''}", "numbers": SHAPE["model"] // count}
        rows.append(row | scored(found, text.validation))
    _draw_heads(rows)
    best, worst = (choose(rows, key=lambda row: row["loss"]) for choose in (min, max))
    finish(
        config,
        "heads",
        title=f"Heads that share a width of {SHAPE['model']}, {steps} steps: numbers of a head, translations that are "
        "exactly right, BLEU (greedy), loss in training (smoothed)",
        columns={
            **{"numbers": "", "exact": "%", "exact_sd": "%", "bleu": "", "bleu_sd": "", "loss": "nats"},
            **{"loss_sd": "nats", "seconds": "s", "parameters": ""},
        },
        rows=rows,
        seen=f"the lowest loss has {best['case']} ({best['loss']:.3f} nats, {best['exact']:.1f} % exactly right), the "
        f"highest {worst['case']} ({worst['loss']:.3f}, {worst['exact']:.1f} %); {rows[-1]['case']} take "
        f"{rows[-1]['seconds'] / max(rows[0]['seconds'], 0.01):.2f} times the processor time of {rows[0]['case']}",
        started=started,
        corpus=text.corpus,
    )


def _draw_heads(rows: Sequence[Row]) -> None:
    figure, charts = sheet(3, width=3.6, title=f"Heads that share {SHAPE['model']} numbers")
    titles = {"exact": "exactly right (%)", "loss": "loss in training (nats)", "seconds": "training (s)"}
    for color, chart, (key, title) in zip(COLORS, charts, titles.items()):
        values, spread = [row[key] for row in rows], [row.get(f"{key}_sd", 0.0) for row in rows]
        chart.errorbar(HEADS, values, spread, marker="o", capsize=3, color=color)
        for count, row in zip(HEADS, rows, strict=True):
            chart.annotate(f"{row[key]:.4g}", (count, row[key]), (4, 6), textcoords="offset points", fontsize=8)
        chart.set_title(title, fontsize=10, loc="left")
        chart.set_xscale("log", base=2)
        chart.set_xticks(HEADS, [str(count) for count in HEADS])
        chart.set_xlabel("heads")
        chart.margins(x=0.12, y=0.25)
    charts[2].set_ylim(0, None)
    save(figure, "heads")

"""Deep or wide: the same number of weights in few wide layers, or in many narrow ones.

A layer has 4 D² weights to look and 2 D F to think, so twice the layers leave D / √2 of the width. Every layer is one
more look at what the looks before it have found, and one more step that cannot begin before the last has ended.
"""

import time
from collections.abc import Sequence
from functools import partial

from stage4_transformer.models import Transformer, TransformerConfig
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
from stage4_transformer.studies.equal import size_of, width_for

LAYERS = (1, 2, 4, 8)  # of encoder and decoder each
WIDTHS = range(8, 4 * SHAPE["model"], 8)  # four heads have an even number of numbers each
STEPS = 300
WIDER = SHAPE["hidden"] // SHAPE["model"]  # F / D


def new_model(model: int, layers: int, vocab_size: int) -> Transformer:
    """A Transformer of this width and depth."""
    fields = {**SHAPE, "model": model, "hidden": WIDER * model, "layers": layers}
    return Transformer(TransformerConfig(vocab_size=vocab_size, **fields))


def shape(config: StudyConfig) -> None:
    """Are many narrow layers better than few wide ones?"""
    started = time.perf_counter()
    text, steps, rows = load_sentences(config), steps_of(config, STEPS), []
    vocabulary = text.tokenizer.vocab_size
    size = size_of(lambda: new_model(SHAPE["model"], SHAPE["layers"], vocabulary))
    for layers in LAYERS:
        model = width_for(size, partial(new_model, layers=layers, vocab_size=vocabulary), WIDTHS)
        settings = [Setting(steps, seed, model=model, hidden=WIDER * model, layers=layers) for seed in seeds_of(config)]
        found = [trained(text, setting) for setting in settings]
        row: Row = {"case": f"{layers} layer{'s' if layers > 1 else ''} of {model}", "layers": layers, "width": model}
        rows.append(row | scored(found, text.validation))
    _draw_shape(rows)
    best, worst = (choose(rows, key=lambda row: row["loss"]) for choose in (min, max))
    finish(
        config,
        "shape",
        title=f"Layers (of encoder and decoder each) against width at equal parameters, {steps} steps: translations "
        "that are exactly right, BLEU (greedy), loss in training (smoothed)",
        columns={
            **{"layers": "", "width": "", "exact": "%", "exact_sd": "%", "bleu": "", "bleu_sd": "", "loss": "nats"},
            **{"loss_sd": "nats", "seconds": "s", "parameters": ""},
        },
        rows=rows,
        seen=f"the lowest loss has {best['case']} ({best['loss']:.3f} nats, {best['exact']:.1f} % exactly right), the "
        f"highest {worst['case']} ({worst['loss']:.3f}, {worst['exact']:.1f} %); {rows[-1]['case']} take "
        f"{rows[-1]['seconds'] / max(rows[0]['seconds'], 0.01):.1f} times the processor time of {rows[0]['case']}",
        started=started,
        corpus=text.corpus,
    )


def _draw_shape(rows: Sequence[Row]) -> None:
    figure, charts = sheet(3, width=3.6, title="Few wide layers, or many narrow ones, at equal parameters")
    titles = {"exact": "exactly right (%)", "loss": "loss in training (nats)", "seconds": "training (s)"}
    x = range(len(rows))
    for color, chart, (key, title) in zip(COLORS, charts, titles.items()):
        values, spread = [row[key] for row in rows], [row.get(f"{key}_sd", 0.0) for row in rows]
        chart.errorbar(x, values, spread, marker="o", capsize=3, color=color)
        for place, value in zip(x, values, strict=True):
            chart.annotate(f"{value:.4g}", (place, value), (4, 6), textcoords="offset points", fontsize=8)
        chart.set_title(title, fontsize=10, loc="left")
        chart.set_xticks(x, [f"{row['layers']} × {row['width']}" for row in rows])
        chart.set_xlabel("layers × width")
        chart.margins(x=0.15, y=0.25)
    charts[2].set_ylim(0, None)
    save(figure, "shape")

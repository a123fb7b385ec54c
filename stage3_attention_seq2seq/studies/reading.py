"""Sutskever's trick: read the source from its end, and the first words of both languages come close together.

Sutskever, Vinyals & Le 2014, section 3.3, gained almost five BLEU by it. Their encoder read in one direction and left
one vector, in which what is read last is clearest; translations begin with what a reversed source ends with. An encoder
of two directions has read both ends last, and attention looks at any word from everywhere: then there should be nothing
left to gain. The task are lists of two expressions (studies/length.py): long enough to forget, short enough for one
vector.
"""

import time
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from my_llm.data.catalog import Pair
from stage2_rnn_lstm.models import Recurrent
from stage3_attention_seq2seq.models import Encoder, Seq2Seq
from stage3_attention_seq2seq.studies.common import (
    COLORS,
    Row,
    Setting,
    StudyConfig,
    finish,
    load_sentences,
    mean_and_spread,
    save,
    seeds_of,
    sheet,
    steps_of,
    trained,
)
from stage3_attention_seq2seq.studies.length import COMMA, listed


class OneWayEncoder(Encoder):
    """Reads in one direction, with twice as many units: its outputs are as wide as those of two directions."""

    def __init__(self, model: Seq2Seq):
        config = model.config
        shape = {"cell": config.cell, "layers": config.layers, "dropout": config.dropout}
        super().__init__(config.source_vocab, config.embedding, config.hidden, **shape)
        self.embedding = model.encoder.embedding  # the decoder and the head have it, too
        self.recurrent = Recurrent(config.embedding, 2 * config.hidden, **shape)

    def forward(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"]
    ) -> tuple[Float[Tensor, "B S O"], Float[Tensor, "B O"]]:
        """An output for each token, and the state after the last one."""
        x = self.dropout(self.embedding(source.t()))  # (S, B, D)
        outputs, states = self.recurrent(x, lengths=lengths)  # (S, B, O)
        return self.dropout(outputs).transpose(0, 1), self.dropout(states[-1][0])


def one_way(model: Seq2Seq) -> None:
    """Give a new translator an encoder of one direction."""
    model.encoder = OneWayEncoder(model)


CASES = {  # case → attention, change
    "one direction, one vector": ("none", one_way),
    "two directions, one vector": ("none", None),
    "one direction, attention": ("bahdanau", one_way),
}
PARTS, STEPS = 2, 1200  # expressions of the longest list; steps
ORDERS = {"as written": False, "from the end": True}
KEYS = ("right", "first", "last")


# --- the study --------------------------------------------------------------------------------------------------------


def places_right(said: Sequence[str], pairs: Sequence[Pair]) -> dict[str, float]:
    """Expressions of lists that are right, in percent: all, those that begin a list, those that end it."""
    hits: dict[str, list[bool]] = {"right": [], "first": [], "last": []}
    for text, pair in zip(said, pairs, strict=True):
        right, found = pair.target.split(COMMA), text.split(COMMA)
        same = [a == b for a, b in zip(right, [*found, *[""] * len(right)])]
        hits["right"] += same
        hits["first"].append(same[0])
        hits["last"].append(same[-1])
    return {key: 100 * sum(found) / len(found) for key, found in hits.items()}


def reversed(config: StudyConfig) -> None:
    """Does it help to read the source from its end, in one direction or two, with attention or without?"""
    started = time.perf_counter()
    text, steps, rows = listed(load_sentences(config), PARTS, PARTS), steps_of(config, STEPS), []
    pairs = [pair for pair in text.validation if COMMA in pair.target]
    for case, (attention, change) in CASES.items():
        for name, reverse in ORDERS.items():
            found = [
                trained(text, Setting(attention, steps, seed, reverse=reverse, change=change))
                for seed in seeds_of(config)
            ]
            said = [each.translator.translate([pair.source for pair in pairs]) for each in found]
            scores = [places_right([answer.text for answer in answers], pairs) for answers in said]
            row: Row = {"case": f"{case}, {name}"}
            for key in KEYS:
                row |= mean_and_spread(key, [score[key] for score in scores], 1)
            rows.append(row | {"seconds": round(sum(each.seconds for each in found) / len(found), 1)})
    _draw_reversed(rows)
    finish(
        config,
        "reversed",
        title=f"Lists of {PARTS} expressions, {steps} steps: expressions that are right, all of them, those that begin "
        "a list, those that end it",
        columns={**{name: "%" for key in KEYS for name in (key, f"{key}_sd")}, "seconds": "s"},
        rows=rows,
        seen="; ".join(
            f"{case}: reversed {after['right'] - before['right']:+.0f} points, to {after['right']:.0f} % (the first "
            f"expression {after['first'] - before['first']:+.0f}, the last {after['last'] - before['last']:+.0f})"
            for case, before, after in zip(CASES, rows[::2], rows[1::2], strict=True)
        ),
        started=started,
        corpus=text.corpus,
    )


def _draw_reversed(rows: Sequence[Row]) -> None:
    """For each encoder and slot the two orders of reading."""
    titles = ("all expressions right (%)", "those that begin a list", "those that end it")
    figure, charts = sheet(3, width=3.7, title="The source read from its end (Sutskever's trick)")
    for chart, key, title in zip(charts, KEYS, titles, strict=True):
        for order, name in enumerate(ORDERS):
            mine = rows[order::2]
            heights = [place + 0.32 * (order - 0.5) for place in range(len(mine))]
            values, spread = ([row[column] for row in mine] for column in (key, f"{key}_sd"))
            drawn = chart.barh(heights, values, 0.3, xerr=spread, color=COLORS[order], label=name)
            chart.bar_label(drawn, [f"{value:.0f}" for value in values], padding=4, fontsize=8)
        chart.set_yticks(range(len(CASES)), [case.replace(", ", ",\n") for case in CASES] if key == KEYS[0] else [])
        chart.set_title(title, fontsize=10, loc="left")
        chart.set(xlim=(0, 112), ylim=(len(CASES) - 0.5, -0.5))
    figure.legend(*charts[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    save(figure, "reversed")

"""The Transformer against stage 3's RNN with Bahdanau's attention: the same pairs, the same size, the same time.

"The Transformer can be trained significantly faster than architectures based on recurrent or convolutional layers",
says the paper (Vaswani et al. 2017, §7), of machines with eight GPUs. On one thread nothing waits for anything, so
that what counts is how much each model computes, and how much it learns from that. Each learns at the rate that it
likes, and both have the same number of parameters and the same processor time.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from my_llm.text import PAD
from my_llm.translation.batches import PairBatches
from stage3_attention_seq2seq.models import Seq2Seq, Seq2SeqConfig
from stage4_transformer.studies.common import (
    BATCH,
    COLORS,
    LONGEST,
    ON_THE_WAY,
    SHAPE,
    Recipe,
    Row,
    Sentences,
    Setting,
    StudyConfig,
    TrainedTranslator,
    finish,
    load_sentences,
    mean_and_spread,
    save,
    scored,
    seeds_of,
    sheet,
    steps_of,
    train_translator,
    trained,
)
from stage4_transformer.studies.equal import width_for

STEPS, POINTS = 800, 8
PROBE = 40  # steps that tell how long one takes
RNN_RATE, RNN_WARM_UP, RNN_DROPOUT = 0.004, 0.05, 0.1  # what the studies of stage 3 take
NAMES = ("transformer", "bahdanau")


def new_rnn(vocab_size: int, hidden: int) -> Seq2Seq:
    """Stage 3's translator; one embedding for both languages and the output, as in the Transformer."""
    shape = {"embedding": SHAPE["model"], "hidden": hidden, "dropout": RNN_DROPOUT, "shared": True}
    return Seq2Seq(Seq2SeqConfig(vocab_size, vocab_size, attention="bahdanau", **shape))


def hidden_for(parameters: int, vocab_size: int) -> int:
    """The width at which it has nearest to so many parameters."""
    return width_for(parameters, lambda hidden: new_rnn(vocab_size, hidden), range(8, 1025))


def train_rnn(text: Sentences, hidden: int, steps: int, seed: int, points: int = 0) -> TrainedTranslator[Seq2Seq]:
    """Teach a new one."""
    torch.manual_seed(seed)
    model = new_rnn(text.tokenizer.vocab_size, hidden)
    return train_translator(model, text, Recipe(steps, seed, RNN_RATE, RNN_WARM_UP), points)


def steps_in(seconds: float, text: Sentences, hidden: int) -> int:
    """How many steps the RNN can take in so much processor time."""
    return max(round(PROBE * seconds / train_rnn(text, hidden, PROBE, 0).seconds), 1)


def targets_read(text: Sentences, steps: int, seed: int) -> int:
    """Target tokens, <eos> included, of the first so many batches."""
    batches = PairBatches(text.tokenizer, text.train, max_length=LONGEST, batch_size=BATCH, seed=seed)
    return sum(int((batches(index).target_out != PAD).sum()) for index in range(steps))


Found = Mapping[str, Sequence[TrainedTranslator[Any]]]  # model → one for each seed


def translation(config: StudyConfig) -> None:
    """Which of the two translates better after the same seconds, and which reads more words in them?"""
    started = time.perf_counter()
    text, steps = load_sentences(config), steps_of(config, STEPS)
    found: dict[str, list[TrainedTranslator[Any]]] = {name: [] for name in NAMES}
    per_second: dict[str, list[float]] = {name: [] for name in NAMES}
    for seed in seeds_of(config):
        ours = trained(text, Setting(steps, seed, points=POINTS))
        hidden = hidden_for(ours.parameters, text.tokenizer.vocab_size)
        as_many = steps_in(ours.seconds, text, hidden)
        theirs = train_rnn(text, hidden, as_many, seed, POINTS)
        for name, each, taken in zip(NAMES, (ours, theirs), (steps, as_many), strict=True):
            found[name].append(each)
            per_second[name].append(targets_read(text, taken, seed) / each.seconds)
    ends = [
        {"case": name, **scored(same, text.validation), "per_second": round(statistics.fmean(per_second[name]))}
        for name, same in found.items()
    ]
    ways = {name: on_the_way(name, same) for name, same in found.items()}
    _draw_translation(ways)
    finish(
        config,
        "translation",
        title=f"{text.corpus.name}, {steps} steps of a Transformer and as much processor time for an RNN with "
        f"Bahdanau's attention: exactly right, BLEU (greedy, {len(text.validation)} sentences in the end, "
        f"{ON_THE_WAY} on the way); target tokens read in a second",
        columns={
            **{"step": "", "seconds": "s", "exact": "%", "exact_sd": "%", "bleu": "", "bleu_sd": ""},
            **{"per_second": "tokens", "parameters": "", "loss": "nats", "loss_sd": "nats"},
        },
        rows=[*ends, *(row for rows in ways.values() for row in rows)],
        seen=_seen_translation(ends, ways),
        started=started,
        corpus=text.corpus,
    )


def on_the_way(name: str, found: Sequence[TrainedTranslator[Any]]) -> list[Row]:
    """A row for each score of the trainings, means over the seeds; RNNs of several seeds took about as many steps."""
    rows = []
    for number, moments in enumerate(zip(*(each.curve for each in found), strict=False), 1):
        rows.append(
            {
                "case": f"{name}, {number}",
                "step": round(statistics.fmean(moment.step for moment in moments)),
                "seconds": round(statistics.fmean(moment.seconds for moment in moments), 2),
                **mean_and_spread("exact", [100 * moment.exact for moment in moments], 1),
                **mean_and_spread("bleu", [moment.bleu for moment in moments], 1),
            }
        )
    return rows


def _seen_translation(ends: Sequence[Row], ways: Mapping[str, Sequence[Row]]) -> str:
    ours, theirs = ends
    halves = [rows[(len(rows) - 1) // 2] for rows in ways.values()]
    return (
        f"with {ours['parameters']:,} and {theirs['parameters']:,} parameters and {ours['seconds']:.0f} and "
        f"{theirs['seconds']:.0f} s of training the Transformer has BLEU {ours['bleu']:.1f} ({ours['exact']:.0f} % "
        f"exactly right), the RNN {theirs['bleu']:.1f} ({theirs['exact']:.0f} %); half way it was "
        f"{halves[0]['bleu']:.1f} and {halves[1]['bleu']:.1f}; they read {ours['per_second']:,.0f} and "
        f"{theirs['per_second']:,.0f} target tokens a second"
    )


def _draw_translation(ways: Mapping[str, Sequence[Row]]) -> None:
    figure, charts = sheet(2, width=4.4, height=3.2, title="A Transformer and an RNN with attention, of equal size")
    for chart, (key, title) in zip(charts, {"bleu": "BLEU", "exact": "exactly right (%)"}.items(), strict=True):
        for number, (name, rows) in enumerate(ways.items()):
            x, y, spread = ([row[each] for row in rows] for each in ("seconds", key, f"{key}_sd"))
            chart.errorbar(x, y, spread, marker="o", markersize=4, capsize=3, color=COLORS[number], label=name)
        chart.set_title(title, fontsize=10, loc="left")
        chart.set(xlabel="seconds of training (processor time)", xlim=(0, None), ylim=(-3, 103))
    charts[0].legend(fontsize=8, frameon=False, loc="lower right")
    save(figure, "translation")

"""Teacher forcing: in training every step reads what the author wrote, in use it reads what the model wrote itself.

A model that was only ever shown true texts may lose its way once it has written something odd ("exposure bias").
Scheduled sampling shows it its own guesses in training, few at first and more and more (Bengio et al., NIPS 2015,
section 2.4). The target stays the next character of the true text, also after a guess that makes it wrong, so that
the best model under this loss is no longer the true distribution (Huszár, "How (not) to Train your Generative Model",
2015).

Drift is measured in three ways: what an independent judge, an n-gram model of the same text, thinks of the text that
is written, by position; how many of its words exist; how far the mean state is from what it is on real text.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm.decoding import generate
from my_llm.sampling import sample
from my_llm.schedules import cosine
from my_llm.training import Loss, train_steps
from stage2_rnn_lstm.data import Streams, Window
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import LanguageModel, NGramModel
from stage2_rnn_lstm.studies.common import (
    COLORS,
    Characters,
    StudyConfig,
    finish,
    load_characters,
    mean_and_spread,
    nats_per_character,
    new_language_model,
    save,
    seeds_of,
    sheet,
    steps_of,
)
from stage2_rnn_lstm.studies.trials import warm_up
from stage2_rnn_lstm.writer import step_of, writer_of

Row = dict[str, Any]
HIDDEN, BATCH, LENGTH = 128, 32, 64
SHARES = {"teacher forcing": 0.0, "own to 25 %": 0.25, "own to 50 %": 0.5, "own to 100 %": 1.0}
REAL = "real text"
TEXTS, PROMPT, WRITTEN, PIECE = 128, 64, 500, 25  # texts; characters of each that are read, written, pooled
JUDGE_ORDER = 6


# --- scheduled sampling -----------------------------------------------------------------------------------------------


@torch.no_grad()
def read_own(model: LanguageModel, tokens: Int[Tensor, "B T"], state: Any, share: float) -> Int[Tensor, "B T"]:
    """The tokens, each but the first replaced with probability `share` by what the model guesses at that step.

    The guess is drawn from the model's distribution after what it has read so far, guesses included. Nothing learns
    here: a draw has no gradient, so the loss of reading the result in one go is the loss of this loop.
    """
    step, chosen = step_of(model), torch.rand(tokens.shape) < share
    read = [tokens[:, 0]]
    for t in range(1, tokens.shape[1]):
        logits, state = step(read[-1][:, None], state)
        read.append(torch.where(chosen[:, t], sample(logits), tokens[:, t]))
    return torch.stack(read, dim=1)


class ScheduledSampling:
    """`CarriedLoss` on inputs of which a rising share is the model's own; share(i) is that of step i."""

    def __init__(self, share: Callable[[int], float]):
        self.share, self.plain, self.index = share, CarriedLoss(), 0

    def __call__(self, model: nn.Module, window: Window) -> Loss:
        assert isinstance(model, LanguageModel)
        share, self.index = self.share(self.index), self.index + 1
        if share > 0:
            state = None if window.fresh else self.plain.state
            window = window._replace(inputs=read_own(model, window.inputs, state, share))
        return self.plain(model, window)


def train_exposed(text: Characters, steps: int, last_share: float, seed: int) -> LanguageModel:
    """A language model that reads its own guesses more and more often, at the end with this probability."""
    model = new_language_model(text, seed, hidden=HIDDEN)
    loss_fn = ScheduledSampling(lambda index: last_share * index / steps)
    streams = Streams(text.train, BATCH, LENGTH, seed=seed)
    optimizer, schedule = torch.optim.Adam(model.parameters(), 0.02), cosine(steps, steps // 20)
    for _ in train_steps(model, streams, loss_fn, optimizer, max_steps=steps, schedule=schedule, clip=1.0):
        pass
    return model


# --- free running -----------------------------------------------------------------------------------------------------


class Free(NamedTuple):
    """What a model wrote after real beginnings, and its state before each character."""

    texts: Int[Tensor, "B T"]
    states: Float[Tensor, "T B H"]


@torch.inference_mode()
def write(model: LanguageModel, text: Characters, prompts: Int[Tensor, "B P"], length: int, seed: int) -> Free:
    """Continue every prompt with `length` characters, drawn from the model's distribution as it is."""
    writer, states = writer_of(model, text.tokenizer, facts={}), []

    def listening(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = writer.step(tokens, state)
        states.append(state[0][0])
        return logits, state

    choose = partial(sample, generator=torch.Generator().manual_seed(seed))
    written = list(generate(listening, prompts, max_new_tokens=length, choose=choose))
    return Free(torch.stack(written, dim=1), torch.stack(states))


@torch.inference_mode()
def read(model: LanguageModel, excerpts: Int[Tensor, "B N"], prompt: int) -> Float[Tensor, "T B H"]:
    """The states of the model before each character after the prompt, while it reads real text."""
    _, states = model.recurrent.layers[0](model.embedding(excerpts.t()))
    return states[0][prompt - 1 : -1]


def pieces(values: Float[Tensor, "T"], size: int = PIECE) -> list[float]:
    """The mean of each stretch of `size` positions; what does not fill one is left out."""
    return [float(part.mean()) for part in values.split(size) if len(part) == size]


def shifts(free: Float[Tensor, "T B H"], real: Float[Tensor, "T B H"], size: int = PIECE) -> list[float]:
    """How far the mean state lies from that on real text, stretch by stretch: mean over the units, in deviations."""
    middle, spread = real.mean(dim=(0, 1)), real.std(dim=(0, 1)).clamp(min=1e-6)
    parts = [part for part in free.split(size) if len(part) == size]
    return [float(((part.mean(dim=(0, 1)) - middle) / spread).abs().mean()) for part in parts]


def judged(judge: NGramModel, prompts: Int[Tensor, "B P"], texts: Int[Tensor, "B T"]) -> Float[Tensor, "T"]:
    """Nats that the judge gives to the character at each position, mean over the texts."""
    whole, skip = torch.cat([prompts, texts], dim=1), prompts.shape[1]
    return torch.stack([judge.score(row)[skip:] for row in whole]).mean(dim=0)


def words_of(text: str) -> list[str]:
    """Lower-case runs of letters and apostrophes, without the first and the last, which may have been cut."""
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower())[1:-1]


def known_share(text: Characters, texts: Int[Tensor, "B T"]) -> float:
    """How many of the words, in percent, stand in the training text as well."""
    known = set(words_of(text.corpus.train))
    words = [word for row in texts.tolist() for word in words_of(text.tokenizer.decode(row))]
    return 100 * sum(word in known for word in words) / max(1, len(words))


# --- the study --------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """One trained model: its loss and seconds, and by position what became of its text; `words` in percent."""

    nats: float
    seconds: float
    judge: list[float]
    shift: list[float]
    words: float


def run_case(text: Characters, judge: NGramModel, excerpts: Tensor, steps: int, share: float, seed: int) -> Run:
    """Train, write after the beginnings of the excerpts, and compare with how they really go on."""
    before = time.process_time()
    model = train_exposed(text, steps, share, seed)
    seconds, prompts = time.process_time() - before, excerpts[:, :PROMPT]
    free = write(model, text, prompts, excerpts.shape[1] - PROMPT, seed)
    shift = shifts(free.states, read(model, excerpts, PROMPT))
    nats = nats_per_character(model, text.validation)
    return Run(nats, seconds, pieces(judged(judge, prompts, free.texts)), shift, known_share(text, free.texts))


def excerpts_of(text: Characters) -> Int[Tensor, "B N"]:
    """Pieces of the validation text, at equal distances: beginnings and how they really go on."""
    length = min(PROMPT + WRITTEN, len(text.validation) // 2)
    firsts = torch.linspace(0, len(text.validation) - length, TEXTS).long()
    return text.validation[firsts[:, None] + torch.arange(length)]


def row_of(case: str, runs: Sequence[Run]) -> Row:
    """The means over the seeds."""
    early, late = [run.judge[0] for run in runs], [run.judge[-1] for run in runs]
    row = {"case": case, **mean_and_spread("judge_first", early, 3), **mean_and_spread("judge_last", late, 3)}
    row |= mean_and_spread("words", [run.words for run in runs], 1)
    if case == REAL:
        return row
    row |= mean_and_spread("nats", [run.nats for run in runs], 4)
    row |= mean_and_spread("shift_last", [run.shift[-1] for run in runs], 3)
    return {**row, "cpu_seconds": round(sum(run.seconds for run in runs) / len(runs), 1)}


def teacher_forcing(config: StudyConfig) -> None:
    """Does a model that was only shown real text lose its way in its own, and do its own guesses in training help?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 800)
    judge = NGramModel.fit(text.train, text.tokenizer.vocab_size, JUDGE_ORDER)
    excerpts = excerpts_of(text)
    warm_up()
    runs = {
        case: [run_case(text, judge, excerpts, steps, share, seed) for seed in seeds_of(config)]
        for case, share in SHARES.items()
    }
    really = excerpts[:, PROMPT:]
    in_pieces = pieces(judged(judge, excerpts[:, :PROMPT], really))
    runs[REAL] = [Run(0.0, 0.0, in_pieces, [], known_share(text, really))]
    rows = [row_of(case, found) for case, found in runs.items()]
    _draw_teacher_forcing(rows, runs)
    finish(
        config,
        "teacher_forcing",
        title=f"Validation loss in nats per character; {TEXTS} texts of {really.shape[1]} characters that each model "
        f"writes, as a {JUDGE_ORDER}-gram judges their first and last {PIECE}; known words; shift of the mean state",
        columns={
            **dict.fromkeys(["nats", "nats_sd", "judge_first", "judge_first_sd"], "nats"),
            **dict.fromkeys(["judge_last", "judge_last_sd"], "nats"),
            **{"words": "%", "words_sd": "%", "shift_last": "sd", "shift_last_sd": "sd", "cpu_seconds": "s"},
        },
        rows=rows,
        seen=_seen_teacher_forcing(rows),
        started=started,
        corpus=text.corpus,
    )


def _seen_teacher_forcing(rows: Sequence[Row]) -> str:
    forced, *_, full, real = rows
    drift = forced["judge_last"] - forced["judge_first"]
    return (
        f"the judge gives text written after teacher forcing {forced['judge_first']:.2f} nats at first and "
        f"{forced['judge_last']:.2f} at the end ({drift:+.2f}; real text {real['judge_first']:.2f} and "
        f"{real['judge_last']:.2f}), with own guesses up to 100 % {full['judge_first']:.2f} and "
        f"{full['judge_last']:.2f}; known words {forced['words']:.0f} and {full['words']:.0f} %; validation loss "
        f"{forced['nats']:.3f} and {full['nats']:.3f} nats"
    )


def _draw_teacher_forcing(rows: Sequence[Row], runs: Mapping[str, Sequence[Run]]) -> None:
    figure, (judge, shift, loss) = sheet(3, width=3.6, title="Reading the author in training, and oneself afterwards")
    colors = dict(zip(runs, (*COLORS[:4], "#333333")))
    for case, found in runs.items():
        style = {"color": colors[case], "label": case, "linestyle": "--" if case == REAL else "-"}
        for chart, kind in ((judge, "judge"), (shift, "shift")):
            curve = torch.tensor([getattr(run, kind) for run in found]).mean(dim=0).tolist()
            if curve:
                chart.plot([PIECE * (i + 0.5) for i in range(len(curve))], curve, **style)
    for place, row in enumerate(rows[:-1]):
        loss.errorbar(row["nats"], place, xerr=row["nats_sd"], fmt="o", color=colors[row["case"]], capsize=3)
        words = f"{row['words']:.0f} % known words"
        loss.annotate(words, (row["nats"], place), (0, 8), textcoords="offset points", ha="center", fontsize=8)
    loss.set_yticks(range(len(rows) - 1), [row["case"] for row in rows[:-1]])
    loss.set_ylim(len(rows) - 1.6, -0.7)
    loss.margins(x=0.3)
    titles = ("the judge on what it writes (nats)", "shift of the mean state (deviations)", "validation loss")
    for chart, title in zip((judge, shift, loss), titles, strict=True):
        chart.set_title(title, fontsize=10, loc="left")
        chart.set_xlabel("nats per character" if chart is loss else "position in its text")
    judge.set_ylim(1, None)
    shift.set_ylim(0, None)
    figure.legend(*judge.get_legend_handles_labels(), loc="outside lower center", ncols=len(runs), frameon=False)
    save(figure, "teacher_forcing")

"""What the studies share: a text, a small GPT, a training on one thread, its score, a table with a figure."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from my_llm import studies
from my_llm.data.catalog import LanguageText, load_text
from my_llm.language.batches import Windows, tokenizer_for
from my_llm.language.scoring import nats_in_windows, next_token_loss, predicted_bytes
from my_llm.plots import INK, PALETTE
from my_llm.schedules import Schedule, cosine
from my_llm.studies import check, finish, sheet
from my_llm.text import Tokenizer
from my_llm.training import Loss, train_steps
from stage5_gpt.models import GPT, GPTConfig
from stage5_gpt.studies import StudyConfig

Row = dict[str, Any]
SHAPE: dict[str, Any] = {"layers": 2, "heads": 4, "model": 64, "context": 128, "positions": "rotary"}
QUICK: dict[str, Any] = {  # parts of presets/speedrun.toml with which a short training gets further, under Muon
    "bias": False, "norm": "rms_plain", "activation": "relu2", "query_key_norm": True, "quiet": True,
}  # fmt: skip
TOKENS = 1024  # of a step
RATE, WARM_UP = 0.008, 0.1  # AdamW's for a width of 64, and the share of the steps in which it climbs
BETAS = (0.9, 0.99)
SMOOTHED = 10_000  # tokens whose mean loss says whether a target is reached
HELD_OUT = 20_000  # characters that a model is judged by


@dataclass(frozen=True, eq=False)
class Text:
    """A text as numbers, to learn from and to be judged by."""

    corpus: LanguageText
    tokenizer: Tokenizer
    train: Int[Tensor, "N"]
    validation: Int[Tensor, "M"]
    judged_bytes: int


def load(config: StudyConfig, dataset: str = "", vocab_type: str = "char") -> Text:
    """The text that the command line names, or that the study insists on.

    Raises:
        ConfigError: fewer than one seed, or bf16: the studies compare in fp32.
    """
    check(config)
    return _load(dataset or config.dataset, vocab_type)


@lru_cache(maxsize=16)
def _load(dataset: str, vocab_type: str) -> Text:
    corpus = load_text(dataset)
    tokenizer = tokenizer_for(corpus, vocab_type, 2000)
    judged = corpus.validation[:HELD_OUT]
    train, validation = (torch.tensor(tokenizer.encode(part)) for part in (corpus.train, judged))
    return Text(corpus, tokenizer, train, validation, predicted_bytes(tokenizer, judged))


def new_gpt(text: Text, seed: int = 0, **shape: Any) -> GPT:
    """A fresh GPT; `shape` takes the other fields of GPTConfig."""
    torch.manual_seed(seed)
    return GPT(GPTConfig(**{**SHAPE, **shape}, vocab_size=text.tokenizer.vocab_size))


def adamw(model: nn.Module, rate: float = RATE) -> torch.optim.Optimizer:
    """The optimizer of all studies that do not compare optimizers."""
    return torch.optim.AdamW(model.parameters(), rate, betas=BETAS, fused=True)


class Learnt(NamedTuple):
    """Seconds of processor time and loss after each step, and the tokens of one."""

    seconds: list[float]
    losses: list[float]
    tokens: int

    def reached(self, target: float) -> int | None:
        """The first step at which the mean loss of the last 10,000 tokens is no more than the target."""
        width = max(SMOOTHED // self.tokens, 1)
        for step in range(width, len(self.losses) + 1):
            if statistics.fmean(self.losses[step - width : step]) <= target:
                return step
        return None

    @property
    def loss(self) -> float:
        """Mean of the last tenth of the steps."""
        return statistics.fmean(self.losses[-max(len(self.losses) // 10, 1) :])


def fit(
    model: nn.Module,
    batches: Callable[[int], Any],
    loss_fn: Callable[[nn.Module, Any], Loss],
    steps: int,
    *,
    tokens: int = TOKENS,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Schedule | None = None,
    within: float = float("inf"),
    watch: Callable[[Learnt], bool] = lambda learnt: False,
) -> Learnt:
    """Train on one thread, for so many steps or, if that is less, `within` seconds of processor time.

    Args:
        tokens: Of a step.
        schedule: If there is none, a cosine over the steps, or a straight line down over the seconds.
        watch: Asked after each step whether to stop; its own time does not count.
    """
    threads, learnt = torch.get_num_threads(), Learnt([], [], tokens)
    if schedule is None and within < float("inf"):
        schedule = by_seconds(learnt, within)
    elif schedule is None:
        schedule = cosine(steps, round(WARM_UP * steps))
    torch.set_num_threads(1)
    since = time.process_time()
    for step in train_steps(
        model, batches, loss_fn, optimizer or adamw(model), max_steps=steps, schedule=schedule, clip=1.0
    ):
        now = time.process_time() - since
        learnt.seconds.append(now)
        learnt.losses.append(step.loss)
        if watch(learnt) or now > within:
            break
        since = time.process_time() - now
    torch.set_num_threads(threads)
    model.eval()
    return learnt


def by_seconds(learnt: Learnt, within: float) -> Schedule:
    """Climb for 20 steps, and fall in a straight line to nothing when the seconds are over."""

    def schedule(step: int) -> float:
        spent = learnt.seconds[-1] / within if learnt.seconds else 0.0
        return min((step + 1) / 20, max(1 - spent, 0.0))

    return schedule


def learn(
    model: nn.Module, text: Text, steps: int, seed: int = 0, *, length: int = 0, tokens: int = 0, **options: Any
) -> Learnt:
    """Train a model of any kind on windows of the text; `options` as `fit` takes them."""
    length = length or SHAPE["context"]
    batches = Windows(text.train, max((tokens or TOKENS) // length, 1), length, seed=seed)
    return fit(model, batches, next_token_loss, steps, tokens=batches.batch_size * length, **options)


def nats(model: nn.Module, text: Text, length: int = 0) -> float:
    """Mean loss over the held-out text, in windows that overlap by half."""
    loss = nats_in_windows(model, text.validation, length or SHAPE["context"])
    return float(loss.total) / loss.count


def bits_per_byte(model: nn.Module, text: Text) -> float:
    """Of the held-out text: what tokens of different kinds can be compared by."""
    return nats(model, text) * (len(text.validation) - 1) / text.judged_bytes / 0.6931471805599453


# --- tables and figures -----------------------------------------------------------------------------------------------


def dots(chart: Any, rows: Sequence[Row], key: str, color: str, unit: str = "") -> None:
    """One point for each row with its spread; where it has none, a dash, or for a target that it was not reached."""
    for place, row in enumerate(rows):
        if row.get(key) is None:
            chart.annotate(
                "not reached" if key.endswith("_to") else "–",
                (0.02, place),
                xycoords=("axes fraction", "data"),
                fontsize=8,
                va="center",
            )
            continue
        chart.errorbar(row[key], place, xerr=row.get(f"{key}_sd") or None, fmt="o", color=color, capsize=3)
        place_of_text = {"textcoords": "offset points", "fontsize": 8, "ha": "center", "color": INK}
        value = f"{row[key]:,}" if isinstance(row[key], int) else f"{row[key]:,.4g}"
        chart.annotate(value, (row[key], place), (0, 5), **place_of_text)
    chart.set_yticks(range(len(rows)), [row["case"] for row in rows], fontsize=8)
    chart.set_ylim(len(rows) - 0.5, -0.7)
    chart.margins(x=0.18)
    chart.locator_params(axis="x", nbins=6)
    chart.xaxis.set_major_formatter(lambda value, place: f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}")
    chart.grid(alpha=0.25)
    title = key.replace("_", " ") + (" the target" if key.endswith("_to") else "")
    chart.set_title(f"{title} ({unit})" if unit and "seconds" not in key else title, fontsize=10, loc="left")


def draw_columns(name: str, rows: Sequence[Row], units: Mapping[str, str], title: str) -> None:
    """The figure of a study: a chart of `dots` for each of the columns; `units`: as in `ledger.record`."""
    figure, charts = sheet(len(units), width=4.2, height=1.1 + 0.3 * len(rows), title=title)
    for chart, (key, unit), color in zip(charts, units.items(), PALETTE):
        dots(chart, rows, key, color, unit)
    studies.save(figure, name, stage=StudyConfig.stage)


def publish(
    config: StudyConfig,
    name: str,
    corpus: studies.Corpus,
    rows: Sequence[Row],
    *,
    title: str,
    columns: Mapping[str, str],
    draw: Sequence[str],
    seen: Callable[[], str],
    started: float,
) -> None:
    """Write the table, and a figure with a chart of each column in `draw`."""
    draw_columns(name, rows, {key: columns[key] for key in draw}, title.split(":")[0])
    finish(config, name, title=title, columns=columns, rows=rows, seen=seen(), started=started, corpus=corpus)


def best_of(rows: Sequence[Row], key: str = "loss", *, most: bool = False) -> str:
    """The best row of a column, and whether the next best is worse than the spread of the seeds explains."""
    order = sorted((row for row in rows if row.get(key) is not None), key=lambda row: row[key], reverse=most)
    if not order:
        return f"no row has a {key.replace('_', ' ')}"
    best, second, worst = order[0], order[min(1, len(order) - 1)], order[-1]
    what, gap = key.replace("_", " "), abs(second[key] - best[key])
    words = ("highest", "lowest") if most else ("lowest", "highest")
    sentence = f"the {words[0]} {what} has {best['case']} ({best[key]:.4g}), the {words[1]} {worst['case']}"
    sentence += f" ({worst[key]:.4g})"
    noise = max(best.get(f"{key}_sd", 0.0), second.get(f"{key}_sd", 0.0))
    if not noise:
        return sentence
    inside = "inside" if gap <= 2 * noise else "outside"
    return f"{sentence}; {second['case']} is {gap:.3g} behind, {inside} twice the spread of the seeds ({noise:.2g})"

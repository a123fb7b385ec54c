"""Equal seconds: GPT against stage 2's LSTM, and four kinds of tokens."""

import time
from collections.abc import Callable, Sequence

from torch import nn

from my_llm import studies
from my_llm.evaluation import parameters_of
from my_llm.studies import finish, lines, mean_and_spread, sheet
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig
from stage5_gpt.studies import StudyConfig, seeds_of, steps_of
from stage5_gpt.studies.common import (
    Learnt,
    Row,
    Text,
    adamw,
    best_of,
    bits_per_byte,
    learn,
    load,
    new_gpt,
    publish,
)

MOMENTS = (2, 4, 8, 16)  # seconds of processor time after which the score is taken
RATES = (0.004, 0.008, 0.016)
EACH = 8.0  # seconds, for every tokenizer and language
MOST = 100_000  # steps; the seconds end sooner
KINDS = ("char", "bpe", "gpt2", "wordpiece")
LANGUAGES = {"english": "", "chinese": "three_kingdoms"}


def lstm_like(text: Text, parameters: int) -> LanguageModel:
    """An LSTM with about so many parameters."""
    vocabulary = text.tokenizer.vocab_size

    def made(hidden: int) -> LanguageModel:
        return LanguageModel(LanguageModelConfig(vocab_size=vocabulary, hidden=hidden))

    return min((made(hidden) for hidden in range(16, 513, 8)), key=lambda m: abs(parameters_of(m) - parameters))


def scored(config: StudyConfig, text: Text, model: nn.Module, rate: float, seed: int) -> tuple[list[float], Learnt]:
    """Bits per byte after each of MOMENTS, in one training at a constant rate."""
    scores: list[float] = []

    def watch(learnt: Learnt) -> bool:
        if learnt.seconds[-1] >= MOMENTS[len(scores)]:
            scores.append(bits_per_byte(model.eval(), text))
            model.train()
        return len(scores) == len(MOMENTS)

    steps = steps_of(config, MOST)
    schedule = lambda step: min((step + 1) / 20, 1.0)  # noqa: E731
    learnt = learn(model, text, steps, seed, optimizer=adamw(model, rate), schedule=schedule, watch=watch)
    return scores + [bits_per_byte(model, text)] * (len(MOMENTS) - len(scores)), learnt


def rivals(config: StudyConfig) -> None:
    """GPT or LSTM, at equal parameters and equal seconds?"""
    started, text, rows = time.perf_counter(), load(config), []
    parameters = parameters_of(new_gpt(text))
    makers: dict[str, Callable[[int], nn.Module]] = {
        "GPT": lambda seed: new_gpt(text, seed),
        "LSTM": lambda seed: lstm_like(text, parameters),
    }
    for name, make in makers.items():
        tried = {rate: scored(config, text, make(config.seed), rate, config.seed) for rate in RATES}
        rate = min(tried, key=lambda rate: tried[rate][0][-1])
        print(f"{name}: " + ", ".join(f"{rate:g} → {found[0][-1]:.3f}" for rate, found in tried.items()), flush=True)
        later = [scored(config, text, make(seed), rate, seed) for seed in seeds_of(config) if seed != config.seed]
        runs = [tried[rate], *later]
        row: Row = {"case": name, "rate": rate}
        for number, moment in enumerate(MOMENTS):
            row |= mean_and_spread(f"bits_after_{moment}_s", [scores[number] for scores, _ in runs], 3)
        rows.append(row | {"steps": len(tried[rate][1].losses), "parameters": parameters_of(make(config.seed))})
    keys = [f"bits_after_{moment}_s" for moment in MOMENTS]
    _draw(rows, keys)
    columns = {"rate": "", **{f"{key}{end}": "" for key in keys for end in ("", "_sd")}, "steps": "", "parameters": ""}
    finish(
        config, "rivals", columns=columns, rows=rows, started=started, corpus=text.corpus,
        title="GPT and LSTM of equally many parameters, best of three constant rates: bits per byte, equal seconds",
        seen="; ".join(best_of(rows, key) for key in (keys[0], keys[-1])),
    )  # fmt: skip


def _draw(rows: Sequence[Row], keys: Sequence[str]) -> None:
    figure, (chart,) = sheet(1, width=6.0, title="GPT and LSTM at equal parameters")
    series = {row["case"]: (MOMENTS, [row[key] for key in keys]) for row in rows}
    lines(chart, series, title="held-out text", xlabel="seconds of one processor", ylabel="bits per byte", mark="o")
    chart.set_xscale("log", base=2)
    chart.set_xticks(MOMENTS, list(map(str, MOMENTS)))
    chart.legend(fontsize=8, frameon=False)
    studies.save(figure, "rivals", stage=StudyConfig.stage)


def tokenizers(config: StudyConfig) -> None:
    """Which tokens are best after equal seconds, in English and in Chinese?"""
    started, rows = time.perf_counter(), []
    for kind in KINDS:
        row: Row = {"case": kind}
        for language, dataset in LANGUAGES.items():
            text, found = load(config, dataset, kind), []
            for seed in seeds_of(config):
                model = new_gpt(text, seed)
                learn(model, text, steps_of(config, MOST), seed, within=EACH)
                found.append(bits_per_byte(model, text))
            row |= mean_and_spread(language, found, 3)
            row[f"{language}_tokens"] = len(text.train)
        print(row, flush=True)
        rows.append(row)
    columns = {f"{language}{end}": "" for end in ("", "_sd", "_tokens") for language in LANGUAGES}
    publish(
        config, "tokenizers", load(config).corpus, rows, draw=tuple(LANGUAGES), columns=columns,
        title=f"Kinds of tokens, {EACH:g} s each: bits per byte of the corpus and of three_kingdoms; tokens in all",
        seen=lambda: "; ".join(best_of(rows, language) for language in LANGUAGES), started=started,
    )  # fmt: skip

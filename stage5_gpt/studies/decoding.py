"""One model, many ways to let it write: how varied the texts are, and how likely another model finds them."""

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from my_llm import studies
from my_llm.decoding import Step, beam_search, generate
from my_llm.language.diversity import diversity
from my_llm.plots import INK, PALETTE
from my_llm.sampling import sample
from my_llm.schedules import linear
from my_llm.studies import finish, mean_and_spread, sheet
from stage5_gpt.language import step_of
from stage5_gpt.models import GPT
from stage5_gpt.studies import StudyConfig, steps_of
from stage5_gpt.studies.common import Row, Text, best_of, dots, learn, load, new_gpt
from stage5_gpt.studies.recipes import muon

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "greedy, repetition penalty 1.3": {"temperature": 0.0, "repetition_penalty": 1.3},
    "beam 4, length penalty 0.6": {},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 0.8": {"temperature": 0.8},
    "temperature 1": {"temperature": 1.0},
    "temperature 1.5": {"temperature": 1.5},
    "top-k 10": {"top_k": 10},
    "top-p 0.9": {"top_p": 0.9},
    "min-p 0.1": {"min_p": 0.1},
}
MODEL: dict[str, Any] = {
    "model": 128, "norm": "rms_plain", "activation": "relu2", "bias": False, "query_key_norm": True, "tied": False,
    "quiet": True, "ngrams": 4,
}  # fmt: skip
STEPS, RATE = 250, 0.01
TEXTS, PROMPT, LENGTH, DRAWS = 16, 16, 112, 3  # how many, tokens given, tokens written, how often
MEASURES = ("distinct_2", "self_bleu", "repetition_4")


def beginnings(text: Text) -> Tensor:
    """(texts, tokens): passages of the held-out text, as long as prompt and answer together."""
    length = PROMPT + LENGTH
    places = torch.arange(TEXTS) * ((len(text.validation) - length) // TEXTS)
    return text.validation[places[:, None] + torch.arange(length)]


@torch.inference_mode()
def written(prompt: Tensor, step: Step, way: str, seed: int) -> Tensor:
    """(texts, tokens): what a model writes after each prompt, behind it."""
    if way.startswith("beam"):
        found = beam_search(step, prompt, width=4, max_new_tokens=LENGTH, stop=-1, alpha=0.6)
        return torch.cat([prompt, torch.tensor([best[0].tokens for best in found])], dim=1)
    choose = partial(sample, **WAYS[way], generator=torch.Generator().manual_seed(seed))
    said = torch.stack([*generate(step, prompt, max_new_tokens=LENGTH, choose=choose)], dim=1)
    return torch.cat([prompt, said], dim=1)


@torch.inference_mode()
def measured(text: Text, judge: GPT, samples: Tensor) -> dict[str, float]:
    """Perplexity of what stands behind the prompt under another model, and how varied it is in characters."""
    logits = judge(samples[:, :-1])[0][:, PROMPT - 1 :]
    loss = cross_entropy(logits.flatten(0, 1), samples[:, PROMPT:].flatten())
    found = diversity([text.tokenizer.decode(row.tolist()) for row in samples[:, PROMPT:]], "characters")
    return {"perplexity": math.exp(loss), **{key: found[key] for key in MEASURES}}


def row_of(case: str, draws: Sequence[dict[str, float]]) -> Row:
    """Means and spreads of several draws."""
    return {"case": case} | {
        key: value for name in draws[0] for key, value in mean_and_spread(name, [d[name] for d in draws], 3).items()
    }


def decoding(config: StudyConfig) -> None:
    """Which way of choosing tokens is varied and still likely?"""
    started, text, steps = time.perf_counter(), load(config), steps_of(config, STEPS)
    model, judge = new_gpt(text, config.seed, **MODEL), new_gpt(text, config.seed + 1, **MODEL)
    for seed, each in enumerate((model, judge), config.seed):
        learn(each, text, steps, seed, optimizer=muon(each, RATE), schedule=linear(steps, 0))
    passages, rows = beginnings(text), []
    for way in WAYS:
        draws = 1 if way.startswith(("greedy", "beam")) else DRAWS
        texts = [written(passages[:, :PROMPT], step_of(model), way, config.seed + draw) for draw in range(draws)]
        print(f"{way}: {text.tokenizer.decode(texts[0][0, PROMPT:].tolist())[:90]!r}", flush=True)
        rows.append(row_of(way, [measured(text, judge, samples) for samples in texts]))
    rows.append(row_of("real text", [measured(text, judge, passages)]))
    _draw(rows)
    columns = {f"{key}{end}": "" for key in ("perplexity", *MEASURES) for end in ("", "_sd")}
    finish(
        config, "decoding", columns=columns, rows=rows, started=started, corpus=text.corpus,
        title=f"Ways to choose, {TEXTS} texts of {LENGTH} characters: perplexity under another seed's model, variety",
        seen=best_of([{key: row[key] for key in ("case", "perplexity")} for row in rows], "perplexity"),
    )  # fmt: skip


def _draw(rows: Sequence[Row]) -> None:
    keys = "perplexity", "distinct_2", "repetition_4"
    figure, charts = sheet(3, width=4.2, height=4.6, title="Ways to choose; the line is real text")
    for chart, key, color in zip(charts, keys, PALETTE, strict=False):
        dots(chart, rows, key, color)
        chart.axvline(rows[-1][key], color=INK, linewidth=0.8, linestyle=":")
    charts[0].set_xscale("log")
    charts[0].set_xticks((2, 3, 5, 10, 20), ("2", "3", "5", "10", "20"))
    charts[0].minorticks_off()
    studies.save(figure, "decoding", stage=StudyConfig.stage)

"""Tokens a second of a GPT-2 with random weights, for bench_stage5.py: ours and transformers', fp32 and bf16.

Writing one text, every token reads every weight once: so the limit is the memory, not the processor. Beside each speed
stands the share of the bandwidth that the same machine reaches, measured between the turns, with a plain sum.
"""

import os
import statistics
from collections.abc import Callable
from typing import Any, Literal

import torch

from lab.bench import Row, take_turns
from lab.bench_stage5 import peer, speeds
from lab.elsewhere import elsewhere
from my_llm.decoding import generate
from my_llm.device import autocast, set_threads
from my_llm.machine import measure_bandwidth
from my_llm.packing import settle
from stage5_gpt.language import step_of
from stage5_gpt.models import GPT, GPTConfig, config_of

PROMPT, LENGTH, BATCH = 128, 128, 8
BYTES = {"fp32": 4, "bf16": 2}
Form = Literal["fp32", "bf16"]


def decoding(rounds: int, size: str = "gpt2") -> list[Row]:
    """One row for each form, and for each of transformers' and ours, with one text and with several at once."""
    set_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    config, rows = config_of(size), []
    prompts = torch.randint(config.vocab_size, (BATCH, PROMPT))
    forms: tuple[Form, ...] = ("fp32", "bf16")
    for form in forms:
        writers = {
            "transformers": theirs(config, form),
            "transformers, torch's default path": elsewhere(theirs, config, form),
            "ours": ours(config, form),
        }
        turns: dict[tuple[str, int], Callable[[], object]] = {
            (name, batch): lambda write=write, batch=batch: write(prompts[:batch])
            for batch in (1, BATCH)
            for name, write in writers.items()
        }
        bandwidths: list[float] = []
        taken = take_turns({**turns, ("read", 0): lambda seen=bandwidths: seen.append(measure_bandwidth())}, rounds, 1)
        seconds = {name: statistics.median(taken[name]) for name in turns}
        weights = sum(weight.numel() for weight in GPT(config).parameters()) * BYTES[form]
        for (name, batch), second in seconds.items():
            same, default = (seconds[peer, batch] for peer in ("transformers", "transformers, torch's default path"))
            rows.append({
                "case": f"{form}: {name}, {batch} at once", "tokens_per_second": round(batch * LENGTH / second, 1),
                **speeds(second, same, default),
                "share_of_bandwidth": round(1e-7 * weights * LENGTH / second / statistics.median(bandwidths)),
            })  # fmt: skip
    return rows


def ours(config: GPTConfig, form: Form) -> Callable[[torch.Tensor], torch.Tensor]:
    """Writes LENGTH tokens after each prompt as generate.py does, the likeliest each time."""
    model = GPT(config).eval()
    settle(model, form)

    def write(prompts: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), autocast(form, torch.device("cpu")):
            return torch.stack([*generate(step_of(model), prompts, max_new_tokens=LENGTH)], dim=1)

    return write


def theirs(config: GPTConfig, form: Form) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same by transformers' generate."""
    model: Any = peer(config).eval()
    model = model.bfloat16() if form == "bf16" else model
    settings: dict[str, Any] = {"max_new_tokens": LENGTH, "do_sample": False, "pad_token_id": 0}

    def write(prompts: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model.generate(prompts, attention_mask=torch.ones_like(prompts), **settings)[:, PROMPT:]

    return write

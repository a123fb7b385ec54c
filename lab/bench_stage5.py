"""The speed of stage 5: the race to nanoGPT's mark, a training step and writing beside transformers' GPT-2.

The others run twice: on torch's default matrix path, as their users have it, and on the one that device.py has chosen
for us. Where it chooses nothing else (Intel, ARM) the two are the same.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lab.bench import ROOT, Row, finish, take_turns
from lab.elsewhere import elsewhere
from my_llm.compiling import compile_parts
from my_llm.data.catalog import load_text
from my_llm.device import set_threads
from my_llm.errors import ConfigError
from my_llm.journal import read_metrics
from my_llm.training import Loss, train_steps
from stage5_gpt.models import GPT, GPTConfig

COMMAND = "my-llm bench --stage stage5_gpt"
MARK, SEEDS = 1.898, 5  # nats a character, over the whole validation text in windows of 64
SHAPES = {  # layers, heads, width, context, windows a step
    "nanoGPT's for a CPU": (4, 4, 128, 64, 12),
    "nanoGPT's for a GPU, batch 16": (6, 6, 384, 256, 16),
}
VOCABULARY = 65
SPEEDS = {"speed": "×", "speed_to_default": "×"}  # beside the peer on our matrix path, and on torch's default one


def bench(rounds: int) -> None:
    """Measure, print and record results/bench/stage5_race.json, stage5_training.json and stage5_decoding.json."""
    set_threads(os.cpu_count() or 1)
    started = time.perf_counter()
    columns = {"steps": "", "training_seconds": "s", "loss": "nats", **SPEEDS}
    title, corpus = f"To {MARK} nats a character on Tiny Shakespeare", load_text("tiny_shakespeare")
    finish("stage5_race", title, race(), columns, COMMAND, started, corpus.name, corpus.sha256)
    started = time.perf_counter()
    columns = {"tokens_per_second": "1/s", **SPEEDS, "loss": "nats"}
    finish("stage5_training", "A training step of a GPT", training(max(rounds // 2, 6)), columns, COMMAND, started)
    from lab.bench_stage5_decoding import LENGTH, PROMPT, decoding

    started = time.perf_counter()
    columns = {"tokens_per_second": "1/s", **SPEEDS, "share_of_bandwidth": "%"}
    title = f"GPT-2, 124M random weights: {LENGTH} tokens after a prompt of {PROMPT}"
    finish("stage5_decoding", title, decoding(max(rounds // 10, 3)), columns, COMMAND, started)


# --- the race ---------------------------------------------------------------------------------------------------------


def race() -> list[Row]:
    """nanoGPT's recipe, and ours with five seeds, some before and some after it; seconds of training alone."""
    before, after = range(SEEDS // 2), range(SEEDS // 2, SEEDS)
    runs = [trained("speedrun", seed) for seed in before]
    peers = [trained("nanogpt", 0, path) for path in ("auto", "default")]
    runs += [trained("speedrun", seed) for seed in after]
    names = ["presets/nanogpt.toml", "presets/nanogpt.toml, torch's default path"]
    names += [f"presets/speedrun.toml, seed {seed}" for seed in range(SEEDS)]
    return [
        {
            "case": name,
            **run,
            **speeds(run["training_seconds"], *(peer["training_seconds"] for peer in peers), digits=1),
        }
        for name, run in zip(names, [*peers, *runs], strict=True)
    ]


def speeds(seconds: float, same_path: float, default: float, digits: int = 2) -> Row:
    """How many times as fast as the peer, on our matrix path and on torch's default one."""
    return {"speed": round(same_path / seconds, digits), "speed_to_default": round(default / seconds, digits)}


def trained(preset: str, seed: int, path: str = "auto") -> Row:
    """What a run of train.py in a home of its own, on this matrix path, says of itself."""
    with tempfile.TemporaryDirectory(prefix="my_llm_race_") as home:
        script = ROOT / "stage5_gpt" / "train.py"
        flags = ["--config", str(script.parent / "presets" / f"{preset}.toml"), "--seed", str(seed)]
        environment = {**os.environ, "MY_LLM_HOME": home, "MY_LLM_MATRIX_PATH": path}
        subprocess.run([sys.executable, str(script), *flags], check=True, env=environment, capture_output=True)
        (folder,) = (Path(home) / "runs" / "stage5_gpt").iterdir()
        steps = [line for line in read_metrics(folder) if "tokens_per_second" in line]
        loss = json.loads((folder / "summary.json").read_text())["best"]["scores"]["validation_loss"]
    seconds = sum(12 * 64 / line["tokens_per_second"] for line in steps)
    return {"steps": len(steps), "training_seconds": round(seconds, 2), "loss": round(loss, 4)}


# --- a step -----------------------------------------------------------------------------------------------------------


def training(rounds: int) -> list[Row]:
    """Tokens a second of transformers' GPT-2 and of ours with the same sizes, batches and rate, turn by turn."""
    rows: list[Row] = []
    for name, (layers, heads, width, context, batch) in SHAPES.items():
        shape: dict[str, Any] = {"layers": layers, "heads": heads, "model": width, "context": context}
        torch.manual_seed(0)
        text = torch.randint(VOCABULARY, (100_000,)).cumsum(0).remainder(VOCABULARY)  # something to learn: differences
        batches = partial(windows, text, batch, context)
        config = GPTConfig(vocab_size=VOCABULARY, **shape)
        steps = {
            "transformers, fp32": theirs(config, batches),
            "transformers, fp32, torch's default path": elsewhere(theirs, config, batches),
        }
        ways: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
        for form in ways:
            steps[f"ours, {form}"] = ours(GPT(config), batches, form)
        compiled = GPT(config)
        compile_parts([compiled.blocks], torch.device("cpu"))
        steps["ours, bf16, --compile"] = ours(compiled, batches, "bf16")
        losses: dict[str, list[float]] = {case: [] for case in steps}
        turns = {case: lambda step=step, seen=losses[case]: seen.append(step()) for case, step in steps.items()}
        taken = take_turns(turns, max(6, rounds if width < 256 else rounds // 5), rest=0.02)
        seconds = {case: statistics.median(times) for case, times in taken.items()}
        same, default, *_ = seconds.values()
        rows += [
            {"case": f"{name}: {case}", "tokens_per_second": round(batch * context / second),
             **speeds(second, same, default), "loss": round(losses[case][-1], 3)}
            for case, second in seconds.items()
        ]  # fmt: skip
    return rows


def windows(text: torch.Tensor, batch: int, context: int, index: int) -> torch.Tensor:
    """Random windows (B, T + 1) of a text, the same for everyone."""
    first = torch.randint(len(text) - context - 1, (batch, 1), generator=torch.Generator().manual_seed(index))
    return text[first + torch.arange(context + 1)]


def ours(model: GPT, batches: Callable[[int], torch.Tensor], form: Literal["fp32", "bf16"]) -> Callable[[], float]:
    """A step as train.py takes it; says its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def loss(model: nn.Module, batch: torch.Tensor) -> Loss:
        return Loss(model(batch[:, :-1], targets=batch[:, 1:])[0], batch[:, 1:].numel())

    steps = train_steps(model, batches, loss, optimizer, max_steps=10**9, clip=1.0, precision=form)
    return lambda: next(steps).loss


def theirs(config: GPTConfig, batches: Callable[[int], torch.Tensor]) -> Callable[[], float]:
    """A step as one writes it around transformers' model."""
    model = peer(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    count = iter(range(10**9))

    def step() -> float:
        batch = batches(next(count))
        logits = model(batch[:, :-1], use_cache=False).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def peer(config: GPTConfig) -> Any:
    """transformers' GPT-2 of the same sizes, with random weights and without dropout.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        raise ConfigError("the peer is not installed", next_step='pip install -e ".[export]"') from None
    sizes: Mapping[str, Any] = {
        "vocab_size": config.vocab_size, "n_positions": config.context, "n_embd": config.model,
        "n_layer": config.layers, "n_head": config.heads,
    }  # fmt: skip
    off = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return GPT2LMHeadModel(GPT2Config(**sizes, **off, bos_token_id=None, eos_token_id=None))

"""What a training will cost, said before it begins: operations, memory, and time on this machine.

The operations are known exactly (models/sizes.py), the machine's rate for products is measured; how much of it a real
training reaches is not known before, so the time is a guess by that share, MFU (Chowdhery et al. 2022, PaLM, §4.1).
"""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

from my_llm.device import world
from my_llm.journal import read_metrics
from my_llm.machine import measure_matmul
from stage5_gpt.models import GPT, Cost, cost_of

USUAL_SHARE = {"fp32": 0.5, "bf16": 0.2}  # of the measured rate, that trainings of 1 to 10M parameters reach here


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training in numbers."""

    cost: Cost
    tokens_per_step: int
    max_steps: int
    kept_tokens: int  # of one micro-batch, in each process
    rate: float  # of all processes' products, operations a second
    share: float

    @property
    def flops(self) -> float:
        """Of the whole training."""
        return float(self.cost.flops_per_token) * self.tokens_per_step * self.max_steps

    @property
    def seconds(self) -> float:
        """A guess."""
        return self.flops / (self.rate * self.share)

    @property
    def bytes(self) -> int:
        """Of each process: weights, gradients, Adam, and what its part of a micro-batch keeps for the backward pass."""
        return self.cost.state_bytes + self.cost.kept_bytes_per_token * self.kept_tokens

    def told(self) -> str:
        """For a person."""
        tokens = self.tokens_per_step * self.max_steps
        return (
            f"gpt, {self.cost.parameters:,} parameters; {self.max_steps:,} steps of {self.tokens_per_step:,} tokens\n"
            f"estimate: {self.flops:.2g} operations, {tokens / self.cost.parameters:.1f} tokens a parameter; "
            f"{self.bytes / 2**20:,.0f} MiB; about {duration(self.seconds)} at {self.share:.0%} of this machine's "
            f"{self.rate / 1e9:,.0f} GFLOP/s"
        )

    def facts(self) -> dict[str, Any]:
        """For summary.json."""
        return {"parameters": self.cost.parameters, "flops": self.flops, "estimated_seconds": self.seconds,
                "estimated_bytes": self.bytes, "machine_flops_per_second": self.rate}  # fmt: skip


def estimate(model: GPT, max_steps: int, batch_size: int, accumulate: int, precision: Literal["fp32", "bf16"]) -> Plan:
    """Plan a training: `batch_size` windows in each of `accumulate` micro-batches a step."""
    import torch

    rate = 1e9 * world() * measure_matmul(torch.float32 if precision == "fp32" else torch.bfloat16, seconds=0.2)
    context = model.config.context
    tokens, kept = batch_size * accumulate * context, -(-batch_size // world()) * context
    share = USUAL_SHARE[precision] * (0.75 if model.checkpointing else 1)  # the second forward pass is no progress
    return Plan(cost_of(model.config, checkpointing=model.checkpointing), tokens, max_steps, kept, rate, share)


def reached(folder: Path, mark: float, tokens_per_step: int) -> str:
    """After how many steps and seconds of training (not of validation) the run in `folder` came below the mark."""
    steps, seconds, losses = 0, 0.0, [math.inf]
    for line in read_metrics(folder):
        if "tokens_per_second" in line:
            steps, seconds = steps + 1, seconds + tokens_per_step / line["tokens_per_second"]
        losses.append(line.get("validation_loss", math.inf))
        if losses[-1] <= mark:
            return f"{mark} reached: {losses[-1]:.4f} after {steps:,} steps, {seconds:.1f} s of training"
    return f"{mark} not reached: {min(losses):.4f} at best, in {steps:,} steps, {seconds:.1f} s of training"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"

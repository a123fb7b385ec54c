"""What is said of a training before it begins: its numbers are those of the training, its time is a guess."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from my_llm.language.batches import Batch
from stage5_gpt import planning
from stage5_gpt.language import next_token_loss
from stage5_gpt.models import GPT, GPTConfig

SHAPE = {"vocab_size": 50, "context": 64, "layers": 3, "heads": 4, "model": 64}


@pytest.fixture(autouse=True)
def a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "measure_matmul", lambda dtype, seconds: 100.0 if dtype == torch.float32 else 300.0)


def planned(**changes: object) -> planning.Plan:
    return planning.estimate(GPT(GPTConfig(**{**SHAPE, **changes})), 10, 4, 2, "fp32")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{}, {"positions": "rotary", "bias": False}, {"positions": "learned", "tied": False}, {"groups": 2, "norm": "rms"},
     {"activation": "swiglu", "hidden": 96}, {"norm": "rms_plain", "positions": "none"}],
)  # fmt: skip
def test_the_parameters_are_those_of_the_model(changes: dict):
    model = GPT(GPTConfig(**{**SHAPE, **changes}))  # type: ignore[arg-type]
    assert planned(**changes).cost.parameters == sum(weight.numel() for weight in model.parameters())


def test_the_operations_are_those_that_torch_counts():
    """Of a step without the products of attention, which the counter does not see in a fused kernel on the CPU."""
    model, tokens = GPT(GPTConfig(**SHAPE)), torch.randint(50, (4, 65))  # type: ignore[arg-type]
    with FlopCounterMode(display=False) as counter:
        logits, _ = model(tokens[:, :-1])
        logits.sum().backward()
    plan = planned()
    attention = 12 * 3 * 64 * 64  # of a token: 12 L T D
    ours = (plan.cost.flops_per_token - attention) * 4 * 64
    counts = counter.get_flop_counts()["Global"]
    counted = sum(count for name, count in counts.items() if "attention" not in str(name))
    # the gradient of the embedding's rows is no product: the input of the first layer needs one, and so all count
    assert counted == pytest.approx(ours, rel=0.01)


def test_a_step_is_all_its_micro_batches_and_memory_one_of_them():
    plan = planned()
    assert (plan.tokens_per_step, plan.max_steps, plan.kept_tokens) == (2 * 4 * 64, 10, 4 * 64)
    assert plan.flops == plan.cost.flops_per_token * 512 * 10
    assert plan.seconds == pytest.approx(plan.flops / (100e9 * planning.USUAL_SHARE["fp32"]))
    assert plan.bytes == 16 * plan.cost.parameters + plan.cost.kept_bytes_per_token * 256
    assert planning.estimate(GPT(GPTConfig(**SHAPE)), 10, 4, 1, "bf16").rate == 300e9  # type: ignore[arg-type]


def test_of_two_processes_each_keeps_half_and_both_compute(monkeypatch: pytest.MonkeyPatch):
    alone = planned()
    monkeypatch.setenv("WORLD_SIZE", "2")
    shared = planned()
    assert shared.flops == alone.flops and shared.tokens_per_step == alone.tokens_per_step
    assert shared.kept_tokens == alone.kept_tokens / 2 and shared.seconds == pytest.approx(alone.seconds / 2)


def test_what_a_step_keeps_is_within_a_factor_of_two():
    """Counted: every tensor that autograd keeps for the backward pass, weights left out, each storage once."""
    model = GPT(GPTConfig(**{**SHAPE, "context": 128, "model": 128}))  # type: ignore[arg-type]
    own, kept = {weight.untyped_storage().data_ptr() for weight in model.parameters()}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    tokens = torch.randint(50, (4, 129))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = next_token_loss(model, Batch(tokens[:, :-1], tokens[:, 1:]))
    measured = sum(storage.nbytes() for storage in kept.values())
    plan = planning.estimate(model, 1, 4, 1, "fp32")
    estimated = plan.cost.kept_bytes_per_token * plan.kept_tokens
    assert 0.5 < measured / estimated < 2 and loss.total.requires_grad


def test_checkpointing_keeps_less_and_takes_a_third_longer():
    model = GPT(GPTConfig(**{**SHAPE, "layers": 12}))  # type: ignore[arg-type]
    usual = planning.estimate(model, 10, 4, 2, "fp32")
    model.checkpointing = True
    plan = planning.estimate(model, 10, 4, 2, "fp32")
    assert plan.flops == usual.flops and plan.seconds == pytest.approx(usual.seconds * 4 / 3)
    assert plan.cost.kept_bytes_per_token < usual.cost.kept_bytes_per_token / 5


def test_it_is_told_and_written_down():
    plan = planned()
    told, facts = plan.told(), plan.facts()
    assert f"{plan.cost.parameters:,} parameters; 10 steps of 512 tokens" in told and "100 GFLOP/s" in told
    assert facts["parameters"] == plan.cost.parameters and facts["flops"] == plan.flops
    assert set(facts) == {
        "parameters", "flops", "estimated_seconds", "estimated_bytes", "machine_flops_per_second",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 seconds"), (89, "89 seconds"), (90, "2 minutes"), (5399, "90 minutes"),
                          (5400, "2 hours"), (36_000, "10 hours")],
)  # fmt: skip
def test_a_time_for_people(seconds: float, said: str):
    assert planning.duration(float(seconds)) == said


def test_when_a_run_came_below_the_mark(tmp_path: Path):
    steps = [{"step": n, "loss": 3.0, "tokens_per_second": 256.0} for n in range(4)]
    checks = [{"step": 1, "validation_loss": 2.5}, {"step": 3, "validation_loss": 1.75}]
    lines = [*steps[:2], checks[0], *steps[2:], checks[1]]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert planning.reached(tmp_path, 2.5, 512) == "2.5 reached: 2.5000 after 2 steps, 4.0 s of training"
    assert planning.reached(tmp_path, 1.8, 512) == "1.8 reached: 1.7500 after 4 steps, 8.0 s of training"
    assert planning.reached(tmp_path, 1.7, 512) == "1.7 not reached: 1.7500 at best, in 4 steps, 8.0 s of training"

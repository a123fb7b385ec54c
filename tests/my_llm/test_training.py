"""The loop: exact normalisation, exact stops, and two processes that equal one."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from my_llm.errors import NotFiniteError
from my_llm.training import Loss, Step, train_steps


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2).double()


def batch(index: int, size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 2, (size,), generator=generator)


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Loss:
    x, y = batch
    return Loss(nn.functional.cross_entropy(model(x), y, reduction="sum"), len(y))


def run(model: nn.Module, batches, **options) -> list[Step]:
    optimizer = torch.optim.SGD(model.parameters(), lr=options.pop("lr", 0.5))
    return list(train_steps(model, batches, cross_entropy, optimizer, **{"max_steps": 5, **options}))


def test_a_step_is_gradient_descent_on_the_mean():
    model, twin = small_model(), small_model()
    (step,) = run(model, batch, max_steps=1)
    x, y = batch(0)
    loss = nn.functional.cross_entropy(twin(x), y)
    loss.backward()
    assert step.loss == pytest.approx(loss.item(), abs=1e-12)
    torch.testing.assert_close(model.weight, twin.weight - 0.5 * twin.weight.grad, rtol=0, atol=1e-12)
    norm = math.hypot(twin.weight.grad.norm(), twin.bias.grad.norm())
    assert step.grad_norm == pytest.approx(norm, abs=1e-12)


def test_accumulation_of_unequal_micro_batches_equals_one_large_batch():
    """Micro-batches of 1 and 7 targets: a mean of means would weigh the single one seven times too much."""
    parts = [batch(0, size=1), batch(1, size=7)]
    whole = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
    split, large = small_model(), small_model()
    (first,) = run(split, lambda index: parts[index], max_steps=1, accumulate=2)
    (second,) = run(large, lambda index: whole, max_steps=1)
    assert first.loss == pytest.approx(second.loss, abs=1e-12)
    torch.testing.assert_close(split.weight, large.weight, rtol=0, atol=1e-12)


def test_clipping_scales_the_whole_gradient():
    model, start = small_model(), small_model()
    (step,) = run(model, batch, max_steps=1, clip=0.01, lr=1.0)
    moved = math.hypot((model.weight - start.weight).norm().item(), (model.bias - start.bias).norm().item())
    assert step.grad_norm > 0.01
    assert moved == pytest.approx(0.01, abs=1e-12)


def test_schedule_multiplies_each_groups_own_rate_and_survives_a_restart():
    """Halving at step 2 of a rate of 0.5: 0.5, 0.5, 0.25, 0.25; a restart at step 3 must not halve it again."""
    model = small_model()
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr": 0.5}, {"params": [model.bias], "lr": 0.1}])

    def half(step: int) -> float:
        return 1.0 if step < 2 else 0.5

    rates = [s.lr for s in train_steps(model, batch, cross_entropy, optimizer, schedule=half, max_steps=4)]
    assert rates == [0.5, 0.5, 0.25, 0.25]
    again = torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias]}], lr=1.0)
    again.load_state_dict(optimizer.state_dict())
    (step,) = train_steps(model, batch, cross_entropy, again, schedule=half, start=3, max_steps=4)
    assert step.lr == 0.25
    assert again.param_groups[1]["lr"] == 0.05


def test_start_continues_with_the_batches_that_come_next():
    whole, halves = small_model(), small_model()
    run(whole, batch, max_steps=6)
    run(halves, batch, max_steps=3)
    run(halves, batch, start=3, max_steps=6)
    assert torch.equal(whole.weight, halves.weight)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(poison: float):
    model = small_model()

    def poisoned(index: int) -> tuple[Tensor, Tensor]:
        x, y = batch(index)
        return (x * poison if index == 2 else x), y

    good = small_model()
    run(good, batch, max_steps=2)
    with pytest.raises(NotFiniteError, match=r"at step 3, batches 2 to 2: loss nan.*weight"):
        run(model, poisoned)
    assert torch.equal(model.weight, good.weight)


def test_an_infinite_gradient_of_a_finite_loss_stops_too():
    model = small_model()

    def square_root_at_zero(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Loss:
        return Loss((model.weight * 0).abs().sqrt().sum(), 1)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with pytest.raises(NotFiniteError, match="not finite: weight"):
        next(train_steps(model, batch, square_root_at_zero, optimizer, max_steps=1))


def test_bf16_computes_products_in_bf16_and_keeps_weights_in_fp32():
    model = nn.Linear(3, 2)
    seen = []

    def spy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Loss:
        logits = model(batch[0].float())
        seen.append(logits.dtype)
        return Loss(logits.float().square().sum(), len(logits))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    next(train_steps(model, batch, spy, optimizer, max_steps=1, precision="bf16"))
    assert seen == [torch.bfloat16]
    assert model.weight.dtype == torch.float32


WORKER = """
import sys, torch
from torch import nn
from my_llm.device import choose_device, join_world, rank, world
from my_llm.training import Loss, train_steps

join_world(choose_device("cpu"))
torch.manual_seed(0)
model = nn.Linear(3, 2).double()

def batches(index):
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (7,), generator=generator)
    return x[rank()::world()], y[rank()::world()]

def loss_fn(model, batch):
    return Loss(nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum"), len(batch[1]))

optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
losses = [s.loss for s in train_steps(model, batches, loss_fn, optimizer, max_steps=20, accumulate=2, clip=0.5)]
if rank() == 0:
    print(*losses, model.weight.double().sum().item())
"""


def test_two_processes_reach_the_loss_of_one(tmp_path: Path):
    """7 items split 4 + 3 between two gloo processes: the same sums, so the same steps."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)

    def numbers(*command: str) -> list[float]:
        done = subprocess.run([sys.executable, *command, str(script)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [float(word) for word in done.stdout.split()]

    alone = numbers()
    together = numbers("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    assert len(alone) == 21
    assert together == pytest.approx(alone, abs=1e-5)

"""A compiled part says what it says as it is written, and learns the same."""

import shutil
import subprocess
import sys

import pytest
import torch

from my_llm.compiling import compile_parts
from my_llm.errors import ConfigError

# In a process of its own: in this one every annotation is checked, and the compiler cannot read through the checks.
COMPILED = """
import torch
from my_llm.compiling import as_written, compile_parts
from stage4_transformer.models import Dropout
from stage5_gpt.models import GPT, GPTConfig
torch.set_num_threads(1)
torch.manual_seed(0)
model = GPT(GPTConfig(vocab_size=11, context=8, layers=2, heads=2, model=16, positions="rotary"))
names = [name for name, _ in model.named_parameters()]
tokens, targets = torch.randint(11, (2, 3, 8))
expected, _ = model(tokens, targets=targets)
gradients = torch.autograd.grad(expected, list(model.parameters()))
compile_parts(model.blocks, torch.device("cpu"))
assert as_written(lambda: model(tokens, targets=targets)[0])() == expected
found, _ = model(tokens, targets=targets)
assert torch.allclose(found, expected, atol=1e-5)
for one, other in zip(torch.autograd.grad(found, list(model.parameters())), gradients, strict=True):
    assert torch.allclose(one, other, atol=1e-5)
assert [name for name, _ in model.named_parameters()] == names  # a checkpoint does not show it

part = Dropout(0.25)
compile_parts([part], torch.device("cpu"))
torch.manual_seed(1)
part(torch.ones(20_000))
random = torch.get_rng_state()
first = part(torch.ones(20_000))
torch.set_rng_state(random)  # what a checkpoint keeps
assert torch.equal(first, part(torch.ones(20_000)))
assert torch.allclose(first.unique(), torch.tensor([0.0, 4 / 3]))
assert abs(float((first == 0).float().mean()) - 0.25) < 0.02
"""


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
def test_compiled_parts_say_and_learn_the_same_and_dropout_keeps_its_share_and_its_seed():
    subprocess.run([sys.executable, "-c", COMPILED], check=True, timeout=300)


def test_without_a_compiler_one_line(monkeypatch: pytest.MonkeyPatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    with pytest.raises(ConfigError, match="--compile needs a C\\+\\+ compiler.*install g\\+\\+ and python3-dev"):
        compile_parts([], torch.device("cpu"))

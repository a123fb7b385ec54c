"""The mistake that nobody sees in the loss: a mask that lets a token look at the one that it should foretell."""

import dataclasses
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from my_llm.decoding import generate
from my_llm.sampling import sample
from stage5_gpt.language import step_of
from stage5_gpt.models import GPT, CausalSelfAttention
from stage5_gpt.studies import StudyConfig, steps_of
from stage5_gpt.studies.common import Row, Text, learn, load, nats, new_gpt, publish

STEPS = 400
AHEAD: dict[str, int | None] = {"causal": 0, "one behind": -1, "one ahead": 1, "no mask": 10_000}
SHOWN = 48  # characters of a sample
COLUMNS = {
    "training_loss": "nats", "same_mask_loss": "nats", "honest_loss": "nats", "future_seen": "", "sample": "text",
}  # fmt: skip


def shifted(ahead: int, query: Tensor, key: Tensor, value: Tensor, bias: Any) -> Tensor:
    """Attention whose diagonal stands so many tokens too far to the right; the first token always sees itself."""
    mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril(key.shape[2] - query.shape[2] + ahead)
    mask[:, 0] = True  # a row without anything to see would be 0 / 0
    return scaled_dot_product_attention(query, key, value, attn_mask=mask)


def set_mask(model: GPT, ahead: int | None) -> None:
    """Shift the mask of every block, or (None) put back what the model has."""
    for part in model.modules():
        if isinstance(part, CausalSelfAttention):
            part.__dict__.pop("look", None)
            if ahead is not None:
                part.look = partial(shifted, ahead)


@torch.inference_mode()
def future_seen(model: GPT, text: Text) -> float:
    """The test for leaks: change the last of 32 tokens; how much moves a logit that stands before it? 0 is right."""
    tokens = text.validation[None, :32]
    other = tokens.clone()
    other[0, -1] = other[0, 0]
    return float((model(tokens)[0] - model(other)[0])[:, :-1].abs().max())


def sample_of(model: GPT, text: Text, seed: int) -> str:
    """What it writes at a temperature of 0.8 after the beginning of the held-out text."""
    choose = partial(sample, temperature=0.8, generator=torch.Generator().manual_seed(seed))
    written = [*generate(step_of(model), text.validation[None, :16], max_new_tokens=SHOWN, choose=choose)]
    return text.tokenizer.decode(torch.cat(written).tolist()).replace("\n", " ⏎ ")


def leak(config: StudyConfig) -> None:
    """What tells a leaking mask from a right one: the training loss, the honest loss, the samples, a test?"""
    config = dataclasses.replace(config, seeds=1)  # the differences are not small
    started, text, steps, rows = time.perf_counter(), load(config), steps_of(config, STEPS), []
    for case, ahead in AHEAD.items():
        model = new_gpt(text, config.seed)
        set_mask(model, ahead)
        row: Row = {"case": case, "training_loss": round(learn(model, text, steps, config.seed).loss, 3)}
        row |= {"same_mask_loss": round(nats(model, text), 3), "future_seen": round(future_seen(model, text), 3)}
        if ahead and ahead > 0:
            set_mask(model, None)  # in use there is no future to look at
        rows.append(row | {"honest_loss": round(nats(model, text), 3), "sample": sample_of(model, text, config.seed)})
        print(f"{case:12} writes: {rows[-1]['sample']}", flush=True)
    publish(
        config, "leak", text.corpus, rows, columns=COLUMNS, draw=("training_loss", "honest_loss", "future_seen"),
        title=f"A right mask and three wrong ones, {steps} steps: losses, what the test for leaks sees, a sample",
        started=started,
        seen=lambda: "; ".join(
            f"{row['case']}: training says {row['training_loss']}, honesty {row['honest_loss']}" for row in rows
        ),
    )  # fmt: skip

"""What forward and backward of the three tellings of a decoder cost, side by side; for compare.py and lab/."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from stage3_attention_seq2seq.models import Memory, Seq2Seq, Seq2SeqConfig, to_numpy, to_official
from stage3_attention_seq2seq.tellings import back_by_hand, read_by_hand

TELLINGS = ("by hand", "from scratch", "official")
VOCABULARY = 1000


class Cost(NamedTuple):
    """Forward and backward: seconds, and speed relative to torch.nn in the same turns."""

    seconds: float
    speed: float


def race(attention: str, *, batch_size: int, length: int, hidden: int, repeats: int, seed: int) -> dict[str, Cost]:
    """A decoder with its attention, GRU, as many source as target tokens; two tellings take turns at a time, so that
    whatever else the machine does slows both of them."""
    torch.manual_seed(seed)
    config = Seq2SeqConfig(VOCABULARY, VOCABULARY, attention=attention, embedding=hidden, hidden=hidden)
    ours = Seq2Seq(config)
    theirs, hand = to_official(ours), to_numpy(ours.decoder, config.cell, attention)
    keys, summary = torch.randn(batch_size, length, hidden), torch.randn(batch_size, hidden)
    real, tokens = torch.ones(batch_size, length).bool(), torch.randint(VOCABULARY, (batch_size, length))
    grad = torch.randn(batch_size, length, hidden)

    def by_hand() -> None:
        read = read_by_hand(hand, tokens.numpy(), keys.numpy(), summary.numpy(), real.numpy())
        back_by_hand(hand, read, tokens.numpy(), summary.numpy(), grad.numpy().swapaxes(0, 1))

    def from_scratch() -> None:
        ours.zero_grad()
        memory = ours.decoder.attention.remember(keys.clone().requires_grad_(), real, summary.clone().requires_grad_())
        ours.decoder(tokens, ours.decoder.start(memory), memory)[0].backward(grad)

    def official() -> None:
        theirs.zero_grad()
        memory = Memory(keys.clone().requires_grad_(), None, real, summary.clone().requires_grad_())
        theirs.decoder(tokens, memory)[0].backward(grad)

    calls: dict[str, Callable[[], None]] = dict(zip(TELLINGS, (by_hand, from_scratch, official), strict=True))
    costs: dict[str, Cost] = {}
    for name, call in calls.items():
        call()  # what is loaded and prepared once does not count
        seconds = {turn: [] for turn in (name, "official")}
        for _ in range(repeats):
            for turn, taken in seconds.items():
                started = time.perf_counter()
                calls[turn]()
                taken.append(time.perf_counter() - started)
        ratios = (theirs / own for own, theirs in zip(seconds[name], seconds["official"], strict=True))
        costs[name] = Cost(statistics.median(seconds[name]), statistics.median(ratios))
    return costs

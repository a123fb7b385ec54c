"""One state for a whole sentence: how much of it comes out again?

One LSTM reads a piece of text. All that a second one gets of it is the final state, from which it must write the piece
anew (the encoder and decoder of Sutskever et al., NIPS 2014, with the sentence itself as its translation). The state
has the same size for 5 characters and for 60. Stage 3 lets the decoder look back at every step instead.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.schedules import cosine
from my_llm.training import Loss, train_steps
from stage2_rnn_lstm.models import LSTMLayer
from stage2_rnn_lstm.studies.common import (
    COLORS,
    StudyConfig,
    finish,
    lines,
    load_characters,
    mean_and_spread,
    save,
    seeds_of,
    sheet,
    steps_of,
)
from stage2_rnn_lstm.studies.trials import warm_up

Row = dict[str, Any]
WIDTHS = (32, 64, 128, 256)
LONGEST, LENGTHS = 60, (2, 5, 10, 15, 20, 30, 40, 50, 60)
STEP, TESTS = 2048, 256  # characters of a training step; pieces of each length in the test
IN_TABLE = (5, 10, 20, 40, 60)


class Repeater(nn.Module):
    """Reads tokens, and writes them again from its final state."""

    def __init__(self, vocab_size: int, hidden: int, embedding: int = 32):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.encoder, self.decoder = LSTMLayer(embedding, hidden), LSTMLayer(embedding, hidden)
        self.head = nn.Linear(hidden, vocab_size)

    def encode(self, tokens: Int[Tensor, "B T"]) -> tuple[Float[Tensor, "B H"], ...]:
        """The state after the last token: all that the decoder will know."""
        _, states = self.encoder(self.embedding(tokens.t()))
        return tuple(memory[-1] for memory in states)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of every token, from the state and the true tokens before it: teacher forcing."""
        x = self.embedding(tokens.t())  # (T, B, E)
        before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        outputs, _ = self.decoder(before, self.encode(tokens))
        return self.head(outputs).transpose(0, 1)

    @torch.inference_mode()
    def repeat(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """What it writes from the state alone, the likeliest token each time."""
        state, said = self.encode(tokens), []
        x = torch.zeros_like(self.embedding(tokens[:, :1].t()))  # (1, B, E)
        for _ in range(tokens.shape[1]):
            outputs, states = self.decoder(x, state)
            state = tuple(memory[-1] for memory in states)
            said.append(self.head(outputs[0]).argmax(dim=1))
            x = self.embedding(said[-1])[None]
        return torch.stack(said, dim=1)


def excerpts(tokens: Int[Tensor, "N"], count: int, length: int, seed: Sequence[int]) -> Int[Tensor, "B T"]:
    """Pieces of the text that begin anywhere; the same seed, the same pieces."""
    generator = torch.Generator().manual_seed(hash(tuple(seed)) % 2**31)  # numbers hash alike on every machine
    firsts = torch.randint(len(tokens) - length + 1, (count,), generator=generator)
    return tokens[firsts[:, None] + torch.arange(length)]


def train_repeater(model: Repeater, tokens: Int[Tensor, "N"], steps: int, seed: int) -> None:
    """Pieces of 1 to LONGEST characters, in a batch all of one length, STEP characters in all."""

    def batches(index: int) -> Int[Tensor, "B T"]:
        length = 1 + (index * 37 + seed) % LONGEST  # 37 and 60 have no common divisor: all lengths, in mixed order
        return excerpts(tokens, STEP // length, length, (seed, index))

    def loss_fn(model: nn.Module, batch: Tensor) -> Loss:
        return Loss(cross_entropy(model(batch).flatten(0, 1), batch.flatten(), reduction="sum"), batch.numel())

    optimizer, schedule = torch.optim.Adam(model.parameters(), 0.01), cosine(steps, steps // 20)
    for _ in train_steps(model, batches, loss_fn, optimizer, max_steps=steps, schedule=schedule, clip=1.0):
        pass


def scores(model: Repeater, tokens: Int[Tensor, "N"]) -> dict[int, tuple[float, float]]:
    """For each length the characters, and the whole pieces, that come out as they went in, in percent."""
    found = {}
    for length in LENGTHS:
        pieces = excerpts(tokens, TESTS, length, (length,))
        same = (model.repeat(pieces) == pieces).float()
        found[length] = (100 * float(same.mean()), 100 * float(same.amin(dim=1).mean()))
    return found


def bottleneck(config: StudyConfig) -> None:
    """How long a sentence fits into one state, and how much does a larger state help?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 1200)
    rows: list[Row] = []
    warm_up()
    found: dict[int, list[dict[int, tuple[float, float]]]] = {}
    for width in WIDTHS:
        before, found[width] = time.process_time(), []
        for seed in seeds_of(config):
            torch.manual_seed(seed)
            model = Repeater(text.tokenizer.vocab_size, width)
            train_repeater(model, text.train, steps, seed)
            found[width].append(scores(model, text.validation))
        row: Row = {"case": f"{width} units"}
        for length in IN_TABLE:
            row |= mean_and_spread(f"characters_{length}", [run[length][0] for run in found[width]], 1)
        for length in (5, 10, 20):
            row |= mean_and_spread(f"whole_{length}", [run[length][1] for run in found[width]], 1)
        rows.append({**row, "cpu_seconds": round((time.process_time() - before) / config.seeds, 1)})
    _draw_bottleneck(found, guess := 100 * float(text.validation.bincount().max() / len(text.validation)))
    small, large = rows[0], rows[-1]
    finish(
        config,
        "bottleneck",
        title=f"Text read into one LSTM state and written again, {steps} steps: characters right, and whole pieces "
        f"without a mistake, by length; always the commonest character: {guess:.1f} %",
        columns={key: "s" if key == "cpu_seconds" else "%" for key in rows[0] if key != "case"},
        rows=rows,
        seen=f"of 5 characters {large['case']} give back {large['characters_5']:.0f} %, of 20 "
        f"{large['characters_20']:.0f} %, of 60 {large['characters_60']:.0f} %; {small['case']} "
        f"{small['characters_5']:.0f}, {small['characters_20']:.0f} and {small['characters_60']:.0f} %; {WIDTHS[-1]} "
        f"units give back {large['whole_10']:.0f} % of the pieces of 10 whole and {large['whole_20']:.0f} % of those "
        "of 20",
        started=started,
        corpus=text.corpus,
    )


def _draw_bottleneck(found: Mapping[int, Sequence[Mapping[int, tuple[float, float]]]], guess: float) -> None:
    figure, charts = sheet(2, width=4.2, title="One state for a whole sentence")
    titles = ("characters that come out right (%)", "pieces without a mistake (%)")
    for kind, (chart, title) in enumerate(zip(charts, titles, strict=True)):
        curves = {}
        for width, runs in found.items():
            values = torch.tensor([[run[length][kind] for length in LENGTHS] for run in runs]).mean(dim=0)
            curves[f"{width} units"] = (LENGTHS, values.tolist())
        lines(chart, curves, title=title, xlabel="characters in the sentence", ylabel="", mark="o")
        chart.set_ylim(-3, 103)
    charts[0].axhline(guess, color=COLORS[5], linestyle=":", label="always the commonest")
    charts[0].legend(fontsize=8, frameon=False)
    save(figure, "bottleneck")

"""Studies of the gradient on its way back through time: how it fades, how it bursts, and what clipping does.

The loss at one step depends on the state `lag` steps earlier through a product of `lag` Jacobians. If their norms stay
below one the product vanishes, above one it explodes, both exponentially (Hochreiter 1991; Bengio et al. 1994). A
network whose gradient vanishes may still remember; it does not learn to.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from my_llm.errors import NotFiniteError
from my_llm.plots import smooth
from my_llm.training import train_steps
from stage2_rnn_lstm.data import Streams
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import LanguageModel, RNNLayer
from stage2_rnn_lstm.studies.common import (
    CELL_COLORS,
    COLORS,
    Characters,
    StudyConfig,
    finish,
    load_characters,
    mean_and_spread,
    new_language_model,
    save,
    seeds_of,
    sheet,
    steps_of,
    train_on_text,
)

Row = dict[str, Any]
HIDDEN = 128
LAGS, SHOWN = 100, (1, 10, 30, 100)
EXCERPTS, WARM_UP = 128, 50  # pieces of the validation text; steps that each is read before the gradient begins
CELLS = ("rnn", "lstm", "gru")
SCALE = 3.0  # of the weights of the network that is made to explode

# --- the gradient against the distance --------------------------------------------------------------------------------


def gradients_back(model: LanguageModel, excerpts: Int[Tensor, "B T"]) -> list[Float[Tensor, "L"]]:
    """|dL/dh| of the last step's loss by the state `lag` steps before, lag = 0 … LAGS; for an LSTM |dL/dc| as well.

    Args:
        model: With one layer.
        excerpts: Characters; the last one is what the loss is about. The first ones, up to LAGS + 1 steps before the
            loss, only bring the state to where it usually is.

    Returns:
        One curve per memory, h and maybe c: the mean over the excerpts.
    """
    layer = cast(RNNLayer, model.recurrent.layers[0])
    projected = layer.project(model.embedding(excerpts[:, :-1].t()))  # (T - 1, B, G)
    early = len(projected) - LAGS - 1
    with torch.no_grad():
        state = layer.initial_state(projected)
        for a in projected[:early]:
            state = layer.step(a, state)
    states = []
    for a in projected[early:]:
        state = layer.step(a, state)
        states.append(state)
    loss = cross_entropy(model.head(state[0]), excerpts[:, -1], reduction="sum")  # a sum: each excerpt has its own
    curves = []
    for memory in zip(*states, strict=True):  # the last c changes nothing but the h that was used
        found = torch.autograd.grad(loss, memory, retain_graph=True)
        curves.append(torch.stack([gradient.norm(dim=1).mean() for gradient in reversed(found)]))
    return curves


def excerpts_of(tokens: Int[Tensor, "N"], count: int) -> Int[Tensor, "B T"]:
    """Pieces at equal distances, one character longer than there are steps."""
    length = WARM_UP + LAGS + 2
    firsts = torch.linspace(0, len(tokens) - length, count).long()
    return tokens[firsts[:, None] + torch.arange(length)]


def awake(model: LanguageModel) -> LanguageModel:
    """The untrained model with output weights: those start at zero, and would send nothing back."""
    torch.nn.init.normal_(model.head.weight, std=model.config.hidden**-0.5)
    return model


def gradients(config: StudyConfig) -> None:
    """How much of a loss reaches the state `lag` steps earlier?"""
    started = time.perf_counter()
    text, steps = load_characters(config), steps_of(config, 500)
    excerpts = excerpts_of(text.validation, EXCERPTS)
    found: dict[str, list[Tensor]] = {}

    def measure(case: str, model: LanguageModel) -> None:
        names = (case, f"{case} cell") if model.config.cell == "lstm" else (case,)
        for name, curve in zip(names, gradients_back(model, excerpts), strict=True):
            found.setdefault(name, []).append(curve / curve[0])

    for seed in seeds_of(config):
        for cell in CELLS:
            model = awake(new_language_model(text, seed, cell=cell, hidden=HIDDEN))
            measure(f"{cell} new", model)
            if cell == "rnn":
                layer = cast(RNNLayer, model.recurrent.layers[0])
                layer.weight_hh.data.mul_(SCALE)
                measure("rnn scaled new", model)
            model = new_language_model(text, seed, cell=cell, hidden=HIDDEN)
            for _ in train_on_text(model, text, max_steps=steps, seed=seed, rate=0.002 if cell == "rnn" else 0.004):
                pass
            measure(f"{cell} trained", model)
    curves = {case: torch.stack(seeds).log().mean(0).exp() for case, seeds in found.items()}
    rows: list[Row] = []
    for case, curve in sorted(curves.items(), key=lambda item: "new" not in item[0]):
        row = {"case": case, **{f"lag_{lag}": float(f"{curve[lag]:.3g}") for lag in SHOWN}}
        rows.append({**row, **mean_and_spread("reach", [float(reach(one)) for one in found[case]], 1)})
    _draw_gradients(curves)
    finish(
        config,
        "gradients",
        title=f"Gradient at a distance, share of that at distance 0; reach: steps until a hundredth (at most {LAGS})",
        columns={**{f"lag_{lag}": "" for lag in SHOWN}, "reach": "steps", "reach_sd": "steps"},
        rows=rows,
        seen=_seen_gradients({row["case"]: row for row in rows}),
        started=started,
        corpus=text.corpus,
    )


def reach(curve: Float[Tensor, "L"]) -> int:
    """The largest lag up to which the gradient is at least a hundredth of that at lag 0."""
    small = (curve < 0.01 * curve[0]).nonzero()
    return int(small[0]) - 1 if len(small) else len(curve) - 1


def _seen_gradients(rows: Mapping[str, Row]) -> str:
    def of(case: str) -> str:
        return f"{rows[case]['reach']:.0f}"

    scaled = rows["rnn scaled new"]
    return (
        f"a hundredth of the gradient is left after {of('rnn new')} steps in a new RNN, {of('lstm new')} in a new LSTM "
        f"(its cell: {of('lstm cell new')}) and {of('gru new')} in a new GRU; after training on text after "
        f"{of('rnn trained')}, {of('lstm trained')} (cell: {of('lstm trained cell')}) and {of('gru trained')}; in an "
        f"RNN with weights {SCALE:g} times as large it has changed by a factor of {scaled['lag_10']:.2g} after 10 "
        f"steps and of {scaled['lag_100']:.2g} after 100"
    )

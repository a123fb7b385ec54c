"""One fixed vector, or another one at each step: what is a dynamic context, and what is it worth?

Two translators of the same kind (Luong's decoder) learn the same in the same steps. One gets the summary of the source
as its context at every step, the other what its attention found at that step. And a third one, that has never learnt:
the second, but held still. Its attention is replaced by an even look at everything, so that its context, too, is the
same at every step. What it loses is what the changing of the context was worth.
"""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from textwrap import fill
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from my_llm.cli import printable
from my_llm.data.catalog import Pair
from my_llm.text import EOS
from my_llm.translation.alignment import END
from my_llm.translation.translator import Translator
from stage3_attention_seq2seq.models import Attention, Memory, Seq2Seq, masked_softmax
from stage3_attention_seq2seq.studies.common import (
    Row,
    Setting,
    StudyConfig,
    Trained,
    finish,
    load_sentences,
    mean_and_spread,
    save,
    scored,
    seeds_of,
    sheet,
    steps_of,
    trained,
)

STEPS = 600
FIXED, DYNAMIC, STILL = "fixed", "dynamic", "dynamic, held still"
FOLLOWED = 100  # sentences in which contexts are followed
SHOWN = 3  # sentences side by side


class EvenAttention(Attention):
    """Looks at everything alike, whatever the query."""

    def weigh(self, query: Float[Tensor, "B T H"], memory: Memory) -> Float[Tensor, "B T S"]:
        """1 / S."""
        return masked_softmax(query.new_zeros(*query.shape[:2], memory.keys.shape[1]), memory.real[:, None])


def held_still(found: Trained) -> Trained:
    """A copy whose context is the same at every step."""
    model = deepcopy(found.translator.model)
    width = model.config.hidden
    model.decoder.attention = EvenAttention(width, width, width)
    translator = Translator(model, found.translator.tokenizer, facts={}, encode=found.translator.encode)
    return Trained(translator, found.seconds)


def contexts_of(translator: Translator[Seq2Seq], text: str) -> tuple[list[int], Float[Tensor, "T K"]]:
    """What a translator says about a sentence, token by token, and the context at each of them."""
    seen = []

    def listen(module: Any, given: Any, result: tuple[Tensor, Any]) -> None:
        seen.append(result[0])  # (1, K)

    hook = translator.model.decoder.attention.register_forward_hook(listen)
    (answer,) = translator.translate([text])
    hook.remove()
    return answer.tokens, torch.cat(seen)


def likeness(contexts: Float[Tensor, "T K"]) -> Float[Tensor, "T T"]:
    """The cosine between the contexts of any two steps."""
    directions = normalize(contexts, dim=1)
    return directions @ directions.t()


def change(translator: Translator[Seq2Seq], pairs: Sequence[Pair]) -> float:
    """1 − cosine of one step's context with the next one's, mean over the steps: 0 if nothing changes."""
    found = [likeness(contexts_of(translator, pair.source)[1]).diagonal(1) for pair in pairs]
    return float((1 - torch.cat(found)).clamp(min=0).sum() / max(sum(map(len, found)), 1))


# --- the study --------------------------------------------------------------------------------------------------------


def context(config: StudyConfig) -> None:
    """What does a context that changes bring, and what does it do?"""
    started = time.perf_counter()
    text, steps = load_sentences(config), steps_of(config, STEPS)
    fixed, dynamic = (
        [trained(text, Setting(attention, steps, seed)) for seed in seeds_of(config)]
        for attention in ("none", "luong_concat")
    )
    cases = {FIXED: fixed, DYNAMIC: dynamic, STILL: [held_still(each) for each in dynamic]}
    rows: list[Row] = []
    for case, found in cases.items():
        followed = [change(each.translator, text.validation[:FOLLOWED]) for each in found]
        rows.append({"case": case, **scored(found, text.validation), **mean_and_spread("change", followed, 3)})
    shares = ", ".join(f"{row['case']} {row['exact']:.0f} %" for row in rows)
    translators = {case: found[0].translator for case, found in cases.items()}
    chosen = side_by_side(translators, text.validation)
    _draw_context(translators, chosen)
    show(chosen)
    finish(
        config,
        "context",
        title=f"One context for all steps, or another at each step; {steps} steps: translations that are exactly "
        "right, BLEU, and by how much (1 − cosine) the context differs from that of the step before",
        columns={
            **dict.fromkeys(["exact", "exact_sd"], "%"),
            **dict.fromkeys(["bleu", "bleu_sd"], ""),
            **{"seconds": "s", "parameters": "", "change": "", "change_sd": ""},
        },
        rows=rows,
        seen=f"exactly right: {shares}; from one step to "
        f"the next the dynamic context turns by {rows[1]['change']:.2f} (1 − cosine), the fixed one by "
        f"{rows[0]['change']:.2f}",
        started=started,
        corpus=text.corpus,
    )


Said = list[tuple[Pair, dict[str, str]]]  # a sentence, and what each case says


def side_by_side(translators: Mapping[str, Translator[Seq2Seq]], pairs: Sequence[Pair]) -> Said:
    """The first sentences, of those with at least six words, on which fixed and dynamic say different things."""
    long = [pair for pair in pairs if len(pair.source.split()) >= 6] or list(pairs)
    said = {case: each.translate([pair.source for pair in long]) for case, each in translators.items()}
    each = [(pair, {case: said[case][place].text for case in said}) for place, pair in enumerate(long)]
    different = [(pair, texts) for pair, texts in each if texts[FIXED] != texts[DYNAMIC]]
    return (different or each)[:SHOWN]


def show(chosen: Said) -> None:
    """On the screen."""
    for pair, texts in chosen:
        print(f"\n{'source':>20}  {printable(pair.source)}\n{'right':>20}  {printable(pair.target)}")
        for case, said in texts.items():
            print(f"{case:>20}  {printable(said) if said != pair.target else '(the same)'}")
    print()


def _draw_context(translators: Mapping[str, Translator[Seq2Seq]], chosen: Said) -> None:
    """Left and middle: how alike the contexts of any two steps are. Right: the sentences."""
    figure, charts = sheet(3, width=4.0, height=4.9, title="One context for all steps, or another at each step")
    for chart, case in zip(charts, (FIXED, DYNAMIC)):
        tokens, contexts = contexts_of(translators[case], chosen[0][0].source)
        chart.imshow(likeness(contexts).numpy(), cmap="Blues", vmin=-0.2, vmax=1, aspect="auto")
        pieces = [translators[case].tokenizer.decode([token]).strip() for token in tokens[:-1]]
        names = [*pieces, END] if tokens[-1:] == [EOS] else [*pieces, "…"]
        chart.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        chart.set_yticks(range(len(names)), names, fontsize=7)
        chart.set_title(f"{case}: likeness of the contexts", fontsize=10, loc="left")
        chart.grid(False)
    figure.colorbar(charts[1].images[0], ax=charts[1], aspect=25, label="cosine")
    charts[2].axis("off")
    said = charts[2].text(
        0, 1, "\n\n".join(map(_written, chosen)), va="top", fontsize=7.5, linespacing=1.35, parse_math=False
    )
    said.set_in_layout(False)
    save(figure, "context")


def _written(sentence: tuple[Pair, dict[str, str]]) -> str:
    pair, texts = sentence
    rows = {"source": pair.source, "right": pair.target, **texts}
    lines = [
        fill(f"{name}: {printable(said)}", 62, subsequent_indent="    ", max_lines=2) for name, said in rows.items()
    ]
    return "\n".join(lines)

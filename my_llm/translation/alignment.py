"""From attention weights over subwords to an alignment of words that a person can read, and that can be right.

In numbers_en_fr it is known which words belong together: the last part of this file compares with that.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from my_llm.data.catalog import Pair
from my_llm.data.corpora.numbers_en_fr import alignment as known_alignment
from my_llm.data.corpora.translation import WORD
from my_llm.text import BOS, EOS, BPETokenizer

SHADES = " ░▒▓█"  # a fifth of the weight each
BEGINNING, END = "<bos>", "<eos>"
NAMES = {BOS: BEGINNING, EOS: END}


class Alignment(NamedTuple):
    """How much of each target word's look went to each source word; rows sum to 1 (local attention: less)."""

    weights: Float[Tensor, "T S"]
    target: list[str]
    source: list[str]


def words_of(tokenizer: BPETokenizer, ids: Sequence[int]) -> tuple[list[str], list[int]]:
    """The words that subwords make, and for each subword the number of its word; a word begins at a space."""
    groups: list[list[int]] = []
    number = []
    for token in ids:
        if not groups or {token, groups[-1][0]} & {*NAMES} or tokenizer.decode([token]).startswith(" "):
            groups.append([])
        groups[-1].append(token)
        number.append(len(groups) - 1)
    return [NAMES.get(group[0]) or tokenizer.decode(group).strip() for group in groups], number


def align_words(
    weights: Float[Tensor, "T S"], target_ids: Sequence[int], source_ids: Sequence[int], tokenizer: BPETokenizer
) -> Alignment:
    """The weights of subwords as weights of words: added up over a source word, averaged over a target word."""
    source, source_word = words_of(tokenizer, source_ids)
    target, target_word = words_of(tokenizer, target_ids)
    columns = torch.zeros(len(weights), len(source)).index_add_(1, torch.tensor(source_word), weights)
    rows = torch.zeros(len(target), len(source)).index_add_(0, torch.tensor(target_word), columns)
    return Alignment(rows / torch.tensor(target_word).bincount()[:, None], target, source)


def draw(alignment: Alignment, width: int = 80) -> str:
    """The alignment for a terminal: a row for each target word, a column for each source word, shade for weight.

    The columns stand in the order of the source, which is written above them; at the end of a row stands the source
    word that got most. Source words for which there is no room are left out, and so said.
    """
    left = min(max(map(len, alignment.target)), 20)
    room = max((width - left - 26) // 2, 1)
    shown = alignment.source[:room]
    more = f" … and {len(alignment.source) - room} more" if len(alignment.source) > room else ""
    lines = ["source: " + " ".join(shown) + more]
    for word, row in zip(alignment.target, alignment.weights.tolist(), strict=True):
        cells = "".join(2 * SHADES[min(int(5 * weight), 4)] for weight in row[:room])
        best = max(range(len(row)), key=row.__getitem__)
        lines.append(f"{word[:left]:>{left}} │{cells}│ {alignment.source[best][:15]} {row[best]:.2f}")
    return "\n".join(lines)


# --- is it right? -----------------------------------------------------------------------------------------------------


def partners(pair: Pair) -> list[set[int]]:
    """For each French word the places of the English words that it says; words are what stands between spaces.

    The corpus knows it for runs of letters, of which "quatre-vingt-dix" has three.
    """
    place = [number for number, word in enumerate(pair.source.split()) for _ in WORD.findall(word)]
    runs = iter(known_alignment(pair))
    return [{place[run] for _ in WORD.findall(word) for run in next(runs)} for word in pair.target.split()]


def agreement(choices: Sequence[int], truth: Sequence[set[int]]) -> float:
    """Share of the words whose choice is a true partner."""
    return sum(choice in right for choice, right in zip(choices, truth, strict=True)) / len(truth)


def diagonal(pair: Pair) -> list[int]:
    """For each French word the English one that stands as far along the sentence."""
    source, target = len(pair.source.split()), len(pair.target.split())
    return [int((word + 0.5) * source / target) for word in range(target)]

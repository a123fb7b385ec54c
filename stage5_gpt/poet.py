"""Verse by drawing and choosing: the model writes several, rules of form (verse.py) pick one.

The model knows its rules only as far as they showed in what comes next; a rule that can be checked need not be learnt.
Choosing cannot make a poem: it takes what keeps the form, and of what keeps the form the first.
"""

import random
from collections.abc import Sequence
from typing import Any

import torch

from my_llm.data.catalog import LanguageText
from my_llm.data.corpora.three_kingdoms_verse import poems, written
from my_llm.errors import ConfigError
from my_llm.language.writer import Writer
from stage5_gpt.drawing import drawn
from stage5_gpt.verse import (
    Couplet,
    Rhymes,
    clauses,
    couplets,
    is_pentameter,
    regular,
    rhymed,
    rhymes,
    rhymes_of,
    share,
)

LINE, POEM = 70, 140  # tokens at most; of a model of characters
POEM_LATER = "后人有诗叹曰：“"  # how the novel begins a poem
EMPTY = "\n\n"  # how the corpus of poems begins one


# --- drawing ----------------------------------------------------------------------------------------------------------


def second_lines(writer: Writer, couplet: Couplet, count: int, *, temperature: float = 0.8, seed: int = 0) -> list[str]:
    """Lines that the model writes after the first one of a couplet."""
    beginning = f"{couplet.before}\n{couplet.first}\n".lstrip("\n")
    texts = drawn(
        writer, beginning, count, length=LINE, temperature=temperature, seed=seed, enough=lambda text: "\n" in text
    )
    return [text.partition("\n")[0].strip() for text in texts]


def poems_of(
    writer: Writer, count: int, *, beginning: str = "", tuned: bool = True, temperature: float = 0.8, seed: int = 0
) -> list[str]:
    """Poems, two clauses a line.

    Args:
        beginning: How they begin.
        tuned: On the poems alone; a model of the whole novel is asked as the novel asks, and what it writes is put in
            the same form where it is a poem.
    """
    end = EMPTY if tuned else "”"
    prompt = (EMPTY if tuned else POEM_LATER) + beginning
    texts = drawn(
        writer, prompt, count, length=POEM, temperature=temperature, seed=seed, enough=lambda text: end in text
    )
    texts = [beginning + text.partition(end)[0] for text in texts]
    if tuned:
        return [text.strip() for text in texts]
    found = [poems(f"“{text}”") for text in texts]
    return [written(poem[0]) if poem else text for poem, text in zip(found, texts, strict=True)]


def forced_poems(
    writer: Writer, count: int, *, characters: int = 7, lines: int = 2, temperature: float = 0.8, seed: int = 0
) -> list[str]:
    """Poems whose form is no choice: where a mark belongs, nothing else is allowed, and elsewhere no mark.

    Args:
        characters: Of a clause.
        lines: Of a poem, two clauses each.

    Raises:
        ConfigError: a model whose tokens are no Chinese characters.
    """
    form = ("字" * characters + "，" + "字" * characters + "。\n") * lines
    names = [writer.tokenizer.decode([number]) for number in range(writer.tokenizer.vocab_size)]
    allowed = {"字": torch.tensor([len(name) == 1 and "\u4e00" <= name <= "\u9fff" for name in names])}
    allowed |= {mark: torch.tensor([name == mark for name in names]) for mark in "，。\n"}
    if not all(fits.any() for fits in allowed.values()):
        raise ConfigError("the model knows no characters to fill the form", next_step="one that has read Chinese")
    masks = {mark: torch.zeros(len(names)).masked_fill(~fits, -torch.inf) for mark, fits in allowed.items()}
    texts = drawn(
        writer, EMPTY, count, length=len(form), temperature=temperature, seed=seed,
        forbidden=lambda step: masks[form[step]].to(writer.device),
    )  # fmt: skip
    return [text.strip() for text in texts]


# --- choosing ---------------------------------------------------------------------------------------------------------


def best_line(first: str, lines: Sequence[str]) -> str:
    """The line of ten syllables that rhymes; else one that rhymes; else one of ten syllables."""
    return max(lines, key=lambda line: (rhymes(first, line) + is_pentameter(line), rhymes(first, line)))


def best_poem(texts: Sequence[str], rhyme: Rhymes) -> str:
    """The poem of regular form whose lines rhyme; else one of regular form."""
    return max(texts, key=lambda text: (regular(text), regular(text) and rhymed(text, rhyme)))


# --- scores -----------------------------------------------------------------------------------------------------------


def couplet_rows(
    writer: Writer,
    corpus: LanguageText,
    count: int,
    candidates: Sequence[int],
    *,
    temperature: float = 0.8,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The second lines of couplets that were not read: Shakespeare's, any other of his, and the model's."""
    asked = [*couplets(corpus.validation), *couplets(corpus.test)]
    asked = random.Random(seed).sample(asked, min(count, len(asked)))
    others = random.Random(seed + 1).sample([couplet.second for couplet in asked], len(asked))
    read = {*corpus.train.splitlines()}
    lines = [
        second_lines(writer, couplet, max(candidates), temperature=temperature, seed=seed + number)
        for number, couplet in enumerate(asked)
    ]

    def row(name: str, seconds: Sequence[str]) -> dict[str, Any]:
        pairs = [(couplet.first, second) for couplet, second in zip(asked, seconds, strict=True)]
        sample = next((pair for pair in pairs if rhymes(*pair)), pairs[0])
        return {
            "case": name, "of_its_length": share([is_pentameter(second) for _, second in pairs]),
            "rhymed": share([rhymes(*pair) for pair in pairs]),
            "in_form": share([rhymes(*pair) and is_pentameter(pair[1]) for pair in pairs]),
            "copied": share([second in read for second in seconds]), "n": len(pairs), "sample": "\n".join(sample),
        }  # fmt: skip

    rows = [row("Shakespeare's own line", [couplet.second for couplet in asked]), row("another line of his", others)]
    return rows + [
        row(f"GPT, best of {n}" if n > 1 else "GPT, the first",
            [best_line(couplet.first, some[:n]) for couplet, some in zip(asked, lines, strict=True)])
        for n in candidates
    ]  # fmt: skip


def poem_rows(
    novelist: Writer | None, poet: Writer, corpus: LanguageText, count: int, candidates: int, *,
    temperature: float = 0.8, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Poems of the book, of a model that has read it, and of one that was tuned on its poems, drawn and chosen."""
    book = [text for part in (corpus.train, corpus.validation, corpus.test) for text in part.split("\n\n")]
    rhyme = rhymes_of([poem for text in book if (poem := clauses(text))])
    read = {clause for text in book for clause in clauses(text) or ()}

    def row(name: str, texts: Sequence[str]) -> dict[str, Any]:
        said = [clause for text in texts for clause in clauses(text) or ()]
        kept = [text for text in texts if regular(text)]
        sample = min(kept or texts, key=lambda text: (not rhymed(text, rhyme), abs(len(text) - 33)))  # four clauses
        return {"case": name, "of_its_length": share([regular(text) for text in texts]),
                "rhymed": share([rhymed(text, rhyme) for text in texts]),
                "in_form": share([regular(text) and rhymed(text, rhyme) for text in texts]),
                "copied": share([clause in read for clause in said]), "n": len(texts), "sample": sample}  # fmt: skip

    rows = [row("the poems of the book", book)]
    if novelist is not None:
        rows.append(row("GPT of the novel", poems_of(novelist, count, tuned=False, temperature=temperature, seed=seed)))
    rows.append(row("tuned on its poems", poems_of(poet, count, temperature=temperature, seed=seed)))
    groups = [forced_poems(poet, candidates, temperature=temperature, seed=seed + n) for n in range(count)]
    rows.append(row("tuned, form forced", [group[0] for group in groups]))
    return [*rows, row(f"form forced, best of {candidates}", [best_poem(group, rhyme) for group in groups])]

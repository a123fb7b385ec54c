"""A GPT and a text: batches, losses, scores, and the model put to use. Between models/ and the scripts.

It reads windows of `context` tokens. Two scores of a whole text are common, and differ: in windows one after the other,
where the first token of each has no past (`nats_apart`, what training logs and nanoGPT reports), and in windows that
overlap by half, where every token has at least half a context (`nats_in_windows` of the floor, what evaluate.py says).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.checkpoint import Content
from my_llm.data.catalog import LanguageText
from my_llm.decoding import Step
from my_llm.device import Precision
from my_llm.errors import DataError
from my_llm.language import writer
from my_llm.language.batches import Batch, Windows, tokenizer_for, tokens_of
from my_llm.language.scoring import nats_in_windows, predicted_bytes, scores_of
from my_llm.language.writer import Writer, parts_of, sliding_step, write_after
from my_llm.packing import settle
from my_llm.tasks import Prepared
from my_llm.text import CharTokenizer, Tokenizer, end_of, unknown_id
from my_llm.training import Loss
from stage5_gpt.large_text import LargeText
from stage5_gpt.models import GPT, NOT_ASKED, Cache, GPTConfig

KIND = "stage5_gpt/language_model"
UNITS = {"char": "characters", "word": "words", "bpe": "tokens", "gpt2": "tokens", "wordpiece": "tokens"}
TOKENS = 16_384  # at a time when a text is scored


def next_token_loss(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy at every token of the batch; the model never shows its logits."""
    device = next(model.parameters()).device
    total, _ = model(batch.inputs.to(device), targets=batch.targets.to(device))
    return Loss(total, batch.targets.numel())


@torch.inference_mode()
def nats_apart(model: GPT, tokens: Int[Tensor, "N"], length: int = 0) -> Loss:
    """The loss over a whole text in windows one after the other: every token but the first is predicted once.

    Args:
        length: Tokens of a window; 0: as many as the model reads.
    """
    training, device, length = model.training, next(model.parameters()).device, length or model.config.context
    model.eval()
    inputs, targets = tokens[:-1].long(), tokens[1:].long()
    missing = -len(inputs) % length
    inputs = nn.functional.pad(inputs, (0, missing)).view(-1, length)  # (windows, T)
    targets = nn.functional.pad(targets, (0, missing), value=NOT_ASKED).view(-1, length)
    total, rows = torch.zeros((), dtype=torch.float64), max(1, TOKENS // length)
    for some, asked in zip(inputs.split(rows), targets.split(rows), strict=True):
        logits, asked = model(some.to(device))[0].float().flatten(0, 1), asked.flatten().to(device)
        total += cross_entropy(logits, asked, ignore_index=NOT_ASKED, reduction="sum").cpu().double()
    model.train(training)
    return Loss(total, len(tokens) - 1)


def loss_of(model: GPT, tokens: Int[Tensor, "N"]) -> Loss:
    """The loss over a whole text in windows that overlap by half."""
    return nats_in_windows(model, tokens, model.config.context)


def step_of(model: GPT) -> Step:
    """The model one token at a time, its keys and values in a cache."""

    def read(tokens: Tensor, cache: Cache | None = None) -> tuple[Tensor, Any]:
        return model(tokens, cache or model.new_cache(len(tokens)), last=True)

    return sliding_step(read, model.config.context)


def prepare(
    corpus: LanguageText,
    *,
    vocab_type: str,
    vocab_size: int,
    shape: Mapping[str, Any],
    order: Mapping[str, int],
    start: tuple[GPT, Tokenizer] | None = None,
) -> Prepared:
    """A new GPT for this corpus, and everything to train it with.

    Args:
        corpus: Running text.
        vocab_type: Kind of tokenizer.
        vocab_size: Of all kinds but char.
        shape: Fields of GPTConfig besides vocab_size.
        order: batch_size, seed, rank, world, as Windows takes them.
        start: What it begins with, of the same shape, and its vocabulary; None: with nothing.

    Raises:
        DataError: a text too short; or that the vocabulary it begins with does not know.
    """
    if isinstance(corpus, LargeText):
        tokenizer, tokens = corpus.cut(vocab_type, start and start[1])
    else:
        tokenizer = start[1] if start else tokenizer_for(corpus, vocab_type, vocab_size)
        tokens = tokens_of(tokenizer, corpus.train, "train")
    held_out = tokens_of(tokenizer, corpus.validation, "validation")
    model = GPT(GPTConfig(**shape, vocab_size=tokenizer.vocab_size))
    if start:
        check_known(tokenizer, tokens)
        model.load_state_dict(start[0].state_dict())
    windows = Windows(tokens, length=model.config.context, **order)
    n_bytes = predicted_bytes(tokenizer, corpus.validation)
    return Prepared(
        model,
        windows,
        windows.per_epoch,
        next_token_loss,
        lambda: scores_of(nats_apart(model, held_out), n_bytes, held_out, unknown=unknown_id(tokenizer)),
        parts_of(model, "gpt", tokenizer),
        size=f"{len(tokens):,} {UNITS[vocab_type]} to learn from, {tokenizer.vocab_size:,} different ones",
        sample=lambda: write_after(corpus.validation, model, tokenizer, order["seed"], step_of),
    )


def check_known(tokenizer: Tokenizer, tokens: Int[Tensor, "N"]) -> None:
    """Refuse a text to learn from with characters that the vocabulary does not know; a word may be <unk>, as always.

    Raises:
        DataError: it has some.
    """
    if isinstance(tokenizer, CharTokenizer) and (unknown := int((tokens == unknown_id(tokenizer)).sum())):
        raise DataError(
            "the text has characters that the vocabulary of the model does not know", got=f"{unknown:,} of them",
            next_step="take a text of the same characters, a model of byte pairs, or begin anew",
        )  # fmt: skip


def load_writer(path: Path, device: torch.device, precision: Precision = "auto") -> Writer:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """

    def builder(content: Content) -> GPT:
        return GPT(GPTConfig(**content["model_config"]))

    found = writer.load_writer(path, device, precision, builders={KIND: builder}, step_of=step_of)
    settle(cast(GPT, found.model), found.precision)
    if found.facts["settings"].get("task", "language_model") != "language_model":  # it answers, and then is silent
        found.end = end_of(found.tokenizer)
        found.forbidden[found.end] = 0.0
    return found

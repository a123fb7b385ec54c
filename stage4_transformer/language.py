"""Language modelling with a window: what my_llm/language/ does, with the model of this stage.

A recurrent network carries its state from one batch to the next. This one reads windows of T tokens, each from its
beginning, and never more than T at once: its first token has nothing to look at, its last one T − 1 others.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from my_llm.checkpoint import Content
from my_llm.data.catalog import LanguageText
from my_llm.decoding import Step
from my_llm.device import Precision
from my_llm.errors import choose
from my_llm.language import writer
from my_llm.language.batches import Windows, tokenizer_for, tokens_of
from my_llm.language.scoring import nats_in_windows, next_token_loss, predicted_bytes, scores_of
from my_llm.language.writer import Writer, parts_of, sliding_step, write_after
from my_llm.tasks import Prepared
from my_llm.training import Loss
from stage4_transformer.models import TransformerLM, TransformerLMConfig

KIND = "stage4_transformer/language_model"
MODELS: dict[str, tuple[Any, Any]] = {"transformer": (TransformerLMConfig, TransformerLM)}


def build(model_type: str, model_config: Mapping[str, Any]) -> TransformerLM:
    """A new network: one of MODELS, with the fields of its config.

    Raises:
        ConfigError: an unknown type, or sizes that cannot work.
    """
    config_class, model_class = choose(model_type, MODELS, "model type")
    return model_class(config_class(**model_config))


def prepare(
    corpus: LanguageText,
    *,
    model_type: str,
    vocab_type: str,
    vocab_size: int | None,
    length: int,
    shape: Mapping[str, Any],
    order: Mapping[str, int],
) -> Prepared:
    """A new language model for this corpus, and everything to train it with.

    Args:
        corpus: Running text.
        model_type: A key of MODELS.
        vocab_type: char, word or bpe.
        vocab_size: Of words or byte pairs; None: all characters.
        length: Tokens T of a window.
        shape: Fields of the model's config besides vocab_size and max_length.
        order: batch_size, seed, rank, world, as Windows takes them.
    """
    tokenizer = tokenizer_for(corpus, vocab_type, vocab_size or 0)
    tokens, held_out = (tokens_of(tokenizer, getattr(corpus, part), part) for part in ("train", "validation"))
    model = build(model_type, {**shape, "vocab_size": tokenizer.vocab_size, "max_length": length})
    windows = Windows(tokens, length=length, **order)
    n_bytes = predicted_bytes(tokenizer, corpus.validation)
    units = {"char": "characters", "word": "words", "bpe": "tokens"}[vocab_type]
    return Prepared(
        model,
        windows,
        windows.per_epoch,
        next_token_loss,
        lambda: scores_of(loss_of(model, held_out), n_bytes, held_out),
        parts_of(model, model_type, tokenizer),
        size=f"{len(tokens):,} {units} to learn from, {tokenizer.vocab_size:,} different ones",
        sample=lambda: write_after(corpus.validation, model, tokenizer, order["seed"], step_of),
    )


def loss_of(model: TransformerLM, tokens: Int[Tensor, "N"]) -> Loss:
    """The loss over a whole text, read as the model learnt to: in windows of its length."""
    return nats_in_windows(model, tokens, model.config.max_length)


def step_of(model: TransformerLM) -> Step:
    """The model one token at a time, its keys and values kept."""
    return sliding_step(model, model.config.max_length)


def load_writer(path: Path, device: torch.device, precision: Precision = "auto") -> Writer:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """

    def builder(content: Content) -> TransformerLM:
        return build(content["model_type"], content["model_config"])

    return writer.load_writer(path, device, precision, builders={KIND: builder}, step_of=step_of)

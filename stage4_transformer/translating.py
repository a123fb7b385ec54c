"""The translator of my_llm/translation/ with this stage's model: new, from a checkpoint, and where it looked."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from my_llm.data.catalog import Translation
from my_llm.device import Precision
from my_llm.heatmaps import Block
from my_llm.tasks import Prepared
from my_llm.text import BOS, BPETokenizer
from my_llm.translation.alignment import Alignment, align_words
from my_llm.translation.batches import PairBatches, encode_sources, train_tokenizer
from my_llm.translation.loss import TranslationLoss
from my_llm.translation.translator import Translator, restore, room_for
from stage4_transformer.models import Transformer, TransformerConfig

KIND = "stage4_transformer/transformer"


# --- learning ---------------------------------------------------------------------------------------------------------


def prepare(
    corpus: Translation,
    *,
    vocab_size: int,
    max_length: int,
    label_smoothing: float,
    shape: Mapping[str, Any],
    order: Mapping[str, Any],
) -> Prepared:
    """A tokenizer of this corpus, a new model, and everything to train it with.

    Args:
        corpus: Pairs of sentences.
        vocab_size: Byte pairs of both languages together.
        max_length: Tokens of the longest sentence to learn from.
        label_smoothing: Probability that the target spreads evenly over all tokens.
        shape: Fields of TransformerConfig besides vocab_size and max_length.
        order: batch_size, max_tokens, seed, rank, world, as LengthBatches takes them.
    """
    tokenizer = train_tokenizer(corpus.train, vocab_size)
    batches = PairBatches(tokenizer, corpus.train, max_length=max_length, **order)
    room = positions_for(tokenizer, corpus, max_length)
    model = Transformer(TransformerConfig(vocab_size=tokenizer.vocab_size, max_length=room, **shape))
    translator = Translator(model, tokenizer, facts={})
    sentence = corpus.validation[0].source
    size = f"{len(batches.pairs):,} pairs to learn from, {tokenizer.vocab_size:,} tokens"
    return Prepared(
        model,
        batches,
        batches.per_epoch,
        TranslationLoss(label_smoothing),
        lambda: translator.scores(corpus.validation),
        translator.parts(),
        size + (f"; {batches.left_out:,} are too long" if batches.left_out else ""),
        len(batches.pairs),
        sample=lambda: f"{sentence}\n→ {translator.translate([sentence])[0].text}",
    )


def positions_for(tokenizer: BPETokenizer, corpus: Translation, max_length: int) -> int:
    """Positions that learned ones must know: of the longest sentence held out, and of its longest translation."""
    held_out = [pair.source for part in (corpus.validation, corpus.test) for pair in part]
    longest = max(max_length, *map(len, encode_sources(tokenizer, held_out)))
    return room_for(longest)


# --- use --------------------------------------------------------------------------------------------------------------


def load_translator(path: Path, device: torch.device, precision: Precision = "auto") -> Translator[Transformer]:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    translator, _ = restore(path, KIND, lambda **fields: TransformerConfig(**fields), Transformer, device, precision)
    config = translator.model.config
    if config.positions == "learned":
        fit = (length for length in range(translator.longest + 1) if room_for(length) <= config.max_length)
        translator.longest = max(fit, default=0)
    return translator


def align(
    translator: Translator[Transformer], text: str, tokens: Sequence[int], layer: int = 0, head: int = 0
) -> Alignment:
    """Which words of the source the decoder looked at while it said the tokens.

    Args:
        layer: Of the decoder, 1 to L; 0: the last, which of translators of numbers laid the most weight on the right
            words, more than any other layer and more than the mean of all.
        head: 1 to H; 0: the mean of all, which had fewer wrong words than nearly every single one.
    """
    maps, source = translator.look(text, tokens)
    weights = maps.cross[layer - 1, 0].float().cpu()  # (H, T, S)
    return align_words(weights[head - 1] if head else weights.mean(dim=0), tokens, source, translator.tokenizer)


def blocks(translator: Translator[Transformer], text: str, tokens: Sequence[int]) -> dict[str, Block]:
    """Where every head of every layer looked, in words: encoder, decoder, and from the decoder to the source.

    A row of the decoder is the word that it is about to say, a column one that it has said; of a word in pieces that is
    also the word itself, once it is begun.
    """
    maps, source = translator.look(text, tokens)
    read = [BOS, *tokens[:-1]]
    words = partial(of_words, tokenizer=translator.tokenizer)
    return {
        "encoder: a word of the source looks at the others": words(maps.encoder[:, 0], source, source),
        "decoder: the word that comes next looks at those before it": words(maps.decoder[:, 0], tokens, read),
        "decoder: the word that comes next looks at the source": words(maps.cross[:, 0], tokens, source),
    }


def of_words(
    weights: Float[Tensor, "L H T S"], rows: Sequence[int], columns: Sequence[int], tokenizer: BPETokenizer
) -> Block:
    """The maps of all heads, subwords joined to words."""
    aligned = [align_words(head, rows, columns, tokenizer) for head in weights.float().cpu().flatten(0, 1)]
    maps = torch.stack([alignment.weights for alignment in aligned]).unflatten(0, weights.shape[:2])
    return Block(maps.numpy(), aligned[0].target, aligned[0].source)

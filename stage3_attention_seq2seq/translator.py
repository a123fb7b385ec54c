"""The translator of my_llm/translation/ with this stage's model: from a checkpoint, and where it looked."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from my_llm import checkpoint
from my_llm.device import Precision
from my_llm.translation.alignment import Alignment, align_words
from my_llm.translation.translator import Translator, restore
from stage3_attention_seq2seq.data import READING, encode_reversed
from stage3_attention_seq2seq.models import Seq2Seq, Seq2SeqConfig

KIND = "stage3_attention_seq2seq/seq2seq"


def load_translator(path: Path, device: torch.device, precision: Precision = "auto") -> Translator[Seq2Seq]:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    translator, content = restore(path, KIND, Seq2SeqConfig, Seq2Seq, device, precision)
    with checkpoint.parts_of(path):
        translator.encode = READING[content["reverse"]]
        if not isinstance(content["settings"]["attention_type"], str):
            raise ValueError("settings")
    return translator


def look(
    translator: Translator[Seq2Seq], text: str, tokens: Sequence[int]
) -> tuple[Float[Tensor, "T S"], list[int]] | None:
    """Where the model looks while it says the tokens: weights, and the source's tokens in reading order.

    None where there is no attention.
    """
    weights, ids = translator.look(text, tokens)
    if weights is None:
        return None
    order = list(range(len(ids)))
    if translator.encode is encode_reversed:
        order[:-1] = order[-2::-1]
    return weights[0].float().cpu()[:, order], [ids[place] for place in order]


def align(translator: Translator[Seq2Seq], text: str, tokens: Sequence[int]) -> Alignment | None:
    """The same for whole words, to be read or drawn."""
    looked = look(translator, text, tokens)
    return None if looked is None else align_words(looked[0], tokens, looked[1], translator.tokenizer)

"""Where a training begins that does not begin with nothing: a checkpoint of this stage, or a GPT-2 in a folder.

The weights mean something with their own vocabulary only: so it comes with them.
"""

from pathlib import Path
from typing import NamedTuple

import torch

from my_llm.errors import CheckpointError
from my_llm.text import Tokenizer, read_gpt2
from stage5_gpt import language
from stage5_gpt.models import GPT
from stage5_gpt.models.huggingface import read_pretrained


class Start(NamedTuple):
    """A model that has learnt something, and what it reads."""

    model: GPT
    tokenizer: Tokenizer


def read_start(path: Path) -> Start:
    """Read a checkpoint that train.py wrote, or GPT-2's files.

    Args:
        path: A checkpoint; or a folder with config.json, model.safetensors, and tokenizer.json or vocab.json and
            merges.txt.

    Raises:
        CheckpointError: missing, damaged, of another kind, or a model and a vocabulary that do not fit together.
        ConfigError: GPT-2's files, and safetensors is not installed.
    """
    if not path.is_dir():
        writer = language.load_writer(path, torch.device("cpu"))
        assert isinstance(writer.model, GPT)
        return Start(writer.model, writer.tokenizer)
    start = Start(read_pretrained(path), read_gpt2(path))
    if start.tokenizer.vocab_size != start.model.config.vocab_size:
        raise CheckpointError(
            f"{start.tokenizer.vocab_size} symbols for a model of {start.model.config.vocab_size}", got=path
        )
    return start

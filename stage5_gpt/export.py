"""Give a GPT away in the form of GPT-2: `python export.py --checkpoint checkpoints/best_gpt_gpt2.pt --folder my_gpt`.

Writes config.json and model.safetensors, from which `GPT2LMHeadModel.from_pretrained("my_gpt")` of transformers reads
the model, and the vocabulary: vocab.json and merges.txt, which its GPT2Tokenizer reads, if it is GPT-2's kind
(`train.py --vocab_type gpt2`). Another kind has no counterpart there and is written as my_llm does.

The model must be in GPT-2's form: `--positions learned`, LayerNorm, no gate in the feed-forward network.
"""

import dataclasses
from pathlib import Path

from my_llm.cli import main
from my_llm.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Write a GPT as transformers reads it."""

    checkpoint: Path = Path("checkpoints/best_gpt_gpt2.pt")
    """language model that train.py wrote"""
    folder: Path | None = None
    """where to; must be new or empty"""
    config: Path | None = None
    """TOML file with values for these flags; flags on the command line win"""


def run(config: ExportConfig) -> None:
    """Load, translate names, write."""
    from my_llm.text import GPT2Tokenizer, end_of, save_vocabulary
    from stage5_gpt.models.huggingface import save_pretrained
    from stage5_gpt.starting import read_start

    if config.folder is None:
        raise ConfigError("nowhere to write to", next_step="--folder my_gpt")
    if config.folder.exists() and not (config.folder.is_dir() and not any(config.folder.iterdir())):
        raise ConfigError("the folder is not empty", got=config.folder, next_step="name another one")
    model, tokenizer = read_start(config.checkpoint)
    save_pretrained(model, config.folder, end_of(tokenizer))
    if isinstance(tokenizer, GPT2Tokenizer):
        write_tokenizer(tokenizer.order or tokenizer.vocabulary.symbols, tokenizer.merges, config.folder)
    else:
        save_vocabulary(config.folder / "vocabulary.pkl", tokenizer.to_state())
        print("vocabulary  transformers has no such tokenizer; it is written as my_llm does")
    print(f"model       {config.folder}")


def write_tokenizer(symbols: "list[str] | tuple[str, ...]", merges: "list[tuple[str, str]]", folder: Path) -> None:
    """vocab.json and merges.txt, as GPT-2 was published."""
    import json

    from my_llm.files import write_atomically

    ids = {symbol: number for number, symbol in enumerate(symbols)}
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges), ""]
    write_atomically(folder / "vocab.json", json.dumps(ids, ensure_ascii=False).encode())
    write_atomically(folder / "merges.txt", "\n".join(lines).encode())


if __name__ == "__main__":
    main(ExportConfig, run)

"""Let a trained GPT write: `python generate.py --prompt "ROMEO:"`, or talk to it with `--interactive`.

The text goes to standard output as it is written, everything said about it to standard error: `generate.py > play.txt`
holds text alone, and so does a pipe. How it is done stands in my_llm/language/speaking.py.
"""

import dataclasses
from pathlib import Path

from my_llm.cli import main
from my_llm.language import speaking


@dataclasses.dataclass(frozen=True)
class GenerateConfig(speaking.GenerateConfig):
    """Write text with stage 5's GPT."""

    checkpoint: Path = Path("checkpoints/best_gpt_char.pt")
    """language model that train.py wrote, with its vocabulary inside"""


def run(config: GenerateConfig) -> None:
    """Write one text, or one for each beginning that the person or the pipe gives."""
    from stage5_gpt.language import load_writer

    speaking.run(config, load_writer)


if __name__ == "__main__":
    main(GenerateConfig, run)

"""Ask a trained classifier: `python predict.py --text "..."`, `--file texts.txt` (one a line), or `--interactive`.

Says the classes with their probabilities and the words that decided. Reads a pipe, too: `echo … | python predict.py`.
"""

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from my_llm.cli import BaseConfig, main, printable
from my_llm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from stage1_mlp.classify import Classifier

HELP = "Type a text, press Enter. /words: what speaks for each class. /help, /quit"


@dataclasses.dataclass(frozen=True)
class PredictConfig(BaseConfig):
    """Sort texts with stage 1's text classifier."""

    threads: int = 1
    """CPU threads: more help so small a network little, and hurt it on a busy machine; 0: one per core"""
    model_path: Path = Path("checkpoints/best_model.pt")
    """checkpoint that train.py wrote"""
    text: str = ""
    """one text to sort"""
    file: Path | None = None
    """file of texts, one a line"""
    interactive: bool = False
    """ask for texts until /quit"""


def run(config: PredictConfig) -> None:
    """Answer for each text that the flags, the pipe or the person gives."""
    from my_llm.device import set_up
    from stage1_mlp.classify import Classifier

    device = set_up(config.device, config.threads, config.seed)
    classifier = Classifier.load(config.model_path, device, config.precision)
    if config.interactive:
        converse(classifier)
        return
    for text in texts_of(config):
        print(answer(classifier, text))


def texts_of(config: PredictConfig) -> Iterable[str]:
    """The texts of `--text`, `--file` or the pipe."""
    if config.text:
        return [config.text]
    if config.file is not None:
        try:
            return config.file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError("cannot read --file", got=config.file, next_step=f"give a UTF-8 text: {error}") from None
    if sys.stdin.isatty():
        raise ConfigError("nothing to sort", next_step='give --text "…", --file FILE or --interactive')
    return (line.rstrip("\n") for line in sys.stdin)


def answer(classifier: "Classifier", text: str) -> str:
    """Two lines: the classes with their probabilities, the surest first; and the n-grams that decided."""
    probabilities = classifier.probabilities([text])[0]
    order = probabilities.argsort(descending=True)[:8].tolist()
    classes = "   ".join(f"{classifier.labels[c]} {100 * probabilities[c]:.1f} %" for c in order)
    reasons = ", ".join(printable(reason.ngram) for reason in classifier.reasons(text))
    return f"{classes}\n  because of: {reasons or 'no word that it knows; this is only its bias'}"


def converse(classifier: "Classifier") -> None:
    """Ask until /quit, Ctrl-D or the end of the pipe; Ctrl-C leaves, too."""
    print(f"Classes: {', '.join(classifier.labels)}\n{HELP}")
    for line in lines():
        if line in ("/quit", "/exit"):
            return
        if line == "/words":
            for label, words in classifier.evidence(8).items():
                print(f"  {label}: {', '.join(printable(word) for word, _ in words)}")
        elif line.startswith("/"):
            print(HELP)
        elif line:
            print(answer(classifier, line))


def lines() -> Iterator[str]:
    """What the person types, or the pipe holds."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return


if __name__ == "__main__":
    main(PredictConfig, run)

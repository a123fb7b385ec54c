"""What the tests of stage 5's scripts share: flags of a small model, and small corpora made by rule.

A text of sentences such as "a red dog sees a big cat.", and film reviews of which one word gives the class.
"""

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

SMALL = ["--model", "32", "--heads", "2", "--layers", "2", "--context", "16", "--batch_size", "4", "--threads", "1"]
LEARN = ["--lr", "0.01", "--max_steps", "60", "--eval_every", "20"]
SIZES = {"char": [], "word": ["--vocab_size", 15], "bpe": ["--vocab_size", 280], "gpt2": ["--vocab_size", 290],
         "wordpiece": ["--vocab_size", 56]}  # fmt: skip
CHARACTERS = 25  # of the text and special tokens together
Call = Callable[..., tuple[int, str, list[str]]]  # script, flags → exit code, output, lines of errors
Trained = Callable[..., Path]  # flags → published checkpoint

ADJECTIVES = ("red", "big", "old", "mad", "wet")
NOUNS = ("dog", "cat", "fox", "hen", "bird")
VERBS = ("sees", "hears", "bites")


def sentences(count: int, seed: int = 0) -> list[str]:
    """What an animal does to another one."""
    rng = random.Random(seed)
    words = (ADJECTIVES, NOUNS, VERBS, ADJECTIVES, NOUNS)
    return ["a {} {} {} a {} {}.".format(*map(rng.choice, words)) for _ in range(count)]


def write_corpora(folder: Path) -> None:
    """The sentences where Tiny Shakespeare would be, and 80 film reviews."""
    (folder / "tiny_shakespeare.txt").write_text("\n".join(sentences(150)), encoding="utf-8")
    with zipfile.ZipFile(folder / "movie_reviews.zip", "w") as archive:
        for number in range(80):
            word = ("sees", "hears")[number % 2]
            archive.writestr(
                f"movie_reviews/{('neg', 'pos')[number % 2]}/{number}.txt", f"a dog {word} cat {number % 7}"
            )


def published(home: Path, name: str = "char") -> Path:
    """Where the best model of the newest run stands."""
    return home / "stage5_gpt" / "checkpoints" / f"best_gpt_{name}.pt"


def newest(home: Path, name: str) -> Path:
    """The folder of the newest run with this name."""
    runs = home / "runs" / "stage5_gpt"
    found = [*runs.glob(f"*-{name}"), *runs.glob(f"*-{name}-[0-9]*")]  # -2: the second one in the same second
    return max(found, key=lambda folder: folder.stat().st_mtime_ns)

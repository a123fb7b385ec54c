"""What the tests of stage 4's scripts share: flags of small models, and three small corpora made by rule.

The sentences stand where Multi30k would: "a red dog sees a big cat", "un chien rouge voit un chat grand". Adjective and
noun change places, so that no translation goes word for word.
"""

import gzip
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

from my_llm.data.catalog import Pair
from my_llm.data.corpora.multi30k import FILES
from stage4_transformer import evaluate

SMALL = ["--model", "32", "--heads", "2", "--layers", "1", "--hidden", "48", "--threads", "1"]
FLAGS = {  # of each task: a corpus of this file, and batches that suit it
    "translate": ["--vocab_size", "330", "--batch_size", "32"],
    "classify": ["--task", "classify", "--dataset", "movie_reviews", "--batch_size", "8"],
    "language_model": ["--task", "language_model", "--batch_size", "4", "--length", "16"],
}
LEARN = {
    "translate": ["--dropout", "0", "--lr", "0.01", "--max_steps", "220", "--eval_every", "110", "--average", "1"],
    "classify": ["--lr", "0.01", "--epochs", "6"],
    "language_model": ["--dropout", "0", "--lr", "0.01", "--max_steps", "60", "--eval_every", "20"],
}
NAMES = {"translate": "model", "classify": "classifier", "language_model": "char"}
PARTS = {"train": 500, "validation": 20, "test": 21}
Call = Callable[..., tuple[int, str, list[str]]]  # script, flags → exit code, output, lines of errors
Trained = Callable[..., Path]  # task, flags → published checkpoint

ADJECTIVES = {"red": "rouge", "big": "grand", "old": "vieux", "mad": "fou", "wet": "humide"}
NOUNS = {"dog": "chien", "cat": "chat", "fox": "renard", "hen": "poulet", "bird": "oiseau"}
VERBS = {"sees": "voit", "hears": "entend", "bites": "mord"}


def sentence(rng: random.Random) -> Pair:
    """What an animal does, or what it does to another one."""
    (a, b), (m, n), verb = rng.sample(sorted(ADJECTIVES), 2), rng.choices(sorted(NOUNS), k=2), rng.choice([*VERBS])
    english, french = f"a {a} {m} {verb}", f"un {NOUNS[m]} {ADJECTIVES[a]} {VERBS[verb]}"
    if rng.random() < 0.7:
        english, french = f"{english} a {b} {n}", f"{french} un {NOUNS[n]} {ADJECTIVES[b]}"
    return Pair(english, french)


def sentences() -> dict[str, list[Pair]]:
    """Three parts without a common sentence."""
    rng, found = random.Random(0), {}
    while len(found) < sum(PARTS.values()):
        found[sentence(rng)] = None
    rest = [*found]
    rng.shuffle(rest)
    return {part: [rest.pop() for _ in range(count)] for part, count in PARTS.items()}


def write_corpora(folder: Path) -> None:
    """The sentences as the six files of Multi30k, 80 film reviews, and the English side as a text."""
    parts = sentences()
    place = folder / "multi30k"
    place.mkdir()
    sides = ((pairs, side) for pairs in parts.values() for side in (0, 1))
    for file, (pairs, side) in zip(FILES, sides, strict=True):
        place.joinpath(file).write_bytes(gzip.compress("\n".join(str(pair[side]) for pair in pairs).encode()))
    lines = [f"{pair.source}." for pair in parts["train"][:150]]
    (folder / "tiny_shakespeare.txt").write_text("\n".join(lines), encoding="utf-8")
    with zipfile.ZipFile(folder / "movie_reviews.zip", "w") as archive:
        for number in range(80):
            word = ("dull", "grand")[number % 2]
            archive.writestr(f"movie_reviews/{('neg', 'pos')[number % 2]}/{number}.txt", f"film {number} is {word}")


def published(home: Path, task: str = "translate") -> Path:
    """Where the best model of the newest run stands."""
    return home / "stage4_transformer" / "checkpoints" / f"best_transformer_{NAMES[task]}.pt"


def newest(home: Path, name: str) -> Path:
    """The folder of the newest run with this name."""
    runs = home / "runs" / "stage4_transformer"
    found = [*runs.glob(f"*-{name}"), *runs.glob(f"*-{name}-[0-9]*")]  # -2: the second one in the same second
    return max(found, key=lambda folder: folder.stat().st_mtime_ns)


def scored(call: Call, path: Path, *flags: object) -> dict:
    """What evaluate.py reports; what it prints is checked on the way."""
    report = path.with_suffix(".json")
    code, out, errors = call(evaluate, "--model_path", path, "--report", report, *flags)
    assert code == 0, errors
    assert max(len(line) for line in out.splitlines() if str(report) not in line) <= 80
    return json.loads(report.read_text(encoding="utf-8")) | {"shown": out}

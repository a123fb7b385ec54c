"""What the tests of stage 3's scripts share: flags of small models, and a small language with one right translation.

The sentences stand where Multi30k would: "a red dog sees a big cat", "un chien rouge voit un chat grand". Adjective and
noun change places, so that no translation goes word for word.
"""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

from my_llm.data.catalog import Pair
from my_llm.data.corpora.multi30k import FILES
from stage3_attention_seq2seq import evaluate

SMALL = [
    "--batch_size", "32", "--vocab_size", "330", "--embedding", "32", "--hidden", "32", "--dropout", "0",
    "--threads", "1",
]  # fmt: skip
LEARN = [*SMALL, "--lr", "0.02", "--max_steps", "150", "--eval_every", "75"]
PARTS = {"train": 500, "validation": 20, "test": 21}
Call = Callable[..., tuple[int, str, list[str]]]  # script, flags → exit code, output, lines of errors
Trained = Callable[..., Path]  # attention_type → published checkpoint

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


def write_corpus(folder: Path) -> None:
    """The sentences as the six files of Multi30k."""
    place = folder / "multi30k"
    place.mkdir(exist_ok=True)
    sides = ((pairs, side) for pairs in sentences().values() for side in (0, 1))
    for file, (pairs, side) in zip(FILES, sides, strict=True):
        place.joinpath(file).write_bytes(gzip.compress("\n".join(str(pair[side]) for pair in pairs).encode()))


def newest(home: Path, name: str) -> Path:
    """The folder of the newest run with this name."""
    runs = home / "runs" / "stage3_attention_seq2seq"
    found = [*runs.glob(f"*-{name}"), *runs.glob(f"*-{name}-[0-9]*")]  # -2: the second one in the same second
    return max(found, key=lambda folder: folder.stat().st_mtime_ns)


def scored(call: Call, path: Path, *flags: object) -> dict:
    """What evaluate.py reports; what it prints is checked on the way."""
    report = path.with_suffix(".json")
    code, out, _ = call(evaluate, "--model_path", path, "--report", report, *flags)
    assert code == 0
    assert max(len(line) for line in out.splitlines() if str(report) not in line) <= 80
    return json.loads(report.read_text(encoding="utf-8")) | {"shown": out}

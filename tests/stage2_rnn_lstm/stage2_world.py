"""What the tests of stage 2's scripts share: flags of small models, and three small corpora made by rule."""

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

from stage2_rnn_lstm import evaluate

SMALL = ["--batch_size", "4", "--hidden", "12", "--threads", "1"]
LANGUAGE = [*SMALL, "--length", "16", "--lr", "0.02", "--eval_every", "4"]
DATASETS = {"language_model": "auto", "classify": "movie_reviews", "tag": "auto"}
Call = Callable[..., tuple[int, str, list[str]]]  # script, flags → exit code, output, lines of errors
Trained = Callable[..., Path]  # task, model_type, vocab_type → published checkpoint


def sentences(count: int) -> list[list[tuple[str, str]]]:
    """Words with their tags: after "in" comes a place, after "mr" a person; the names are new ones."""
    rng = random.Random(count)

    def name() -> str:
        return "".join(rng.choices("abdegiklmnorst", k=4)).capitalize()

    plain = [[(word, "O") for word in text.split()] for text in ("the sea is wide", "we saw it", "he is here")]
    return [
        [*rng.choice(plain), *rng.choice([[("in", "O"), (name(), "B-LOC")], [("mr", "O"), (name(), "B-PER")]])]
        for _ in range(count)
    ]


def write_corpora(folder: Path) -> None:
    lines = [" ".join(word for word, _ in words) + ("." if len(words) % 2 else "!") for words in sentences(150)]
    (folder / "tiny_shakespeare.txt").write_text("\n".join(lines), encoding="utf-8")
    with zipfile.ZipFile(folder / "conll2002.zip", "w") as archive:
        for part, count in {"train": 60, "testa": 20, "testb": 21}.items():
            text = "\n".join("".join(f"{word} X {tag}\n" for word, tag in words) for words in sentences(count))
            archive.writestr(f"conll2002/esp.{part}", text)
            archive.writestr(f"conll2002/ned.{part}", text)
    with zipfile.ZipFile(folder / "movie_reviews.zip", "w") as archive:
        for number in range(80):
            word = ("dull", "grand")[number % 2]
            archive.writestr(f"movie_reviews/{('neg', 'pos')[number % 2]}/{number}.txt", f"film {number} is {word}")


def newest(home: Path, name: str) -> Path:
    return max((home / "runs" / "stage2_rnn_lstm").glob(f"*-{name}*"), key=lambda folder: folder.stat().st_mtime)


def scored(call: Call, path: Path, *flags: object) -> dict:
    """What evaluate.py reports; what it prints is checked on the way."""
    report = path.with_suffix(".json")
    code, out, _ = call(evaluate, "--model_path", path, "--report", report, *flags)
    assert code == 0
    assert max(len(line) for line in out.splitlines() if str(report) not in line) <= 80
    return json.loads(report.read_text(encoding="utf-8")) | {"shown": out}

"""evaluate.py says how good and how varied a GPT is; sheet.py lets people say it."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from stage5_world import SIZES, Call, Trained

from my_llm import checkpoint
from my_llm.data.catalog import load_text
from my_llm.language.batches import tokens_of
from my_llm.language.diversity import diversity
from stage5_gpt import evaluate, sheet
from stage5_gpt.language import load_writer, nats_apart

CPU = torch.device("cpu")
QUICK = ["--samples", 2, "--sample_length", 40, "--threads", 1]


@pytest.fixture
def scored(call: Call, home: Path):
    """What evaluate.py reports; what it prints is checked on the way."""

    def found(path: Path, *flags: object) -> dict:
        report = path.with_suffix(".json")
        code, out, errors = call(evaluate, "--model_path", path, "--report", report, *QUICK, *flags)
        assert code == 0, errors
        assert max(len(line) for line in out.splitlines() if str(report) not in line) <= 80
        return json.loads(report.read_text(encoding="utf-8")) | {"shown": out}

    return found


# --- evaluate.py ------------------------------------------------------------------------------------------------------


def test_both_losses_have_their_unit(trained: Trained, scored, home: Path):
    path = trained()
    facts, content = scored(path), checkpoint.load(path)
    assert (facts["unit"], facts["split"], facts["model"]) == ("character", "validation", "GPT")
    assert facts["loss_apart"] == pytest.approx(content["progress"]["best"]["scores"]["validation_loss"], rel=1e-5)
    assert facts["mean_loss"] < facts["loss_apart"] < 0.7 * facts["frequencies_alone"]  # a longer past is better
    assert facts["perplexity"] == pytest.approx(math.exp(facts["mean_loss"])) and facts["window"] == 16
    assert f"loss           {facts['mean_loss']:.4f} nats per character\n" in facts["shown"]
    assert f"loss           {facts['loss_apart']:.4f} nats per character, in windows of 16\n" in facts["shown"]
    assert facts["same_text_as_trained"] and not facts["learnt_from"]


def test_the_window_may_be_shorter(trained: Trained, scored):
    facts = scored(trained(), "--window", 4, "--samples", 0)
    writer, corpus = load_writer(trained(), CPU), load_text("tiny_shakespeare")
    tokens = tokens_of(writer.tokenizer, corpus.validation, "validation")
    expected = nats_apart(writer.model, tokens, 4)  # type: ignore[arg-type]
    assert facts["loss_apart"] == pytest.approx(float(expected.total) / expected.count, rel=1e-5)
    assert facts["window"] == 4 and "diversity" not in facts and "texts of about" not in facts["shown"]


def test_what_it_writes_is_measured_and_so_is_the_book(trained: Trained, scored):
    facts = scored(trained(), "--samples", 3, "--seed", 5, "--temperature", 0.5)
    writer, book = load_writer(trained(), CPU), load_text("tiny_shakespeare").validation
    texts = ["".join(writer.write("", length=40, temperature=0.5, seed=seed)) for seed in (5, 6, 7)]
    assert facts["diversity"] == pytest.approx(diversity(texts)) and facts["sample_characters"] == 40
    last = (len(book) - 40) // 2, len(book) - 40
    pieces = [book[first : first + 40] for first in (0, *last)]
    assert facts["diversity_of_book"] == pytest.approx(diversity(pieces)) and facts["diversity_unit"] == "words"
    (line,) = (line for line in facts["shown"].splitlines() if line.startswith("distinct 2"))
    numbers = [facts[name]["distinct_2"] for name in ("diversity", "diversity_of_book")]
    assert line.split()[2:] == [f"{number:.3f}" for number in numbers]


@pytest.mark.parametrize("vocab_type", ["word", "bpe", "gpt2", "wordpiece"])
def test_every_vocabulary_has_its_unit_and_bytes_are_the_texts(vocab_type: str, trained: Trained, scored):
    facts = scored(trained("--vocab_type", vocab_type, *SIZES[vocab_type], "--max_steps", 3), "--samples", 0)
    assert facts["unit"] == {"word": "word or mark"}.get(vocab_type, "token")
    size = len(load_text("tiny_shakespeare").validation.encode())
    assert facts["bits_per_byte"] == pytest.approx(facts["mean_loss"] * facts["n"] / math.log(2) / size, rel=0.02)
    assert ("unknown" in facts) == ("<unk> " in facts["shown"]) == (vocab_type == "word")


def test_bf16_scores_nearly_the_same(trained: Trained, scored):
    exact, rough = (scored(trained(), "--precision", name, "--samples", 0) for name in ("fp32", "bf16"))
    for name in ("mean_loss", "loss_apart"):
        assert exact[name] != rough[name] == pytest.approx(exact[name], rel=0.02)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--window", 17], "--window is longer than the model can read; got '17'; valid: at most 16"),
        (["--split", "test"], "tiny_shakespeare has no such part"),
        (["--model_path", "absent.pt"], "cannot open checkpoint"),
        (["--sample_length", 3], "--sample_length is out of range"),
    ],
)
def test_a_mistake_costs_one_line(flags: list, words: str, trained: Trained, call: Call):
    code, out, errors = call(evaluate, "--model_path", trained(), *flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]


# --- sheet.py ---------------------------------------------------------------------------------------------------------


def test_a_sheet_is_made_filled_and_scored(trained: Trained, call: Call, tmp_path: Path):
    models = [trained(), trained("--optimizer", "muon")]
    path, key = tmp_path / "sheet.csv", tmp_path / "sheet_key.json"
    (tmp_path / "more.txt").write_text("the end\n\na big\n")
    flags = ["--checkpoints", *models, "--prompts", "a red\\n", tmp_path / "more.txt", "--length", 30]
    code, out, errors = call(sheet, "--make", path, *flags, "--threads", 1)
    assert code == 0 and str(path) in out and str(key) in out, errors
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["prompt"] for row in rows) == sorted(2 * ["a red\n", "the end", "a big"])
    owners = [name for name, _ in json.loads(key.read_text(encoding="utf-8"))["rows"]]
    own = load_writer(models[0], CPU)
    texts = {"".join(own.write("the end", length=30, temperature=0.8, seed=1))}
    assert {row["text"] for row, name in zip(rows, owners) if name == str(models[0])} >= texts
    for rater, extra in (("anna", 0), ("ben", 1)):  # the first model is liked, and ben likes all a little more
        with (tmp_path / f"{rater}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            for row, name in zip(rows, owners, strict=True):
                mark = (4 if name == str(models[0]) else 2) + extra
                writer.writerow(row | {column: mark for column in row if column.endswith("1-5")})
    code, out, errors = call(sheet, "--score", tmp_path / "anna.csv", tmp_path / "ben.csv", "--key", key)
    assert code == 0, errors
    first, second = (next(line for line in out.splitlines() if line.startswith(str(model))) for model in models)
    assert first.count("4.50 ± 0.00") == 3 and second.count("2.50 ± 0.00") == 3
    assert "2 raters" in out and "agreement α" in out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "either --make a sheet, or --score filled ones"),
        (["--make", "a.csv", "--score", "b.csv"], "either --make"),
        (["--make", "a.csv", "--prompts", "x"], "a sheet needs prompts, and models that differ"),
        (["--make", "a.csv", "--checkpoints", "x.pt", "x.pt", "--prompts", "x"], "models that differ"),
        (["--make", "a.csv", "--checkpoints", "x.pt", "--prompts", "absent.txt"], "cannot read the prompts"),
        (["--make", "a.csv", "--checkpoints", "x.pt", "--prompts", "x"], "cannot open checkpoint"),
        (["--score", "b.csv"], "the key says whose the texts are"),
        (["--score", "b.csv", "--key", "absent.json"], "cannot read the key"),
    ],
)
def test_a_mistake_with_a_sheet_costs_one_line(flags: list[str], words: str, call: Call):
    code, out, errors = call(sheet, *flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]

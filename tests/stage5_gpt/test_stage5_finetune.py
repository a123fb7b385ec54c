"""finetune.py: to sort, to write another text; with what was learnt and without, frozen and not; killed and resumed."""

import json
import signal
from pathlib import Path

import pytest
import torch
from kill_driver import same_end
from stage5_world import SIZES, Call, Trained, newest, published

from my_llm import checkpoint
from my_llm.data.catalog import load
from my_llm.journal import read_metrics
from my_llm.run import Run
from my_llm.schedules import SCHEDULES
from my_llm.text import EOS, tokenizer_from_state
from my_llm.training import Step
from stage5_gpt import classifying, evaluate, finetune, generate, language
from stage5_gpt.classifying import load_labeller
from stage5_gpt.tasks import TASKS

CPU = torch.device("cpu")
QUICK = ["--threads", 1, "--batch_size", 8, "--max_steps", 4, "--eval_every", 2]
SORT = ["--dataset", "movie_reviews"]
WRITE = ["--task", "language_model"]


@pytest.mark.parametrize(("flag", "table"), [("task", TASKS), ("schedule", SCHEDULES)])
def test_a_switch_offers_everything_and_every_name_is_something(flag: str, table: dict):
    assert set(finetune.FinetuneConfig.__annotations__[flag].__args__) == set(table)


def tuned(call: Call, home: Path, start: Path, name: str, *flags: object) -> tuple[Path, list[dict]]:
    """The folder of a run, and its lines."""
    code, out, errors = call(finetune, "--init_from", start, *QUICK, "--run_name", name, *flags)
    assert code == 0, errors
    folder = newest(home, name)
    place = published(home, "tuned" if "language_model" in flags else "classifier")
    assert f"evaluate.py --model_path {place}" in out and place.read_bytes() == (folder / "best.pt").read_bytes()
    return folder, [*read_metrics(folder)]


# --- sorting ----------------------------------------------------------------------------------------------------------


def test_it_learns_to_sort_and_is_scored(trained: Trained, call: Call, home: Path):
    flags = [*SORT, "--dropout", 0, "--lr", 0.01, "--max_steps", 60, "--eval_every", 20]
    folder, _ = tuned(call, home, trained(), "sort", *flags)
    content = checkpoint.load(folder / "best.pt")
    assert content["kind"] == classifying.KIND and content["labels"] == ["negative", "positive"]
    assert content["tokenizer"] == checkpoint.load(trained())["tokenizer"]
    assert content["progress"]["best"]["scores"]["accuracy"] == 1
    path, report = published(home, "classifier"), home / "sort.json"
    code, out, errors = call(evaluate, "--model_path", path, "--report", report, "--threads", 1)
    assert code == 0, errors
    facts = json.loads(report.read_text(encoding="utf-8"))
    assert (facts["model"], facts["split"], facts["task"]) == ("GPT", "test", "text classification")
    assert facts["accuracy"] == 1 and "ms alone" in out
    assert load_labeller(path, CPU).predict(["a dog hears cat 3", "a dog sees cat 5"]) == ["positive", "negative"]


def test_a_long_text_loses_its_middle_and_an_empty_one_has_a_token(trained: Trained, call: Call, home: Path):
    tuned(call, home, trained(), "ends", *SORT)
    sorter = load_labeller(published(home, "classifier"), CPU)
    text = "a red dog sees a big cat"
    whole = sorter.tokenizer.encode(text)
    long, empty, same = sorter.encode([text, "", "a dog"])
    assert long.tolist() == whole[:8] + whole[-8:] and empty.tolist() == [EOS] and len(same) == 5
    assert sorter.predict([text, ""])[1] in sorter.labels


def test_with_what_was_learnt_it_begins_elsewhere_than_without(trained: Trained, call: Call, home: Path):
    ends = []
    for flags in ([], ["--scratch"]):
        folder, _ = tuned(call, home, trained(), f"begin{len(flags)}", *SORT, "--lr", 1e-12, *flags)
        ends.append(checkpoint.load(folder / "last.pt"))
    learnt, fresh = (end["model"] for end in ends)
    for name, weight in checkpoint.load(trained())["model"].items():
        if not name.startswith("head.") and weight.ndim > 1:
            torch.testing.assert_close(learnt[f"gpt.{name}"], weight)
            assert not torch.allclose(fresh[f"gpt.{name}"], weight)
    assert ends[0]["model_config"] == ends[1]["model_config"]


@pytest.mark.parametrize("frozen", [1, 2])
def test_frozen_blocks_stay_to_the_last_bit(frozen: int, trained: Trained, call: Call, home: Path):
    folder, _ = tuned(call, home, trained(), "frozen", *SORT, "--freeze", frozen, "--lr", 0.01)
    before, after = checkpoint.load(trained())["model"], checkpoint.load(folder / "last.pt")["model"]
    for name, weight in before.items():
        if not name.startswith("head.") and "positions" not in name:
            low = name.startswith(("embedding", *(f"blocks.{number}." for number in range(frozen))))
            stays = low or (frozen == 2 and name.startswith("norm."))
            assert torch.equal(after[f"gpt.{name}"], weight) == stays, name
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 < summary["learning"] < summary["parameters"]
    assert frozen == 1 or summary["learning"] == 2 * 32 + 2


# --- writing ----------------------------------------------------------------------------------------------------------


def test_it_learns_another_text_in_its_own_vocabulary(
    trained: Trained, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same words in another order; the old model does badly there, the tuned one better, and it writes."""
    start, place = trained(), home / "another"
    place.mkdir(exist_ok=True)
    (place / "tiny_shakespeare.txt").write_text("wet hens bite red birds.\nbig dogs see old cats.\n" * 60)
    monkeypatch.setenv("MY_LLM_DATA", str(place))
    flags = [*WRITE, "--dropout", 0, "--lr", 3e-3, "--max_steps", 30, "--eval_every", 10]
    folder, lines = tuned(call, home, start, "another", *flags)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.6 * losses[0]
    content = checkpoint.load(folder / "best.pt")
    assert content["kind"] == language.KIND and content["tokenizer"] == checkpoint.load(start)["tokenizer"]
    code, out, _ = call(generate, "--checkpoint", published(home, "tuned"), "--length", 20, "--threads", 1)
    assert code == 0 and len(out) == 21
    shown = call(evaluate, "--model_path", published(home, "tuned"), "--samples", 0, "--threads", 1)
    assert shown[0] == 0 and "nats per character" in shown[1]


@pytest.mark.parametrize("vocab_type", ["word", "gpt2", "wordpiece"])
@pytest.mark.parametrize("flags", [SORT, WRITE], ids=["sort", "write"])
def test_every_vocabulary_is_taken_over(vocab_type: str, flags: list, trained: Trained, call: Call, home: Path):
    start = trained("--vocab_type", vocab_type, *SIZES[vocab_type], "--max_steps", 3)
    folder, _ = tuned(call, home, start, f"tuned_{vocab_type}", *flags, "--freeze", 1, "--max_steps", 2)
    content = checkpoint.load(folder / "best.pt")
    assert content["tokenizer"] == checkpoint.load(start)["tokenizer"]
    assert tokenizer_from_state(content["tokenizer"]).vocab_size == content["model_config"]["vocab_size"]


# --- stopping and going on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[*SORT, "--freeze", 1], [*WRITE, "--accumulate", 2]], ids=["sort", "write"])
def test_ctrl_c_and_resume_end_as_an_undisturbed_run(
    flags: list, trained: Trained, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
):
    flags = ["--init_from", trained(), *QUICK, "--max_steps", 7, "--eval_every", 3, "--dropout", 0.3, *flags]
    assert call(finetune, *flags, "--run_name", "whole_tuning")[0] == 0
    log = Run.log

    def press(run: Run, step: Step) -> None:
        log(run, step)
        if step.index == 4:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", press)
        code, _, errors = call(finetune, *flags, "--run_name", "stopped_tuning")
    whole, folder = newest(home, "whole_tuning"), newest(home, "stopped_tuning")
    assert code == 130 and "stopped after step 5 of 7" in errors[-1]
    assert call(finetune, "--resume", folder)[0] == 0
    assert same_end(whole, folder)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([*SORT, "--freeze", 3], "there are not so many blocks to freeze; got '3'; valid: 0 to 2"),
        ([*SORT, "--init_from", "absent.pt"], "cannot open checkpoint"),
        (["--dataset", "nothing"], "nothing"),
        ([*WRITE, "--dataset", "movie_reviews"], "movie_reviews"),
    ],
)
def test_a_mistake_costs_one_line_and_leaves_nothing(flags: list, words: str, trained: Trained, call: Call, home: Path):
    start, runs = trained(), home / "runs" / "stage5_gpt"
    before = set(runs.glob("*"))
    code, out, errors = call(finetune, "--init_from", start, *QUICK, *flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]
    assert set(runs.glob("*")) == before


def test_a_classifier_is_no_writer_and_knows_no_windows(trained: Trained, call: Call, home: Path):
    tuned(call, home, trained(), "no_writer", *SORT)
    path = published(home, "classifier")
    for script, flags, words in (
        (generate, ["--checkpoint", path], "no language model of this stage"),
        (finetune, ["--init_from", path], "no language model of this stage"),
        (evaluate, ["--model_path", path, "--window", 3], "--window means nothing to stage5_gpt/classifier"),
    ):
        code, out, errors = call(script, *flags)
        assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]
    assert len(load("movie_reviews").train) < 80


def test_a_run_is_not_resumed_with_another_vocabulary(
    trained: Trained, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """--init_from names a file that the next training overwrites: same sizes, other tokens."""
    start, log = home / "start.pt", Run.log
    start.write_bytes(trained("--vocab_type", "gpt2", *SIZES["gpt2"], "--max_steps", 3).read_bytes())

    def press(run: Run, step: Step) -> None:
        log(run, step)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", press)
        assert call(finetune, "--init_from", start, *QUICK, *WRITE, "--run_name", "vocabulary")[0] == 130
    content = checkpoint.load(start)
    merges = [" ".join(reversed(one.split(" "))) for one in content["tokenizer"]["merges"][-1:]]
    symbols = [*content["tokenizer"]["symbols"][:-1], "".join(merges[0].split(" "))]
    kept = {**content["tokenizer"], "merges": [*content["tokenizer"]["merges"][:-1], *merges], "symbols": symbols}
    checkpoint.save(start, {**content, "tokenizer": kept})
    code, out, errors = call(finetune, "--resume", newest(home, "vocabulary"))
    assert (code, out) == (2, "") and "has another vocabulary" in errors[-1]

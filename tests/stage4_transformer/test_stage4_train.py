"""train.py does a whole job for each task: from a corpus to a published checkpoint; stopped and resumed, the same."""

import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kill_driver import same_end
from stage4_world import FLAGS, NAMES, SMALL, Call, Trained, newest, published, scored, sentences

from my_llm import checkpoint
from my_llm.data.catalog import Pair, load_pairs
from my_llm.journal import read_metrics
from my_llm.run import Run
from my_llm.schedules import SCHEDULES
from my_llm.text import load_vocabulary
from my_llm.training import Step
from my_llm.translation.batches import train_tokenizer
from stage4_transformer import train
from stage4_transformer.language import MODELS
from stage4_transformer.models import ACTIVATIONS, NORMS, ORDERS, POSITIONS
from stage4_transformer.tasks import TASKS
from stage4_transformer.translating import positions_for

every_task = pytest.mark.parametrize("task", TASKS)


@pytest.mark.parametrize(
    ("flag", "table"),
    [("task", TASKS), ("model_type", MODELS), ("positions", POSITIONS), ("order", ORDERS), ("norm", NORMS),
     ("activation", ACTIVATIONS), ("schedule", SCHEDULES)],
)  # fmt: skip
def test_a_switch_offers_everything_and_every_name_is_something(flag: str, table: dict):
    assert set(train.TrainConfig.__annotations__[flag].__args__) == set(table)


# --- learning ---------------------------------------------------------------------------------------------------------


@every_task
def test_every_task_is_learnt_and_published(task: str, trained: Trained, home: Path):
    path = trained(task)
    content, lines = checkpoint.load(path), read_metrics(newest(home, task))
    assert content["kind"] == TASKS[task].kind and content["settings"]["task"] == task
    best, name = content["progress"]["best"]["scores"], TASKS[task].best
    seen = [line[name] for line in lines if name in line]
    assert best[name] == (max if task == "translate" else min)(seen) and len(seen) > 1
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.75 * losses[0]
    samples = [line["step"] for line in lines if "sample" in line]
    assert samples == {"translate": [-1, 109, 219], "classify": [], "language_model": [-1, 19, 39, 59]}[task]


def test_a_translators_sample_is_a_sentence_that_it_does_not_learn(trained: Trained, home: Path):
    trained()
    first, *_, last = [
        line["sample"].splitlines() for line in read_metrics(newest(home, "translate")) if "sample" in line
    ]
    pair = sentences()["validation"][0]
    assert first[0] == last[0] == pair.source and last[1] == f"→ {pair.target}" != first[1]


@pytest.mark.parametrize("vocab_type", ["char", "word", "bpe"])
def test_a_language_models_vocabulary_is_published_beside_it(vocab_type: str, trained: Trained, home: Path):
    size = {"char": [], "word": ["--vocab_size", 20], "bpe": ["--vocab_size", 280]}[vocab_type]
    flags = ["--vocab_type", vocab_type, *size, *(["--max_steps", 3] if size else [])]
    content, place = checkpoint.load(trained("language_model", *flags)), published(home)
    for suffix in (".pkl", ".json"):
        assert load_vocabulary(place.with_name(f"{vocab_type}_vocabulary{suffix}")) == content["tokenizer"]
    assert content["model_config"]["vocab_size"] == {"char": 25, "word": 20, "bpe": 280}[vocab_type]


def test_a_file_of_the_users_is_a_corpus(tmp_path: Path, call: Call, home: Path):
    book = tmp_path / "my book.txt"
    book.write_text("".join(f"{pair.source}.\n" for pair in sentences()["train"][:80]), "utf-8")
    flags = [*SMALL, *FLAGS["language_model"], "--max_steps", 4, "--eval_every", 2]
    code, _, errors = call(train, *flags, "--dataset", book)
    assert code == 0 and str(book) in errors[0], errors
    path = published(home, "language_model")
    assert checkpoint.load(path)["data"]["name"] == str(book)
    facts = scored(call, path)  # without a flag: it finds the text by itself
    assert facts["split"] == "validation" and facts["same_text_as_trained"]


@pytest.mark.parametrize("positions", POSITIONS)
@every_task
def test_every_variant_takes_two_steps(task: str, positions: str, call: Call, home: Path):
    norms = ["--order", "post", "--norm", "rms", "--activation", "swiglu", "--schedule", "inverse_sqrt"]
    flags = [*SMALL, *FLAGS[task], "--positions", positions, *(norms if positions in ("none", "rotary") else [])]
    assert call(train, *flags, "--max_steps", 2, "--run_name", f"two_{positions}")[0] == 0
    one, two = (line["loss"] for line in read_metrics(newest(home, f"two_{positions}")) if "loss" in line)
    classes = {"translate": 330, "classify": 2, "language_model": 25}[task]
    assert abs(one - math.log(classes)) < 1.5 and two != one  # the first guess knows nothing
    content = checkpoint.load(published(home, task))
    assert content["model_config"]["positions"] == positions and content["model_config"]["heads"] == 2


def test_what_is_too_long_to_learn_from_is_said(call: Call, home: Path):
    code, _, errors = call(train, *SMALL, *FLAGS["translate"], "--max_length", 8, "--max_steps", 1)
    assert code == 0 and any("are too long" in line for line in errors)


def test_learned_positions_reach_as_far_as_a_translation_may(trained: Trained):
    """A translator lets a source of n tokens become 2 n + 10; 60 tokens are the longest to learn from."""
    flags = ["--positions", "learned", "--max_steps", 2, "--eval_every", 2]
    assert checkpoint.load(trained("translate", *flags))["model_config"]["max_length"] == 130


@pytest.mark.parametrize("part", ["validation", "test"])
def test_learned_positions_know_the_longest_sentence_held_out(part: str, home: Path):
    """Of 90 words of one letter; with spaces, one byte a token, and <eos>: 180 tokens."""
    corpus = load_pairs("multi30k_en_fr")
    tokenizer, long = train_tokenizer(corpus.train, 260), Pair(" ".join("x" * 90), "y")
    assert positions_for(tokenizer, corpus, 60) == 2 * 60 + 10  # what is learnt from is longer
    assert positions_for(tokenizer, replace(corpus, **{part: [long]}), 60) == 2 * 180 + 10


@every_task
def test_bf16_trains(task: str, call: Call, home: Path):
    ends = []
    for precision in ("fp32", "bf16"):
        flags = [*SMALL, *FLAGS[task], "--precision", precision, "--max_steps", 3, "--run_name", precision]
        assert call(train, *flags)[0] == 0
        ends.append([line["loss"] for line in read_metrics(newest(home, precision)) if "loss" in line])
    assert ends[0] != ends[1] and ends[1] == pytest.approx(ends[0], rel=0.05)


# --- the mean of the last validations ---------------------------------------------------------------------------------


def test_the_best_model_is_the_mean_of_the_last_validations(call: Call, home: Path):
    """Validated after 2, 4, 6 and 8 steps; each score is that of the mean of up to three models."""
    flags = [*SMALL, *FLAGS["language_model"], "--eval_every", 2, "--lr", 0.01]
    schedule = ["--schedule", "constant", "--warmup", 0]  # so that a shorter run is the beginning of a longer one
    own = {}
    for steps in (2, 4, 6, 8):
        assert call(train, *flags, *schedule, "--max_steps", steps, "--run_name", f"plain_{steps}")[0] == 0
        own[steps] = checkpoint.load(newest(home, f"plain_{steps}") / "last.pt")["model"]
    assert call(train, *flags, *schedule, "--max_steps", 8, "--average", 3, "--run_name", "mean")[0] == 0
    best, last = (checkpoint.load(newest(home, "mean") / name) for name in ("best.pt", "last.pt"))
    assert best["progress"]["best"]["step"] == 7  # it still learns
    for name, tensor in last["model"].items():
        assert torch.equal(tensor, own[8][name])  # the training goes its own way
        mean = torch.stack([own[steps][name] for steps in (4, 6, 8)]).mean(dim=0)
        torch.testing.assert_close(best["model"][name], mean)
    assert not torch.equal(best["model"]["head.weight"], last["model"]["head.weight"])
    plain, mean = (
        [line["validation_loss"] for line in read_metrics(newest(home, name)) if "validation_loss" in line]
        for name in ("plain_8", "mean")
    )
    assert plain[0] == mean[0] and all(a != b for a, b in zip(plain[1:], mean[1:], strict=True))
    assert published(home, "language_model").read_bytes() == (newest(home, "mean") / "best.pt").read_bytes()


# --- stopping and going on --------------------------------------------------------------------------------------------

RUNS = {
    "translate": ["--dropout", "0.3", "--max_tokens", "500", "--average", "3", "--vocab_size", "330"],
    "accumulated": [*FLAGS["translate"], "--precision", "bf16", "--accumulate", "2", "--positions", "rotary"],
    "classify": [*FLAGS["classify"], "--average", "2"],
    "language_model": [*FLAGS["language_model"], "--average", "2", "--positions", "alibi"],
}


@pytest.mark.parametrize("kind", RUNS)
def test_ctrl_c_and_resume_end_as_an_undisturbed_run(
    kind: str, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
):
    flags = [*SMALL, *RUNS[kind], "--eval_every", 4, "--max_steps", 11]
    assert call(train, *flags, "--run_name", f"whole_{kind}")[0] == 0
    task = kind if kind in NAMES else "translate"
    checkpoints, log = published(home, task).parent, Run.log
    vocabularies = ["char_vocabulary.pkl", "char_vocabulary.json"] if task == "language_model" else []
    expected = {published(home, task).name, *vocabularies}

    def press(run: Run, step: Step) -> None:
        log(run, step)
        if step.index == 5:  # two steps after a save
            signal.raise_signal(signal.SIGINT)

    for path in checkpoints.iterdir():
        path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", press)
        code, _, errors = call(train, *flags, "--run_name", f"stopped_{kind}")
    whole, folder = newest(home, f"whole_{kind}"), newest(home, f"stopped_{kind}")
    assert code == 130 and "stopped after step 6 of 11" in errors[-1] and f"--resume {folder}" in errors[-1]
    for resumes in range(3):  # stopped, then finished, then resumed with no step left to take: each publishes all
        if resumes:
            for path in checkpoints.iterdir():
                path.unlink()
            assert call(train, "--resume", folder)[0] == 0
        assert {path.name for path in checkpoints.iterdir()} == expected
        assert published(home, task).read_bytes() == (folder / "best.pt").read_bytes()
    assert same_end(whole, folder)
    samples = [line["step"] for line in read_metrics(folder) if "sample" in line]
    assert samples == ([] if task == "classify" else [-1, 3, 7, 10])

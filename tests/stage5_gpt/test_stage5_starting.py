"""--init_from: a training that goes on from a checkpoint or from GPT-2's files; export.py, the way out."""

import json
from pathlib import Path

import pytest
import torch
from stage5_world import SIZES, Call, Trained, newest, published, sentences

from my_llm import checkpoint
from my_llm.journal import read_metrics
from my_llm.text import GPT2Tokenizer, end_of, load_vocabulary, read_gpt2
from stage5_gpt import export, train
from stage5_gpt.starting import read_start

GPT2 = ["--vocab_type", "gpt2", *SIZES["gpt2"], "--positions", "learned", "--activation", "gelu_tanh"]
QUICK = ["--batch_size", 4, "--threads", 1, "--max_steps", 3, "--eval_every", 3]


@pytest.fixture
def folder(trained: Trained, call: Call, tmp_path: Path) -> Path:
    """A GPT-2 with its tokenizer, as others would give it."""
    pytest.importorskip("safetensors", reason="the extra `export` is not installed")
    place = tmp_path / "gpt2"
    code, _, errors = call(export, "--checkpoint", trained(*GPT2, "--max_steps", 20), "--folder", place)
    assert code == 0, errors
    return place


def test_it_goes_on_where_the_other_ended(trained: Trained, call: Call, home: Path):
    path = trained()
    end = [line["loss"] for line in read_metrics(newest(home, "gpt")) if "loss" in line]
    code, _, errors = call(train, "--init_from", path, *QUICK, "--lr", 1e-12, "--dropout", 0.1, "--run_name", "on")
    assert code == 0, errors
    begin = [line["loss"] for line in read_metrics(newest(home, "on")) if "loss" in line]
    assert max(begin) < 0.75 * end[0] and begin == pytest.approx([end[-1]] * 3, rel=0.3)
    old, new = checkpoint.load(path), checkpoint.load(published(home))
    assert new["model_config"] == old["model_config"] | {"dropout": 0.1} and new["tokenizer"] == old["tokenizer"]
    for name, weight in old["model"].items():
        torch.testing.assert_close(new["model"][name], weight)
    config = (newest(home, "on") / "config.toml").read_text()
    assert "layers = 2" in config and f'init_from = "{path}"' in config
    code, _, errors = call(train, "--config", newest(home, "on") / "config.toml", "--run_name", "again")
    assert code == 0, errors
    assert begin == [line["loss"] for line in read_metrics(newest(home, "again")) if "loss" in line]


def test_it_is_resumed_like_any_other(trained: Trained, call: Call, home: Path):
    assert call(train, "--init_from", trained(), *QUICK, "--run_name", "resumed")[0] == 0
    run = newest(home, "resumed")
    (run / "last.pt").unlink()
    code, _, errors = call(train, "--resume", run)
    assert code == 0, errors


def test_it_goes_on_from_the_files_of_a_gpt2(folder: Path, trained: Trained, call: Call, home: Path):
    code, _, errors = call(train, "--init_from", folder, *QUICK, "--lr", 1e-12, "--run_name", "from_files")
    assert code == 0, errors
    old, new = checkpoint.load(trained(*GPT2, "--max_steps", 20)), checkpoint.load(published(home, "gpt2"))
    for name, weight in old["model"].items():
        torch.testing.assert_close(new["model"][name], weight)
    assert new["tokenizer"]["kind"] == "gpt2" and new["settings"]["vocab_type"] == "gpt2"


# --- the way out ------------------------------------------------------------------------------------------------------


def test_what_goes_out_comes_back(folder: Path, trained: Trained):
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "vocab.json", "merges.txt"}
    ours, theirs = read_start(trained(*GPT2, "--max_steps", 20)), read_start(folder)
    text = sentences(1)[0] + "\nété 中 😀"
    assert isinstance(theirs.tokenizer, GPT2Tokenizer) and read_gpt2(folder).encode(text) == ours.tokenizer.encode(text)
    assert (
        end_of(theirs.tokenizer)
        == end_of(ours.tokenizer)
        == json.loads((folder / "config.json").read_text())["eos_token_id"]
    )
    tokens = torch.tensor([ours.tokenizer.encode(text)[:16]])
    with torch.no_grad():
        torch.testing.assert_close(theirs.model.eval()(tokens)[0], ours.model.eval()(tokens)[0])


def test_transformers_reads_it(folder: Path, trained: Trained):
    transformers = pytest.importorskip("transformers", reason="the extra `export` is not installed")
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    ours = read_start(trained(*GPT2, "--max_steps", 20))
    tokens = torch.tensor([ours.tokenizer.encode(sentences(1)[0])[:16]])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, ours.model(tokens)[0], rtol=0, atol=1e-5)


def test_another_vocabulary_goes_out_as_it_is(trained: Trained, call: Call, tmp_path: Path):
    pytest.importorskip("safetensors", reason="the extra `export` is not installed")
    path = trained("--positions", "learned", "--max_steps", 3)
    code, out, _ = call(export, "--checkpoint", path, "--folder", tmp_path / "chars")
    assert code == 0 and "no such tokenizer" in out
    assert load_vocabulary(tmp_path / "chars" / "vocabulary.json") == checkpoint.load(path)["tokenizer"]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--size", "11m"], "--size is settled by --init_from"),
        (["--layers", "3"], "--layers is settled"),
        (["--vocab_type", "bpe"], "--vocab_type is settled"),
        (["--norm", "rms"], "--norm is settled"),
        (["--no_tied"], "--tied is settled"),
    ],
)
def test_a_flag_that_says_otherwise_is_refused(flags: list[str], words: str, trained: Trained, call: Call):
    code, out, errors = call(train, "--init_from", trained(), *QUICK, *flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]
    same = ["--layers", 2, "--model", 32, "--vocab_type", "char"]
    assert call(train, "--init_from", trained(), *QUICK, *same)[0] == 0


def test_another_alphabet_is_refused(trained: Trained, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch):
    path = trained()
    place = home / "elsewhere"
    place.mkdir(exist_ok=True)
    (place / "tiny_shakespeare.txt").write_text("A QUICK DOG.\n" * 200)
    monkeypatch.setenv("MY_LLM_DATA", str(place))
    code, out, errors = call(train, "--init_from", path, *QUICK)
    assert (code, out) == (2, "") and len(errors) == 1 and "characters that the vocabulary" in errors[0]


@pytest.mark.parametrize("damage", ["missing", "model.safetensors", "config.json", "vocab.json", "other"])
def test_a_bad_beginning_costs_one_line(damage: str, folder: Path, call: Call):
    if damage == "missing":
        folder = folder / "nowhere"
    elif damage == "other":  # a symbol more than the model has
        symbols = json.loads((folder / "vocab.json").read_text())
        (folder / "vocab.json").write_text(json.dumps(symbols | {"<more>": len(symbols)}))
    else:
        (folder / damage).write_bytes(b"nothing")
    code, out, errors = call(train, "--init_from", folder, *QUICK)
    assert (code, out) == (2, "") and len(errors) == 1, errors


def test_what_gpt2_has_not_does_not_go_out(trained: Trained, call: Call, tmp_path: Path):
    for flags, words in (([], "nowhere"), (["--folder", tmp_path / "x"], "GPT-2 has no such positions")):
        code, out, errors = call(export, "--checkpoint", trained(), *flags)
        assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]
    (tmp_path / "x").mkdir(exist_ok=True)
    (tmp_path / "x" / "mine").touch()
    code, _, errors = call(export, "--checkpoint", trained(), "--folder", tmp_path / "x")
    assert code == 2 and "not empty" in errors[0]

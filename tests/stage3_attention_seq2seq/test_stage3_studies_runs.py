"""The studies of stage 3 run to their end and write valid tables and figures."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from my_llm import checkpoint, cli, ledger
from my_llm.data.catalog import Translation, load_pairs
from my_llm.translation.batches import train_tokenizer
from stage3_attention_seq2seq import experiments
from stage3_attention_seq2seq.studies import StudyConfig, common, length, search
from stage3_attention_seq2seq.translator import KIND


@pytest.fixture(scope="module")
def small() -> Iterator[common.Sentences]:
    """Few sentences, one text for all tests: studies share their trainings."""
    whole = load_pairs("numbers_en_fr")
    corpus = Translation("little", ("en", "fr"), whole.train[:200], whole.validation[:8], [], "made here", "0" * 64)
    text = common.Sentences(corpus, train_tokenizer(corpus.train, 400), corpus.train, corpus.validation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "_load_sentences", lambda dataset: text)
        patch.setattr(common, "EMBEDDING", 16)
        patch.setattr(common, "BATCH", 8)
        patch.setattr(search, "BEAMS", (2, 3))
        patch.setattr(search, "PENALTIES", (0.0, 1.0))
        patch.setattr(length, "LISTS", 80)
        patch.setattr(length, "TESTS", 12)
        patch.setattr(search, "DRAWS", 3)
        yield text


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of its own, so that no test touches the published numbers or figures."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    return tmp_path


def called(*flags: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.execute(StudyConfig, experiments.run, list(map(str, flags)))
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", experiments.STUDIES)
def test_a_study_writes_its_table_and_its_figure_and_says_what_is_seen(name: str, results: Path, small):
    seeds = 2 if name == "forcing" else 1
    code, out, err = called("--studies", name, "--max_steps", 2, "--seeds", seeds, "--threads", 1)
    assert (code, err) == (0, "")
    table = ledger.read(results / "results" / "stage3_attention_seq2seq" / f"{name}.json")
    assert len(table["rows"]) >= 3 and table["seed"] == [0, 1][:seeds] and table["sha256"] == "0" * 64
    command = f"python stage3_attention_seq2seq/experiments.py --studies {name} --seeds {seeds} --max_steps 2"
    assert table["command"] == command
    assert all(len(row) > 1 for row in table["rows"])
    figure = results / "docs" / "figures" / f"stage3_{name}.png"
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 80_000
    assert str(figure) in out and "seen    " in out
    assert max(len(line) for line in out.splitlines() if line[:1] in "│┃") <= 80


def test_beam_and_choosing_take_a_trained_translator(
    results: Path, small: common.Sentences, monkeypatch: pytest.MonkeyPatch
):
    translator = common.trained(small, common.Setting("luong_dot", 2, 0)).translator
    path = results / "best.pt"
    origin = {"name": "little", "sha256": "", "source": ""}
    facts = {"data": origin, "settings": {"attention_type": "luong_dot"}, "progress": {"seconds": 1.0}}
    weights = translator.model.state_dict()
    checkpoint.save(path, {"kind": KIND, "model": weights, "reverse": False, **translator.parts(), **facts})
    monkeypatch.setattr(search, "load_pairs", lambda name: {"little": small.corpus}[name])
    code, _, err = called("--studies", "beam", "--model_path", path, "--seeds", 2, "--threads", 1)
    assert (code, err) == (0, "")
    table = ledger.read(results / "results" / "stage3_attention_seq2seq" / "beam.json")
    assert "trained on little" in table["title"] and f"--model_path {path}" in table["command"]
    assert all(row["bleu_sd"] == 0 for row in table["rows"])  # one translator, whatever --seeds says


def test_an_unknown_study_and_a_missing_translator_are_refused(results: Path, small):
    code, _, err = called("--studies", "beam", "choosin")
    assert code == 2 and "did you mean choosing?" in err
    code, _, err = called("--studies", "beam", "--model_path", results / "none.pt", "--threads", 1)
    assert code == 2 and len(err.splitlines()) == 1


@pytest.mark.parametrize("flags", [("--seeds", 0), ("--precision", "bf16")])
def test_what_a_study_cannot_honour_is_refused(flags: tuple, small):
    assert called("--studies", "forcing", *flags)[0] == 2


def test_help_does_not_load_torch():
    code = (
        "import sys, contextlib, io\nfrom my_llm import cli\nfrom stage3_attention_seq2seq import experiments\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    cli.parse(experiments.StudyConfig, ['--help'])\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules, 'numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "False"]

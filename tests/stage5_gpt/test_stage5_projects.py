"""The studies of the projects: they judge what the commands made, and their texts fit into a table."""

import dataclasses
from pathlib import Path

import pytest
import torch
from stage5_world import SIZES, Trained

from lab.tables import table
from my_llm import ledger
from my_llm.data.catalog import LanguageText
from my_llm.errors import CheckpointError
from stage5_gpt import poet, scoring_code
from stage5_gpt.code_tasks import TASKS, Asked
from stage5_gpt.language import load_writer
from stage5_gpt.studies import StudyConfig, coding, novels, projects, verses

CONFIG = StudyConfig(max_steps=2, threads=1)
POEM = "汉室倾危天数终，无谋何进作三公。\n几番不听忠臣谏，难免宫中受剑锋。"
SAID = (
    "a red dog sees\nthe old cat with a bird beside the wall\nand all the hens that ever heard it fall.\n\nExeunt\n\n"
    * 20
)


@pytest.fixture(autouse=True)
def small(tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of its own, models of the tests, few questions."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    models = {"code": trained("--vocab_type", "gpt2", *SIZES["gpt2"], "--max_steps", 3)}
    corpora = {"three_kingdoms_verse": ("zh", POEM)}

    def load(name: str) -> LanguageText:
        language, text = corpora.get(name, ("en", SAID))
        return LanguageText(name, language, text, text, text, "made here", "0" * 64)

    for study in (coding, novels, verses):
        monkeypatch.setattr(study, "load_text", load)
        monkeypatch.setattr(study, "trained", lambda config, preset: models.get(preset) or trained())
    monkeypatch.setattr(verses, "tuned", lambda config, name, start, flags: start)
    monkeypatch.setattr(
        scoring_code, "held_out_functions", lambda folder: iter([Asked("f", "def f():\n    'F.'\n", "")])
    )
    monkeypatch.setattr(scoring_code, "TASKS", TASKS[:1])
    monkeypatch.setattr(poet, "forced_poems", lambda *_, **__: [POEM])
    for study, name, value in (
        (coding, "CANDIDATES", 1), (coding, "LENGTH", 4), (coding, "SHOWN", 2), (novels, "TEXTS", 2),
        (novels, "WRITTEN", {"en": 20}), (novels, "BOOKS", {"shakespeare": "a red"}), (verses, "COUPLETS", 2),
        (verses, "CANDIDATES", (1, 2)), (verses, "POEMS", 2), (verses, "DRAWN", 2), (poet, "LINE", 8),
        (poet, "POEM", 8),
    ):  # fmt: skip
        monkeypatch.setattr(study, name, value)
    return tmp_path


@pytest.mark.parametrize("study", [coding.coding, novels.novels, verses.verses], ids=lambda study: study.__name__)
def test_a_study_of_a_project_writes_scores_figure_and_texts(study, small: Path, capsys: pytest.CaptureFixture[str]):
    study(CONFIG)
    name = study.__name__
    scores, texts = (ledger.read(small / "results" / "stage5_gpt" / f"{name}{tail}.json") for tail in ("", "_samples"))
    assert len(scores["rows"]) >= 3 and "sample" not in scores["columns"]
    assert all(row.get("bits_per_byte", 1) > 0 for row in scores["rows"])
    assert all("sample" in row and "\n" not in row["sample"] for row in texts["rows"])
    assert (small / "docs" / "figures" / f"stage5_{name}.png").stat().st_size < 80_000
    assert "seen    " in capsys.readouterr().out and study.__doc__.endswith("?")
    for chinese in (False, True):
        shown = table(f"stage5_gpt/{name}_samples", chinese)
        assert texts["rows"][0]["sample"] in shown and "| --- |\n" in shown, "text is aligned to the left"


def test_text_in_a_cell_is_nothing_but_text():
    cell = projects.cell_of("a|b *c* `d` <i>[x](y) $z$ & ~\n  _e_\n")
    assert not set("|*`[]_$~") & set(cell) and "<i>" not in cell and cell.count("<br>") == 1
    assert projects.cell_of("def f():\n    x", code=True) == "<code>def f():<br>&nbsp;&nbsp;&nbsp;&nbsp;x</code>"


def test_a_finished_run_with_these_settings_and_no_others_is_taken(home: Path):
    config = dataclasses.replace(CONFIG, max_steps=3)
    flags = {"dataset": "tiny_shakespeare", "layers": 1, "heads": 2, "model": 8, "context": 8, "batch_size": 2}
    made = projects.made(config, "train.py", "some", flags)
    assert load_writer(made, torch.device("cpu")).model is not None and made.parent.name.endswith("-some-3")
    assert projects.made(config, "train.py", "some", flags) == made
    text = (made.parent / "environment.json").read_text()
    typed = text.split("train.py ")[1].split('"')[0].split()
    assert projects.finished("some-3", typed) == made.parent
    for others in ([*typed, "--lr", "1"], typed[:-1], ["--lr", "1", *typed]):
        assert projects.finished("some-3", others) is None
    assert projects.finished("absent", typed) is None
    (made.parent / "environment.json").write_text(text.replace(" --run_name", " --threads 1 --run_name"))
    assert projects.finished("some-3", typed) == made.parent
    with pytest.raises(CheckpointError, match="did not end well; got 'gpt-3'"):
        projects.made(config, "no_such_script.py", "gpt", {"model": 33})


def test_flags_are_as_one_types_them():
    assert projects.flag_of("bias", False) == ["--no_bias"] and projects.flag_of("tied", True) == ["--tied"]
    assert projects.flag_of("lr", 1e-3) == ["--lr", "0.001"]

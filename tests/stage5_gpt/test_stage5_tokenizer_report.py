"""The tokenizer report: its numbers by hand, its table in 80 columns, its mistakes in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from my_llm.cli import execute, parse
from my_llm.data import catalog
from my_llm.data.catalog import LanguageText
from my_llm.errors import DataError
from my_llm.text import BPETokenizer, CharTokenizer, WordPieceTokenizer
from stage5_gpt import tokenizer_report as script
from stage5_gpt.tokenizer_report import KINDS, ReportConfig, figures, longest

ENGLISH = LanguageText("plays", "en", "to be or not to be, that is the question\n" * 9, "to be\n", "", "here", "0")
CHINESE = LanguageText(
    "novel", "zh", "滚滚长江东逝水，浪花淘尽英雄。曹操曰：\n" * 9, "滚滚长江，曹操\n", "", "here", "1"
)


@pytest.fixture
def corpora(monkeypatch):
    found = {"auto": ENGLISH, "three_kingdoms": CHINESE}

    def load_text(name: str) -> LanguageText:
        if name not in found:
            raise DataError(f"corpus {name} is not on this machine")
        return found[name]

    monkeypatch.setattr(catalog, "load_text", load_text)
    return found


def test_figures_by_hand():
    assert figures(CharTokenizer.train(["ab"]), "abc é") == {
        "bytes_per_token": 6 / 5, "tokens_per_character": 1.0, "split": 0.0, "unknown": 3 / 5}  # fmt: skip
    assert figures(BPETokenizer([]), "a中é") == {
        "bytes_per_token": 1.0, "tokens_per_character": 6 / 3, "split": 2 / 3, "unknown": 0.0}  # fmt: skip
    # E4 B8 AD, E4 B8 AD: the first two bytes are one token, so each is split; with the third none is
    pairs = [("ä", "¸"), ("ä¸", "Ń")]
    assert [figures(BPETokenizer(pairs[:count]), "中中")["split"] for count in (1, 2)] == [1.0, 0.0]
    pieces = WordPieceTokenizer.train(["ab cd"])
    assert figures(pieces, "ab xcd") == {
        "bytes_per_token": 6 / 3, "tokens_per_character": 3 / 6, "split": 0.0, "unknown": 3 / 6}  # fmt: skip


def test_the_longest_tokens_are_whole_and_readable():
    tokenizer = BPETokenizer([("ä", "¸"), ("ä¸", "Ń"), ("-", "-"), ("--", "--"), ("h", "e"), ("t", "he")])
    assert longest(tokenizer, 4) == ["the", "he", "0", "1"]


def test_the_table_fits_80_columns_and_the_report_holds_its_numbers(corpora, capsys, tmp_path):
    flags = ["--vocab_sizes", "260", "300", "--report", str(tmp_path / "r.json"), "--longest", "3"]
    assert execute(ReportConfig, script.run, flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("report ")) <= 80
    for kind in KINDS:
        rows = [line.split() for line in lines if line.split()[:1] == [kind]]
        assert len(rows) == (2 if kind == "char" else 4) and all(len(row) == 9 for row in rows)
    said = "\n".join(line.rstrip() for line in lines)
    assert "…" not in said and "\ntrained on plays\n" in said and "\ntrained on novel\n" in said
    assert "\nlongest of gpt2: " in said and "·question" in said and "longest of char" not in said
    report = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert [table["data"] for table in report["trained_on"]] == ["plays", "novel"]
    assert report["held_out_bytes"] == {"en": 6, "zh": 22}
    char, bpe = report["trained_on"][0]["rows"][:2]
    assert (char["kind"], char["texts"]["en"]["bytes_per_token"]) == ("char", 1.0)
    assert char["texts"]["zh"]["unknown"] == 7 / 8  # all but the line end
    assert (bpe["kind"], bpe["vocab_size"], bpe["texts"]["zh"]["split"]) == ("bpe", 260, 7 / 8)
    assert bpe["megabytes_per_second"] > 0 and bpe["train_seconds"] > 0


def test_without_chinese_there_is_a_poem(corpora, capsys):
    del corpora["three_kingdoms"]
    assert execute(ReportConfig, script.run, ["--vocab_sizes", "260", "--kinds", "bpe", "--longest", "0"]) == 0
    out = capsys.readouterr().out
    assert (
        "Chinese is a poem" in out and "three_kingdoms is not on this machine" in out and out.count("trained on") == 1
    )
    row = next(line.split() for line in out.splitlines() if line.split()[:1] == ["bpe"])
    assert row[5:] == ["1.00", "2.97", "98.6", "0.0"]  # 70 characters of three bytes and a line end
    assert execute(ReportConfig, script.run, ["--chinese", "three_kingdoms"]) == 2, "asked for by name: no poem"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--vocab_sizes", "259"], "--vocab_sizes is out of range; got '259'; valid: 260 or more"),
        (["--kinds", "gpt3"], "unknown kind of tokenizer; got 'gpt3'"),
        (["--longest", "-1"], "--longest is out of range"),
        (["--english", "bbc_news"], "for text classification"),
        (["--vocab_size", "300"], "did you mean --vocab_sizes"),
    ],
)
def test_mistakes_cost_one_line(flags, words, capsys):
    assert execute(ReportConfig, script.run, flags) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and words in errors[0]


def test_help_and_defaults_need_no_torch():
    assert parse(ReportConfig, []) == ReportConfig() and ReportConfig().kinds == KINDS
    path = Path(script.__file__)
    code = f"""import runpy, sys
sys.argv = ["tokenizer_report.py", "--help"]
try:
    runpy.run_path({str(path)!r}, run_name="__main__")
except SystemExit:
    sys.exit("torch" in sys.modules)"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=path.parents[1])
    assert answer.returncode == 0 and "--vocab_sizes" in answer.stdout, answer.stderr

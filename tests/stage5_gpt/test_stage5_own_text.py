"""A text of the user's own: a .txt file in memory, or a .tokens file that is cut once and mapped."""

from pathlib import Path

import pytest
import torch
from stage5_world import SIZES, SMALL, Call, newest, published, sentences
from test_stage5_train import losses_of, short

from my_llm import checkpoint
from my_llm.cli import execute
from my_llm.data.catalog import load_text
from my_llm.errors import DataError
from stage5_gpt import evaluate, finetune, large_text, train
from stage5_gpt.write_tokens import WriteTokensConfig, run

PART = 250  # bytes read at a time


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text of many pieces."""
    monkeypatch.setattr(large_text, "PIECE", PART)
    path = tmp_path / "my book.txt"
    path.write_text("\n".join(sentences(150, seed=3)) + "\n", "utf-8")
    return path


def cut(*flags: object) -> int:
    return execute(WriteTokensConfig, run, list(map(str, flags)))


# --- a file in memory -------------------------------------------------------------------------------------------------


def test_a_file_is_a_corpus(book: Path, call: Call, home: Path):
    text = book.read_text("utf-8")
    code, _, errors = call(train, *SMALL, "--max_steps", 2, "--dataset", book)
    assert code == 0, errors
    content = checkpoint.load(published(home))
    assert newest(home, "my book").is_dir() and content["data"]["name"] == str(book)
    corpus = load_text(str(book))
    assert corpus.train + corpus.validation == text and len(corpus.train) == int(0.9 * len(text))
    assert content["data"]["sha256"] == corpus.sha256
    code, out, errors = call(evaluate, "--model_path", published(home), "--dataset", book)
    assert code == 0 and str(book) in out.replace("\n", ""), errors


def test_a_model_goes_on_with_a_file(book: Path, call: Call, home: Path):
    short(call, home, "first", "--dataset", "tiny_shakespeare")
    flags = ["--task", "language_model", "--init_from", published(home), "--dataset", book, "--max_steps", 2]
    code, _, errors = call(finetune, *flags)
    assert code == 0, errors


@pytest.mark.parametrize(("text", "language"), [("\ufeffnew\n", "en"), ("三国演义", "zh")])
def test_files_of_other_systems(text: str, language: str, tmp_path: Path):
    path = tmp_path / "old.txt"
    path.write_text(text, "utf-8")
    corpus = load_text(str(path))
    assert corpus.train + corpus.validation == text.removeprefix("\ufeff") and corpus.language == language
    path.write_bytes(text.encode("gb18030"))
    with pytest.raises(DataError, match=r"not UTF-8.*byte \d.*GB18030"):
        load_text(str(path))


@pytest.mark.parametrize("ending", ["txt", "tokens"])
def test_a_file_that_is_not_there_is_one_line(ending: str, call: Call, tmp_path: Path):
    code, _, errors = call(train, "--dataset", tmp_path / f"none.{ending}")
    assert code == 2 and len(errors) == 1 and f"none.{ending}" in errors[0]


# --- a file larger than memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["char", "gpt2", "bpe", "wordpiece"])
def test_token_files_are_the_text(kind: str, book: Path):
    size = dict(zip(SIZES[kind][::2], SIZES[kind][1::2]))
    assert cut("--text", book, "--vocab_type", kind, *[word for pair in size.items() for word in pair]) == 0
    corpus = large_text.load_text(str(book.with_suffix(".tokens")))
    assert isinstance(corpus, large_text.LargeText) and not corpus.train
    tokenizer, tokens = corpus.cut(kind, None)
    text, lines = book.read_text("utf-8"), tokenizer.decode(tokens.long().tolist())
    assert text.endswith(corpus.validation) and 0.05 < len(corpus.validation) / len(text) < 0.15
    if kind != "wordpiece":  # which does not keep line ends
        assert lines + corpus.validation == text
    with pytest.raises(DataError, match="another tokenizer"):
        corpus.cut(kind, type(tokenizer).train(["another one"], *([300] if size else [])))


def test_a_token_file_teaches_what_the_text_teaches(book: Path, call: Call, home: Path):
    """The same windows, the same first weights: the losses are the same to the last bit."""
    assert cut("--text", book, "--vocab_type", "char", "--out", book.with_name("cut.tokens")) == 0
    corpus = large_text.load_text(str(book.with_name("cut.tokens")))
    whole = book.with_name("whole.txt")
    learnt = book.read_text("utf-8").removesuffix(corpus.validation)
    whole.write_text(learnt + "x" * round(len(learnt) / 9), "utf-8")  # so that nine tenths of it are the same
    assert load_text(str(whole)).train == learnt
    from_text = short(call, home, "whole", "--dataset", whole)
    from_tokens = short(call, home, "cut", "--dataset", book.with_name("cut.tokens"))
    assert from_text == from_tokens
    code, _, errors = call(train, "--resume", newest(home, "cut"))
    assert code == 0 and losses_of(home, "cut") == from_tokens, errors
    code, out, errors = call(evaluate, "--model_path", published(home), "--dataset", book.with_name("cut.tokens"))
    assert code == 0 and "bits per byte" in out, errors


def test_only_what_is_asked_for_is_read(book: Path, monkeypatch: pytest.MonkeyPatch):
    """Pieces hold little more than they may, and end with a line."""
    sizes = [len(piece) for _, piece in large_text.pieces(book, 0, book.stat().st_size)]
    assert len(sizes) > 10 and max(sizes) < 1.5 * PART
    assert all(piece.endswith("\n") for _, piece in large_text.pieces(book, 0, book.stat().st_size))


def test_lines_end_alike_and_marks_are_gone(tmp_path: Path):
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n".encode())
    assert [piece for _, piece in large_text.pieces(path, 0, path.stat().st_size)] == ["one\ntwo\n"]


@pytest.mark.parametrize(
    ("name", "content", "flags", "message"),
    [
        ("none.txt", None, [], "cannot read the text"),
        ("one.txt", b"a single line", [], "no last lines can be held out"),
        ("empty.txt", b"", [], "no tokens to write"),
        ("old.txt", "三国\n".encode("gb18030") * 20, [], "not UTF-8"),
        ("small.txt", b"a\nb\n", ["--vocab_size", 10], "vocab"),
        ("small.txt", b"a\nb\n", ["--out", "x.bin"], ".tokens"),
    ],
)
def test_what_cannot_be_cut_is_one_line(
    name: str, content: bytes | None, flags: list, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert cut("--text", tmp_path / name, *flags) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in last


def test_tokens_of_another_kind_or_damaged_are_refused(book: Path, call: Call):
    assert cut("--text", book, "--vocab_type", "char") == 0
    tokens = book.with_suffix(".tokens")
    code, _, errors = call(train, "--dataset", tokens, "--vocab_type", "word")
    assert code == 2 and "--vocab_type char" in errors[-1]
    code, _, errors = call(evaluate, "--model_path", book, "--dataset", tokens)
    assert code == 2
    tokens.write_bytes(tokens.read_bytes()[:-1])
    code, _, errors = call(train, "--dataset", tokens)
    assert code == 2 and "bytes instead of" in errors[-1]
    tokens.with_name(f"{tokens.name}.json").write_text("{}")
    code, _, errors = call(train, "--dataset", tokens)
    assert code == 2 and "cannot read the tokenizer" in errors[-1]


def test_mapped_tokens_are_not_copied(book: Path):
    assert cut("--text", book, "--vocab_type", "char") == 0
    _, tokens = large_text.load_text(str(book.with_suffix(".tokens"))).cut("char", None)
    assert tokens.dtype == torch.int16  # two bytes a token, as on the disk

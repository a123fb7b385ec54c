"""What the models write is told from what they copy, and words from what only looks like them."""

import html
import json
from pathlib import Path

import pytest
import torch

from lab import compare, ladder, showcase
from lab.generations import GENERATIONS, LENGTH
from stage2_rnn_lstm.models import NGramModel

BOOK = "the king is here, the queen is there; they speak of love"
PLAY = "KING:\nthe old queen is here, and here she stays.\n\nQUEEN:\nthe king has gone, and so have they.\n\n"


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short play where Tiny Shakespeare would be, and a home."""
    (tmp_path / "tiny_shakespeare.txt").write_text(PLAY * 300, encoding="utf-8")
    for name in ("DATA", "HOME"):
        monkeypatch.setenv(f"MY_LLM_{name}", str(tmp_path))
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(showcase, "WRITTEN", LENGTH + 40)
    monkeypatch.setattr(showcase, "SHOWN", LENGTH + 40)
    return tmp_path


def test_words_are_those_of_the_text():
    assert showcase.real_words("queen king qwert there", BOOK) == pytest.approx(200 / 3), "the last may be cut off"
    assert showcase.real_words("queen there cut shor", BOOK) == 100 and showcase.real_words("a b c", BOOK) == 0


@pytest.mark.parametrize(
    ("written", "longest"), [("xx the queen yy", len(" the queen ")), ("zzz", 0), (BOOK, len(BOOK)), ("", 0)]
)
def test_a_copy_is_the_longest_passage(written: str, longest: int):
    assert showcase.copied(written, BOOK) == longest


def test_the_opening_ends_with_who_speaks():
    play = "x" * showcase.READ + " the end.\n\nKING:\nCome here.\n\nQUEEN:\nNo."
    assert showcase.opening(play).endswith(" the end.\n\nKING:\n") and showcase.shown(play, "Yes.") == "KING:\nYes."
    assert showcase.opening("no paragraphs at all") == "no paragraphs at all"


@pytest.mark.parametrize("name", GENERATIONS)
def test_one_token_at_a_time_is_the_whole_text_at_once(name: str):
    torch.manual_seed(0)
    model = GENERATIONS[name].make(20, 16).eval()
    tokens = torch.randint(20, (1, 40))
    step, state = showcase.step_of(model, carried=GENERATIONS[name].carried), None
    with torch.inference_mode():
        _, state = step(tokens[:, :30], state)
        for place in range(30, 40):
            logits, state = step(tokens[:, place : place + 1], state)
        assert torch.allclose(logits, model(tokens)[0][:, -1], atol=1e-5)


@pytest.mark.parametrize("name", ["attention alone", "Transformer", "GPT"])
def test_whose_window_is_full_goes_on_from_its_newer_half(name: str):
    torch.manual_seed(0)
    model = GENERATIONS[name].make(20, 16).eval()
    tokens = torch.randint(20, (1, LENGTH + 20))
    with torch.inference_mode():
        logits, _ = showcase.step_of(model, carried=False)(tokens, None)
        assert torch.allclose(logits, model(tokens[:, -LENGTH // 2 :])[0][:, -1], atol=1e-5)


def test_counting_quotes(text: Path):
    corpus, tokenizer, tokens = ladder.parts_of("tiny_shakespeare")
    row = {}
    for order in (1, 8):
        model = NGramModel.fit(tokens["train"], tokenizer.vocab_size, order)
        row[order] = showcase.told(showcase.write(model, corpus, tokenizer, seed=0, carried=True), corpus)
    assert row[8]["copied"] > 20 > row[1]["copied"] and row[8]["words"] == 100 > row[1]["words"]


def test_the_table_is_written(text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("lab.generations.GENERATIONS", {name: GENERATIONS[name] for name in ("RNN", "GPT")})
    monkeypatch.setattr(showcase, "done", lambda jobs, work, *_: {job: work(job) for job in jobs})  # in this process
    assert compare.main(["--parts", "showcase", "--max_steps", "2"]) == 0
    told = json.loads((text / "results" / "compare" / "showcase.json").read_text("utf-8"))
    rows = {row["case"]: row for row in told["rows"]}
    assert list(rows) == ["n-gram", "RNN", "GPT", showcase.BOOK]
    for row in rows.values():
        assert row["sample"].startswith(("KING:<br>", "QUEEN:<br>"))
        assert len(row["sample"].replace("<br>", "\n")) > LENGTH + 40, "also whose window is shorter"
    assert (
        rows["n-gram"]["bits_per_byte"] < rows["GPT"]["bits_per_byte"]
        and rows["n-gram"]["words"] == 100 > rows["GPT"]["words"]
    )
    assert rows[showcase.BOOK]["bits_per_byte"] is None and rows[showcase.BOOK]["copied"] > 100
    out = capsys.readouterr().out
    assert "<br>" not in out and "longest copy" in out.replace("\n", " ")
    assert "--- RNN ---\n" + rows["RNN"]["sample"].replace("<br>", "\n") in html.unescape(out)

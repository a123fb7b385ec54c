"""The page asks for nothing, believes nobody, and says everything in both languages."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import Chromium

from lab import report, report_stage2, report_stage4, report_stage5
from lab.charts import confusion, line_chart, maps, path, ticks
from lab.report import render
from lab.verdict import verdict
from my_llm.errors import CheckpointError

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(2)>\x1b[31m\x00\u202eevil &amp; end"
)
LABELS = ["sport", HOSTILE]
VOID = {"meta", "input", "br", "img", "link", "base"}


def an_example(text: str = HOSTILE) -> dict[str, Any]:
    return {"text": text, "truth": LABELS[1], "predicted": "sport", "probability": 0.987, "reasons": [[HOSTILE, 0.3]]}


SCORES = {
    "stage": "stage1_mlp", "model": "MLP", "task": "text classification", "data": HOSTILE, "source": HOSTILE,
    "labels": LABELS, "n": 420, "accuracy": 0.981, "macro_f1": 0.98,
    "per_class": [{"label": label, "precision": 0.98, "recall": 0.97, "f1": 0.975, "support": 210} for label in LABELS],
    "confusion": [[205, 5], [3, 207]], "latency_batch_us": 21.0, "latency_single_ms": 0.11, "train_seconds": 7.4,
    "parameters": 1203456, "right": [an_example()], "wrong": [an_example(), an_example("x" * 1000)],
    "words": {label: [[HOSTILE, 1.2], ["goal", 0.6]] for label in LABELS},
}  # fmt: skip
SCORES_2 = {
    "stage": "stage2_rnn_lstm", "model": "LSTM", "task": "language model", "data": HOSTILE, "source": HOSTILE,
    "n": 99001, "perplexity": 5.678, "mean_loss": 1.7366, "bits_per_byte": 2.505, "frequencies_alone": 3.31,
    "train_seconds": 61.5, "parameters": 345678, "scored_per_second": 70123.4, "written_per_second": 4321.9,
    "sample": HOSTILE, "unit": HOSTILE, "settings": {"batch_size": 2, "length": 9},
}  # fmt: skip
WORST = [{"source": HOSTILE, "said": HOSTILE, "right": "ok"}, {"source": "a", "said": "b", "right": "b"}]
SCORES_3 = {
    "stage": "stage3_attention_seq2seq", "model": HOSTILE, "task": "translation", "data": HOSTILE, "source": HOSTILE,
    "n": 1234, "bleu": 91.24, "exact": 0.876, "train_seconds": 58.4, "parameters": 603352,
    "settings": {"batch_size": 4}, "greedy_per_second": 2345.6, "beam_per_second": 345.6,
    "decoding": {"1": {"per_second": 2345.6}, "5": {"per_second": 345.6}}, "examples": {"worst": WORST},
    "alignment": {"weights": [[0.9, 0.1], [0.25, 0.75]], "target": [HOSTILE, "un"], "source": ["one", HOSTILE]},
    "heads": None,
}  # fmt: skip
A_MAP = {"weights": [[[[0.9, 0.01]], [[0.25, 0.75]], [[1, 0]]]] * 2, "rows": [HOSTILE], "columns": ["one", HOSTILE]}
SCORES_4 = {
    **SCORES_3, "stage": "stage4_transformer", "exact": 0.934, "parameters": 1234567,
    "heads": dict.fromkeys(("encoder", "decoder", HOSTILE), A_MAP),
}  # fmt: skip
VARIED = {"distinct_2": 0.512, "repetition_4": 0.034, "self_bleu": 12.345}
SCORES_5 = {
    **SCORES_2, "stage": "stage5_gpt", "model": HOSTILE, "perplexity": 4.567, "parameters": 456789, "samples": 8,
    "settings": {"batch_size": 3, "context": None}, "window": 6, "diversity": VARIED,
    "diversity_of_book": {**VARIED, "distinct_2": 0.678},
}  # fmt: skip
SAMPLES = {-1: "\nqZ#\n", 99: "not shown", 149: f"{HOSTILE}\n \nlast line", 199: "not shown", 249: "<i>\nthe end"}
FACTS = {
    "hardware": {"cpu": HOSTILE, "cores": 2, "threads": 1, "gpu": None},
    "versions": {"python": "3.11.7", "torch": HOSTILE},
    "data": {"name": HOSTILE, "sha256": "ab" * 32},
    "command": HOSTILE,
}


class Page(HTMLParser):
    """Collects tags with their attributes, and texts with the open tags around them."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, list[tuple[str, dict[str, str | None]]]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.texts.append((data, list(self.open)))


def a_tour(folder: Path, monkeypatch: pytest.MonkeyPatch, problem: str = "") -> dict[str, Any]:
    """What a tour leaves, with hostile text wherever text can come from."""
    monkeypatch.setenv("MY_LLM_RESULTS", str(folder / "results"))
    lines = [{"step": i, "loss": 2 / (i + 1), "lr": 0.1, "grad_norm": 1.0, "tokens_per_second": 9} for i in range(250)]
    lines += [{"step": i, "validation_loss": 1 / (i + 1), "accuracy": 0.9, "macro_f1": 0.9} for i in (100, 249)]
    samples = [{"step": step, "sample": sample} for step, sample in SAMPLES.items()]
    steps = [*lines, *({"step": i, "bleu": 40.0 + i / 10, "exact": 0.002 * (i + 1)} for i in (124, 249))]
    return {
        "date": HOSTILE,
        "stages": [
            {**a_stop(folder / "stage1_mlp", SCORES, lines), "problem": problem},
            {**a_stop(folder / "stage2_rnn_lstm", SCORES_2, samples + lines), "problem": problem},
            {**a_stop(folder / "stage3_attention_seq2seq", SCORES_3, steps), "problem": problem},
            {**a_stop(folder / "stage4_transformer", SCORES_4, steps), "problem": problem},
            {**a_stop(folder / "stage5_gpt", SCORES_5, samples + lines), "problem": problem},
        ],
    }


def a_stop(folder: Path, scores: dict[str, Any], lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The files of one stage, and what the tour says of it."""
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "environment.json").write_text(json.dumps(FACTS))
    (folder / "scores.json").write_text(json.dumps(scores))
    return {
        "stage": folder.name, "report": str(folder / "scores.json"), "run": str(folder), "seconds": 1.0,
        "commands": [HOSTILE],
    }  # fmt: skip


@pytest.fixture(params=["", HOSTILE], ids=["went well", "failed"])
def text(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return render(a_tour(tmp_path, monkeypatch, request.param))


def test_the_page_is_well_formed_and_refers_to_nothing(text: str):
    page = Page(text)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("img", "link", "iframe", "object", "embed", "base", "form", "a")
        assert not {"src", "href", "srcset", "data", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    css = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in css and "@import" not in css and "http" not in css
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy and policy.startswith("default-src 'none'") and "http" not in policy


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone_and_on_a_desk(text: str, scheme: str, tmp_path: Path, chromium: Chromium):
    """In a real browser, in both languages: nothing is asked for, nothing complains, nobody scrolls sideways."""
    page = tmp_path / "report.html"
    page.write_text(text, encoding="utf-8")
    chromium.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    for width in (360, 1280):
        chromium.resize(width)
        assert chromium.complaints(page) == []
        for language, other in (("zh", "en"), ("en", "zh")):
            chromium.value(f"document.getElementById('choose-{language}').click(), 1")
            shown = "[...document.querySelectorAll('.{}')].filter(e => e.getClientRects().length).length"
            assert chromium.value(shown.format(language)) > 10 and chromium.value(shown.format(other)) == 0
            assert chromium.width() <= width, language
    ink, paper = (chromium.value(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    assert (lightness(ink) < lightness(paper)) == (scheme == "light")


def lightness(color: str) -> float:
    """Of rgb(…)."""
    return sum(map(float, re.findall(r"[\d.]+", color)[:3]))


def test_hostile_text_stays_text(text: str):
    page = Page(text)
    assert sum(tag == "script" for tag, _ in page.tags) == 1  # our own, whose digest the policy names
    assert "<script>alert" not in text and "onerror=alert(2)>" not in text
    shown = "".join(piece for piece, _ in page.texts)
    assert '<script>alert(1)</script>"' in shown and "evil &amp; end" in shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)


def test_every_word_of_ours_stands_there_in_both_languages(text: str):
    words = []
    for piece, around in Page(text).texts:
        classes = {name for _, attributes in around for name in (attributes.get("class") or "").split()}
        if {"en", "zh", "data"} & classes or {"script", "style", "title", "label"} & {tag for tag, _ in around}:
            continue
        words += re.findall(r"[^\W\d_]+", piece.replace("\xa0", " "))
    assert set(words) <= {"s", "ms", "µs", "F", "BLEU"}  # units and scores are the same in both
    pairs = re.findall(r'<span class="(en)" lang="en">|<span class="(zh)" lang="zh-Hans">', text)
    assert len(pairs) >= 8 and ["".join(pair) for pair in pairs] == ["en", "zh"] * (len(pairs) // 2)
    assert all(re.search("[\u4e00-\u9fff]", piece) for piece in inside("zh", text))
    assert not any(re.search("[\u4e00-\u9fff]", piece) for piece in inside("en", text))


def inside(language: str, text: str) -> list[str]:
    """Our words in each element of one language."""
    found: dict[int, str] = {}
    for piece, around in Page(text).texts:
        for _, attributes in around:
            if attributes.get("class") == language:
                ours = not any((a.get("class") or "").startswith("data") for _, a in around)
                found[id(attributes)] = found.get(id(attributes), "") + (piece if ours else "")
    return list(found.values())


def test_the_section_shows_what_the_run_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = render(a_tour(tmp_path, monkeypatch))
    for piece in ("98.1&nbsp;%", "1,203,456", "21&nbsp;µs", "0.11&nbsp;ms", ">205<", 'class="curve c1"', "goal"):
        assert piece in page
    assert "x" * 320 + " …" in page and "x" * 321 not in page


def test_the_texts_of_a_language_model_are_shown_before_during_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    page = render(a_tour(tmp_path, monkeypatch))
    for piece in ("5.68", "2.50", "62&nbsp;s", "4,322", "99,001", "345,678", "70,123", "looks normal</b>: 1.74 nats"):
        assert piece in page
    cards = re.findall(r'<div class="card"><h4>.*?after ([\d,]+) steps.*?</h4><p>(.*?)</p></div>', page)
    assert cards[3:] == cards[:3]  # stage 5 read and wrote the same
    cards = cards[:3]
    assert [steps for steps, _ in cards] == ["0", "150", "250"]  # five texts: the first, the middle and the last
    assert [text.count("<br>") for _, text in cards] == [0, 2, 1] and "not shown" not in page
    assert ">qZ#<" in cards[0][1] and "evil &amp;amp; end</span><br><br><span" in cards[1][1]
    assert ">&lt;i&gt;</span><br><span" in cards[2][1] and ">the end<" in cards[2][1]
    # stages 1, 2 and 5; BLEU of both translators; the second beside the first, translators and language models
    assert page.count('class="curve c1"') == 7


def test_the_translators_are_shown_with_every_head_and_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    page = render(a_tour(tmp_path, monkeypatch))
    third, fourth, _, both, _ = re.findall('<section class="stage".*?</section>', page, re.DOTALL)[2:]
    for section, share in ((third, "87.6"), (fourth, "93.4")):
        assert f"{share}&nbsp;%" in section and "91.2" in section and "looks normal" in section
        assert section.count('<table class="map">') == 1 and ">.75<" in section and section.count("<figure") == 2
    assert third.count('class="maps"') == 0 and fourth.count('class="maps"') == 3
    assert "The same task, twice" in both and "603,352" in both and "1,234,567" in both and "2,346" in both
    assert both.count('class="curve') == 2
    assert '<span class="x" style="left:100.00%">1,000<' in both  # 250 steps of 4 pairs


def test_a_gpt_is_shown_with_its_variety_and_beside_the_lstm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = render(a_tour(tmp_path, monkeypatch))
    fifth, _, both = re.findall('<section class="stage".*?</section>', page, re.DOTALL)[4:]
    for piece in ("4.57", "456,789", "<td>0.512</td><td>0.678</td>", "<td>12.345</td>"):
        assert piece in fifth
    assert "The same text, twice" in both and both.count('class="curve') == 2
    for piece in ("5.68", "4.57", "345,678", "456,789"):
        assert piece in both
    lines = [{"step": 0, "loss": 3.0, "tokens_per_second": 9}, {"step": 0, "validation_loss": 2.0}]
    assert report_stage5.by_seconds(SCORES_2, lines) == [(2.0, 3.0)]  # 2 windows of 9 characters, 9 a second
    assert report_stage5.by_seconds(SCORES_5, lines) == [(2.0, 3.0)]  # 3 of 6
    assert report_stage5.variety(SCORES_2) == ""


def test_models_of_different_texts_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tour = a_tour(tmp_path, monkeypatch)
    other = {**SCORES_5, "data": "another text"}
    (tmp_path / "stage5_gpt" / "scores.json").write_text(json.dumps(other))
    assert "The same text, twice" not in render(tour)


def test_a_translator_alone_or_without_heads_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tour = a_tour(tmp_path, monkeypatch)
    tour["stages"][2]["problem"] = "it broke"
    assert "The same task, twice" not in render(tour)
    section = report_stage4.section({**SCORES_4, "heads": None, "exact": 0.1}, [], FACTS)
    assert 'class="maps"' not in section and "has learnt less than it should" in section
    assert "This run left no curve." in section


def test_maps_stand_in_rows_of_layers_and_columns_of_heads():
    drawn = maps([[[[0.5, 0.01]], [[0, 1]]], [[[0.25, 0.75]], [[1, 0]]]], ["a"], ["bb", "<c>"])
    cells = re.findall(r'<path d="M(\d+) (\d+)h1v1h-1z" opacity="([\d.]+)"/>', drawn)
    # A map is 2 wide and 1 high, with a gap of 1: head 2 begins at 3, layer 2 at 2. A weight of 0.01 is not drawn.
    assert cells == [("0", "0", "0.50"), ("4", "0", "1.00"), ("0", "2", "0.25"), ("1", "2", "0.75"), ("3", "2", "1.00")]
    assert drawn.count(">a<") == 2 and drawn.count(">bb<") == 2 and drawn.count("&lt;c&gt;") == 2
    assert drawn.count('class="frame"') == 4


def test_a_language_model_that_learnt_nothing_and_wrote_nothing_is_said():
    section = report_stage2.section({**SCORES_2, "mean_loss": 3.2}, [], FACTS)
    assert "has learnt less than it should</b>: 3.20 nats per character" in section and "3.31" in section
    assert "It wrote nothing on the way." in section and "This run left no curve." in section
    one = report_stage2.texts([{"step": -1, "sample": "alone"}])
    assert one.count('class="card"') == 1 and "alone" in one


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [(0.981, "looks normal</b>"), (0.90, "looks lower than it should"), (0.9999, "even better than recorded")],
)
def test_a_run_is_judged_by_the_recorded_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracy: float, words: str
):
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path))
    (tmp_path / "stage1_mlp").mkdir()
    row = {"case": "bbc_news", "score": 98.0, "spread": 0.2}
    (tmp_path / "stage1_mlp" / "milestones.json").write_text(json.dumps({"rows": [row], "sha256": "d0 d1"}))
    assert words in verdict("stage1_mlp", {"name": "bbc_news", "sha256": "d1"}, accuracy, 420, 0.24)
    # 2 · √(0.981 · 0.019 / 420) = 1.33 % of luck, 2 · 0.2 of seeds: 98.0 ± 1.7
    if accuracy == 0.981:
        assert "96.3–99.7&nbsp;%" in verdict("stage1_mlp", {"name": "bbc_news", "sha256": "d1"}, accuracy, 420, 0.24)


def test_without_a_recorded_score_a_run_is_judged_by_guessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_LLM_RESULTS", str(tmp_path))
    assert "looks normal" in verdict("stage1_mlp", {"name": "my_texts", "sha256": "d2"}, 0.6, 100, 0.24)
    assert "lower than it should" in verdict("stage1_mlp", {"name": "my_texts", "sha256": "d2"}, 0.3, 100, 0.24)


def test_without_a_tour_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_LLM_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"no tour.*tour\.json.*start\.py tour"):
        report.write()
    (tmp_path / "runs" / "tour").mkdir(parents=True)
    (tmp_path / "runs" / "tour" / "tour.json").write_text("{torn")
    with pytest.raises(CheckpointError, match=r"cannot read .*tour\.json"):
        report.write()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.03, 1.61, [0, 0.5, 1, 1.5, 2]),
        (0, 240, [0, 100, 200, 300]),
        (0.958, 0.9702, [0.955, 0.96, 0.965, 0.97, 0.975]),
        (3, 3, [3, 4]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]):
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and len(found) <= 6
    assert found == pytest.approx(expected)


def test_a_curve_with_a_hole_is_drawn_around_it():
    assert path([(0, 1), (1, float("nan")), (2, 3)]) == "M0.00 1.00M2.00 3.00"
    chart = line_chart("y", [("a", [(1, 2.0), (2, float("inf")), (3, 1.0)])], x_name="x")
    assert "inf" not in chart and "nan" not in chart


def test_the_colour_of_a_cell_is_its_share_of_the_row():
    table = confusion([[3, 1], [0, 0]], ["a", "b"])
    assert 'class="right dark" style="--share:0.750">3<' in table and 'class="wrong" style="--share:0.250">1<' in table

"""Numbers go from the ledger into pages, again and again with the same result, and a wrong marker is named."""

import json
import re
from pathlib import Path

import pytest

from lab.digits import formatted, places_of
from lab.tables import TablesConfig, fill, run
from lab.words import word
from my_llm.errors import ConfigError

ENVIRONMENT = {
    "hardware": {"cpu": "AMD EPYC(TM) 7763 64-Core Processor", "cores": 2, "threads": 2, "gpu": None},
    "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "system": "Linux x86_64"},
}
STUDY = {
    "title": "Activations",
    "command": "python stage1_mlp/experiments.py --studies activations",
    "columns": {"accuracy": "%", "accuracy_sd": "%", "loss": "nats", "train_seconds": "s", "n": ""},
    "rows": [
        {"case": "relu", "accuracy": 90.123, "accuracy_sd": 0.21, "loss": 0.31415, "train_seconds": 31.04, "n": 3800},
        {"case": "tanh", "accuracy": 88.0, "loss": 0.4, "n": 3800},
    ],
    "data": "ag_news: local files",
    "sha256": "ab",
    "seed": [0, 1, 2],
    "seconds": 100.0,
    "date": "2026-11-22",
    **ENVIRONMENT,
}
MILESTONES = {
    **STUDY,
    "columns": {
        **dict.fromkeys(("model", "task", "data", "metric", "n"), ""),
        **{"score": "%", "spread": "%", "train_seconds": "s", "latency_us": "µs"},
    },
    "rows": [
        {"case": "ag_news", "model": "MLP", "task": "text classification", "data": "AG News | half",
         "metric": "accuracy", "score": 90.7, "spread": 0.1, "n": 3800, "train_seconds": 31, "latency_us": 20.4},
        {"case": "bbc_news", "model": "MLP", "task": "text classification", "data": "BBC News",
         "metric": "accuracy", "score": 98.1, "n": 421, "train_seconds": 7.3, "latency_us": 21},
    ],
}  # fmt: skip

PAGE = """# Page
It reaches <!-- number stage1_mlp/activations:relu.accuracy --><!-- /number --> in
<!-- number stage1_mlp/activations:relu.train_seconds -->old<!-- /number -->.

<!-- table stage1_mlp/activations -->
<!-- /table -->

<!-- table stage1_mlp/activations columns=loss,n -->
stale
<!-- /table -->

Write `<!-- table stage1_mlp/none -->` and `<!-- /table -->`, like this:
```
<!-- number stage1_mlp/none:a.b --><!-- /number -->
```
"""


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "results"
    monkeypatch.setenv("MY_LLM_RESULTS", str(folder))
    (folder / "stage1_mlp").mkdir(parents=True)
    (folder / "stage1_mlp" / "activations.json").write_text(json.dumps(STUDY))
    (folder / "stage1_mlp" / "milestones.json").write_text(json.dumps(MILESTONES))
    return folder


def test_numbers_and_tables_are_filled_in_and_stay_the_same():
    once, problems = fill(PAGE, chinese=False)
    assert problems == [] and fill(once, chinese=False) == (once, [])
    assert "-->90.1 %<!-- /number --> in\n" in once and "-->31.0 s<!-- /number -->." in once
    assert "| case | accuracy (%) | loss (nats) | train (s) |\n| --- | ---: | ---: | ---: |\n" in once
    assert "| relu | 90.1 ± 0.2 | 0.314 | 31.0 |\n| tanh | 88.0 | 0.400 | – |\n" in once
    assert "| case | loss (nats) | n |" in once and "| relu | 0.314 | 3,800 |" in once and "stale" not in once
    note = "<sub>n = 3,800; seeds 0, 1, 2; ag_news: local files; AMD EPYC 7763, 2 cores, torch 2.13.0; 2026-11-22; "
    assert note + "`python stage1_mlp/experiments.py --studies activations`</sub>" in once
    assert once.endswith(PAGE[PAGE.index("Write `") :])


def test_chinese_pages_get_chinese_headings_and_the_same_numbers():
    filled, problems = fill(PAGE, chinese=True)
    assert problems == []
    assert "-->90.1%<!-- /number -->" in filled and "-->31.0 秒<!-- /number -->" in filled
    assert (
        "| 情形 | 准确率 (%) | 损失 (奈特) | 训练 (秒) |" in filled and "| relu | 90.1 ± 0.2 | 0.314 | 31.0 |" in filled
    )
    assert "种子 0, 1, 2" in filled and "2 核" in filled


def test_a_missing_translation_names_the_key(results: Path):
    with pytest.raises(ConfigError, match=r"no Chinese word; got 'zeal'.*lab/words\.py"):
        word("zeal", chinese=True)
    study = {**STUDY, "columns": {"zeal": ""}, "rows": [{"case": "relu", "zeal": 1}]}
    (results / "stage1_mlp" / "activations.json").write_text(json.dumps(study))
    table = "<!-- table stage1_mlp/activations -->\n<!-- /table -->"
    assert fill(table, chinese=False)[1] == [] and "zeal" in fill(table, chinese=True)[1][0]


def test_the_milestones_stand_beside_the_published_marks():
    filled, problems = fill("<!-- milestones -->\n<!-- /milestones -->\n", chinese=False)
    assert problems == []
    line = next(line for line in filled.splitlines() if "AG News" in line)
    start = (
        "| stage1_mlp | MLP | text classification | AG News \\| half | accuracy | **90.7** ± 0.1 % | 31.0 s | 20 µs | "
    )
    assert line.startswith(start + "fastText 91.5 % ([Joulin et al. 2016](https://")
    assert "| BBC News | accuracy | **98.1** % | 7.3 s | 21 µs | – |" in filled
    assert "n = 421–3,800" in filled
    assert "文本分类" in fill("<!-- milestones --><!-- /milestones -->", chinese=True)[0]
    plain = fill("<!-- table stage1_mlp/milestones --><!-- /table -->", chinese=True)[0]
    assert "| bbc_news | MLP | 文本分类 | BBC News | 准确率 | 421 | 98.1 | 7.3 | 21 |" in plain
    assert "| 3,800 | 90.7 ± 0.1 |" in plain


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("number stage1_mlp/activation:relu.accuracy", "unknown result.*did you mean stage1_mlp/activations"),
        ("number stage1_mlp/activations:rulu.accuracy", "unknown case of stage1_mlp/activations.*did you mean relu"),
        ("number stage1_mlp/activations:relu.accurac", "unknown column.*did you mean accuracy"),
        ("number stage1_mlp/activations:tanh.train_seconds", "tanh.*has no value.*train_seconds"),
        ("number stage1_mlp/activations", "cannot read the marker"),
        ("table stage1_mlp/activations columns=accuracy,los", "unknown column.*did you mean loss"),
        ("table stage1_mlp/activations accuracy", "cannot read the marker"),
    ],
)
def test_a_marker_that_names_nothing_is_an_error_with_its_line(marker: str, words: str):
    text = f"# Title\n\n<!-- {marker} -->kept<!-- /{marker.split()[0]} -->\n"
    filled, problems = fill(text, chinese=False)
    assert filled == text and len(problems) == 1
    assert problems[0].startswith("3: ") and re.search(words, problems[0])


def test_a_dot_may_stand_in_a_case_and_in_a_column(results: Path):
    study = {**STUDY, "columns": {"at_0.1": "%"}, "rows": [{"case": "0.9", "at_0.1": 12.34}]}
    (results / "stage1_mlp" / "dots.json").write_text(json.dumps(study))
    text = "<!-- number stage1_mlp/dots:0.9.at_0.1 --><!-- /number -->"
    assert fill(text, chinese=False) == (text.replace("--><!", "-->12.3 %<!"), [])


def test_a_marker_without_its_end_is_an_error_with_its_line():
    good = "<!-- number stage1_mlp/activations:relu.n -->3,800<!-- /number -->"
    assert fill(f"\n{good}\n<!-- table stage1_mlp/activations -->\n", chinese=False)[1] == ["3: marker is not closed"]
    assert fill(f"\n{good.removesuffix('<!-- /number -->')}\n{good}", chinese=False)[1][0].startswith(
        "2: marker is not"
    )


def test_check_lists_stale_pages_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("README.md", "README.zh.md", "docs/zh/a.md", "stage1_mlp/README.md", "runs/note.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(PAGE, encoding="utf-8")
    assert run(TablesConfig(check=True), tmp_path) == 1
    stale = [line.split()[1].rstrip(";") for line in capsys.readouterr().out.splitlines()]
    assert stale == ["README.md", "README.zh.md", "docs/zh/a.md", "stage1_mlp/README.md"]
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == PAGE
    assert run(TablesConfig(), tmp_path) == 0
    assert run(TablesConfig(check=True), tmp_path) == 0
    assert "训练 (秒)" in (tmp_path / "docs/zh/a.md").read_text(encoding="utf-8")
    assert "训练 (秒)" in (tmp_path / "README.zh.md").read_text(encoding="utf-8")
    assert (tmp_path / "runs/note.md").read_text(encoding="utf-8") == PAGE


def test_one_wrong_marker_spoils_only_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "README.md").write_text(PAGE + "<!-- table none/such -->\n<!-- /table -->\n", encoding="utf-8")
    assert run(TablesConfig(), tmp_path) == 2
    assert "90.1 %" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert capsys.readouterr().err.startswith("README.md:16: unknown result")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (90.06, "%", "90.1"),
        (1234.56, "s", "1,234.6"),
        (0.1234, "ms", "0.12"),
        (1234.0, "µs", "1,200"),
        (20.4, "µs", "20"),
        (1.88, "nats", "1.880"),
        (1203456, "", "1,203,456"),
        (0.98765, "", "0.988"),
        (1386.4, "GFLOP/s", "1,390"),
        (0.0, "", "0"),
        (None, "%", "–"),
        ("large", "", "large"),
        (True, "", "✓"),
    ],
)
def test_a_value_has_as_many_digits_as_its_unit_deserves(value: float, unit: str, text: str):
    assert formatted(value, unit) == text


def test_numbers_of_one_size_have_the_same_decimals_in_a_column():
    values = (2.25, 2.2, 2.3004, 1.0, 12.0, 0.3, 0.0, 9.996, 1386.4, None, 7)
    shown = ["2.25", "2.20", "2.30", "1.00", "12", "0.3", "0", "10", "1,390", "–", "7"]
    content = {"columns": {"score": ""}, "rows": [{"case": str(value), "score": value} for value in values]}
    assert [formatted(value, "", places_of(content, "score", value)) for value in values] == shown

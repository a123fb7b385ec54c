"""The notebooks are what their sources say, and a cell that fails is not hidden."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from pages import standing

from lab.notebooks import executed

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(ROOT.glob("stage*/visualize.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.parent.name)
def test_the_notebook_is_made_from_its_source_and_was_executed(source: Path):
    notebook, made = jupytext.read(source), nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert [cell.source for cell in made.cells] == [cell.source for cell in notebook.cells], "run: make notebooks"
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs) >= 5
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)


def test_every_stage_has_a_notebook():
    assert {*standing()} <= {path.parent.name for path in SOURCES}


def test_execution_keeps_outputs_and_reports_a_failing_cell(tmp_path: Path):
    source = tmp_path / "visualize.py"
    head = "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     name: python3\n# ---\n"
    source.write_text(head + "# %%\nprint(6 * 7)\n")
    assert '"42\\n"' in executed(source)
    source.write_text(head + "# %%\n1 / 0\n")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        executed(source)

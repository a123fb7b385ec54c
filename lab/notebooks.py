"""`make notebooks`: each stage's visualize.py, executed from top to bottom and written as visualize.ipynb.

The .py file is the source, in cells marked `# %%`; the .ipynb is made from it, with its pictures, for people who read
on the web. A cell that fails stops the command and leaves the old notebook as it was.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from my_llm.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str]) -> int:
    """Execute the notebooks of all stages, or of the folders named."""
    sources = sorted(ROOT.glob("stage*/visualize.py"))
    for source in [s for s in sources if not arguments or s.parent.name in arguments]:
        started = time.monotonic()
        print(f"{source.parent.name}/visualize.ipynb", end="  ", flush=True)
        write_atomically(source.with_suffix(".ipynb"), executed(source).encode())
        print(f"{time.monotonic() - started:.0f} s")
    return 0


def executed(source: Path) -> str:
    """The notebook that `source` describes, with the outputs of every cell, as the text of an .ipynb file.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(source.parent)}}).execute()
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}  # nothing that changes from run to run
    return nbformat.writes(notebook) + "\n"

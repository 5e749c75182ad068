"""The notebooks run from top to bottom, and what is committed shows outputs and no error."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

# The kernel's sockets are on loopback for the length of a test; its advice to encrypt them is noise here.
QUIET = pytest.mark.filterwarnings("ignore:.*TCP:UserWarning", "ignore::ResourceWarning")


@QUIET
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    """Every cell of a fresh kernel succeeds, and a frame is shown."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = [
        output.get("data", {}).get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    assert any("dataframe" in page for page in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_committed_notebook_has_its_outputs_and_no_error(path: Path) -> None:
    """What GitHub shows is what a run shows."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [output for output in outputs if output.output_type == "error"] == []
    assert any(output.output_type == "execute_result" for output in outputs)


def test_there_is_a_quickstart() -> None:
    """The first notebook an analyst opens exists."""
    assert [path.name for path in NOTEBOOKS][:1] == ["01_quickstart.ipynb"]

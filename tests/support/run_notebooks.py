"""Run the notebooks again, in place: ``python tests/support/run_notebooks.py [name ...]``; without names, all of them.

Outputs are kept, the state of widgets is not: a page without a kernel could do nothing with it, and it would hide the
pictures that panels leave behind.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def executed(path: Path) -> nbformat.NotebookNode:
    """Return the notebook as a run in a fresh kernel leaves it."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, store_widget_state=False, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.get("metadata", {}).pop("execution", None)
    notebook.metadata.pop("widgets", None)
    return notebook


def main(names: list[str]) -> None:
    """Run the notebooks whose names contain one of ``names``."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not names or any(name in path.name for name in names):
            nbformat.write(executed(path), path)
            print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])

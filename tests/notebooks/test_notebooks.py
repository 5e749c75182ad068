"""The notebooks run from top to bottom, and what is committed shows outputs and no error."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from nbconvert import HTMLExporter

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

# The kernel's sockets are on loopback for the length of a test; its advice to encrypt them is noise here.
QUIET = pytest.mark.filterwarnings("ignore:.*TCP:UserWarning", "ignore::ResourceWarning")


@QUIET
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    """Every cell of a fresh kernel succeeds, and rows are shown: as a frame, or in a panel."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = [
        output.get("data", {}).get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    assert any("<table" in page for page in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_committed_notebook_has_its_outputs_and_no_error(path: Path) -> None:
    """What GitHub shows is what a run shows."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [output for output in outputs if output.output_type == "error"] == []
    assert any("<table" in output.get("data", {}).get("text/html", "") for output in outputs)


VIEW = "application/vnd.jupyter.widget-view+json"
SEEN = {"text/html", "image/png"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_each_panel_has_left_a_picture(path: Path) -> None:
    """Where a widget was there is a page or an image as well, in the same output or in the next; no widget's state."""
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        kinds = [set(output.get("data", {})) for output in cell.get("outputs", [])]
        for number, found in enumerate(kinds):
            if VIEW in found:
                beside = found | (kinds[number + 1] if number + 1 < len(kinds) else set())
                assert beside & SEEN, f"cell {cell.execution_count} shows nothing without its kernel"


def text_of(html: str) -> str:
    """Return what is to be read on a page."""
    return " ".join(BeautifulSoup(html, "html.parser").get_text().split())


def images_of(html: str) -> set[str]:
    """Return the images of a page."""
    found = BeautifulSoup(html, "html.parser").find_all("img")
    return {"".join(image["src"].split()) for image in found}


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Your element with mimetype:UserWarning"
)  # of a panel, whose page is the next
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_an_exported_page_shows_what_panels_have_left(path: Path) -> None:
    """Every table and image of the notebook is on the page, and no script that waits for a kernel in its place."""
    notebook = nbformat.read(path, as_version=4)
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert f'<script type="{VIEW}"' not in page
    text, images = text_of(page), images_of(page)
    for data in outputs:
        assert text_of(data.get("text/html", "")) in text
        assert images_of(data.get("text/html", "")) <= images
        if "image/png" in data and "text/html" not in data:
            assert f"data:image/png;base64,{data['image/png'].strip()}" in images
    panels = [data for data in outputs if re.search(r'class="ktf[ "]', data.get("text/html", ""))]
    assert all("<table" in data["text/html"] or "<img" in data["text/html"] for data in panels)


def test_there_is_a_quickstart() -> None:
    """The first notebook an analyst opens exists."""
    assert [path.name for path in NOTEBOOKS][:1] == ["01_quickstart.ipynb"]

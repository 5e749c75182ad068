"""Panels in saved notebooks: what stays when the kernel, or the widget, is gone."""

import base64
import re

from nbformat import NotebookNode
from playwright.sync_api import Locator, expect
from support.jupyter_frontends import Lab
from support.jupyter_notebook import WAIT_SECONDS, Notebook
from support.panel_cells import DEMO, panels, picture, reopened, wait_for_threads

CELLS = [
    DEMO,
    "orders = kt.table('orders')\norders.wait_until_ready(progress=False)\norders",
    "ktframe.widgets.lag_chart(orders)",
    "ktframe.widgets.live(orders)",
]
TROUBLE = re.compile("model not found|Error displaying widget|Loading widget")
KEPT = re.compile(r"as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC(?!; no longer live)")


def open_panels(lab: Lab) -> Notebook:
    """Return a notebook that shows a status panel, a chart with something in it, and rows."""
    notebook = lab.open(CELLS)
    notebook.run_all()
    notebook.wait_for_text(2, re.compile(r"at the last of ([2-9]|\d{2,}) measurements"))
    wait_for_threads(notebook, 3)
    return notebook


def expect_live(notebook: Notebook) -> None:
    """Assert that each panel is seen once: what is kept beside a live widget is out of sight."""
    for cell in (1, 2, 3):
        expect(panels(notebook, cell)).to_have_count(1)
        expect(notebook.output(cell)).not_to_contain_text("as of", use_inner_text=True)
    expect(picture(notebook, 2)).to_have_count(1)


def bundles(saved: NotebookNode, cell: int) -> dict[str, str]:
    """Return what is in a file for one cell, by MIME type; no type twice."""
    found: dict[str, str] = {}
    for output in saved.cells[cell].outputs:
        assert not found.keys() & output.data.keys()
        found |= output.data
    return found


def expect_pictures(shown: Locator) -> None:
    """Assert that rows and the chart are seen below each cell, once, and nothing of a widget that is missing."""
    expect(shown.locator(".ktf").filter(visible=True)).to_have_count(3)
    expect(shown.locator(".jp-Cell-outputArea img").filter(visible=True)).to_have_count(1)
    for cell, text in ((1, "o-"), (2, "measurements"), (3, "o-")):
        output = shown.locator(".jp-CodeCell").nth(cell).locator(".jp-Cell-outputArea")
        expect(output).to_contain_text(KEPT, use_inner_text=True)
        expect(output).to_contain_text(text, use_inner_text=True)
        expect(output).not_to_contain_text(TROUBLE, use_inner_text=True)


def test_a_saved_notebook_shows_its_panels_where_their_widgets_are_gone(lab: Lab) -> None:
    """Rows are in the file as HTML, charts as PNG; without a kernel, and with a new one, these are seen and no error."""
    notebook = open_panels(lab)
    expect_live(notebook)
    saved = notebook.saved()
    assert "<td>o-" in bundles(saved, 1)["text/html"]
    assert base64.b64decode(bundles(saved, 2)["image/png"]).startswith(b"\x89PNG")
    assert "<td>o-" in bundles(saved, 3)["text/html"]
    expect_pictures(reopened(notebook, kernel=False))
    shown = reopened(notebook, kernel=True)
    # What the front end says of them is on the page, and on the console, but not to be seen.
    troubles = shown.locator(".jp-OutputArea-child").filter(has_text=re.compile("model not found"))
    expect(troubles).to_have_count(3, timeout=WAIT_SECONDS * 1000)
    expect_pictures(shown)
    assert all("model not found" in error for error in lab.console.take())

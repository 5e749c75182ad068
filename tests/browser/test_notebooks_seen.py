"""The notebooks of this project as their readers see them: in JupyterLab, and the dashboard as a page of Voila."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from playwright.sync_api import Locator, expect
from support.jupyter_frontends import Lab, Voila
from support.jupyter_server import JupyterServer
from support.waiting import wait_until

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
DASHBOARD = next(path for path in NOTEBOOKS if "dashboard" in path.name)
OPEN = """async path => {
    const kernelPreference = {shouldStart: false, canStart: false};
    const panel = await window.jupyterapp.commands.execute("docmanager:open", {path, kernelPreference});
    await panel.context.ready;
    return panel.id;
}"""
ORDER = re.compile(r"\bo-\d{5}\b")


def committed(path: Path) -> list[NotebookNode]:
    """Return the code cells of a committed notebook."""
    cells = nbformat.read(path, as_version=4).cells  # type: ignore[no-untyped-call]
    return [cell for cell in cells if cell.cell_type == "code"]


def code_cells(path: Path) -> list[str]:
    """Return the code of a committed notebook."""
    return [cell.source for cell in committed(path)]


def expect_committed_outputs(shown: Locator, path: Path) -> None:
    """Assert that the pictures that are in a file are seen, and nothing of a widget that is missing."""
    cells = committed(path)
    outputs = shown.locator(".jp-CodeCell").locator(".jp-Cell-outputArea")
    expect(outputs).to_have_count(len(cells))
    expect(shown).not_to_contain_text(re.compile("displaying widget|model not found|Loading widget"))
    for number, cell in enumerate(cells):
        if any("image/png" in each.get("data", {}) for each in cell.outputs):
            expect(outputs.nth(number).locator("img").filter(visible=True)).to_have_count(1)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_its_outputs_and_runs_to_its_end(
    lab: Lab, jupyter_server: JupyterServer, path: Path
) -> None:
    """What is committed is seen before anything has run; all cells run in JupyterLab, and none shows an error."""
    notebook = lab.open(code_cells(path))
    shutil.copy(path, jupyter_server.notebooks)
    panel_id = notebook.page.evaluate(OPEN, path.name)
    expect_committed_outputs(notebook.page.locator(f"[id='{panel_id}']"), path)
    notebook.run_all(timeout=180)


def test_voila_serves_the_dashboard(voila: Voila) -> None:
    """As a page without code it says ready, its rows follow the topic, and a click on Pause holds them."""
    shown = voila.open(code_cells(DASHBOARD))
    shown.wait_for_text(re.compile("ready.*orders", re.DOTALL))
    newest = shown.page.locator(".ktf").filter(visible=True).filter(has_text="customer_id")
    expect(newest).to_have_count(1)

    def orders() -> list[str]:
        return ORDER.findall(newest.inner_text())

    before = orders()
    assert before
    wait_until(lambda: orders() != before, "other orders to be the newest")
    expect(shown.page.locator("tr.changed").filter(visible=True)).not_to_have_count(0)
    expect(shown.page.locator("tr.open").filter(visible=True)).not_to_have_count(0)
    shown.page.get_by_role("button", name="Pause").last.click()
    expect(shown.page.locator(".ktf-note").filter(has_text="paused")).to_have_count(1)
    held = orders()
    badge = shown.page.locator(".ktf tr").filter(visible=True).filter(has_text="ready").first
    for _ in range(2):
        said = badge.inner_text()
        wait_until(lambda said=said: badge.inner_text() != said, "the dashboard to go on")  # type: ignore[misc]
    assert orders() == held
    shown.page.get_by_role("button", name="Pause").last.click()
    wait_until(lambda: orders() != held, "rows that go on")

"""What tests of panels share: cells to begin with, and what they ask of a notebook and its page about its panels."""

from typing import Any

from playwright.sync_api import Locator, expect

from support.jupyter_notebook import WAIT_SECONDS, Notebook
from support.waiting import wait_until

DEMO = "import polars as pl\nimport ktframe\nkt = ktframe.demo(rate=20, writable=True)"
FAKE = """
import ktframe
import polars as pl
from ktframe.testing import FakeBroker
broker = FakeBroker()
kt = broker.connect()
for n in range(40):
    broker.produce("orders", f"k-{n}", {"n": n})
orders = kt.table("orders")
"""
PANEL_THREADS = """
import threading
len([each for each in threading.enumerate() if each.name.startswith("ktframe-panel-")])
"""
_WITH_KERNEL = """async given => {
    const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
    %s
}"""
_COMPLETE = _WITH_KERNEL % (
    "return (await kernel.requestComplete({code: given, cursor_pos: given.length})).content.matches;"
)
_REOPEN = """async shouldStart => {
    const app = window.jupyterapp;
    const panel = app.shell.currentWidget;
    const path = panel.context.path;
    await panel.context.sessionContext.shutdown();
    panel.dispose();
    const kernelPreference = {shouldStart, canStart: shouldStart, name: shouldStart ? "python3" : undefined};
    const again = await app.commands.execute("docmanager:open", {path, kernelPreference});
    await again.context.ready;
    if (shouldStart) await again.context.sessionContext.ready;
    return again.id;
}"""


def panels(notebook: Notebook, cell: int) -> Locator:
    """Return the panels that are to be seen below a cell."""
    return notebook.output(cell).locator(".ktf").filter(visible=True)


def wait_for_panels(notebook: Notebook, cell: int, count: int) -> None:
    """Return when so many panels are to be seen below a cell; fail with how many there are."""
    expect(panels(notebook, cell)).to_have_count(count, timeout=WAIT_SECONDS * 1000)


def wait_for_threads(notebook: Notebook, count: int) -> None:
    """Return when so many panels are drawn in the kernel."""
    wait_until(lambda: notebook.ask(PANEL_THREADS) == str(count), f"{count} threads of panels")


def picture(notebook: Notebook, cell: int) -> Locator:
    """Return the picture that is to be seen below a cell."""
    return notebook.output(cell).locator("img").filter(visible=True)


def wait_for_another_picture(notebook: Notebook, cell: int, before: str | None) -> None:
    """Return when the picture below a cell is another one than that with the address ``before``."""
    wait_until(lambda: picture(notebook, cell).get_attribute("src") != before, "another picture")


def wait_for_other_text(notebook: Notebook, cell: int, before: str) -> None:
    """Return when the panel below a cell says something else than ``before``."""
    wait_until(lambda: panels(notebook, cell).inner_text() != before, "another text")


def completions(notebook: Notebook, code: str) -> list[str]:
    """Return what the kernel of the notebook in front offers where ``code`` ends, as the Tab key asks for it."""
    found: list[str] = notebook.page.evaluate(_COMPLETE, code)
    return found


def reopened(notebook: Notebook, *, kernel: bool) -> Locator:
    """End the kernel of the notebook in front, close it and open it again, with a new kernel or none; return it."""
    panel_id: Any = notebook.page.evaluate(_REOPEN, kernel)
    return notebook.page.locator(f"[id='{panel_id}']")

"""Whatever comes from Kafka or a user is text on the page: no name, value or error of theirs runs anything there."""

from playwright.sync_api import Page, expect
from support.jupyter_frontends import Lab
from support.panel_cells import reopened, wait_for_threads

SCRIPT = "<script>window.hacked=1</script>"
IMAGE = '<img src=x onerror="window.hacked=1">$x^{'
CELLS = [
    f"""
import ktframe
import polars as pl
from ktframe.errors import BrokerError
from ktframe.testing import FakeBroker

script, image = {SCRIPT!r}, {IMAGE!r}
broker = FakeBroker()
kt = broker.connect()
for n in range(3):
    broker.produce(image, script + str(n), {{"n": n, script: image, "group": image}}, timestamp=60_000)
table = kt.table(image)
five = table.window(5)
n = pl.col("n").sum()
""",
    "ktframe.widgets.status(table)",
    "ktframe.widgets.live(table)",
    "ktframe.widgets.dashboard(kt)",
    "ktframe.widgets.lag_chart(table)",
    "five.live(n, by='group')",
    "five.chart(n.alias(script), live=True)",
    "table.plot_lag()",
    "five.chart(n, by='group')",
    """
import threading
broker.hold()
broker.produce(image, "last", {"n": 9})
threading.Timer(1.6, broker.release).start()
frame = table.to_polars()
""",
    "broker.go_down(BrokerError(image, script))",
    "kt.table(image + '2').to_polars()",
]
LOOKED_AT = (
    (1, SCRIPT),
    (1, IMAGE),
    (2, SCRIPT),
    (2, IMAGE),
    (3, IMAGE),
    (4, IMAGE),
    (5, IMAGE),
    (6, "1 window,"),
)


def expect_harmless(page: Page) -> None:
    """Assert that no text has become an element of the page, or has run."""
    expect(page.locator("img[src=x]")).to_have_count(0)
    expect(page.locator(".jp-Cell-outputArea script")).to_have_count(0)
    assert page.evaluate("typeof window.hacked") == "undefined"


def test_hostile_names_values_and_errors_are_text_and_run_nothing(lab: Lab) -> None:
    """Topics, keys, values, columns and errors that are HTML are seen as they are, live and in the saved notebook."""
    notebook = lab.open(CELLS)
    for cell in range(10):
        notebook.run(cell)
    wait_for_threads(notebook, 6)
    for cell, text in LOOKED_AT:
        notebook.wait_for_text(cell, text)
    notebook.wait_for_text(9, IMAGE)
    notebook.run(10)
    notebook.wait_for_text(3, SCRIPT)
    notebook.wait_for_text(1, "last error: ")
    notebook.start(11)
    notebook.wait_for_text(11, SCRIPT)
    for cell in (7, 8):
        expect(notebook.output(cell).locator("img")).to_have_count(1)
    expect_harmless(notebook.page)
    notebook.ask("kt.close()")
    wait_for_threads(notebook, 0)
    expect_harmless(notebook.page)
    notebook.wait_for_text(1, "no longer live")
    notebook.saved()
    cells = reopened(notebook, kernel=False).locator(".jp-CodeCell").locator(".jp-Cell-outputArea")
    for cell in (1, 2, 11):
        expect(cells.nth(cell)).to_contain_text(SCRIPT, use_inner_text=True)
    expect_harmless(notebook.page)

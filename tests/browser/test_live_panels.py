"""Charts, live rows and the dashboard: what they show is what is in the topic, and they follow it."""

import re

from playwright.sync_api import Locator, expect
from support.jupyter_frontends import Lab, NotebookSeven
from support.jupyter_notebook import Notebook
from support.panel_cells import (
    FAKE,
    picture,
    wait_for_another_picture,
    wait_for_panels,
    wait_for_threads,
)
from support.waiting import wait_until

# A record in the first five minutes, which is closed by one in the fifth: of that window, which is open.
WINDOWS = """
kt = broker.connect()

def pay(key, amount, minute):
    broker.produce("payments", key, {"amount": amount}, timestamp=minute * 60_000)

pay("a", 5, 1)
pay("b", 7, 21)
five = kt.table("payments").window(5, grace="2m")
paid = pl.col("amount").sum()
"""


def plotted(notebook: Notebook, panel: str) -> str:
    """Return the heights of the points of a chart, line by line, as the kernel has them; the first line is the total."""
    # The chart may have no axes at this moment: the panel's thread draws it anew.
    lines = f"for ax in {panel}._picture._chart.axes[:1] for line in ax.lines"
    return notebook.ask(f"print([[float(y) for y in line.get_ydata() if y is not None] {lines}])")


def row(notebook: Notebook, cell: int, text: str) -> Locator:
    """Return the row of a live frame that shows ``text``."""
    return notebook.output(cell).locator("tr").filter(visible=True).filter(has_text=text)


def test_the_lag_chart_draws_what_is_still_to_be_read(lab: Lab) -> None:
    """Records that arrive and are not read are in the line, in the caption and in the picture; then they are not."""
    notebook = lab.open([FAKE, "chart = ktframe.widgets.lag_chart(orders)\nchart"])
    notebook.run_all()
    notebook.wait_for_text(1, re.compile(r"ready orders\s+0 to go at the last of"))
    seen = picture(notebook, 1).get_attribute("src")
    notebook.ask("broker.hold()\nfor n in range(7): broker.produce('orders', f'k-{n}', {'n': -n})")
    notebook.wait_for_text(
        1, re.compile(r"(behind|restoring) orders.*\s7 to go at the last of .*, at most \d+ \(", re.DOTALL)
    )
    wait_until(lambda: ", 7.0]" in plotted(notebook, "chart"), "a line that ends at 7")
    wait_for_another_picture(notebook, 1, seen)
    notebook.ask("broker.release()")
    notebook.wait_for_text(1, re.compile(r"ready orders\s+0 to go at the last of"))
    wait_until(lambda: re.search(r" 7.0, (7.0, )*0.0", plotted(notebook, "chart")), "a line that falls to 0")


def test_live_rows_show_what_has_changed_until_they_are_paused(lab: Lab) -> None:
    """A changed and a new row are shaded; a click holds the rows, and another lets them go on."""
    notebook = lab.open([FAKE, "ktframe.widgets.live(orders, every='0.2s')", "orders"])
    notebook.run_all()
    notebook.wait_for_text(1, "40 rows, the newest 10")
    expect(notebook.output(1).locator("tr.changed")).to_have_count(0)
    notebook.ask("broker.produce('orders', 'k-3', {'n': 1333})")
    expect(row(notebook, 1, "1333")).to_have_class("changed")
    colour = "row => getComputedStyle(row.cells[0]).backgroundColor"
    assert row(notebook, 1, "1333").evaluate(colour) != row(notebook, 1, "k-39").evaluate(colour)
    notebook.ask("broker.produce('orders', 'new', {'n': 1444})")
    expect(row(notebook, 1, "1444")).to_have_class("changed")
    expect(row(notebook, 1, "1333")).not_to_have_class("changed")
    notebook.click(1, "Pause")
    notebook.wait_for_text(1, "paused")
    notebook.ask("broker.produce('orders', 'while-held', {'n': 555})")
    notebook.wait_for_text(2, re.compile(r"rows\s*42"))
    expect(row(notebook, 1, "while-held")).to_have_count(0)
    notebook.click(1, "Pause")
    notebook.wait_for_text(1, "while-held")
    expect(notebook.output(1)).not_to_contain_text("paused", use_inner_text=True)


def test_windows_that_are_open_are_marked_and_their_charts_follow(lab: Lab) -> None:
    """Rows of open windows have a dashed edge; a chart is a picture, and a live one is drawn again with what comes."""
    cells = [
        "five.live(paid=paid)",
        "five.chart(paid=paid)",
        "chart = five.chart(paid=paid, live=True)\nchart",
    ]
    notebook = lab.open([FAKE + WINDOWS, *cells])
    notebook.run_all()
    notebook.wait_for_text(1, "2 rows")
    edge = "row => getComputedStyle(row.cells[0]).borderLeftStyle"
    shown = notebook.output(1).locator("tbody tr").filter(visible=True)
    assert shown.evaluate_all(f"rows => rows.map({edge})") == ["dashed", "none"]
    expect(shown.first).to_have_class("open")
    assert "image/png" in notebook.outputs(2)[0]["data"]
    assert picture(notebook, 2).evaluate("image => image.naturalWidth") > 0
    notebook.wait_for_text(3, "2 windows, 1 rows of 2 may still change")
    still, seen = (picture(notebook, cell).get_attribute("src") for cell in (2, 3))
    notebook.ask("pay('c', 30, 22)")
    expect(shown.first).to_contain_text("37")
    expect(shown.first).to_have_class(re.compile("changed"))
    wait_until(lambda: "37.0" in plotted(notebook, "chart"), "a point at 37")
    wait_for_another_picture(notebook, 3, seen)
    notebook.ask("pay('d', 1, 41)")
    notebook.wait_for_text(3, "3 windows, 1 rows of 3 may still change")
    expect(shown).to_have_count(3)  # the rows are drawn when they are due, not with the chart
    assert shown.evaluate_all(f"rows => rows.map({edge})") == ["dashed", "none", "none"]
    assert picture(notebook, 2).get_attribute("src") == still


def test_the_dashboard_lists_everything_also_what_is_asked_for_later(lab: Lab) -> None:
    """Every table, stream and window of a connection has a line from when it is asked for until it is closed."""
    notebook = lab.open([FAKE, "ktframe.widgets.dashboard(kt)", "clicks = kt.stream('clicks')"])
    notebook.run(0)
    notebook.run(1)
    expect(row(notebook, 1, "orders")).to_contain_text("not started")
    notebook.ask("orders.wait_until_ready()")
    expect(row(notebook, 1, "orders")).to_contain_text("ready")
    expect(row(notebook, 1, "orders")).to_contain_text("40")
    notebook.ask("broker.create_topic('clicks')")
    notebook.run(2)
    notebook.wait_for_text(1, "clicks")
    expect(row(notebook, 1, "clicks")).to_contain_text("not started")
    notebook.ask("clicks.wait_until_ready()")
    expect(row(notebook, 1, "clicks")).to_contain_text("ready")
    notebook.ask("orders.close()")
    expect(row(notebook, 1, "orders")).to_have_count(0)


def test_notebook_7_shows_a_table_and_its_live_rows(notebook7: NotebookSeven) -> None:
    """The status panel and the live rows follow the topic in Notebook 7 as well, where each is seen once."""
    notebook = notebook7.open([FAKE, "orders", "ktframe.widgets.live(orders)"])
    notebook.run_all()
    notebook.wait_for_text(1, re.compile(r"ready.*rows\s*40", re.DOTALL))
    wait_for_threads(notebook, 2)
    notebook.ask("broker.produce('orders', 'new', {'n': 1444})")
    notebook.wait_for_text(1, re.compile(r"rows\s*41"))
    expect(row(notebook, 2, "1444")).to_have_class("changed")
    for cell in (1, 2):
        wait_for_panels(notebook, cell, 1)


def test_a_panel_inside_of_widgets_hides_nothing_else(lab: Lab) -> None:
    """In an Output, alone or in a Tab, a panel shows and follows the topic; what is around it stays."""
    show = """
import ipywidgets as W
from IPython.display import display
orders.wait_until_ready(progress=False)
print("before")
plain, inside = W.Output(), W.Output()
display(plain, W.Tab([inside]), W.Button(description="A button"))
with plain:
    display(ktframe.widgets.live(orders))
with inside:
    display(ktframe.widgets.status(orders))
print("after")
"""
    notebook = lab.open([FAKE, show])
    notebook.run_all()
    shown = notebook.output(1)
    expect(shown.locator(".ktf").filter(visible=True)).to_have_count(2)
    for text in ("before", "after", "A button"):
        expect(shown.get_by_text(text, exact=True).filter(visible=True)).to_have_count(1)
    notebook.ask("broker.produce('orders', 'k-new', {'n': 4711})")
    row(notebook, 1, "4711").first.wait_for()
    notebook.ask("kt.close()")
    wait_for_threads(notebook, 0)

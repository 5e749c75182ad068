"""The status panel, waiting, and what becomes of panels: when their cell runs again, when they are closed."""

import re

from playwright.sync_api import expect
from support.jupyter_frontends import Lab
from support.jupyter_notebook import Notebook
from support.panel_cells import (
    DEMO,
    FAKE,
    completions,
    panels,
    picture,
    wait_for_another_picture,
    wait_for_other_text,
    wait_for_panels,
    wait_for_threads,
)

# One record in each twentieth of a second: a topic that takes two seconds.
SLOWLY = """
import time
import ktframe.testing.broker as module

whole = module.read_log

def slowly(log, partition, position):
    time.sleep(0.05)
    return whole(log, partition, position, most=1)

module.read_log = slowly
for topic in ("first", "second"):
    for n in range(44):
        broker.produce(topic, f"k-{n}", {"n": n})
"""
MIXED = """
import ktframe, polars as pl
from ktframe.testing import FakeBroker
broker = FakeBroker()
kt = broker.connect()
for n in range(40):
    broker.produce("events", f"u-{n}", {"value": n})
for n in range(20):
    broker.produce("events", f"u-{n}", {"value": "text"})
events = kt.table("events", schema={"value": pl.Int64})
"""
# Whatever bar is on the page between now and the end: its values, in order.
WATCH_BARS = """() => {
    window.seen = [];
    new MutationObserver(() => {
        for (const bar of document.querySelectorAll(".jp-OutputArea progress")) {
            if (bar.value !== window.seen.at(-1)) window.seen.push(bar.value);
        }
    }).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""
NO_LONGER = "no longer live"


def test_a_panel_of_a_table_starts_nothing_and_turns_from_restoring_to_ready(lab: Lab) -> None:
    """A cell that ends with a table reads nothing; once somebody does, its badge goes along without another run."""
    notebook = lab.open([f"{FAKE}broker.hold()\norders"])
    notebook.run(0)
    notebook.wait_for_text(0, "not started")
    wait_for_threads(notebook, 1)
    assert notebook.ask("broker.assigned, str(orders._reader.binding.state)") == "([], 'created')"
    notebook.ask("orders.readiness()")
    notebook.wait_for_text(0, "restoring")
    notebook.ask("broker.release()")
    notebook.wait_for_text(0, re.compile(r"ready.*rows\s*40.*k-0", re.DOTALL))


def test_a_panel_with_refused_records_is_not_green(lab: Lab) -> None:
    """Where values are not what was declared the badge says incomplete, the panel what helps, and the cell's read warns."""
    cells = [MIXED, "frame = events.to_polars()", "events", "ktframe.widgets.dashboard(kt)"]
    notebook = lab.open(cells)
    notebook.run_all()
    notebook.wait_for_text(
        1, re.compile(r"KtframeWarning: 20 of 60 records of 'events' were refused.*ktframe\.Json", re.DOTALL)
    )
    notebook.wait_for_text(2, re.compile(r"▲ incomplete.*rows\s*20.*refused\s*20.*stale\s*20", re.DOTALL))
    notebook.wait_for_text(2, "{'value': ktframe.Json} in schema=")
    notebook.wait_for_text(3, "▲ incomplete")
    for cell in (2, 3):
        colour = (
            panels(notebook, cell)
            .locator(".ktf-badge")
            .first.evaluate("badge => getComputedStyle(badge).backgroundColor")
        )
        assert colour == "rgb(138, 69, 0)"


def test_a_wait_shows_a_bar_that_moves_and_leaves_one_line(lab: Lab) -> None:
    """Both ways to wait for a table show how far it is, and then only that it is ready."""
    waits = ("_ = kt.table('first').wait_until_ready()", "_ = await kt.table('second').ready()")
    notebook = lab.open([FAKE + SLOWLY, *waits])
    notebook.run(0)
    for cell, topic in ((1, "first"), (2, "second")):
        notebook.page.evaluate(WATCH_BARS)
        notebook.run(cell)
        seen = notebook.page.evaluate("window.seen")
        assert seen == sorted(seen)
        assert len([share for share in seen if 0 < share < 1]) >= 3
        expect(notebook.output(cell).locator("progress")).to_have_count(0)
        assert re.fullmatch(rf"{topic}: ready, 100%[^\n]*", notebook.output(cell).inner_text().strip())


def test_panels_go_on_while_the_main_thread_is_busy(lab: Lab) -> None:
    """During a cell that blocks, status, rows and chart follow the topic."""
    cells = [
        "orders = kt.table('orders')\norders",
        "ktframe.widgets.live(orders)",
        "ktframe.widgets.lag_chart(orders)",
    ]
    notebook = lab.open([DEMO, *cells, "import time; time.sleep(600)"])
    for cell in range(4):
        notebook.run(cell)
    notebook.ask("orders.wait_until_ready()")
    notebook.wait_for_text(1, "incomplete")  # some of the sample orders are none
    notebook.start(4)
    expect(notebook.page.locator(".jp-CodeCell").nth(4)).to_contain_text("[*]")
    before = [panels(notebook, cell).inner_text() for cell in (1, 2)]
    drawn = picture(notebook, 3).get_attribute("src")
    wait_for_other_text(notebook, 1, before[0])
    wait_for_other_text(notebook, 2, before[1])
    wait_for_another_picture(notebook, 3, drawn)


def test_a_cell_that_runs_again_has_one_panel(lab: Lab) -> None:
    """Each run takes the place of the one before, on the page and in the kernel; the table is read once."""
    notebook = lab.open([FAKE, "orders.wait_until_ready()\norders", "ktframe.widgets.live(orders)"])
    notebook.run_all()
    for _ in range(2):
        notebook.run(1)
        notebook.run(2)
    for cell in (1, 2):
        wait_for_panels(notebook, cell, 1)
        expect(notebook.output(cell)).not_to_contain_text(NO_LONGER, use_inner_text=True)
    expect(notebook.output(2).get_by_role("button", name="Pause")).to_have_count(1)
    wait_for_threads(notebook, 2)
    assert notebook.ask("len(broker.assigned)") == "1"
    notebook.ask("broker.produce('orders', 'one-more', {'n': 1})")
    notebook.wait_for_text(1, re.compile(r"rows\s*41"))
    notebook.wait_for_text(2, "one-more")


def test_what_is_closed_leaves_its_last_picture(lab: Lab) -> None:
    """Closing a panel, a table or the connection ends its panels, each with what it showed last, and no other."""
    clicks = "for n in range(9): broker.produce('clicks', f'c-{n}', {'n': n})\nclicks = kt.stream('clicks')"
    cells = [
        f"{FAKE}{clicks}\nfor each in (orders, clicks): each.wait_until_ready()",
        "panel = ktframe.widgets.status(orders)\npanel",
        "ktframe.widgets.live(orders)",
        "clicks",
        "ktframe.widgets.lag_chart(clicks)",
    ]
    notebook = lab.open(cells)
    notebook.run_all()
    notebook.wait_for_text(4, "0 to go")
    wait_for_threads(notebook, 4)
    closings = (
        ("panel.close()", 1, "k-0"),
        ("orders.close()", 2, "k-39"),
        ("kt.close()", 3, "the first 8 of 9 rows"),
    )
    for left, (code, cell, row) in zip((3, 2, 0), closings, strict=True):
        notebook.ask(code)
        wait_for_threads(notebook, left)
        notebook.wait_for_text(cell, NO_LONGER)
        notebook.wait_for_text(cell, row)
        if left:
            expect(notebook.output(cell + 1)).not_to_contain_text(NO_LONGER, use_inner_text=True)
    notebook.wait_for_text(4, NO_LONGER)
    expect(picture(notebook, 4)).to_have_count(1)
    expect(notebook.output(2).get_by_role("button")).to_have_count(0)


def error_lines(notebook: Notebook, cell: int) -> list[str]:
    """Return the lines of the error that a cell shows."""
    notebook.start(cell)
    notebook.wait_for_text(cell, "Error")
    notebook.wait_until_idle()
    return notebook.output(cell).inner_text().strip().splitlines()


def test_an_error_shows_the_hint_first_and_is_short(lab: Lab) -> None:
    """What an analyst sees of an error fits without scrolling, and begins with what helps."""
    notebook = lab.open([FAKE, "def load(topic):\n    return kt.table(topic).to_polars()", "load('ordes')"])
    notebook.run(0)
    notebook.run(1)
    lines = error_lines(notebook, 2)
    assert lines[0].startswith("Hint: ")
    assert "orders" in lines[0]
    assert [line for line in lines if line.startswith("UnknownTopicError: ")]
    assert len(lines) < 8
    assert "site-packages" not in "\n".join(lines)


def test_the_tab_key_offers_topics_columns_and_keys(lab: Lab) -> None:
    """The kernel completes names of topics, columns of tables that are open, and keys."""
    notebook = lab.open([f"{DEMO}\norders = kt.table('orders')\norders.wait_until_ready()"])
    notebook.run(0)
    assert [each.strip("'") for each in completions(notebook, "kt.table('ord")] == ["orders"]
    assert [each.strip("'") for each in completions(notebook, "pl.col('customer")] == ["customer_id"]
    assert any("o-00" in each for each in completions(notebook, "orders['o-00"))

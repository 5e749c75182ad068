"""Take the pictures below ``notebooks/images`` again: ``PYTHONPATH=tests python tests/support/take_screenshots.py [name ...]``.

Each panel is taken as JupyterLab shows it, in the light theme and in the dark one, in the system's Chromium. Without
names, all of them. Look at each before it is committed.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from playwright.sync_api import expect

from support.browser import chromium
from support.jupyter_frontends import Lab
from support.jupyter_notebook import Notebook
from support.jupyter_server import JupyterServer
from support.panel_cells import DEMO, panels, wait_for_threads
from support.waiting import wait_until

IMAGES = Path(__file__).parents[2] / "notebooks" / "images"
THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
READY = f"{DEMO}\norders = kt.table('orders')\norders.wait_until_ready(progress=False)"
# Lag to look at: changes that come faster than they are read, for some seconds.
TROUBLE = """
import time
kt.configure(monitor_interval="100ms")
burst = orders.to_polars().sample(20_000, with_replacement=True, seed=1).drop("key")
for rows in (20_000, 5_000):
    kt.publish("orders", burst.head(rows), key="order_id")
    time.sleep(3)
"""
WINDOWS = """
five = orders.window(5, grace="2m")
revenue = pl.col("amount").sum()
"""
# What it warns of is below this cell then, not above the chart.
READ = "rows = five.to_polars()"
# A bar that stands still: half of a topic is read.
RESTORING = """
import ktframe
import ktframe.testing.broker as module
from ktframe.testing import FakeBroker

broker, whole, open_now = FakeBroker(), module.read_log, [6_000]
for n in range(10_000):
    broker.produce("orders", f"o-{n:05}", {"amount": n / 4, "status": "paid"})

def partly(log, partition, position):
    return whole(log, partition, position, most=max(0, min(1_000, open_now[0] - position)))

module.read_log = partly
kt = broker.connect()
"""
# Events of three types, which one column can't hold.
MIXED = """
import random
import time
import ktframe
from ktframe.testing import FakeBroker

broker, chance = FakeBroker(), random.Random(7)
kt = broker.connect()
for n in range(3_000):
    value = chance.choice([n, n, f"page {n}", {"code": n}])
    broker.produce(
        "events",
        f"user-{chance.randrange(80):02}",
        {"value": value, "number": n},
        timestamp=int(time.time() * 1000),
    )
events = kt.table("events")
events.wait_until_ready(progress=False)
"""
CELLS = {
    "status": (READY, "orders"),
    "lag": (READY, "ktframe.widgets.lag_chart(orders, '1m')", TROUBLE),
    "live": (f"{READY}\nclosing = orders.window(5, grace='2m')", "ktframe.widgets.live(orders, rows=8)"),
    "windows": (READY + WINDOWS + READ, "five.chart(revenue=revenue, by='region', live=True)"),
    "dashboard": (
        f"{READY}{WINDOWS}\nclicks = kt.stream('clicks')\ncustomers = kt.table('customers')",
        "clicks.wait_until_ready(progress=False)\nktframe.widgets.dashboard()",
    ),
    "incomplete": (MIXED, "events"),
    "restoring": (RESTORING, "kt.table('orders').wait_until_ready()"),
}


def shown(lab: Lab, name: str) -> Notebook:
    """Return a notebook whose second cell shows one panel."""
    notebook = lab.open(CELLS[name])
    notebook.run(0)
    if name == "restoring":
        notebook.start(1)
        notebook.wait_for_text(1, "60%")
        return notebook
    for cell in range(1, len(CELLS[name])):
        notebook.run(cell)
    wait_for_threads(notebook, 1)
    if name == "live":
        wait_until(lambda: notebook.output(1).locator("tr.changed").count() > 1, "rows that have changed")
    elif name not in {"lag", "windows", "incomplete"}:
        before = panels(notebook, 1).inner_text()
        wait_until(lambda: panels(notebook, 1).inner_text() != before, "a second frame")
    return notebook


def take(lab: Lab, names: list[str], directory: Path) -> Iterator[Path]:
    """Write the pictures, and yield the path of each."""
    for name in names:
        notebook = shown(lab, name)
        for theme in THEMES:
            notebook.theme(theme)
            expect(notebook.page.locator("#jupyterlab-splash")).to_have_count(0)
            path = directory / f"{name}-{theme}.png"
            notebook.screenshot(path, cell=1)
            yield path
        lab.leave()


def main(names: list[str]) -> None:
    """Take the pictures with these names, or all."""
    IMAGES.mkdir(exist_ok=True)
    with chromium() as browser, JupyterServer() as server:
        lab = Lab(browser.new_context(viewport={"width": 1280, "height": 900}), server)
        for path in take(lab, names or list(CELLS), IMAGES):
            sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1:])

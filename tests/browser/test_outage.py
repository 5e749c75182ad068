"""Panels of a real Kafka that is away for a minute: they say so, and are live again with no cell run."""

import re
from pathlib import Path
from threading import Event

from support.jupyter_frontends import Lab
from support.kafka_broker import KafkaBroker

OUTAGE_SECONDS = 60.0
CELL = """
import ktframe
heard = []
orders = ktframe.connect({bootstrap!r}, state_dir={state!r}).table({topic!r})
orders.to_polars()
orders.on_change(lambda event: heard.append(event.rows))
"""


def test_panels_and_callbacks_come_back_after_an_outage(
    lab: Lab, broker: KafkaBroker, tmp_path: Path
) -> None:
    """The status panel and live rows stop to say "ready", and show what is new when the broker is back."""
    topic = broker.create_topic("orders-of-an-outage")
    broker.produce(topic, [(b"first", b'{"n":1}')])
    setup = CELL.format(bootstrap=broker.bootstrap, state=str(tmp_path / "state"), topic=topic)
    notebook = lab.open([setup, "orders", "ktframe.widgets.live(orders, every='0.2s')"])
    notebook.run_all()
    notebook.wait_for_text(1, re.compile(r"ready.*rows\s*1.*records to go\s*0.*first", re.DOTALL))
    notebook.wait_for_text(2, "first")

    broker.stop()
    try:
        notebook.wait_for_text(1, re.compile(r"recovering.*records to go\s*unknown", re.DOTALL), timeout=60)
        notebook.wait_for_text(2, "recovering", timeout=60)
        Event().wait(OUTAGE_SECONDS)
    finally:
        broker.start()
    broker.produce(topic, [(b"second", b'{"n":2}')])

    notebook.wait_for_text(1, re.compile(r"ready.*rows\s*2.*second", re.DOTALL), timeout=30)
    notebook.wait_for_text(2, "second", timeout=30)
    assert notebook.ask("print(heard)").strip() == "[1]"
    notebook.ask("orders.close()")

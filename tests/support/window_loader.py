"""A program that a test kills: loads windows and a stream of one topic, and prints with every batch how far each is.

Arguments: bootstrap, topic, state directory, flush interval in seconds. Each line is a JSON object with ``of``
(``window`` or ``stream``), ``at`` (seconds of the monotonic clock) and ``position`` (next offset per partition).
"""

from __future__ import annotations

import sys
import time
from functools import partial

import orjson

import ktframe
from ktframe.events import RowsChanged

SIZE = 5


def main() -> None:
    """Load until killed."""
    bootstrap, topic, state_dir, flush_interval = sys.argv[1:]
    kt = ktframe.connect(bootstrap, state_dir=state_dir, store_flush_interval=float(flush_interval))
    window, stream = kt.table(topic).window(SIZE), kt.stream(topic)
    window.on_change(partial(report, "window"))
    stream.on_change(partial(report, "stream"))
    window.wait_until_ready(progress=False)
    stream.wait_until_ready(progress=False)
    tell({"ready": True})


def report(of: str, event: RowsChanged) -> None:
    """Print how far one of them is."""
    position = {str(partition): offset for partition, offset in event.position.items()}
    tell({"of": of, "at": time.monotonic(), "position": position})


def tell(line: dict[str, object]) -> None:
    """Print one line, whole: two threads do."""
    sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

"""A program that a test kills: loads a table and prints, with every batch, when it was and how far it has got.

Arguments: bootstrap, topic, state directory, flush interval in seconds. Each line is a JSON object with ``at`` (seconds
of the monotonic clock, which processes of one machine share) and ``position`` (next offset per partition).
"""

from __future__ import annotations

import json
import sys
import time

import ktframe


def main() -> None:
    """Load until killed."""
    bootstrap, topic, state_dir, flush_interval = sys.argv[1:]
    kt = ktframe.connect(bootstrap, state_dir=state_dir, store_flush_interval=float(flush_interval))
    table = kt.table(topic)
    table.on_change(
        lambda event: print(json.dumps({"at": time.monotonic(), "position": event.position}), flush=True)
    )
    table.wait_until_ready(progress=False)
    print(json.dumps({"at": time.monotonic(), "ready": True}), flush=True)


if __name__ == "__main__":
    main()

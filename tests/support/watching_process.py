"""A program that keeps a table open for a test, which may stop it by SIGSTOP: it prints the table's keys for each line.

Arguments: bootstrap, topic, state directory. It prints a JSON object with the ``keys`` that a fresh read gives and the
``reasons`` for which the table was built anew so far.
"""

from __future__ import annotations

import json
import sys

import ktframe
from ktframe.sync import presence


def main() -> None:
    """Answer each line."""
    bootstrap, topic, state_dir = sys.argv[1:]
    presence._LEAST_MS = 1_000  # type: ignore[misc]  # the test's tombstones are gone within seconds
    with ktframe.connect(bootstrap, state_dir=state_dir, monitor_interval=0.1) as context:
        table = context.table(topic)
        for _ in sys.stdin:
            keys = sorted(table.to_polars()["key"])
            reasons = [each.detail for each in table.history.incidents() if each.kind == "rebuilt"]
            sys.stdout.write(json.dumps({"keys": keys, "reasons": reasons}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

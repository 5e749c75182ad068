"""Quix Streams: the last value of each key in its state, which is RocksDB.

Arguments: bootstrap, topic, records.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import orjson
from quixstreams import Application, State
from rocksdict import AccessType, Options, Rdict
from stamps import begin, end, result

STATE = Path("state")


def keep(value: Any, state: State) -> None:
    """Keep the value as the latest of the key that comes with it."""
    state.set("latest", value)


def stored() -> list[float]:
    """Return the amounts that are on disk, one for each key."""
    amounts = []
    for current in STATE.rglob("CURRENT"):
        rows = Rdict(str(current.parent), Options(raw_mode=True), access_type=AccessType.read_only())
        amounts += [orjson.loads(value)["amount"] for key, value in rows.items() if b"latest" in key]
    return amounts


def main() -> None:
    """Run until the given number of records is processed."""
    bootstrap, topic, records = sys.argv[1:]
    application = Application(
        broker_address=bootstrap,
        consumer_group=f"bench-{time.time_ns()}",
        auto_offset_reset="earliest",
        state_dir=STATE,
        # A changelog topic would be everything written to Kafka once more.
        use_changelog_topics=False,
        commit_interval=60.0,
        loglevel="WARNING",
        consumer_extra_config={"fetch.queue.backoff.ms": 10},
    )
    rows = application.dataframe(
        application.topic(topic, key_deserializer="bytes", value_deserializer="json")
    )
    rows.update(keep, stateful=True)
    begin()
    application.run(count=int(records))
    end()
    result(stored())


main()

"""A program that writes for a test, and that the test may kill: one send, or a transaction that is never committed.

Arguments: bootstrap, topic, a word with which all keys begin, the number of records, and ``plain`` or ``uncommitted``.
It prints ``ready``, waits for a line, then writes. It prints ``sent`` at its end, or ``uncommitted`` when all is written and nothing committed.
"""

from __future__ import annotations

import sys
import time

from ktframe.config.settings import Settings
from ktframe.kafka.transaction import AtomicDelivery
from ktframe.kafka.writer import KafkaWriter, OutgoingRecords

VALUE = b"x" * 5_000
TIMEOUT_SECONDS = 240.0


def _hang(*_: object) -> None:
    sys.stdout.write("uncommitted\n")
    sys.stdout.flush()
    time.sleep(TIMEOUT_SECONDS)


def main() -> None:
    """Write, and say when it is done."""
    bootstrap, topic, word, count, way = sys.argv[1:]
    keys = [f"{word}-{number}".encode() for number in range(int(count))]
    writer = KafkaWriter(Settings(bootstrap=bootstrap, librdkafka={"transaction.timeout.ms": 3_000}))
    if way == "uncommitted":
        AtomicDelivery._commit = _hang  # type: ignore[method-assign]
    records = OutgoingRecords(keys, [VALUE] * len(keys))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    writer.send(topic, records, timeout=TIMEOUT_SECONDS, atomic=way == "uncommitted")
    writer.close()
    sys.stdout.write("sent\n")


if __name__ == "__main__":
    main()

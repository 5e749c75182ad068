"""A program that is interrupted at random moments of first reads and of closes, and prints as JSON what went wrong after.

python interrupted_reads.py TRIES DIRECTORY
"""

import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from ktframe.testing import FakeBroker

LONGEST = {"memory": 2e-3, "rocksdb": 4e-2}
"""Seconds within which an interrupt comes, by backend."""


def main(tries: int, directory: Path) -> None:
    """Interrupt reads and closes until a table is not read or not closed any more."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    random = Random(1)  # noqa: S311 - no cryptography
    counts: Counter[str] = Counter()
    faults: list[str] = []

    def interrupted(what: str, action: Callable[[], object], longest: float) -> None:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-5, longest))
            try:
                action()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            counts[f"{what}, done before"] += 1
        except KeyboardInterrupt:
            counts[f"{what}, interrupted"] += 1

    def checked(what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            faults.append(f"{what}: {type(error).__name__}: {error}")

    contexts = {
        "memory": broker.connect(stall_timeout=5),
        "rocksdb": broker.connect(directory, stall_timeout=5),
    }
    while counts.total() < tries and not faults:
        for backend, context in contexts.items():
            table = context.table("t")
            checked("a read", lambda: interrupted("read", table.to_polars, LONGEST[backend]))  # noqa: B023
            checked("the next read", lambda: _require(table.to_polars().height, 1))  # noqa: B023
            checked("a close", lambda: interrupted("close", table.close, LONGEST[backend]))  # noqa: B023
            checked("the next close", table.close)
    for context in contexts.values():
        checked("the last close", context.close)
    checked("the next process", lambda: _require(_rows_in(broker, directory), 1))
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("ktframe-")]
    faults += [f"the thread {name} is left" for name in left]
    json.dump({"faults": faults, "counts": counts}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # what was interrupted may keep an interpreter from ending


def _rows_in(broker: FakeBroker, directory: Path) -> int:
    with broker.connect(directory) as context:
        return context.table("t").to_polars().height


def _require(actual: int, expected: int) -> None:
    if actual != expected:
        message = f"{actual} rows, not {expected}"
        raise AssertionError(message)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

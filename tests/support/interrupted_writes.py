"""A program that is interrupted at random moments of writes, and prints as JSON what went wrong after.

python interrupted_writes.py TRIES
"""

import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import polars as pl

import ktframe
from ktframe.testing import FakeBroker

LONGEST_SECONDS = 0.01


class Writes:
    """Writes to a table, each with keys of its own, and compares what is said of them with what is there."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._probes = 0
        self._random = Random(1)  # noqa: S311 - no cryptography
        broker = FakeBroker()
        broker.produce("t", "first", {"n": 0})
        self.context = broker.connect(writable=True, stall_timeout=10)
        self.table = self.context.table("t")

    def ways(self, name: str) -> Iterator[Callable[[], pl.DataFrame]]:
        """Yield ways to write."""
        many = [{"key": f"{name}-{number}", "n": number} for number in range(3)]
        yield lambda: self.table.upsert(many)
        yield lambda: self.table.put(many[0])
        yield lambda: self.table.delete([row["key"] for row in many])
        yield lambda: self.context.publish("t", many, key="key")

    def interrupt(self, name: str, write: Callable[[], pl.DataFrame]) -> None:
        """Write, be interrupted, and compare what is said with how far the log has grown."""
        before = self._end()
        error: BaseException | None = None
        records: pl.DataFrame | None = None
        try:
            signal.setitimer(signal.ITIMER_REAL, self._random.uniform(1e-5, LONGEST_SECONDS))
            try:
                records = write()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt as interrupt:
            error = interrupt.__cause__
        written = self._end() - before
        if records is not None:
            least = most = records.height
        elif isinstance(error, ktframe.WriteError):
            least, most = len(error.written), len(error.written) + len(error.unknown)
        else:
            least = most = 0
        self.counts["returned" if records is not None else f"interrupted by {type(error).__name__}"] += 1
        if not least <= written <= most:
            self.faults.append(
                f"{name}: {written} records are written, not {least} to {most}; after {error!r}"
            )

    def _end(self) -> int:
        """Write one record, which any write that went on precedes in time, and return the end of the log without it."""
        offset: int = self.table.put({"key": "probe", "n": 0})["offset"][0]
        self._probes += 1
        return offset - self._probes


def main(tries: int) -> None:
    """Interrupt writes until one of them lies, or the next one does not work."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    writes = Writes()
    while writes.counts.total() < tries and not writes.faults:
        name = f"k{writes.counts.total()}"
        try:
            for write in writes.ways(name):
                writes.interrupt(name, write)
        except ktframe.KtframeError as error:
            writes.faults.append(f"the next write: {error}")
    writes.context.close()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("ktframe-")]
    writes.faults += [f"the thread {name} is left" for name in left]
    json.dump({"faults": writes.faults, "counts": writes.counts}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # what was interrupted may keep an interpreter from ending


if __name__ == "__main__":
    main(int(sys.argv[1]))

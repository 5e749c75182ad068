"""A program on a small disk, which is filled and freed at random while a table is written, read, closed and opened.

Arguments: a directory on that disk, which holds 10 MB and nothing else; a seed; how many times. Prints as JSON how many
reads were right and how many an error that names the disk; it ends with an error where one was neither.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from ktframe.config.settings import RetryPolicy, StoreOptions
from ktframe.errors import KtframeError, StoreError
from ktframe.testing import FakeBroker

KEYS = 300
RETRY = RetryPolicy(initial_delay=0.01, max_delay=0.02, jitter=0)
STORE = StoreOptions(compression="none", flush_interval=0.02, write_buffer_bytes=1 << 20)


class Trial:
    """A table, the dictionary that it must equal, and a file that fills the disk."""

    def __init__(self, disk: Path, random: Random) -> None:
        self.random = random
        self.filler = disk / "filler"
        self.broker = FakeBroker()
        self.broker.create_topic("t", partitions=2)
        self.context = self.broker.connect(disk / "state", retry=RETRY, store=STORE, stall_timeout=10.0)
        self.expected: dict[str, dict[str, Any]] = {}
        self.told = {"right": 0, "error": 0}
        self.open()

    def open(self) -> None:
        """Open the table."""
        self.table = self.context.table("t", key_format="string")

    def fill(self) -> None:
        """Leave hardly any space, or none."""
        with self.filler.open("ab", buffering=0) as file:
            with suppress(OSError):
                while file.write(bytes(65536)):
                    pass
            file.truncate(max(0, file.tell() - self.random.choice((0, 0, 50_000, 400_000))))

    def free(self) -> None:
        """Make space."""
        self.filler.unlink(missing_ok=True)

    def produce(self) -> None:
        """Write and delete some rows."""
        for _ in range(self.random.randrange(1, 60)):
            number = self.random.randrange(KEYS)
            key = f"k{number}"
            row = {"n": self.random.randrange(1000), "s": "x" * 3_000}
            is_deleted = self.random.random() < 0.2
            self.broker.produce("t", key, None if is_deleted else row, partition=number % 2)
            if is_deleted:
                self.expected.pop(key, None)
            else:
                self.expected[key] = {"key": key, **row}

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the rows of the table, by key."""
        return {row["key"]: row for row in self.table.to_polars().to_dicts()}

    def check(self) -> None:
        """Read."""
        key = f"k{self.random.randrange(KEYS)}"
        try:
            got, rows = self.table.get(key), self.rows()
        except StoreError as error:
            if "the disk is full: free some space" not in error.fact:
                raise
            self.told["error"] += 1
        else:
            assert got == self.expected.get(key)
            assert rows == self.expected
            self.told["right"] += 1

    def reopen(self) -> None:
        """Close the table, which may say that the disk is full, and open it again."""
        with suppress(KtframeError):
            self.table.close()
        self.free()
        self.open()


def main() -> None:
    """Do one thing after another, and compare with a dictionary."""
    trial = Trial(Path(sys.argv[1]), Random(int(sys.argv[2])))  # noqa: S311 - no cryptography
    for _ in range(int(sys.argv[3])):
        trial.random.choice((trial.fill, trial.fill, trial.free, lambda: None))()
        trial.produce()
        trial.check()
        if trial.random.random() < 0.05:
            trial.reopen()
    trial.free()
    for _ in range(2):
        assert trial.rows() == trial.expected
        trial.table.close()
        trial.open()
    trial.context.close()
    json.dump(trial.told, sys.stdout)


if __name__ == "__main__":
    main()

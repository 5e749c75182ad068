"""A program that writes through a table for a test, beside others that write to the same topic.

Arguments: bootstrap, topic, state directory, a seed, how many rows to put or delete, and ``steps`` or ``atomic``.
``steps`` writes a few rows at a time and checks after each call that the table has them; ``atomic`` writes all in one
transaction. Prints a line when it begins, and one when it is done.
"""

from __future__ import annotations

import random
import sys

import polars as pl

import ktframe

KEYS = 300


def main() -> None:
    """Write, and say when it is done."""
    bootstrap, topic, state_dir, seed, count, way = sys.argv[1:]
    retry = {"initial_delay": 0.1, "max_delay": 0.5, "jitter": 0.0, "attempts": 60}
    with ktframe.connect(
        bootstrap, state_dir=state_dir, writable=True, retry=retry, request_timeout=20
    ) as kt:
        table = kt.table(topic)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        if way == "atomic":
            keys = [f"{seed}-{number}" for number in range(int(count))]
            table.upsert(pl.DataFrame({"key": keys, "by": seed, "n": 0}), atomic=True)
        else:
            _steps(table, seed, int(count))
    sys.stdout.write("done\n")


def _steps(table: ktframe.KTable, seed: str, count: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - test data
    left = count
    while left > 0:
        size = min(left, chance.randrange(1, 25))
        left -= size
        keys = [f"k-{number}" for number in chance.sample(range(KEYS), size)]
        if chance.random() < 0.3:
            # A key without a row has nothing written, so the topic may get fewer tombstones than keys.
            table.delete(keys)
        elif size == 1:
            table.put({"key": keys[0], "by": seed, "n": left})
        else:
            table.upsert(pl.DataFrame({"key": keys, "by": seed, "n": left}))


if __name__ == "__main__":
    main()

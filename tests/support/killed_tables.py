"""A program that loads, follows and keeps a table of which most rows lie in files, until it is killed.

python killed_tables.py STATE_DIR SEED LIFE

It prints a line for each step. ``log`` says what the topic has in each life, ``fold`` what the table must have then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from ktframe.context.context import Context
from ktframe.fold import rows, waiting
from ktframe.testing import FakeBroker

RECORDS_A_LIFE = 2_000
KEYS = 700

Record = tuple[int, str, dict[str, Any] | None]
"""A number, a key and a value."""


def make_small() -> None:
    """Let some hundred rows be as many as millions are."""
    rows.SPILL_BYTES = 20_000  # type: ignore[misc]
    waiting._ABOVE_ROWS, waiting._AT_MOST_ROWS = 100, 200


def log(seed: int, life: int) -> Iterator[Record]:
    """Yield the records of a topic up to the end of a life: new keys, updates, deletes, and now and then a new field."""
    random = Random(seed)  # noqa: S311 - no cryptography
    for number in range(RECORDS_A_LIFE * (life + 1)):
        key = random.randrange(min(KEYS, 50 + number))
        value = {"n": number, "text": f"the text of record {number} of key {key}"}
        for field in range(number // 1_500):
            if random.random() < 0.5:
                value[f"field_{field}"] = number
        yield number, f"k{key}", None if random.random() < 0.1 else value


def fold(records: Iterator[Record]) -> dict[str, dict[str, Any]]:
    """Return the row of each key."""
    found: dict[str, dict[str, Any]] = {}
    for _, key, value in records:
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value
    return found


def rows_of(context: Context) -> dict[str, dict[str, Any]]:
    """Return the row of each key, without what is null."""
    frame = context.table("t").to_polars()
    return {
        row.pop("key"): {name: value for name, value in row.items() if value is not None}
        for row in frame.iter_rows(named=True)
    }


def broker_of(records: list[Record]) -> FakeBroker:
    """Return a broker with these records."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    produce(broker, records)
    return broker


def produce(broker: FakeBroker, records: list[Record]) -> None:
    """Write records."""
    for number, key, value in records:
        broker.produce("t", key, value, partition=int(key[1:]) % 2, timestamp=number)


def tell(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Live one life."""
    state, seed, life = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    make_small()
    records = list(log(seed, life))
    at = RECORDS_A_LIFE * life
    broker = broker_of(records[:at])
    random = Random(f"{seed} {life}")  # noqa: S311 - no cryptography
    context = broker.connect(state)
    tell("begun")
    while at < len(records):
        count = random.randrange(1, 200)
        produce(broker, records[at : at + count])
        at += count
        table = context.table("t")
        step = random.choice(["read", "head", "keep", "flush", "reopen", "nothing"])
        if step == "reopen":
            context.close()
            context = broker.connect(state)
        elif step != "nothing":
            table.to_polars() if step == "read" else len(table)
            materializer = table._reader.binding.required()
            if step == "keep":
                materializer.keep_rows()
            if step in ("keep", "flush"):
                materializer.store.flush()
        tell(json.dumps([step, at]))
    context.close()


if __name__ == "__main__":
    main()

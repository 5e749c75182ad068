"""kill -9 in the middle of writing: what is found afterwards is the fold of a prefix, and the positions say which."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stores import OPTIONS, ORDERS

from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import StoredRows
from ktframe.store.manager import StoreManager

KEYS = 300
PARTITIONS = 3
BATCH_RECORDS = 200

WRITE = """
import sys
from pathlib import Path
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS
from test_store_crash import BATCH_RECORDS, PARTITIONS, record_at
from ktframe.store.manager import StoreManager

manager = StoreManager(Path(sys.argv[1]), OPTIONS)
store = manager.get_or_open(ORDERS, OPTIONS)
positions = {p: store.positions()[p].offset if p in store.positions() else 0 for p in range(PARTITIONS)}
batch = 0
while True:
    lines = {}
    for partition, start in positions.items():
        for offset in range(start, start + BATCH_RECORDS):
            identity, value = record_at(partition, offset)
            lines[partition, identity] = value
        positions[partition] = start + BATCH_RECORDS
    store.apply(changes_of((p, identity, value) for (p, identity), value in lines.items()), positions)
    batch += 1
    if batch % 7 == 0:
        store.flush()
    print(batch, flush=True)
"""


def record_at(partition: int, offset: int) -> tuple[bytes, bytes | None]:
    """Return the identity and value of a record: the same in every process, one in five a tombstone."""
    chance = random.Random(f"{partition}/{offset}")  # noqa: S311 - no cryptography
    identity = encode_part(f"key-{chance.randrange(KEYS)}")
    return identity, None if chance.random() < 0.2 else b"%d/%d " % (partition, offset) + b"x" * 300


def folded(partition: int, end: int) -> dict[bytes, bytes]:
    """Return the rows of a partition after all records below ``end``."""
    rows: dict[bytes, bytes] = {}
    for offset in range(end):
        identity, value = record_at(partition, offset)
        if value is None:
            rows.pop(identity, None)
        else:
            rows[identity] = value
    return rows


def rows_by_partition(chunks: Iterator[StoredRows]) -> dict[int, dict[bytes, bytes]]:
    """Return the rows of a store as one dict per partition."""
    found: dict[int, dict[bytes, bytes]] = {partition: {} for partition in range(PARTITIONS)}
    for chunk in chunks:
        found[chunk.partitions[0]] |= dict(zip(chunk.identities, chunk.values, strict=True))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_killed_writer_leaves_a_consistent_prefix(tmp_path: Path, seed: int) -> None:
    """After each of several kills the rows equal the fold of all records below the positions, in every partition."""
    chance = random.Random(seed)  # noqa: S311 - no cryptography
    here = Path(__file__).parent
    path = [str(here), str(here.parent)]
    reached = 0
    for _ in range(3):
        command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{WRITE}", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(8, 40)):
                assert writer.stdout.readline()
            writer.kill()
        manager = StoreManager(tmp_path, OPTIONS)
        store = manager.get_or_open(ORDERS, OPTIONS)
        ends = {partition: position.offset for partition, position in store.positions().items()}
        assert set(ends) == set(range(PARTITIONS))
        assert rows_by_partition(store.items()) == {p: folded(p, end) for p, end in ends.items()}
        manager.close_all()
        assert min(ends.values()) > reached
        reached = max(ends.values())

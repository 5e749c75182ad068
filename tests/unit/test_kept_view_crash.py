"""kill -9 while rows are written, kept, closed and opened: what is found in files is what the store holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from support.stores import OPTIONS, ORDERS

from ktframe.store.manager import StoreManager

WRITE = """
import sys
from pathlib import Path
from random import Random
import polars as pl
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import DecodedRows

random = Random(sys.argv[2])
manager = StoreManager(Path(sys.argv[1]), OPTIONS)
store = manager.get_or_open(ORDERS, OPTIONS)
at = store.positions()[0].offset if store.positions() else 0
while True:
    step = random.randrange(10)
    if step < 5:
        at += 1
        store.apply(changes_of([(0, b"row", b"%d" % at)]), {0: at})
    elif step < 7:
        store.keep_view(DecodedRows({"rows": pl.DataFrame({"row": [at] * 1_000})}, "this"))
    elif step < 9:
        store.flush()
    else:
        manager.close(store)
        store = manager.get_or_open(ORDERS, OPTIONS)
        store.kept_view("this")
    print(step, flush=True)
"""


@pytest.mark.slow
def test_after_a_kill_kept_rows_are_those_of_the_store(tmp_path: Path) -> None:
    """Killed again and again, on the same store, at random."""
    random, kept, told = Random(1), 0, 0  # noqa: S311 - no cryptography
    for life in range(20):
        command = [sys.executable, "-c", WRITE, str(tmp_path), str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as process:
            assert process.stdout is not None
            for _ in range(random.randrange(1, 60)):
                process.stdout.readline()
            process.kill()
        manager = StoreManager(tmp_path, OPTIONS)
        store = manager.get_or_open(ORDERS, OPTIONS)
        view = store.kept_view("this")
        if view is not None:
            kept += 1
            values = [value for chunk in store.items() for value in chunk.values]
            told += bool(view.changed)
            if not view.changed:
                assert set(view.frames["rows"]["row"]) == {int(values[0])} if values else {0}
            assert len(list(tmp_path.rglob("*.arrow"))) == 1
        manager.close_all()
    assert 0 < told < kept < 20

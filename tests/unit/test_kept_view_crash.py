"""kill -9 while rows are written, kept, closed and opened: what is found in files is what the store holds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from support import killed_tables
from support.stores import OPTIONS, ORDERS

from ktframe.fold import rows, waiting
from ktframe.store.manager import StoreManager

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}

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


@pytest.mark.slow
def test_a_table_in_files_equals_a_fold_after_every_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it loads, merges, writes parts anew, gets columns, is kept, closed and opened."""
    check_kills(4, 4, tmp_path, monkeypatch)


def check_kills(seeds: int, lives: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Kill a program of each seed so many times; return what it had done last, how often."""
    for module, name in [(rows, "SPILL_BYTES"), (waiting, "_ABOVE_ROWS"), (waiting, "_AT_MOST_ROWS")]:
        monkeypatch.setattr(module, name, getattr(module, name))  # to be as it was afterwards
    killed_tables.make_small()
    random, last = Random(seeds), Counter[str]()  # noqa: S311 - no cryptography
    for seed in range(seeds):
        state = home / str(seed)
        for life in range(lives):
            command = [sys.executable, killed_tables.__file__, str(state), str(seed), str(life)]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, cwd=TESTS, env=ENVIRONMENT
            ) as process:
                assert process.stdout is not None
                told = [process.stdout.readline() for _ in range(random.randrange(1, 20))]
                time.sleep(random.random() * 0.05)
                process.kill()
            last[told[-1].partition(",")[0]] += 1
            records = list(killed_tables.log(seed, life))
            with killed_tables.broker_of(records).connect(state) as context:
                assert killed_tables.rows_of(context) == killed_tables.fold(iter(records)), (seed, life, told)
                table = context.table("t")
                assert len(table) == table.to_polars().height
                assert table._reader.binding.required().view.lies_in_files
    return last

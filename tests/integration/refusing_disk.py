"""A program whose disk refuses for a while: prints as JSON what a table said of it, and what it had once that was over.

Arguments: what happens, and a directory that nobody else uses. Within namespaces of its own, it may mount there.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ktframe.config.settings import StoreOptions
from ktframe.errors import KtframeError
from ktframe.events import BindingStateChanged, TableRebuilt
from ktframe.testing import FakeBroker


def mount(*arguments: object) -> None:
    """Call ``mount`` or ``umount``."""
    subprocess.run([*map(str, arguments)], check=True)


def mount_read_only(path: Path) -> None:
    """Make a directory read-only, for what is opened from now on."""
    mount("mount", "--bind", path, path)
    mount("mount", "-o", "remount,bind,ro", path)


def remove(path: Path) -> None:
    """Remove a directory at once: file by file, the table would make it anew meanwhile."""
    shutil.rmtree(path.rename(path.with_name("gone")))


FAULTS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "read-only": (mount_read_only, lambda path: mount("umount", "--lazy", path)),
    "no permission": (lambda path: path.chmod(0o500), lambda path: path.chmod(0o700)),
    "gone": (lambda path: remove(path.parent.parent.parent.parent), lambda _: None),
}
"""What happens to the directory of RocksDB's files, and what its user does then."""


def main() -> None:
    """Load a table, let the disk refuse, end that, and read on."""
    break_, mend = FAULTS[sys.argv[1]]
    state = Path(sys.argv[2]) / "state"
    broker = FakeBroker()
    broker.create_topic("t")
    context = broker.connect(state, stall_timeout=5.0, store=StoreOptions(flush_interval=0.1))
    table = context.table("t")

    def load(number: int) -> None:
        for key in range(50):
            broker.produce("t", f"k{key}", {"n": number})
        table.to_polars()

    load(0)
    (files,) = state.rglob("rocksdb")
    errors, rebuilt = list[str](), set[str]()
    table.events.subscribe(BindingStateChanged, lambda event: errors.append(event.error or ""))
    table.events.subscribe(TableRebuilt, lambda event: rebuilt.update(event.partitions.values()))
    break_(files)
    deadline = time.monotonic() + 30
    while not any(errors) and time.monotonic() < deadline:
        with suppress(KtframeError):
            load(1)
        time.sleep(0.2)
    table.to_polars(fresh=False)
    mend(files)
    for key in range(50):
        broker.produce("t", f"k{key}", {"n": 2})
    goes_on = False
    while not goes_on and time.monotonic() < deadline:
        goes_on = {row["n"] for row in table.to_polars(fresh=False).to_dicts()} == {2}
    rows = table.to_polars()
    got = table.get("k7")
    table.close()
    reopened = context.table("t").to_polars()
    context.close()
    is_equal = sorted(rows.rows()) == sorted(reopened.rows()) == sorted((f"k{key}", 2) for key in range(50))
    left = [path.name for path in state.rglob("owner.json")]
    error = next(filter(None, errors), "")
    json.dump(
        {
            "error": error,
            "got": got,
            "is_equal": is_equal,
            "goes_on": goes_on,
            "rebuilt": [*rebuilt],
            "left": left,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()

"""A program that damages a store at random and opens it: prints how often it was opened, and how often refused.

Arguments: a directory, and how many times. It ends with an error where rows and position did not agree.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.changes import changes_of
from support.stores import OPTIONS, ORDERS, rows_of

from ktframe.errors import StoreCorruptError, StoreMismatchError
from ktframe.fold.identity_codec import encode_part
from ktframe.store.manager import StoreManager

FLUSHES = 8
ROWS = 20


def rows_before(position: int) -> list[bytes]:
    """Return the identities of the rows before ``position``, each of which stands for some."""
    return [encode_part(number) for number in range(ROWS * position)]


def flip(raw: bytearray, random: Random) -> None:
    """Change some bytes."""
    for _ in range(random.randrange(1, 20)):
        raw[random.randrange(len(raw))] = random.randrange(256)


def cut(raw: bytearray, random: Random) -> None:
    """Leave the first bytes."""
    del raw[random.randrange(len(raw)) :]


def empty(raw: bytearray, random: Random) -> None:
    """Let some bytes be zero, as after a crash."""
    start = random.randrange(len(raw))
    raw[start : start + 4_096] = bytes(len(raw[start : start + 4_096]))


def append(raw: bytearray, random: Random) -> None:
    """Add some bytes."""
    raw += random.randbytes(random.randrange(1, 70_000))


def replace(raw: bytearray, random: Random) -> None:
    """Let nothing be as it was."""
    raw[:] = random.randbytes(random.randrange(100_000))


def retype(raw: bytearray, random: Random) -> None:
    """Change the head of a record, as it would be in a manifest."""
    at, heads = 0, [0]
    while at + 7 <= len(raw):
        heads.append(at)
        at += 7 + int.from_bytes(raw[at + 4 : at + 6], "little")
    place = random.choice(heads) + random.choice((4, 5, 6))
    raw[place : place + 1] = bytes([random.randrange(16)])


DAMAGES: tuple[Callable[[bytearray, Random], None], ...] = (flip, cut, empty, append, replace, retype)


def main() -> None:
    """Make a store, and damage copies of it."""
    home, times, random = Path(sys.argv[1]), int(sys.argv[2]), Random(1)  # noqa: S311 - no cryptography
    manager = StoreManager(home / "whole", OPTIONS)
    store = manager.get_or_open(ORDERS, OPTIONS)
    for position in range(1, FLUSHES + 1):
        store.apply(changes_of((0, name, b"1") for name in rows_before(position)), {0: position})
        store.flush()
    manager.close_all()
    opened = 0
    for _ in range(times):
        shutil.copytree(home / "whole", home / "copy")
        manager = StoreManager(home / "copy", OPTIONS)
        files = manager.path_of(ORDERS) / "rocksdb"
        named = [path for path in sorted(files.iterdir()) if not path.name.startswith(("LOCK", "LOG"))]
        victim = random.choice((random.choice(named), next(files.glob("MANIFEST-*"))))
        raw = bytearray(victim.read_bytes() or b"0")
        random.choice(DAMAGES)(raw, random)
        victim.write_bytes(raw)
        try:
            store = manager.get_or_open(ORDERS, OPTIONS)
            position = store.positions()[0].offset if store.positions() else 0
            assert rows_of(store) == rows_before(position), victim
            opened += 1
        except (StoreCorruptError, StoreMismatchError):
            pass
        manager.close_all()
        shutil.rmtree(home / "copy")
    print(opened, times - opened)  # noqa: T201


if __name__ == "__main__":
    main()

"""A program that rebuilds a partition of a store again and again, until it is killed; each time its rows say which time it is.

Argument: the directory of the stores. Prints a line for each rebuild that is done.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from ktframe.config.settings import StoreOptions
from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import Position
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import Rebuild
from support.changes import changes_of
from support.stores import ORDERS

ROWS, CHUNK = 600, 50


def main() -> None:
    """Rebuild until killed."""
    options = StoreOptions()
    store = StoreManager(Path(sys.argv[1]), options).get_or_open(ORDERS, options)
    store.apply(changes_of((0, encode_part(n), b"0") for n in range(ROWS)), {0: ROWS})
    store.flush()
    for time in count(1):
        store.rebuild({0: Rebuild(f"rebuild {time}", Position(0))})
        for start in range(0, ROWS, CHUNK):
            lines = [(0, encode_part(n), b"%d" % time) for n in range(start, start + CHUNK)]
            store.apply(changes_of(lines), {0: start + CHUNK})
            if (time + start) % 3 == 0:
                store.flush()
        store.switch()
        sys.stdout.write(f"{time}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
